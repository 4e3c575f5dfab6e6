"""Number table: rows of numbers in a text file, as trajectories are often written, or in an array file.

Words stand between spaces, tabs or commas; lines that begin with `#` are comments. A row that cannot be read
stays in its place as NaN, so that the rows behind it keep their frames, and its line is named.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float64

MAX_TABLE_BYTES = 500_000_000
"""Largest file that is read: days of poses at a hundred a second, and within any memory."""
_NUM_NAMED_LINES = 5


@dataclass(frozen=True, eq=False)
class NumberTable:
    """Numbers as a file holds them; unreadable rows are NaN."""

    rows: Float64[np.ndarray, "_ column"] = field(repr=False)
    faults: tuple[str, ...]
    """One sentence that names the file and the lines of unreadable rows; empty if there are none."""


def read_numbers(path: Path, *, widths: Sequence[int]) -> NumberTable:
    """Read rows that all have the same count of numbers, one of `widths`: that of the first such row.

    ValueError names the file, and the line where no row can be read; FileNotFoundError names a missing file.
    """
    if path.suffix == ".npy":
        return NumberTable(_read_array(path, widths), ())
    return _parse(path, read_lines(path), widths)


def read_columns(path: Path, *, names: Sequence[Sequence[str]]) -> NumberTable:
    """Read the named columns of a table whose first line holds the names of all.

    Args:
        path: The file, in UTF-8.
        names: For each column that is wanted the names it may have.

    Returns:
        The wanted columns in that order; ValueError says which is missing, and what the header holds.
    """
    lines = read_lines(path)
    header = [word.strip().strip('"').lower() for word in next(lines, (0, ""))[1].split(",")]
    columns = []
    for choices in names:
        found = [header.index(name) for name in choices if name in header]
        if len(found) != 1:
            raise ValueError(
                f"{path} needs a first line with one column called {' or '.join(choices)}; it holds {header}"
            )
        columns += found
    # Only what is wanted is read: other columns may hold words, or nothing.
    cells = ((number, line.split(",")) for number, line in lines)
    wanted = (
        (number, ",".join(row[column] for column in columns) if len(row) == len(header) else "")
        for number, row in cells
    )
    return _parse(path, wanted, [len(columns)])


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a text that are neither empty nor comments, and their numbers in the file from 1."""
    size = _checked_size(path)
    try:
        with path.open(encoding="utf-8-sig") as file:
            numbered = ((number, line.strip()) for number, line in enumerate(file, start=1))
            yield from ((number, line) for number, line in numbered if line and not line.startswith("#"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} ({size} bytes) is no text in UTF-8: {error}") from error


def _checked_size(path: Path) -> int:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; it should hold rows of numbers")
    size = path.stat().st_size
    if size > MAX_TABLE_BYTES:
        raise ValueError(
            f"{path} has {size} bytes, more than the {MAX_TABLE_BYTES} of any drive; cut it first"
        )
    return size


def _parse(path: Path, lines: Iterator[tuple[int, str]], widths: Sequence[int]) -> NumberTable:
    needed = " or ".join(map(str, widths))
    width = None
    rows: list[list[float] | None] = []
    bad_lines = []
    for number, line in lines:
        row = _numbers(line)
        if width is None and row is not None and len(row) in widths:
            width = len(row)
        if row is None or len(row) != width:
            bad_lines.append(number)
            row = None
        rows.append(row)
    if width is None:
        where = f"line {bad_lines[0]} is the first that is none" if bad_lines else "it holds none"
        raise ValueError(f"{path} needs rows of {needed} numbers; {where}")
    table = np.array([[np.nan] * width if row is None else row for row in rows], dtype=np.float64)
    return NumberTable(table, _name_bad_rows(path, bad_lines, len(rows), width))


def _numbers(line: str) -> list[float] | None:
    try:
        return [float(word) for word in line.replace(",", " ").split()]
    except ValueError:
        return None


def _name_bad_rows(path: Path, bad_lines: list[int], num_rows: int, width: int) -> tuple[str, ...]:
    if not bad_lines:
        return ()
    named = ", ".join(map(str, bad_lines[:_NUM_NAMED_LINES]))
    more = "" if len(bad_lines) <= _NUM_NAMED_LINES else ", ..."
    return (f"{path}: {len(bad_lines)} of {num_rows} rows are not {width} numbers: line {named}{more}",)


def _read_array(path: Path, widths: Sequence[int]) -> Float64[np.ndarray, "_ column"]:
    _checked_size(path)
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(f"{path} is not an array that can be read without pickle: {error}") from error
    if array.ndim != 2 or array.shape[1] not in widths or array.dtype.kind not in "fiu":
        needed = " or ".join(map(str, widths))
        raise ValueError(
            f"{path} needs rows of {needed} real numbers; it is {array.dtype} {list(array.shape)}"
        )
    return np.array(array, dtype=np.float64)
