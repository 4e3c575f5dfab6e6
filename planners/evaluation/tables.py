"""Tables: headings and cells of text, written as Markdown, CSV and a page of their own."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from data_tools.markup import division, element, words
from data_tools.whole_file import write_text


@dataclass(frozen=True, kw_only=True)
class TextTable:
    """A table whose cells are text already."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    emphasised: frozenset[int] = frozenset()
    """Numbers of the rows that are ours."""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.headings):
                raise ValueError(
                    f"a row needs {len(self.headings)} cells, one a heading; {row} has {len(row)}"
                )


def write_tables(tables: Sequence[TextTable], folder: Path, *, stem: str, lead: str) -> None:
    """Write tables as `<stem>.md`, `<stem>.csv` and `<stem>.html`, each whole or not at all.

    Args:
        tables: In their order.
        folder: Where to; it is made.
        stem: Name of the files. CSV has one set of columns, so several tables become `<stem>_1.csv`, ...
        lead: First sentence of the page.
    """
    write_text(folder / f"{stem}.md", "\n\n".join(to_markdown(table) for table in tables) + "\n")
    for number, table in enumerate(tables, start=1):
        name = f"{stem}.csv" if len(tables) == 1 else f"{stem}_{number}.csv"
        write_text(folder / name, to_csv(table))
    page = Template(files("planners.evaluation").joinpath("report.html").read_text(encoding="utf-8"))
    body = "\n".join(to_html(table) for table in tables)
    title = tables[0].title if tables else stem
    write_text(folder / f"{stem}.html", page.substitute(title=escape(title), lead=escape(lead), body=body))


def to_markdown(table: TextTable) -> str:
    """Return a table as Markdown; rows of ours are bold."""
    lines = [f"### {table.title}", "", _line(table.headings), _line(["---"] * len(table.headings))]
    for number, row in enumerate(table.rows):
        cells = [_plain(cell) for cell in row]
        if number in table.emphasised:
            cells[0] = f"**{cells[0]}**"
        lines.append(_line(cells))
    return "\n".join([*lines, *(part for note in table.notes for part in ("", _plain(note)))])


def to_csv(table: TextTable) -> str:
    """Return a table as CSV, its notes left out."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.headings)
    writer.writerows(table.rows)
    return text.getvalue()


def to_html(table: TextTable) -> str:
    """Return a table as part of a page, every cell escaped."""
    heads = element("tr", *(words("th", heading) for heading in table.headings))
    rows = [
        element(
            "tr",
            *(words("td", cell, class_="wrap") for cell in row),
            class_="ours" if number in table.emphasised else "other",
        )
        for number, row in enumerate(table.rows)
    ]
    whole = element("table", element("thead", heads), element("tbody", *(rows or [""])))
    notes = [words("p", note, class_="quiet") for note in table.notes]
    return division("card", words("h3", table.title), division("table", whole), *notes)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _plain(cell: str) -> str:
    return cell.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
