"""Frame times: which frame is nearest to a moment, and where a recording has gaps, at any frame rate."""

import numpy as np
from jaxtyping import Bool, Float64, Int64

LONGEST_STEP = 2.0
"""A step of more periods than this is a gap: frames were dropped, or the recorder paused."""


def period_of(times_s: Float64[np.ndarray, " frame"]) -> float:
    """Return the median time between frames [s], which single gaps do not move; ValueError for one frame."""
    if len(times_s) < 2:
        raise ValueError(f"a period needs two frames; got {len(times_s)}")
    return float(np.median(np.diff(times_s)))


def nearest_frames(
    times_s: Float64[np.ndarray, " _"], moments_s: Float64[np.ndarray, " moment"]
) -> Int64[np.ndarray, " moment"]:
    """Return the frame nearest in time to each moment, the earlier of two that are equally near.

    Before the first frame and after the last these are the answer; the caller looks at how near it is.
    """
    after = np.searchsorted(times_s, moments_s).clip(max=len(times_s) - 1)
    before = (after - 1).clip(min=0)
    is_before_nearer = moments_s - times_s[before] <= times_s[after] - moments_s
    return np.where(is_before_nearer, before, after).astype(np.int64)


def spans_gap(
    times_s: Float64[np.ndarray, " _"],
    starts: Int64[np.ndarray, " window"],
    ends: Int64[np.ndarray, " window"],
) -> Bool[np.ndarray, " window"]:
    """Say of each window of frames, its end included, whether a gap lies in it."""
    is_gap = np.diff(times_s) > LONGEST_STEP * period_of(times_s)
    num_before = np.concatenate([[0], np.cumsum(is_gap)])
    return num_before[ends] > num_before[starts]
