"""The comparison of two folders: read, joined, and written as text and JSON that say the same."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from planners.evaluation.compare import CompareConfig, compare, read_rows, to_json, to_markdown
from planners.evaluation.records import OpenLoopRow, to_table
from planners.evaluation.shards import write_table
from tests.planners.evaluation.rows import open_loop_row


def write_run(folder: Path, errors: dict[str, list[float]]) -> Path:
    rows = [
        open_loop_row(f"p{number}", trajectory=f"t{number}", method=method, ate_m=error)
        for method, own in errors.items()
        for number, error in enumerate(own)
    ]
    write_table(to_table(rows, OpenLoopRow), folder / "open_loop.parquet")
    return folder


def config(**settings) -> CompareConfig:
    return CompareConfig(first="a", second="b", **settings)


def test_shared_methods_of_two_folders(tmp_path: Path):
    first = read_rows(write_run(tmp_path / "a", {"world_model": [1.0, 2.0], "only_here": [1.0, 1.0]}))
    second = read_rows(write_run(tmp_path / "b", {"prior_mean": [3.0, 3.0], "world_model": [0.5, 1.0]}))
    found = compare(first, second, config())
    assert [(each.first_method, each.second_method) for each in found] == [("world_model", "world_model")]
    text = to_markdown(found)
    assert "### world_model against world_model, seen levels, 2 s (8 steps): 2 problems" in text
    assert (
        "| ATE [m] | 1.500 [1.000, 2.000] | 0.750 [0.500, 1.000] | -0.750 [-1.000, -0.500] "
        "| 1.000 [0.342, 1.000] |"  # Wilson's for two of two: 2 / (2 + 1.96^2)
    ) in text
    written = json.loads(json.dumps(to_json(found), allow_nan=False))
    assert written[0]["tables"][0]["metrics"]["ate_m"]["difference"] == {
        "mean": -0.75,
        "low": -1.0,
        "high": -0.5,
        "n": 2,
    }


def test_two_methods_of_one_folder(tmp_path: Path):
    own = read_rows(write_run(tmp_path, {"world_model": [1.0], "prior_mean": [2.0]}) / "open_loop.parquet")
    (found,) = compare(own, own, config(first_method="prior_mean", second_method="world_model"))
    assert found.tables[0].metrics["ate_m"].difference.mean == -1.0


def test_what_is_left_out_is_named(tmp_path: Path):
    first = read_rows(write_run(tmp_path / "a", {"world_model": [1.0, 2.0, 3.0]}))
    second = [replace(first[0], ate_m=None, error="no plan"), first[1]]
    found = compare(first, second, config(max_unmatched=1))
    text = to_markdown(found)
    assert "1 problems in the first only: p2." in text and "1 problems failed by one of the two: p0." in text
    assert to_json(found)[0]["failed"] == ["p0"]


def test_what_cannot_be_compared_is_refused(tmp_path: Path):
    one, other = [open_loop_row(method="a")], [open_loop_row(method="b")]
    with pytest.raises(ValueError, match="no method is in both: the first has a, the second b"):
        compare(one, other, config())
    with pytest.raises(ValueError, match="the second has no method 'a'; it has b"):
        compare(one, other, config(first_method="a"))
    with pytest.raises(FileNotFoundError, match=r"open_loop.parquet is missing"):
        read_rows(tmp_path)
    (tmp_path / "open_loop.parquet").write_bytes(b"no parquet")
    with pytest.raises(ValueError, match="not a Parquet file of rows"):
        read_rows(tmp_path)
    with pytest.raises(ValueError, match="max_unmatched must be at least 0"):
        config(max_unmatched=-1)
