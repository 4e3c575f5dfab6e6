"""Quality: what a recording tells of itself: rates, gaps, headings, and whether images agree with poses.

Two checks find what silently ruins training. *Headings*: the direction of motion must be that of the yaw; if
yaw is clockwise, or counted from another axis, it is not. *Images*: what a camera sees moves right when the
robot turns left; the shift from image to image, compared with the yaw rate at many delays, tells the delay
between camera and odometry, and the sign of the turn.
"""

from dataclasses import dataclass
from enum import Enum

import numpy as np
from jaxtyping import Float32, Float64, UInt8
from PIL import Image

from data_tools.alignment import Aligned, step_motion
from data_tools.pose import wrap_angle
from data_tools.recording import PoseTrack

NUM_COLUMNS = 96
"""Columns of the profile that an image is compared by."""
MIN_SPEED_M_S = 0.1
"""Slower motion has no direction that odometry could tell."""
MIN_STEPS = 20
"""Fewer steps tell nothing about conventions or delays."""
MAX_DELAY_S = 1.0
_MAX_SHIFT = 0.25
"""Largest shift between neighbouring images, as a share of their width."""
_MIN_CORRELATION = 0.3
"""Weaker agreement of images and yaw rates is taken for none."""


class YawConvention(Enum):
    """How a recorded yaw would have to be read for headings to agree with the motion."""

    as_is = "counter-clockwise from x, as it should be"
    clockwise = "clockwise from x: take -yaw"
    compass = "clockwise from y, as a compass: take pi/2 - yaw"
    from_y = "counter-clockwise from y: take yaw + pi/2"
    reversed = "against the motion: take yaw + pi, unless the robot drove backward"


_READINGS = {
    YawConvention.as_is: (1.0, 0.0),
    YawConvention.clockwise: (-1.0, 0.0),
    YawConvention.compass: (-1.0, np.pi / 2),
    YawConvention.from_y: (1.0, np.pi / 2),
    YawConvention.reversed: (1.0, np.pi),
}


@dataclass(frozen=True, kw_only=True)
class HeadingTest:
    """How well headings agree with the direction of motion: mean cosine of the angle between, -1 to 1."""

    agreement: float
    best: YawConvention
    best_agreement: float
    num_steps: int
    """Steps fast enough to have a direction."""

    @property
    def is_wrong(self) -> bool:
        """Whether another reading of yaw agrees clearly better than the one at hand."""
        return self.best is not YawConvention.as_is and self.best_agreement > self.agreement + 0.2


@dataclass(frozen=True, kw_only=True)
class ImageTest:
    """How the shift of images agrees with the yaw rate.

    `delay_s` is by how much the poses' times lag behind the images': `pose_delay_s=-delay_s` aligns them.
    `correlation` is positive where what is seen moves right when yaw grows, as it must.
    """

    delay_s: float
    correlation: float
    correlation_at_0: float

    @property
    def says_something(self) -> bool:
        """Whether the agreement is more than chance."""
        return abs(self.correlation) >= _MIN_CORRELATION


@dataclass(frozen=True, kw_only=True)
class Quality:
    """What is measured of one recording, after alignment."""

    num_images: int
    num_frames: int
    """Frames that are kept."""
    duration_s: float
    image_rate_hz: float
    """Of the source: 1 / median interval."""
    longest_gap_s: float
    interval_spread: float
    """Of the source: 95th percentile of intervals / median; above 1.5 rates are mixed or images lost."""
    spacing_m: float | None
    speed_m_s: float | None
    """95th percentile."""
    still_share: float | None
    backward_share: float | None
    heading: HeadingTest | None
    images: ImageTest | None


def measure(
    image_times_s: Float64[np.ndarray, " _"],
    aligned: Aligned,
    track: PoseTrack | None,
    profiles: Float32[np.ndarray, "frame column"],
) -> Quality:
    """Measure a recording whose frames were chosen; `profiles` are those of the frames (`column_profile`)."""
    known_s = np.unique(image_times_s[np.isfinite(image_times_s)])
    intervals_s = np.diff(known_s)
    median_s = float(np.median(intervals_s)) if len(intervals_s) else np.nan
    spread = float(np.percentile(intervals_s, 95)) / median_s if len(intervals_s) else np.nan
    steps = None if aligned.poses is None else _steps_within(aligned)
    return Quality(
        num_images=len(image_times_s),
        num_frames=len(aligned.indices),
        duration_s=float(known_s[-1] - known_s[0]) if len(known_s) else 0.0,
        image_rate_hz=1 / median_s,
        longest_gap_s=float(intervals_s.max()) if len(intervals_s) else 0.0,
        interval_spread=spread,
        spacing_m=None if steps is None else float(steps.length_m.mean()),
        speed_m_s=None if steps is None else float(np.percentile(steps.speed_m_s, 95)),
        still_share=None if steps is None else float((steps.speed_m_s < MIN_SPEED_M_S).mean()),
        backward_share=None if steps is None else float((steps.ahead_m_s < -MIN_SPEED_M_S).mean()),
        heading=None if aligned.poses is None else heading_test(aligned),
        images=None if track is None else image_test(aligned, track, profiles),
    )


