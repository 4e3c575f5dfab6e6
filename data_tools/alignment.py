"""Alignment: from images and poses at times of their own to stretches of frames with a pose each.

Frames are chosen at an even period, poses are interpolated at the times of the chosen images, and where a
recording cannot be trusted it is cut. Nothing is left out without a `Cut` that says how much, where and why.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float64, Int64

from data_tools.pose import wrap_angle
from data_tools.recording import PoseTrack, Recording


class Reason(Enum):
    """Why a part of a recording is left out."""

    bad_time = "its time is not a number, or does not increase"
    no_image = "no image within half a period"
    bad_image = "the image cannot be read"
    no_pose = "no poses near enough in time"
    bad_pose = "its pose is not finite"
    jump = "the pose jumps"
    still = "the robot stands still"
    backward = "the robot drives backward"
    short = "the stretch is too short"


@dataclass(frozen=True)
class Cut:
    """A part that is left out."""

    reason: Reason
    start_s: float
    end_s: float
    num_frames: int
    """Frames at the period of conversion; 0 where a recording is only cut in two."""


@dataclass(frozen=True, kw_only=True)
class AlignmentConfig:
    """How frames are chosen, and what is trusted."""

    period_s: float | None = 0.25
    """Time between frames; None keeps every image at its own time."""
    max_gap_s: float = 1.0
    """Longest time between images that no period tells apart (`period_s=null`)."""
    max_pose_gap_s: float = 0.5
    """Longest time between the poses that one is interpolated from."""
    pose_delay_s: float = 0.0
    """What is added to the times of poses: the report measures it."""
    max_speed_m_s: float = 15.0
    max_turn_rad_s: float = 4.0
    """Faster motion between neighbouring frames is a jump of the pose."""
    min_frames: int = 12
    """Shortest stretch that is kept."""
    max_frames: int | None = None
    """Longest trajectory: longer stretches are divided into equal parts. None leaves them whole."""
    cut_still_s: float | None = None
    """Standing still for longer is cut; None keeps it."""
    still_m_s: float = 0.02
    still_rad_s: float = 0.02
    """Slower is standing still."""
    cut_backward: bool = False
    """Cut where the robot drives backward, as ViNT's conversion does."""

    def __post_init__(self) -> None:
        positive = {
            "period_s": 1.0 if self.period_s is None else self.period_s,
            "max_gap_s": self.max_gap_s,
            "max_pose_gap_s": self.max_pose_gap_s,
            "max_speed_m_s": self.max_speed_m_s,
            "max_turn_rad_s": self.max_turn_rad_s,
            "cut_still_s": 1.0 if self.cut_still_s is None else self.cut_still_s,
        }
        if bad := [name for name, value in positive.items() if not (np.isfinite(value) and value > 0)]:
            raise ValueError(f"{bad[0]} must be a number above 0, got {getattr(self, bad[0])}")
        if self.min_frames < 2:
            raise ValueError(f"min_frames must be at least 2, got {self.min_frames}")
        if self.max_frames is not None and self.max_frames < 2 * self.min_frames:
            raise ValueError(
                f"max_frames must be at least twice min_frames ({self.min_frames}), got {self.max_frames}: "
                "parts would be too short"
            )


@dataclass(frozen=True, eq=False)
class Aligned:
    """The frames that are chosen from a recording, in order, and what is known of each.

    `follows` is false where a frame does not go on from the one before it.
    """

    indices: Int64[np.ndarray, " frame"]
    """Of the recording's images."""
    times_s: Float64[np.ndarray, " frame"]
    poses: Float64[np.ndarray, "frame 3"] | None
    follows: Bool[np.ndarray, " frame"]
    cuts: tuple[Cut, ...]


def align(recording: Recording, config: AlignmentConfig) -> Aligned:
    """Choose frames, give each a pose, and mark where the recording is cut; images are not looked at."""
    times_s = recording.image_times_s
    usable, cuts = _usable_times(times_s)
    chosen, follows, gaps = _choose(times_s, usable, config)
    cuts += gaps
    if recording.track is None:
        return Aligned(chosen, times_s[chosen], None, follows, tuple(cuts))
    poses, lacks = poses_at(recording.track, times_s[chosen], config)
    keeps = np.array([lack is None for lack in lacks], dtype=bool)
    cuts += _runs_of(lacks, times_s[chosen])
    chosen, poses, follows = chosen[keeps], poses[keeps], _after_removal(follows, keeps)
    follows, jumps = _split_at_jumps(times_s[chosen], poses, follows, config)
    cuts += jumps
    unwanted = _unwanted(times_s[chosen], poses, follows, config)
    keeps = np.array([reason is None for reason in unwanted], dtype=bool)
    cuts += _runs_of(unwanted, times_s[chosen])
    chosen, poses, follows = chosen[keeps], poses[keeps], _after_removal(follows, keeps)
    return Aligned(chosen, times_s[chosen], poses, follows, tuple(cuts))


