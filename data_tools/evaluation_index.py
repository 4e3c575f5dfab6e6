"""Evaluation index: at which frames of which trajectories a model is asked, in the form of NWM and our own.

Navigation World Models holds an index as a pickle of tuples (trajectory name, frame, smallest and largest
goal offset in frames), `data_splits/<set>/test/{time,rollout,navigation_eval}.pkl`. These are read from the
user's own copy, without executing anything in them, and written for NWM's code. Our own form is JSON lines
that also say where the index comes from: a heading, then one window a line.
"""

import json
import pickle
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from data_tools.fingerprint import fingerprint
from data_tools.safe_pickle import MAX_BYTES, load_pickle
from data_tools.trajectory import Trajectory
from data_tools.whole_file import whole_file, write_text

FORMAT = "worldnav evaluation index"
FORMAT_VERSION = 1
NUM_CONTEXT = 4
"""Frames that a model sees, the window's own included: `eval_context_size` of NWM's configuration."""
FINGERPRINT = "data_fingerprint"
"""Where the provenance says which recordings an index was generated for."""


class IndexKind(Enum):
    """What is asked at each window; the goal range means something else in each."""

    time = "time"  # frames 1, 2, 4, 8, 16 s ahead, each in one jump
    rollout = "rollout"  # the same frames, step by step along the true actions
    navigation = "navigation"  # a plan to the frame exactly `max_offset` ahead


NWM_FILES = {
    IndexKind.time: "time.pkl",
    IndexKind.rollout: "rollout.pkl",
    IndexKind.navigation: "navigation_eval.pkl",
}


@dataclass(frozen=True, kw_only=True)
class Window:
    """One question: the current frame of a trajectory, and how far from it goals may lie [frames]."""

    trajectory: str
    frame: int
    min_offset: int
    max_offset: int


@dataclass(frozen=True, kw_only=True)
class EvaluationIndex:
    """The windows of one kind, in the order in which they are asked; what made them is in `provenance`."""

    kind: IndexKind
    windows: tuple[Window, ...]
    provenance: Mapping[str, object] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, kw_only=True)
class Outside:
    """A window that its trajectory cannot serve, and why."""

    window: Window
    reason: str


@dataclass(frozen=True, kw_only=True)
class IndexMatch:
    """An index beside the trajectories at hand: what can be asked, and what cannot."""

    usable: tuple[tuple[Window, Trajectory], ...]
    outside: tuple[Outside, ...]
    """Windows that point outside their trajectory."""
    unknown: Mapping[str, int]
    """Names of trajectories that are not at hand, and how many windows each has."""
    is_same_data: bool | None
    """Whether the index was generated for exactly these recordings; None if it does not say."""

    @property
    def num_unusable(self) -> int:
        """Number of windows that cannot be asked."""
        return len(self.outside) + sum(self.unknown.values())

    def describe(self) -> str:
        """Return counts and names in a few lines, for people."""
        lines = [f"{len(self.usable)} windows usable, {self.num_unusable} not"]
        lines += [f"unknown trajectory {name}: {number} windows" for name, number in self.unknown.items()]
        lines += [
            f"{outside.window.trajectory}, frame {outside.window.frame}: {outside.reason}"
            for outside in self.outside
        ]
        if self.is_same_data is False:
            lines.append("the index was generated for other recordings than these")
        return "\n".join(lines)


def match_index(
    index: EvaluationIndex, trajectories: Sequence[Trajectory], *, num_context: int = NUM_CONTEXT
) -> IndexMatch:
    """Find the trajectory of each window; those without one, or that leave it, are named and counted."""
    by_name = name_trajectories(trajectories)
    usable: list[tuple[Window, Trajectory]] = []
    outside: list[Outside] = []
    unknown: Counter[str] = Counter()
    for window in index.windows:
        trajectory = by_name.get(window.trajectory)
        if trajectory is None:
            unknown[window.trajectory] += 1
        elif reason := _fault(window, trajectory.num_frames, num_context):
            outside.append(Outside(window=window, reason=reason))
        else:
            usable.append((window, trajectory))
    made_for = index.provenance.get(FINGERPRINT)
    return IndexMatch(
        usable=tuple(usable),
        outside=tuple(outside),
        unknown=dict(unknown),
        is_same_data=None if made_for is None else made_for == fingerprint(trajectories),
    )


def name_trajectories(trajectories: Sequence[Trajectory]) -> dict[str, Trajectory]:
    """Return trajectories by name; ValueError if two share one, because an index knows only names."""
    by_name = {trajectory.name: trajectory for trajectory in trajectories}
    if len(by_name) < len(trajectories):
        counts = Counter(trajectory.name for trajectory in trajectories)
        shared = [name for name, number in counts.items() if number > 1]
        raise ValueError(
            f"an evaluation index needs a name for each trajectory; {len(shared)} names are shared, "
            f"{shared[0]!r} the first. Use one folder of trajectories at a time, or rename"
        )
    return by_name


