"""Level table: what was measured of the levels, a row each, for the terminal and as a Markdown file."""

import io
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from data_tools.whole_file import write_text

_WIDTH = 1000
"""Characters of a line in the file: wide enough that no cell is broken into two."""


def level_table(*columns: str) -> Table:
    """Return an empty table that prints as Markdown."""
    return Table(*columns, box=box.MARKDOWN)


def write_table(table: Table, path: Path) -> None:
    """Write a table as Markdown, whole or not at all."""
    page = Console(file=io.StringIO(), width=_WIDTH, color_system=None)
    with page.capture() as captured:
        page.print(table)
    lines = [line.rstrip() for line in captured.get().splitlines()]
    write_text(path, "\n".join(line for line in lines if line) + "\n")  # Rich prints blank lines around it
