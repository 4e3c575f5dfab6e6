"""The three forms of a table hold the same cells, and nothing in a cell becomes markup."""

import csv
import re
from html import unescape
from pathlib import Path

import pytest

from planners.evaluation.tables import TextTable, to_html, to_markdown, write_tables

TABLE = TextTable(
    title="A & B",
    headings=("method", "ATE [m]"),
    rows=(("<b>ours</b>", "0.50 [0.40, 0.60]"), ("a|b", 'said "1,13"')),
    emphasised=frozenset({0}),
    notes=("x < y",),
)


def test_three_files_with_the_same_cells(tmp_path: Path):
    write_tables([TABLE], tmp_path / "out", stem="planning", lead="Ours & others.")
    folder = tmp_path / "out"
    assert sorted(path.name for path in folder.iterdir()) == ["planning.csv", "planning.html", "planning.md"]
    with (folder / "planning.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [list(TABLE.headings), *(list(row) for row in TABLE.rows)]
    page = (folder / "planning.html").read_text()
    cells = [unescape(cell) for cell in re.findall(r'<td class="wrap">(.*?)</td>', page)]
    assert cells == [cell for row in TABLE.rows for cell in row]
    assert (
        "<b>ours</b>" not in page
        and "<title>worldnav: A &amp; B</title>" in page
        and "Ours &amp; others." in page
    )


def test_markdown_by_hand():
    assert to_markdown(TABLE).splitlines() == [
        "### A & B",
        "",
        "| method | ATE [m] |",
        "| --- | --- |",
        "| **&lt;b>ours&lt;/b>** | 0.50 [0.40, 0.60] |",
        '| a\\|b | said "1,13" |',
        "",
        "x &lt; y",
    ]


def test_rows_of_ours_are_marked():
    rows = re.findall(r'<tr class="(\w+)">', to_html(TABLE))
    assert rows == ["ours", "other"]


def test_several_tables_have_a_csv_each(tmp_path: Path):
    write_tables([TABLE, TABLE], tmp_path, stem="t", lead="")
    assert sorted(path.name for path in tmp_path.glob("*.csv")) == ["t_1.csv", "t_2.csv"]
    assert (tmp_path / "t.md").read_text().count("### A & B") == 2


def test_a_row_of_another_width_is_refused():
    with pytest.raises(ValueError, match="a row needs 2 cells, one a heading"):
        TextTable(title="", headings=("a", "b"), rows=(("1",),))
