"""Results: the same rows as JSON, Parquet and a table, with what they were made of."""

import io
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from worldmodel.evaluation.intervals import Interval
from worldmodel.evaluation.results import (
    Origin,
    Row,
    as_table,
    hash_files,
    hash_model,
    hash_sizes,
    hash_texts,
    publish,
)

ORIGIN = Origin(
    command="perplexity",
    model=None,
    model_hash=None,
    data="texts",
    data_hash="00ff",
    seed=3,
    settings={"window_tokens": 9},
)
ROWS = [
    Row.of(
        "frechet_distance[rae:1a]",
        "all",
        Interval(value=1.5, low=1.0, high=2.0, num_groups=4),
        n=8,
        unit="pictures",
        over="recordings",
    ),
    Row.of("nats", "one", Interval(value=2.0, low=None, high=None, num_groups=1), n=1, unit="documents"),
]


def test_rows_are_written_in_three_forms(tmp_path):
    shown = io.StringIO()
    publish(tmp_path / "out", ROWS, ORIGIN, console=Console(file=shown, width=120))
    content = json.loads((tmp_path / "out" / "results.json").read_text())
    table = pq.read_table(tmp_path / "out" / "results.parquet").to_pylist()
    assert content["settings"] == {"window_tokens": 9} and content["seed"] == 3
    assert [row["value"] for row in content["rows"]] == [row["value"] for row in table] == [1.5, 2.0]
    assert (table[0]["low"], table[0]["over"], table[1]["low"], table[1]["over"]) == (
        1,
        "recordings",
        None,
        None,
    )
    assert {(row["command"], row["data_hash"], row["model"]) for row in table} == {
        ("perplexity", "00ff", None)
    }
    assert json.loads(table[0]["versions"]) == content["versions"]
    for word in ("frechet_distance[rae:1a]", "1 to 2 (recordings)", "8 pictures"):
        assert word in shown.getvalue()


def test_names_are_shown_as_they_are():
    names = ("is it [bold]red[/bold]?", "[/] :cat:", "a\\")
    rows = [Row(measure=name, subset=name, value=1.0, n=1, unit="x") for name in names]
    shown = io.StringIO()
    Console(file=shown, width=160).print(as_table(rows, title="t"))
    assert all(shown.getvalue().count(name) == 2 for name in names)


def test_sizes_and_names_stand_for_files(tmp_path: Path):
    path = tmp_path / "a.jpg"
    path.write_text("12")
    first = hash_sizes([path])
    path.write_text("34")
    assert hash_sizes([path]) == first
    path.write_text("345")
    assert hash_sizes([path]) != first != hash_sizes([path, path])


def test_hashes_change_with_content_order_and_borders(tmp_path: Path):
    for name, content in (("a.json", "1"), ("b.safetensors", "2"), ("README.md", "3")):
        (tmp_path / name).write_text(content)
    first, paths = hash_model(tmp_path), [tmp_path / "a.json", tmp_path / "b.safetensors"]
    assert first == hash_files(paths) != hash_files(paths[::-1])
    (tmp_path / "README.md").write_text("other")
    assert hash_model(tmp_path) == first
    (tmp_path / "a.json").write_text("9")
    assert hash_model(tmp_path) != first
    assert hash_texts(["ab", "c"]) != hash_texts(["a", "bc"])


def test_an_interval_is_over_what_is_counted_unless_it_is_said():
    found = Interval(value=1.0, low=0.0, high=2.0, num_groups=2)
    assert Row.of("m", "s", found, n=2, unit="documents").over == "documents"
    assert found.scaled(3.0).high == pytest.approx(6)
