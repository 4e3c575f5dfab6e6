"""Prediction tables say what their rows say: means by horizon, distances of sets, what is missing."""

from dataclasses import replace

import numpy as np
import pytest

from planners.evaluation.prediction_rows import Method, PredictionRow
from planners.evaluation.prediction_table import cells, markdown, write_csv
from tests.planners.evaluation.prediction_rows import prediction_row


def mean_gap(made: np.ndarray, true: np.ndarray) -> float:
    return float(np.abs(made.mean(axis=0) - true.mean(axis=0)).sum())


def rows() -> list[PredictionRow]:
    """Return six windows in three recordings; the model's PSNR is 20 to 25, the copy's 10."""
    found = []
    for window in range(6):
        features = {Method.truth: (0.0, 1.0), Method.world_model: (float(window), 1.0)}
        for method in Method:
            psnr_db = {Method.world_model: 20.0 + window, Method.copy_last: 10.0}.get(method, 40.0)
            own = features.get(method, (0.0, 3.0))
            found.append(prediction_row(window, method, psnr_db=psnr_db, features=own))
    return found


def test_cells_are_means_with_intervals_over_recordings():
    found = {(cell.method, cell.metric): cell.value for cell in cells(rows(), frechet=mean_gap)}
    made = found["world_model", "psnr_db"]
    assert (made.mean, made.n) == (22.5, 6)
    # Recordings have means 20.5, 22.5, 24.5: three of the lowest, or of the highest, are drawn by 1 in 27.
    assert (made.low, made.high) == pytest.approx((20.5, 24.5))
    assert found["copy_last", "psnr_db"].high == 10
    assert found["world_model", "frechet_latents"].mean == 2.5
    assert found["copy_last", "frechet_latents"].mean == 2.0
    assert {metric for _, metric in found} == {
        "psnr_db", "ssim", "latent_squared", "latent_cosine", "frechet_latents",
    }  # fmt: skip
    assert {method for method, _ in found} == {"world_model", "copy_last", "reconstruction"}


def test_a_metric_that_some_rows_lack_is_left_out():
    some = [replace(row, lpips=0.3 if row.frame else None) for row in rows() if row.method != "truth"]
    whole = [replace(row, dreamsim=0.2) for row in some]
    truths = [row for row in rows() if row.method == "truth"]
    metrics = {cell.metric for cell in cells([*whole, *truths], frechet=mean_gap)}
    assert "dreamsim" in metrics and "lpips" not in metrics


def test_the_text_counts_what_is_missing_and_names_it_once():
    more = [prediction_row(each, Method.world_model, error="a/3.jpg is gone") for each in (6, 7)]
    short = [
        replace(prediction_row(each, Method.world_model, horizon_s=16.0), status="too_short")
        for each in range(4)
    ]
    every = [*rows(), *more, *short]
    reason = "lpips is not installed: pip install 'worldnav[perceptual]'"
    text = markdown(cells(every, frechet=mean_gap), every, not_measured={"lpips": reason})
    assert "### time: one jump, 8 windows of 4 recordings" in text
    assert "| 1 | world model | 6 | 22.500 [20.500, 24.500] | 0.500 [0.500, 0.500] |" in text
    assert text.count("a/3.jpg is gone") == 1 and "2 measurements failed, for 1 reasons" in text
    assert "4 windows of time are too short for 16 s" in text
    assert text.count(f"not measured: lpips: {reason}") == 1


def test_a_rollout_says_how_fast_it_really_stepped():
    own = [prediction_row(window, method, rate_hz=4.0) for window in range(2) for method in Method]
    text = markdown(cells(own, frechet=mean_gap), own, not_measured={})
    assert "### rollout: 4 steps a second asked, 3.33 recorded, 2 windows of 1 recordings" in text


def test_csv_has_a_line_a_number(tmp_path):
    found = cells(rows(), frechet=mean_gap)
    write_csv(found, tmp_path / "table.csv")
    lines = (tmp_path / "table.csv").read_text().splitlines()
    assert lines[0] == "kind,rate_hz,horizon_s,method,metric,mean,low,high,n"
    assert len(lines) == 1 + 3 * 5 and "time,,1,world_model,psnr_db,22.5,20.5,24.5,6" in lines
    assert "time,,1,copy_last,frechet_latents,2,,,6" in lines
