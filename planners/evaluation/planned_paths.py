"""Planned paths: what any project planned, read from tables with one row a step.

A table is Parquet, CSV with a first line of names, or JSON lines with one object a line. Its columns:

    trajectory   name of the recording
    frame        index of the frame that was planned from
    step         1, 2, ... up to the goal; a plan has each once, in any order
    dx dy dyaw   displacement of the step in the robot frame of its start; or, instead,
    x y yaw      pose after the step in the robot frame of the planned-from frame
    method       what planned it; may be left out
    horizon      number of steps to the goal; needed only in a file with several plans from one frame

Lengths are in metres or in units of a given spacing, angles in radians, counter-clockwise; x is forward, y
left. Plans from one frame that have another number of steps are plans to other goals.
"""

import csv
import enum
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float64

from data_tools.pose import displacement_between

SUFFIXES = (".parquet", ".csv", ".jsonl")
DISPLACEMENT = ("dx", "dy", "dyaw")
POSE = ("x", "y", "yaw")
MAX_BYTES = 500_000_000
MAX_ROWS = 5_000_000
"""Far more than the steps of any benchmark's plans, and within any memory."""
_METHOD = "method"
_HORIZON = "horizon"
_KEYS = ("trajectory", "frame", "step")
_KNOWN = (*_KEYS, *DISPLACEMENT, *POSE, _METHOD, _HORIZON)


class Units(enum.Enum):
    """What lengths are in."""

    metres = "metres"
    spacing = "spacing"
    """Units of the data set's mean step length, which must then be given."""


class FaultKind(enum.Enum):
    """Why a plan, or a row of one, has no score."""

    bad_row = "bad_row"
    """A row that is of no plan: no trajectory, frame or step can be read in it."""
    bad_steps = "bad_steps"
    """Steps are missing, or come twice."""
    not_finite = "not_finite"
    """NaN, infinity or no number at all."""
    duplicate = "duplicate"
    """A second plan of the same method, frame and number of steps."""
    unknown_trajectory = "unknown_trajectory"
    """The truth has no such trajectory, or could not read it."""
    frame_outside = "frame_outside"
    """The start or the goal is no frame of the trajectory."""
    missing = "missing"
    """A window that others answered, or that was asked for, has no plan."""