def heading_test(aligned: Aligned) -> HeadingTest | None:
    """Compare headings with the direction of motion; None if too few steps are fast enough to have one."""
    assert aligned.poses is not None
    step = np.diff(aligned.poses[:, :2], axis=0)
    speed_m_s = np.linalg.norm(step, axis=1) / np.diff(aligned.times_s)
    moves = aligned.follows[1:] & (speed_m_s > MIN_SPEED_M_S)
    if moves.sum() < MIN_STEPS:
        return None
    course_rad = np.arctan2(step[moves, 1], step[moves, 0])
    # Halfway through a step the robot looks where it goes, as on an arc.
    turn_rad = wrap_angle(np.diff(aligned.poses[:, 2]))
    yaw_rad = (aligned.poses[:-1, 2] + turn_rad / 2)[moves]
    agreements = {
        reading: float(np.cos(course_rad - (sign * yaw_rad + offset_rad)).mean())
        for reading, (sign, offset_rad) in _READINGS.items()
    }
    best = max(agreements, key=lambda reading: agreements[reading])
    return HeadingTest(
        agreement=agreements[YawConvention.as_is],
        best=best,
        best_agreement=agreements[best],
        num_steps=int(moves.sum()),
    )


def image_test(
    aligned: Aligned, track: PoseTrack, profiles: Float32[np.ndarray, "frame column"]
) -> ImageTest | None:
    """Compare the shift from image to image with the turn between them, at many delays of the poses.

    None if the robot hardly turns, or there are too few frames.
    """
    pairs = np.flatnonzero(aligned.follows[1:])
    known = np.isfinite(track.times_s) & np.isfinite(track.poses).all(axis=1)
    if len(pairs) < MIN_STEPS or known.sum() < 2:
        return None
    shifts = np.array([column_shift(profiles[index], profiles[index + 1]) for index in pairs.tolist()])
    order = np.argsort(track.times_s[known], kind="stable")
    times_s, yaw_rad = track.times_s[known][order], np.unwrap(track.poses[known][order, 2])
    start_s, end_s = aligned.times_s[pairs], aligned.times_s[pairs + 1]

    def correlation(delay_s: float) -> float:
        turn_rad = np.interp(end_s + delay_s, times_s, yaw_rad) - np.interp(
            start_s + delay_s, times_s, yaw_rad
        )
        if turn_rad.std() < 1e-3 or shifts.std() == 0:
            return 0.0
        return float(np.corrcoef(shifts, turn_rad)[0, 1])

    resolution_s = float(np.median(end_s - start_s)) / 10
    num_delays = int(MAX_DELAY_S / resolution_s)
    delays_s = np.arange(-num_delays, num_delays + 1) * resolution_s
    found = np.array([correlation(delay_s) for delay_s in delays_s.tolist()])
    if not found.any():
        return None
    best = int(np.abs(found).argmax())
    return ImageTest(
        delay_s=float(delays_s[best]),
        correlation=float(found[best]),
        correlation_at_0=correlation(0.0),
    )


def column_profile(image: UInt8[np.ndarray, "height width 3"]) -> Float32[np.ndarray, " column"]:
    """Return the mean brightness of an image's columns."""
    small = Image.fromarray(image).convert("L").convert("F").resize((NUM_COLUMNS, 1), Image.Resampling.BOX)
    return np.asarray(small)[0]


def column_shift(before: Float32[np.ndarray, " column"], after: Float32[np.ndarray, " column"]) -> float:
    """Return by what share of the width the second picture is moved to the right of the first.

    The shift at which the profiles differ least (mean absolute difference, without their own means), to a
    fraction of a column by the parabola through the minimum.
    """
    width = len(before)
    reach = int(width * _MAX_SHIFT)
    errors = []
    for shift in range(-reach, reach + 1):
        kept = slice(max(shift, 0), width + min(shift, 0))
        moved = slice(max(-shift, 0), width + min(-shift, 0))
        one, other = before[moved], after[kept]
        errors.append(np.abs((one - one.mean()) - (other - other.mean())).mean())
    best = int(np.argmin(errors))
    if not 0 < best < 2 * reach:
        return (best - reach) / width
    low, middle, high = errors[best - 1 : best + 2]
    curvature = low - 2 * middle + high
    return float(best - reach + (0.5 * (low - high) / curvature if curvature > 0 else 0.0)) / width


@dataclass(frozen=True, eq=False)
class _Steps:
    length_m: Float64[np.ndarray, " step"]
    speed_m_s: Float64[np.ndarray, " step"]
    ahead_m_s: Float64[np.ndarray, " step"]


def _steps_within(aligned: Aligned) -> _Steps | None:
    """Return the motion between neighbours that go on from one another; None if there are none."""
    assert aligned.poses is not None
    goes_on = aligned.follows[1:]
    if not goes_on.any():
        return None
    motion = step_motion(aligned.times_s, aligned.poses)
    length_m = motion.speed_m_s * np.diff(aligned.times_s)
    return _Steps(length_m[goes_on], motion.speed_m_s[goes_on], motion.ahead_m_s[goes_on])