def read_index(path: Path, *, kind: IndexKind | None = None) -> EvaluationIndex:
    """Read an index, our JSON lines or a pickle of NWM (`.pkl`), of which nothing is executed.

    The kind of a pickle is that of its file name among NWM's, or `kind`. ValueError says what is wrong.
    """
    if path.suffix != ".pkl":
        return _read_lines(path, kind)
    kinds = {name: each for each, name in NWM_FILES.items()}
    found = kind or kinds.get(path.name)
    if found is None:
        raise ValueError(
            f"{path} does not say of which kind it is: its name is none of {', '.join(kinds)}; give `kind`"
        )
    return EvaluationIndex(
        kind=found, windows=_plain_windows(path, load_pickle(path)), provenance={"source": path.name}
    )


def write_index(index: EvaluationIndex, path: Path) -> None:
    """Write JSON lines: a heading with kind and provenance, then one window a line."""
    heading = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "kind": index.kind.name,
        "num_windows": len(index.windows),
        "provenance": dict(index.provenance),
    }
    lines = [json.dumps(heading), *(json.dumps(asdict(window)) for window in index.windows)]
    write_text(path, "\n".join(lines) + "\n")


def write_nwm_index(index: EvaluationIndex, folder: Path) -> Path:
    """Write the pickle that NWM's code reads, under its name for the kind, and return its path.

    Offsets are in frames: for another rate than 4 frames a second, NWM's configuration needs
    `eval_len_traj_pred` (or `trajectory_eval_len_traj_pred`) set to the index's largest offset.
    """
    path = folder / NWM_FILES[index.kind]
    content = [(each.trajectory, each.frame, each.min_offset, each.max_offset) for each in index.windows]
    with whole_file(path) as temporary:
        temporary.write_bytes(pickle.dumps(content, protocol=4))
    return path


def _fault(window: Window, num_frames: int, num_context: int) -> str | None:
    """Say why a trajectory cannot serve a window; None if it can."""
    first = window.frame - num_context + 1
    nearest, furthest = window.frame + window.min_offset, window.frame + window.max_offset
    if nearest > furthest:
        return f"its range of goals, {window.min_offset} to {window.max_offset}, is empty"
    if 0 <= min(first, nearest) and max(window.frame, furthest) < num_frames:
        return None
    return (
        f"it needs frames {min(first, nearest)} to {max(window.frame, furthest)}; "
        f"the trajectory has 0 to {num_frames - 1}"
    )


def _plain_windows(path: Path, content: object) -> tuple[Window, ...]:
    if not isinstance(content, list):
        raise ValueError(f"{path} needs a list of windows; it holds {type(content).__name__}")
    # Entries are not printed: a small pickle can hold one that mentions itself a billion times over.
    bad = [number for number, entry in enumerate(content) if not _is_entry(entry)]
    if bad or not content:
        which = (
            f"{len(bad)} of {len(content)} are others, number {bad[0]} the first" if bad else "it has none"
        )
        raise ValueError(f"{path} needs windows (trajectory name, frame, min, max); {which}")
    return tuple(
        Window(trajectory=name, frame=int(frame), min_offset=int(low), max_offset=int(high))
        for name, frame, low, high in content
    )


def _is_entry(entry: object) -> bool:
    if not isinstance(entry, tuple | list) or len(entry) != 4 or not isinstance(entry[0], str):
        return False
    return all(isinstance(number, int | np.integer) and not isinstance(number, bool) for number in entry[1:])


def _read_lines(path: Path, kind: IndexKind | None) -> EvaluationIndex:
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ValueError(f"{path} has {size} bytes; evaluation indices are read up to {MAX_BYTES}")
    lines = path.read_bytes().rstrip(b"\n").split(b"\n")
    heading = _json_object(path, 1, lines[0])
    if (heading.get("format"), heading.get("format_version")) != (FORMAT, FORMAT_VERSION):
        raise ValueError(
            f"{path} should begin with a heading of {FORMAT!r}, version {FORMAT_VERSION}; it is another file"
        )
    windows = tuple(_window(path, number, line) for number, line in enumerate(lines[1:], start=2))
    if heading.get("num_windows") != len(windows):
        raise ValueError(f"{path} should hold {heading.get('num_windows')} windows; it has {len(windows)}")
    name, provenance = heading.get("kind"), heading.get("provenance")
    if not isinstance(provenance, dict) or not isinstance(name, str) or name not in IndexKind.__members__:
        raise ValueError(
            f"{path}: its heading needs a provenance and a kind among {list(IndexKind.__members__)}"
        )
    if kind not in (None, IndexKind[name]):
        raise ValueError(f"{path} is an index of kind {name}, not {kind.name if kind else None}")
    return EvaluationIndex(kind=IndexKind[name], windows=windows, provenance=provenance)


def _window(path: Path, number: int, line: bytes) -> Window:
    fields = _json_object(path, number, line)
    types = {"trajectory": str, "frame": int, "min_offset": int, "max_offset": int}
    if {name: type(value) for name, value in fields.items()} != types:
        raise ValueError(
            f"{path}, line {number}: a window needs exactly {', '.join(types)}; got {sorted(fields)}"
        )
    return Window(**fields)


def _json_object(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        content = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}, line {number}: not JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}, line {number}: needed an object, got {type(content).__name__}")
    return content