FAULTS: Mapping[FaultKind, str] = {
    FaultKind.bad_row: "rows of no plan",
    FaultKind.bad_steps: "plans whose steps are not 1, 2, ... each once",
    FaultKind.not_finite: "plans with numbers that are not finite",
    FaultKind.duplicate: "plans that come a second time",
    FaultKind.unknown_trajectory: "plans in trajectories that the truth does not have",
    FaultKind.frame_outside: "plans that start or end outside their trajectory",
    FaultKind.missing: "windows without a plan",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class PlannedPath:
    """One plan."""

    method: str
    trajectory: str
    frame: int
    displacements: Float64[np.ndarray, "step 3"] = field(repr=False)
    """Of each step, in the robot frame of its start [m, m, rad]."""

    @property
    def num_steps(self) -> int:
        """Steps to the goal."""
        return len(self.displacements)


@dataclass(frozen=True, kw_only=True)
class PathFault:
    """What was not scored; the plan's own fields are None where it is not known which plan it is of."""

    kind: FaultKind
    where: str
    detail: str
    method: str | None = None
    trajectory: str | None = None
    frame: int | None = None
    num_steps: int | None = None


@dataclass(frozen=True)
class PathReport:
    """What a file or folder held."""

    paths: tuple[PlannedPath, ...]
    faults: tuple[PathFault, ...]


_Key = tuple[str, str, int]
"""Method, trajectory, frame."""


def read_paths(path: Path, *, method: str, units: Units, spacing_m: float | None = None) -> PathReport:
    """Read the plans of a table, or of all tables in a folder.

    Plans that cannot be read are listed as faults and the reading goes on; ValueError or FileNotFoundError
    if a file is no table with these columns.

    Args:
        path: A file, or a folder with files of these suffixes.
        method: What plans are called in tables without a column of that name.
        units: Of lengths.
        spacing_m: The data set's spacing; needed where that is the unit.

    Returns:
        Plans in the order of the files and rows.
    """
    if units is Units.spacing and not (spacing_m is not None and spacing_m > 0):
        raise ValueError(
            f"lengths in units of spacing need that spacing in metres, above 0; got spacing_m={spacing_m}"
        )
    unit_m = spacing_m if units is Units.spacing and spacing_m is not None else 1.0
    paths: list[PlannedPath] = []
    faults: list[PathFault] = []
    taken: set[tuple[_Key, int]] = set()
    for file in table_files(path):
        read, bad = _read_table(file, method, unit_m)
        faults += bad
        for plan in read:
            key = ((plan.method, plan.trajectory, plan.frame), plan.num_steps)
            if key in taken:
                faults.append(
                    _fault(FaultKind.duplicate, file, key[0], "the first that was read is scored", key[1])
                )
            else:
                taken.add(key)
                paths.append(plan)
    return PathReport(tuple(paths), tuple(faults))


def table_files(path: Path) -> list[Path]:
    """Return the tables of a folder by name, or the one file; FileNotFoundError if there is none."""
    if path.is_dir():
        found = sorted(each for each in path.iterdir() if each.suffix in SUFFIXES and each.is_file())
        if not found:
            raise FileNotFoundError(f"{path} holds no file that ends in {', '.join(SUFFIXES)}")
        return found
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; it should hold planned paths, one row a step")
    return [path]


def read_records(file: Path, *, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """Yield the rows of a table by column with their numbers from 1; None for a line that is no row.

    Parquet files are read in these columns only; other forms yield all. ValueError if the file is no table,
    or larger than is read.
    """
    if file.stat().st_size > MAX_BYTES:
        raise ValueError(f"{file} has more than {MAX_BYTES} bytes; cut it into several files")
    match file.suffix:
        case ".parquet":
            records: Iterable[dict[str, Any] | None] = _parquet(file, columns)
        case ".csv":
            records = _csv(file)
        case ".jsonl":
            records = _json_lines(file)
        case _:
            raise ValueError(
                f"{file} is no table that is read here; its name must end in {', '.join(SUFFIXES)}"
            )
    for number, record in enumerate(records, start=1):
        if number > MAX_ROWS:
            raise ValueError(f"{file} has more than {MAX_ROWS} rows; cut it into several files")
        yield number, record


def whole_number(value: object) -> int | None:
    """Return a cell as a whole number of at least 0; None if it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return int(number) if number.is_integer() and 0 <= number < 2**53 else None


def _read_table(file: Path, method: str, unit_m: float) -> tuple[list[PlannedPath], list[PathFault]]:
    steps: dict[tuple[_Key, int | None], list[tuple[int, tuple[float, ...]]]] = {}
    faults: list[PathFault] = []
    names: Sequence[str] | None = None
    for number, record in read_records(file, columns=_KNOWN):
        if record is not None and names is None:
            names = _columns(file, record)
        keys = None if record is None else _keys(record, method)
        if record is None or keys is None or names is None:
            detail = f"row {number} needs a trajectory, and whole numbers as frame, step and any horizon"
            faults.append(PathFault(kind=FaultKind.bad_row, where=file.name, detail=detail))
            continue
        key, step, horizon = keys
        steps.setdefault((key, horizon), []).append(
            (step, tuple(_number(record.get(name)) for name in names))
        )
    if names is None:
        raise ValueError(f"{file} holds no row of a planned path")
    plans = []
    for (key, horizon), rows in steps.items():
        ordered = sorted(rows, key=lambda row: row[0])
        plan = _plan(file, key, ordered, horizon=horizon, are_poses=names is POSE, unit_m=unit_m)
        if isinstance(plan, PathFault):
            faults.append(plan)
        else:
            plans.append(plan)
    return plans, faults


def _plan(
    file: Path,
    key: _Key,
    rows: list[tuple[int, tuple[float, ...]]],
    *,
    horizon: int | None,
    are_poses: bool,
    unit_m: float,
) -> PlannedPath | PathFault:
    numbers = [number for number, _ in rows]
    if len(rows) < 2 or numbers != list(range(1, (horizon or len(rows)) + 1)):
        last = "and at least two" if horizon is None else f"up to {horizon}"
        detail = f"steps must be 1, 2, ... {last}; they are {numbers[:5]}{'...' * (len(rows) > 5)}"
        if len(set(numbers)) < len(numbers) and horizon is None:
            detail += "; a column `horizon` tells several plans from one frame apart"
        return _fault(FaultKind.bad_steps, file, key, detail, horizon)
    values = np.array([row for _, row in rows], dtype=np.float64) * np.array([unit_m, unit_m, 1.0])
    if not np.isfinite(values).all():
        first = int(np.argwhere(~np.isfinite(values))[0, 0]) + 1
        return _fault(FaultKind.not_finite, file, key, f"step {first} is not finite", len(rows))
    if are_poses:
        values = displacement_between(np.concatenate([np.zeros((1, 3)), values[:-1]]), values)
    return PlannedPath(method=key[0], trajectory=key[1], frame=key[2], displacements=values)


def _columns(file: Path, record: Mapping[str, Any]) -> Sequence[str]:
    """Return which three columns hold the path, from the first row."""
    missing = [name for name in _KEYS if name not in record]
    kinds = [names for names in (DISPLACEMENT, POSE) if all(name in record for name in names)]
    if missing or len(kinds) != 1:
        raise ValueError(
            f"{file} needs the columns {', '.join(_KEYS)} and either {', '.join(DISPLACEMENT)} (each step, "
            f"in the robot frame of its start) or {', '.join(POSE)} (relative to the start); it has "
            f"{', '.join(map(str, record))}"
        )
    return kinds[0]


def _keys(record: Mapping[str, Any], method: str) -> tuple[_Key, int, int | None] | None:
    name, own = record.get("trajectory"), record.get(_METHOD) or method
    frame, step = whole_number(record.get("frame")), whole_number(record.get("step"))
    if not isinstance(name, str) or not name or not isinstance(own, str) or frame is None or step is None:
        return None
    if record.get(_HORIZON) in (None, ""):
        return (own, name, frame), step, None
    horizon = whole_number(record[_HORIZON])
    return None if horizon is None else ((own, name, frame), step, horizon)


def _number(value: object) -> float:
    """Return a cell as a number; what is none is NaN, so that its plan is named."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return float("nan")
    try:
        return float(value)
    except (ValueError, OverflowError):
        return float("nan")


def _fault(kind: FaultKind, file: Path, key: _Key, detail: str, num_steps: int | None) -> PathFault:
    return PathFault(
        kind=kind,
        where=file.name,
        detail=detail,
        method=key[0],
        trajectory=key[1],
        frame=key[2],
        num_steps=num_steps,
    )


def _parquet(file: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    try:
        with pq.ParquetFile(file) as opened:
            if opened.metadata.num_rows > MAX_ROWS:  # before any is decompressed
                raise ValueError(f"{file} has more than {MAX_ROWS} rows; cut it into several files")
            present = [name for name in opened.schema_arrow.names if name in columns]
            for batch in opened.iter_batches(columns=present):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{file} is not a Parquet file: {error}") from error


def _csv(file: Path) -> Iterator[dict[str, Any]]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as opened:
            yield from csv.DictReader(opened)
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is not a CSV file in UTF-8: {error}") from error


def _json_lines(file: Path) -> Iterator[dict[str, Any] | None]:
    with file.open("rb") as opened:
        for line in opened:
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                record = None
            yield record if isinstance(record, dict) else None
