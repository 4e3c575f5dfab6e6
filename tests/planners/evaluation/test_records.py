"""Records: rows survive Parquet exactly; hashes are of content."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from planners.evaluation.records import (
    ClosedLoopRow,
    DriveEvidence,
    OpenLoopRow,
    from_table,
    hash_of,
    hash_of_model,
    schema_of,
    to_table,
)
from tests.planners.evaluation.rows import closed_loop_row, open_loop_row

EVIDENCE = DriveEvidence(
    goal=b"png",
    observed=(b"a", b"bc"),
    imagined=(),
    considered=(((0.5, 1.0), (2.0, 3.0)), ()),
    walls=((0.0, 1.0, 2.0, 3.0),),
)


def test_rows_survive_parquet_exactly(tmp_path: Path) -> None:
    rows = [
        closed_loop_row(success=1.0),
        replace(closed_loop_row(), evidence=EVIDENCE, success=None, error="level has no floor"),
    ]
    pq.write_table(to_table(rows, ClosedLoopRow), tmp_path / "rows.parquet")
    assert from_table(pq.read_table(tmp_path / "rows.parquet"), ClosedLoopRow) == rows


def test_absent_numbers_are_null_and_required_ones_are_not() -> None:
    schema = schema_of(OpenLoopRow)
    assert schema.field("ate_m").nullable and schema.field("evidence").nullable
    assert not schema.field("problem_id").nullable
    assert schema.field("true_poses").type == pa.list_(pa.list_(pa.float64()))
    assert to_table([open_loop_row(ate_m=None)], OpenLoopRow).column("ate_m").null_count == 1


def test_a_table_of_another_version_is_refused() -> None:
    table = to_table([open_loop_row()], OpenLoopRow)
    with pytest.raises(ValueError, match="columns of ClosedLoopRow"):
        from_table(table, ClosedLoopRow)


def test_hash_depends_on_values_and_not_on_order() -> None:
    assert hash_of({"a": 1, "b": 2}) == hash_of({"b": 2, "a": 1})
    assert hash_of({"a": 1}) != hash_of({"a": 2})


def test_the_hash_of_a_model_sees_contents_and_names_but_not_its_card(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    first = hash_of_model(tmp_path)
    (tmp_path / "README.md").write_text("what it can do")
    assert first == hash_of_model(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert hash_of_model(tmp_path) != first