def without_bad_images(aligned: Aligned, is_bad: Bool[np.ndarray, " frame"]) -> Aligned:
    """Return the frames whose images could be read, cut where one is missing."""
    if not is_bad.any():
        return aligned
    keeps = ~is_bad
    cuts = _runs_of([Reason.bad_image if bad else None for bad in is_bad.tolist()], aligned.times_s)
    return Aligned(
        aligned.indices[keeps],
        aligned.times_s[keeps],
        None if aligned.poses is None else aligned.poses[keeps],
        _after_removal(aligned.follows, keeps),
        (*aligned.cuts, *cuts),
    )


def stretches(aligned: Aligned, config: AlignmentConfig) -> tuple[list[slice], list[Cut]]:
    """Return the unbroken stretches of allowed lengths, and what is too short for one."""
    starts = [index for index, follows in enumerate(aligned.follows.tolist()) if not follows or index == 0]
    found, cuts = [], []
    for start, end in zip(starts, [*starts[1:], len(aligned.indices)], strict=True):
        if end - start >= config.min_frames:
            num_parts = -(-(end - start) // (config.max_frames or end - start))
            edges = np.linspace(start, end, num_parts + 1).round().astype(int).tolist()
            found += [slice(first, last) for first, last in pairwise(edges)]
        elif end > start:
            first_s, last_s = float(aligned.times_s[start]), float(aligned.times_s[end - 1])
            cuts.append(Cut(Reason.short, first_s, last_s, end - start))
    return found, cuts


def poses_at(
    track: PoseTrack, times_s: Float64[np.ndarray, " frame"], config: AlignmentConfig
) -> tuple[Float64[np.ndarray, "frame 3"], list[Reason | None]]:
    """Return interpolated poses, and why a frame has none (its numbers are NaN then).

    Positions are interpolated along the straight line, yaw the short way round. A pose that is not finite
    spoils the frames for which it would be used, and those only.
    """
    is_timed, _ = _usable_times(track.times_s)
    known_s, known = track.times_s[is_timed] + config.pose_delay_s, track.poses[is_timed]
    poses = np.full((len(times_s), 3), np.nan)
    if len(known_s) == 0:
        return poses, [Reason.no_pose] * len(times_s)
    after = np.searchsorted(known_s, times_s, side="left").clip(0, len(known_s) - 1)
    before = np.where(known_s[after] > times_s, np.maximum(after - 1, 0), after)
    span_s = known_s[after] - known_s[before]
    is_inside = (known_s[before] <= times_s) & (times_s <= known_s[after])
    is_near = is_inside & (span_s <= config.max_pose_gap_s)
    share = np.where(span_s > 0, (times_s - known_s[before]) / np.where(span_s > 0, span_s, 1.0), 0.0)
    step = known[after] - known[before]
    step[:, 2] = wrap_angle(step[:, 2])
    # A share of 0 takes the pose before alone, whatever stands behind it.
    blended = known[before] + np.where(share[:, None] > 0, share[:, None] * step, 0.0)
    is_finite = np.isfinite(blended).all(axis=1)
    found = is_near & is_finite
    poses[found] = blended[found]
    lacks = [
        None if found[index] else Reason.no_pose if not is_near[index] else Reason.bad_pose
        for index in range(len(times_s))
    ]
    return poses, lacks


def _usable_times(
    times_s: Float64[np.ndarray, " _"],
) -> tuple[Int64[np.ndarray, " usable"], list[Cut]]:
    """Return which times increase strictly, in order, and what is left out as it does not."""
    usable, highest = [], -np.inf
    reasons: list[Reason | None] = []
    for index, time_s in enumerate(times_s.tolist()):
        is_good = np.isfinite(time_s) and time_s > highest
        reasons.append(None if is_good else Reason.bad_time)
        if is_good:
            usable.append(index)
            highest = time_s
    return np.array(usable, dtype=np.int64), _runs_of(reasons, times_s)


def _choose(
    times_s: Float64[np.ndarray, " _"], usable: Int64[np.ndarray, " _"], config: AlignmentConfig
) -> tuple[Int64[np.ndarray, " frame"], Bool[np.ndarray, " frame"], list[Cut]]:
    """Return each image that comes a period after the one before it, and where there is none.

    The image nearest to a period after the last one is next, within half a period. Beats are counted from
    image to image, so a camera that is a little slower or faster than the period loses nothing.
    """
    known_s = times_s[usable]
    if config.period_s is None:
        follows = np.diff(known_s, prepend=-np.inf) <= config.max_gap_s
        breaks = np.flatnonzero(~follows[1:])
        cuts = [Cut(Reason.no_image, float(known_s[gap]), float(known_s[gap + 1]), 0) for gap in breaks]
        return usable, follows, cuts
    chosen, is_next, cuts = [0] if len(usable) else [], [False] if len(usable) else [], []
    while chosen:
        last, target_s = chosen[-1], known_s[chosen[-1]] + config.period_s
        after = max(int(np.searchsorted(known_s, target_s)), last + 1)
        is_earlier_nearer = last < after - 1 and (
            after == len(known_s) or target_s - known_s[after - 1] <= known_s[after] - target_s
        )
        nearest = after - 1 if is_earlier_nearer else after
        if nearest < len(known_s) and abs(known_s[nearest] - target_s) <= config.period_s / 2 + 1e-9:
            chosen.append(nearest)
            is_next.append(True)
            continue
        if after >= len(known_s):
            break
        lacking = max(round((known_s[after] - known_s[last]) / config.period_s) - 1, 0)
        cuts.append(Cut(Reason.no_image, float(known_s[last]), float(known_s[after]), lacking))
        chosen.append(after)
        is_next.append(False)
    return usable[np.array(chosen, dtype=np.int64)], np.array(is_next, dtype=bool), cuts


def _split_at_jumps(
    times_s: Float64[np.ndarray, " frame"],
    poses: Float64[np.ndarray, "frame 3"],
    follows: Bool[np.ndarray, " frame"],
    config: AlignmentConfig,
) -> tuple[Bool[np.ndarray, " frame"], list[Cut]]:
    """Cut between neighbours that no robot could have driven between."""
    if len(times_s) < 2:
        return follows, []
    duration_s = np.diff(times_s)
    speed_m_s = np.linalg.norm(np.diff(poses[:, :2], axis=0), axis=1) / duration_s
    turn_rad_s = np.abs(wrap_angle(np.diff(poses[:, 2]))) / duration_s
    is_jump = follows[1:] & ((speed_m_s > config.max_speed_m_s) | (turn_rad_s > config.max_turn_rad_s))
    split = follows.copy()
    split[1:] &= ~is_jump
    cuts = [
        Cut(Reason.jump, float(times_s[index]), float(times_s[index + 1]), 0)
        for index in np.flatnonzero(is_jump)
    ]
    return split, cuts


def _unwanted(
    times_s: Float64[np.ndarray, " frame"],
    poses: Float64[np.ndarray, "frame 3"],
    follows: Bool[np.ndarray, " frame"],
    config: AlignmentConfig,
) -> list[Reason | None]:
    """Return for each frame whether the robot stands still for long, or drives backward, from it on."""
    reasons: list[Reason | None] = [None] * len(times_s)
    motion = step_motion(times_s, poses)
    goes_on = follows[1:]
    if config.cut_backward:
        for index in np.flatnonzero(goes_on & (motion.ahead_m_s < -config.still_m_s)):
            reasons[index] = Reason.backward
    if config.cut_still_s is not None:
        is_still = goes_on & (motion.speed_m_s < config.still_m_s) & (motion.turn_rad_s < config.still_rad_s)
        for start, end in _true_runs(is_still):
            if times_s[end] - times_s[start] > config.cut_still_s:
                reasons[start:end] = [Reason.still] * (end - start)
    return reasons


@dataclass(frozen=True, eq=False)
class StepMotion:
    """How fast a robot moves from each frame to the next; yaw rates count either way."""

    speed_m_s: Float64[np.ndarray, " step"]
    ahead_m_s: Float64[np.ndarray, " step"]
    turn_rad_s: Float64[np.ndarray, " step"]


def step_motion(times_s: Float64[np.ndarray, " frame"], poses: Float64[np.ndarray, "frame 3"]) -> StepMotion:
    """Return the motion between neighbouring frames."""
    duration_s = np.diff(times_s)
    step = np.diff(poses[:, :2], axis=0)
    ahead_m = step[:, 0] * np.cos(poses[:-1, 2]) + step[:, 1] * np.sin(poses[:-1, 2])
    return StepMotion(
        np.linalg.norm(step, axis=1) / duration_s,
        ahead_m / duration_s,
        np.abs(wrap_angle(np.diff(poses[:, 2]))) / duration_s,
    )


def _after_removal(
    follows: Bool[np.ndarray, " frame"], keeps: Bool[np.ndarray, " frame"]
) -> Bool[np.ndarray, " kept"]:
    """Return which of the kept frames go on from the kept one before: all between them must be kept."""
    breaks = np.cumsum(~keeps)
    kept_breaks = breaks[keeps]
    still = follows[keeps].copy()
    # A frame that was cut off from the one before stays so, even if that one is gone.
    severed = np.cumsum(~follows)[keeps]
    still[1:] &= (np.diff(kept_breaks) == 0) & (np.diff(severed) == 0)
    still[:1] = False
    return still


def _runs_of(reasons: Sequence[Reason | None], times_s: Float64[np.ndarray, " _"]) -> list[Cut]:
    """Return neighbours that are left out for the same reason as one cut each."""
    cuts: list[Cut] = []
    start = 0
    for index in range(1, len(reasons) + 1):
        if index < len(reasons) and reasons[index] is reasons[start]:
            continue
        reason = reasons[start]
        if reason is not None:
            cuts.append(Cut(reason, float(times_s[start]), float(times_s[index - 1]), index - start))
        start = index
    return cuts


def _true_runs(flags: Bool[np.ndarray, " _"]) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
