"""Evaluation windows: which windows a set of trajectories has, and which of them an index takes.

NWM ships indices for its own five sets and nothing that makes them. What its code (`_build_index` in
`datasets.py`, `config/eval_config.yaml`) and the shipped files say together is the rule here:

* windows begin at the first frame with a whole context (frame 3) and follow every 8 frames (2 s);
* `time` and `rollout` need 64 frames (16 s) ahead; goals may lie up to 64 frames before or behind, cut at the
  start. `navigation` needs 8 (2 s), and its goal is exactly there;
* 500, 150 and 100 windows are taken, none twice: `time` of all test trajectories, the others of 64 of them
  (32 for SCAND; `rollout_traj_names.txt`).

How NWM drew is not published. Here each window is equally likely, so that long drives are asked more often,
as they are in the shipped files (RECON: 20 to 301 trajectories, one of them up to 31 times); `spread` has the
alternative. Seconds take the place of frames, so that other rates work: a goal is the frame nearest in time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from data_tools.config import to_dict
from data_tools.draws import draw
from data_tools.evaluation_index import (
    FINGERPRINT,
    NUM_CONTEXT,
    EvaluationIndex,
    IndexKind,
    Window,
    name_trajectories,
)
from data_tools.fingerprint import fingerprint
from data_tools.frame_times import nearest_frames, period_of, spans_gap
from data_tools.provenance import current_commit, installed_versions
from data_tools.trajectory import Trajectory

RULE_VERSION = 1
"""Changes whenever the same recordings, settings and seed would give another index."""
_ROUNDING_S = 1e-6


class Spread(Enum):
    """Over what the windows of an index are even."""

    windows = "windows"  # each is equally likely: long trajectories have more, as in NWM
    trajectories = "trajectories"  # each trajectory has its first before any has a second, and so on


@dataclass(frozen=True, kw_only=True)
class IndexConfig:
    """The rule of an index; the defaults are NWM's."""

    num_time: int = 500
    num_rollout: int = 150
    num_navigation: int = 100
    num_context: int = NUM_CONTEXT
    """Frames that a model sees, the window's own included."""
    stride_s: float = 2.0
    """Time between neighbouring windows of one trajectory [s]."""
    horizon_s: float = 16.0
    """How far ahead `time` and `rollout` look [s]."""
    goal_s: float = 2.0
    """How far ahead the goal of `navigation` lies [s]; 4, 8 and 16 make planning harder."""
    num_trajectories: int | None = 64
    """`rollout` and `navigation` take their windows of so many trajectories, and of more if these have too
    few; None takes all."""
    spread: Spread = Spread.windows
    allow_fewer: bool = False
    """Whether a set that is too short gives all the windows it has, instead of an error."""

    def __post_init__(self) -> None:
        """Refuse counts and times of nothing."""
        counts = [self.num_time, self.num_rollout, self.num_navigation, self.num_context]
        counts += [] if self.num_trajectories is None else [self.num_trajectories]
        if min(counts) < 1:
            raise ValueError(f"all numbers of an index must be at least 1; got {min(counts)}")
        if not min(self.stride_s, self.horizon_s, self.goal_s) > 0:
            raise ValueError(
                f"stride_s, horizon_s and goal_s must be above 0; got {self.stride_s}, {self.horizon_s} and "
                f"{self.goal_s}"
            )

    def num_windows(self, kind: IndexKind) -> int:
        """Return how many windows an index of a kind has."""
        match kind:
            case IndexKind.time:
                return self.num_time
            case IndexKind.rollout:
                return self.num_rollout
            case IndexKind.navigation:
                return self.num_navigation


@dataclass(frozen=True, kw_only=True)
class Windows:
    """The windows of one trajectory, in time, and how many it lost."""

    windows: tuple[Window, ...] = ()
    num_in_gaps: int = 0
    """Windows that are left out: frames are missing in them, or none is near where their goal should be."""
    lacks: str | None = None
    """Why there can be no windows at all."""


