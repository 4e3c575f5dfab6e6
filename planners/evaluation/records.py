"""Record: one row an evaluated episode, with everything needed to redo that episode.

Rows are frozen dataclasses in memory and Parquet on disk; the Parquet schema is derived from the dataclass,
so that there is one list of columns. Tables, plots and videos are made from rows.
"""

import dataclasses
import enum
import hashlib
import json
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from data_tools.provenance import installed_versions, source_hash

Row = TypeVar("Row")
CARD = "README.md"
"""What a model folder says to people; results are written into it, so it is no part of what made them."""
PLAIN_TYPES = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    bytes: pa.binary(),
}


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What an episode's numbers depend on besides the episode itself."""

    config_hash: str
    checkpoint: str | None
    """Name of the world model; None where no model took part."""
    checkpoint_hash: str | None
    seed: int
    micro_batch: int
    """Problems that were computed together; sums in another order round differently."""
    source_hash: str
    """Of the Python files that computed it."""
    versions: str
    """JSON of package and Python versions."""


@dataclass(frozen=True, kw_only=True)
class PlanEvidence:
    """What the report shows of one open-loop plan; kept for a few problems only."""

    goal: bytes
    """PNG, as all frames here."""
    observed: bytes
    simulated: tuple[bytes, ...]
    """What the simulator shows after each step of the plan; of a data set, the recorded frames on the way to
    the goal, whatever the plan."""
    is_recorded: bool
    """Whether there was no simulator to drive the plan."""
    driven: tuple[tuple[float, ...], ...]
    """The pose after each step when the simulator drives the plan, walls included, else as its text says."""
    imagined: tuple[bytes, ...]
    """What the model expects to see after each step; empty without a model."""
    candidates: tuple[tuple[tuple[float, ...], ...], ...]
    """Per CEM iteration and candidate: x, y at the start and after each step [m], flattened, world frame."""
    candidate_costs: tuple[tuple[float, ...], ...]
    walls: tuple[tuple[float, ...], ...]
    """Blocking lines near the start: x1, y1, x2, y2 [m], in the world frame."""


@dataclass(frozen=True, kw_only=True)
class OpenLoopRow:
    """One method on one planning problem."""

    provenance: Provenance
    problem_id: str
    split: str
    level: str
    trajectory: str
    frame: int
    """Index of the frame that was planned from."""
    method: str
    error: str | None
    """Why there are no numbers; None if there are."""
    ate_m: float | None
    rpe_m: float | None
    ate_spacing: float | None
    rpe_spacing: float | None
    final_position_m: float | None
    final_yaw_rad: float | None
    cost: float | None
    """What the planner believed; None for methods without a cost."""
    iteration_costs: tuple[float, ...]
    """Lowest cost of each CEM iteration."""
    plan: tuple[str, ...]
    """The action text of each step."""
    start_pose: tuple[float, ...]
    true_poses: tuple[tuple[float, ...], ...]
    goal_s: float
    """Time from the start to the goal."""
    spacing_m: float
    seconds: float
    """Wall time of the plan; the share of one problem where several were planned together."""
    evidence: PlanEvidence | None


@dataclass(frozen=True, kw_only=True)
class DriveEvidence:
    """What the report shows of one closed-loop episode; kept for a few episodes only."""

    goal: bytes
    observed: tuple[bytes, ...]
    """The frame after each step, the start first."""
    imagined: tuple[bytes, ...]
    """The frame that the agent expected at the end of the plan it was following; one a step, may be empty."""
    considered: tuple[tuple[tuple[float, ...], ...], ...]
    """Per decision and candidate: x, y after each step [m], flattened, in the world frame."""
    walls: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, kw_only=True)
class ClosedLoopRow:
    """One agent on one image-goal episode."""

    provenance: Provenance
    episode_id: str
    split: str
    level: str
    agent: str
    error: str | None
    success: float | None
    reached: float | None
    spl: float | None
    final_distance_m: float | None
    collisions: float | None
    seconds_per_decision: float | None
    geodesic_m: float
    num_steps: int
    start_pose: tuple[float, ...]
    goal_pose: tuple[float, ...]
    poses: tuple[tuple[float, ...], ...]
    """The path driven: the pose after each step, the start first."""
    actions: tuple[str, ...]
    """The action text of each step."""
    evidence: DriveEvidence | None


def hash_of(value: object) -> str:
    """Return the SHA-256 of a plain value's canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def hash_with_code(value: object) -> str:
    """Return the hash of what rows depend on: a plain value, our source and the installed versions."""
    return hash_of({"value": value, "source": source_hash(), "versions": installed_versions()})


def hash_of_model(folder: Path) -> str:
    """Return the SHA-256 over names and contents of a model folder's files, its card left out."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != CARD):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def schema_of(row_type: type) -> pa.Schema:
    """Return the Parquet schema of a row dataclass."""
    return pa.schema(_fields(row_type))


def to_table(rows: Sequence[object], row_type: type) -> pa.Table:
    """Return rows as an Arrow table."""
    return pa.Table.from_pylist([_plain(row) for row in rows], schema=schema_of(row_type))


def from_table(table: pa.Table, row_type: type[Row]) -> list[Row]:
    """Return an Arrow table as rows; it is a ValueError if the columns are not those of `row_type`."""
    if table.schema.remove_metadata() != schema_of(row_type):
        raise ValueError(
            f"needed the columns of {row_type.__name__}, got {', '.join(table.column_names)}; "
            "the file is of another version: delete it and run again"
        )
    return [_built(row_type, values) for values in table.to_pylist()]


def _fields(row_type: type) -> list[pa.Field]:
    hints = typing.get_type_hints(row_type)
    return [pa.field(field.name, *_arrow_type(hints[field.name])) for field in dataclasses.fields(row_type)]


def _arrow_type(hint: Any) -> tuple[pa.DataType, bool]:
    """Return the Arrow type of an annotation and whether it may be absent."""
    if isinstance(hint, types.UnionType):
        (inner,) = [part for part in hint.__args__ if part is not type(None)]
        return _arrow_type(inner)[0], True
    if typing.get_origin(hint) is tuple:
        return pa.list_(_arrow_type(hint.__args__[0])[0]), False
    if dataclasses.is_dataclass(hint):
        return pa.struct(_fields(typing.cast(type, hint))), False
    return PLAIN_TYPES[hint], False


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value.name if isinstance(value, enum.Enum) else value


def _built(hint: Any, value: Any) -> Any:
    if value is None:
        return None
    if isinstance(hint, types.UnionType):
        (hint,) = [part for part in hint.__args__ if part is not type(None)]
    if typing.get_origin(hint) is tuple:
        return tuple(_built(hint.__args__[0], item) for item in value)
    if dataclasses.is_dataclass(hint):
        assert isinstance(value, Mapping)
        hints = typing.get_type_hints(hint)
        built = {
            field.name: _built(hints[field.name], value[field.name]) for field in dataclasses.fields(hint)
        }
        return typing.cast(type, hint)(**built)
    return value
