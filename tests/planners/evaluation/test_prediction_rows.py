"""Prediction rows survive Parquet, and their metrics are columns of theirs."""

import dataclasses

from planners.evaluation.prediction_rows import METRICS, Method, PredictionRow
from planners.evaluation.records import from_table, schema_of, to_table
from tests.planners.evaluation.prediction_rows import prediction_row


def test_rows_survive_a_table_exactly():
    rows = [prediction_row(0, Method.world_model), prediction_row(1, Method.truth, error="0.jpg is gone")]
    assert from_table(to_table(rows, PredictionRow), PredictionRow) == rows


def test_metrics_are_columns_that_may_be_absent():
    assert set(METRICS) < {field.name for field in dataclasses.fields(PredictionRow)}
    assert all(schema_of(PredictionRow).field(metric).nullable for metric in METRICS)