def find_windows(trajectory: Trajectory, kind: IndexKind, *, config: IndexConfig) -> Windows:
    """Return all windows of a trajectory that an index of this kind may take."""
    if trajectory.poses is None:
        return Windows(lacks="no poses")
    if trajectory.num_frames < 2:
        return Windows(lacks="too short")
    times_s, is_plan = trajectory.times_s, kind is IndexKind.navigation
    period_s, ahead_s = period_of(times_s), config.goal_s if is_plan else config.horizon_s
    stride = max(1, round(config.stride_s / period_s))
    # The nearest frame is at most half a period away; at low rates that would be another goal.
    tolerance_s = min(period_s / 2, ahead_s / 10) + _ROUNDING_S
    frames = np.arange(config.num_context - 1, trajectory.num_frames, stride)
    # Those whose goal would lie behind the end are no windows; nothing is missing in them.
    frames = frames[times_s[frames] + ahead_s <= times_s[-1] + tolerance_s]
    if len(frames) == 0:
        return Windows(lacks="too short")
    goals = nearest_frames(times_s, times_s[frames] + ahead_s)
    earliest = goals if is_plan else nearest_frames(times_s, times_s[frames] - ahead_s)
    is_off = np.abs(times_s[goals] - times_s[frames] - ahead_s) > tolerance_s
    is_off |= spans_gap(times_s, frames - config.num_context + 1, goals) | (goals == frames)
    return Windows(
        windows=tuple(
            Window(trajectory=trajectory.name, frame=frame, min_offset=low, max_offset=high)
            for frame, low, high in np.column_stack([frames, earliest - frames, goals - frames])[
                ~is_off
            ].tolist()
        ),
        num_in_gaps=int(is_off.sum()),
    )


def generate_index(
    trajectories: Sequence[Trajectory], kind: IndexKind, *, config: IndexConfig, seed: int
) -> EvaluationIndex:
    """Choose the windows of an index.

    The result is a function of the trajectories' names and times, the settings and the seed: the order of the
    trajectories does not matter, and their frames are not read.

    Args:
        trajectories: Those held out for tests; the ones without poses are counted and left out.
        kind: What will be asked.
        config: The rule.
        seed: Another one chooses other windows.

    Returns:
        The index, in the order of its draw, with what it was made of.

    Raises:
        ValueError: If there are fewer windows than the rule needs.
    """
    found = {
        name: find_windows(each, kind, config=config)
        for name, each in name_trajectories(trajectories).items()
    }
    needed = config.num_windows(kind)
    chosen = _choose(found, kind, config=config, seed=seed)
    counts = {
        "num_available": sum(len(each.windows) for each in found.values()),
        "num_in_gaps": sum(each.num_in_gaps for each in found.values()),
        "num_too_short": sum(each.lacks == "too short" for each in found.values()),
        "num_without_poses": sum(each.lacks == "no poses" for each in found.values()),
    }
    if len(chosen) < needed and not (config.allow_fewer and chosen):
        raise ValueError(_too_few(kind, needed, counts, len(found)))
    provenance = {
        "rule_version": RULE_VERSION,
        "seed": seed,
        "settings": to_dict(config),
        FINGERPRINT: fingerprint(trajectories),
        "num_trajectories": len(found),
        **counts,
        "commit": current_commit(),
        "versions": installed_versions(),
    }
    return EvaluationIndex(kind=kind, windows=chosen, provenance=provenance)


def _choose(
    found: dict[str, Windows], kind: IndexKind, *, config: IndexConfig, seed: int
) -> tuple[Window, ...]:
    needed, allowed = config.num_windows(kind), config.num_trajectories
    if kind is IndexKind.time or allowed is None:
        allowed = len(found)
    drawn: list[tuple[int, int, Window]] = []
    usable = [name for name in found if found[name].windows]
    for number, name in enumerate(sorted(usable, key=lambda name: draw(seed, "trajectories", name))):
        if number >= allowed and len(drawn) >= needed:
            break
        drawn += _ranked(found[name].windows, f"{seed}/{kind.name}")
    if config.spread is Spread.windows:
        drawn = [(0, number, window) for _, number, window in drawn]
    return tuple(window for _, _, window in sorted(drawn, key=lambda each: each[:2])[:needed])


def _ranked(windows: tuple[Window, ...], stream: str) -> list[tuple[int, int, Window]]:
    """Return windows with their draws, and the place of each among those of its trajectory."""
    drawn = sorted(
        (draw(stream, window.trajectory, window.frame), number) for number, window in enumerate(windows)
    )
    return [(rank, drawing, windows[number]) for rank, (drawing, number) in enumerate(drawn)]


def _too_few(kind: IndexKind, needed: int, counts: dict[str, int], num_trajectories: int) -> str:
    return (
        f"an index of kind {kind.name} needs {needed} windows; the {num_trajectories} trajectories have "
        f"{counts['num_available']} ({counts['num_too_short']} trajectories are too short, "
        f"{counts['num_without_poses']} without poses, {counts['num_in_gaps']} windows lie in gaps of time). "
        f"Record more, lower num_{kind.name}, stride_s or "
        f"{'goal_s' if kind is IndexKind.navigation else 'horizon_s'}, or set allow_fewer"
    )
