"""Faithfulness table: commanded motion against the motion read from frames, from rows alone."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from jaxtyping import Float64, Int

from data_tools.pose import wrap_angle
from data_tools.randomness import numpy_generator_for
from planners.evaluation.faithfulness import MIRROR, FaithfulnessRow
from planners.evaluation.metrics import CONFIDENCE, NUM_RESAMPLES, Interval, share_interval
from planners.evaluation.prediction_rows import Status

MIN_MOVE_M, MIN_TURN_RAD = 0.1, 0.1
"""Shares of the command, and sides, are of commands that move or turn at least so far."""


class Source(Enum):
    """What a motion was read from."""

    from_true = "true frames: the inverse model's own error"
    from_reconstruction = "true frames through encoder and decoder"
    from_imagined = "imagined frames"
    from_mirrored = "imagined frames of the mirrored command, against the mirror"
    median_motion = "none: always the median command"


class Measure(Enum):
    """What is told of a source."""

    translation_error_m = "median error [m]"
    translation_share = "of the way"
    yaw_error_rad = "median error [rad]"
    yaw_share = "of the turn"
    ahead_slope = "slope ahead"
    ahead_correlation = "correlation ahead"
    yaw_slope = "slope of turns"
    yaw_correlation = "correlation of turns"


class Swap(Enum):
    """What is told of a turn and its mirror, imagined from the same noise; a tie counts half."""

    both_sides = "both turns are read to their own side (coins: 0.25, actions unheeded: 0)"
    order = "the left one is read further left than the right one (chance 0.5)"
    nearer = "the true frame is nearer to the true command's than to the mirror's (chance 0.5)"


@dataclass(frozen=True, kw_only=True)
class FaithfulnessResult:
    """What the table says of one horizon."""

    num_windows: int
    num_turns: int
    sources: Mapping[Source, Mapping[Measure, Interval]]
    """A measure that is not defined (nothing turns, no spread) is left out."""
    swaps: Mapping[Swap, Interval]
    """Empty where nothing turns."""


Motions = Float64[np.ndarray, "window 3"]
Counts = Int[np.ndarray, "sample window"]
"""How often each window counts: once in the first sample, as often as its recording was drawn in others."""
Statistic = Callable[[Counts], Float64[np.ndarray, " sample"]]
"""From counts to a number a sample; NaN where it is not defined."""
LEAST_SPREAD = 1e-12
"""Sums of squares below this are rounding."""


def faithfulness_results(rows: Sequence[FaithfulnessRow]) -> dict[float, FaithfulnessResult]:
    """Return the result of each horizon that was measured; intervals resample whole trajectories."""
    measured = [row for row in rows if row.status == Status.measured.name]
    return {
        horizon_s: _result([row for row in measured if row.horizon_s == horizon_s])
        for horizon_s in dict.fromkeys(row.horizon_s for row in measured)
    }


def bootstrap_counts(trajectories: Sequence[str]) -> Int[np.ndarray, "sample window"]:
    """Return `Counts`: all windows once, then draws of whole recordings with replacement."""
    names, index = np.unique(np.asarray(trajectories), return_inverse=True)
    rng = numpy_generator_for(0, "faithfulness/bootstrap")
    draws = rng.integers(len(names), size=(NUM_RESAMPLES, len(names)))
    counts = np.stack([np.bincount(drawn, minlength=len(names)) for drawn in draws])
    return np.concatenate([np.ones((1, len(index)), dtype=np.int64), counts[:, index]])


def interval_of(statistic: Statistic, counts: Int[np.ndarray, "sample window"]) -> Interval | None:
    """Return a statistic of all windows with the percentiles of its draws.

    None if it is not defined on all windows; draws on which it is not are left out.
    """
    whole, *drawn = statistic(counts).tolist()
    if np.isnan(whole):
        return None
    tail = (1 - CONFIDENCE) / 2
    low, high = np.nanquantile(drawn, [tail, 1 - tail])
    return Interval(mean=whole, low=float(low), high=float(high), n=counts.shape[1])


def _result(rows: Sequence[FaithfulnessRow]) -> FaithfulnessResult:
    commanded = np.array([row.commanded for row in rows])
    counts = bootstrap_counts([row.trajectory for row in rows])
    median = np.tile(np.median(commanded, axis=0), (len(rows), 1))
    read = {
        source: median
        if source is Source.median_motion
        else np.array([getattr(row, source.name) for row in rows])
        for source in Source
    }
    sources = {}
    for source, motions in read.items():
        target = commanded * MIRROR[:3] if source is Source.from_mirrored else commanded
        found = {
            measure: interval_of(statistic, counts)
            for measure, statistic in _statistics(motions, target).items()
        }
        sources[source] = {measure: each for measure, each in found.items() if each is not None}
    turns = [row for row in rows if abs(row.commanded[2]) >= MIN_TURN_RAD]
    return FaithfulnessResult(
        num_windows=len(rows), num_turns=len(turns), sources=sources, swaps=_swaps(turns) if turns else {}
    )


def _statistics(read: Motions, commanded: Motions) -> dict[Measure, Statistic]:
    off_m = np.hypot(*(read - commanded)[:, :2].T)
    off_rad = np.abs(wrap_angle(read[:, 2] - commanded[:, 2]))
    moved_m, turned_rad = np.hypot(*commanded[:, :2].T), np.abs(commanded[:, 2])
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = {
            Measure.translation_share: np.where(moved_m >= MIN_MOVE_M, off_m / moved_m, np.nan),
            Measure.yaw_share: np.where(turned_rad >= MIN_TURN_RAD, off_rad / turned_rad, np.nan),
        }
    medians = {Measure.translation_error_m: off_m, Measure.yaw_error_rad: off_rad, **shares}
    found: dict[Measure, Statistic] = {
        measure: _median(medians[measure]) for measure in Measure if measure in medians
    }
    pairs = (
        (0, Measure.ahead_slope, Measure.ahead_correlation),
        (2, Measure.yaw_slope, Measure.yaw_correlation),
    )
    for axis, slope, correlation in pairs:
        found[slope] = _slope(commanded[:, axis], read[:, axis])
        found[correlation] = _correlation(commanded[:, axis], read[:, axis])
    return found


def _median(values: Float64[np.ndarray, " window"]) -> Statistic:
    """Return the median of those values that are there."""
    order = np.argsort(values)[: np.count_nonzero(~np.isnan(values))]

    def statistic(counts: Counts) -> Float64[np.ndarray, " sample"]:
        if not len(order):
            return np.full(len(counts), np.nan)
        reached = counts[:, order].cumsum(axis=1)
        total = reached[:, -1:]
        middle = [(reached > place).argmax(axis=1) for place in ((total - 1) // 2, total // 2)]
        found = values[order][np.stack(middle)].mean(axis=0)
        return np.where(total[:, 0] > 0, found, np.nan)

    return statistic


def _slope(commanded: Float64[np.ndarray, " window"], read: Float64[np.ndarray, " window"]) -> Statistic:
    """Return the slope of the line that predicts what is read from what was commanded; 1 is faithful."""

    def statistic(counts: Counts) -> Float64[np.ndarray, " sample"]:
        return _divide(_spread(commanded, read, counts), _spread(commanded, commanded, counts))

    return statistic


def _correlation(
    commanded: Float64[np.ndarray, " window"], read: Float64[np.ndarray, " window"]
) -> Statistic:
    def statistic(counts: Counts) -> Float64[np.ndarray, " sample"]:
        squares = _spread(commanded, commanded, counts) * _spread(read, read, counts)
        return _divide(_spread(commanded, read, counts), np.sqrt(squares.clip(min=0)))

    return statistic


def _mean(values: Float64[np.ndarray, " window"]) -> Statistic:
    def statistic(counts: Counts) -> Float64[np.ndarray, " sample"]:
        return counts @ values / counts.sum(axis=1)

    return statistic


def _spread(
    x: Float64[np.ndarray, " window"], y: Float64[np.ndarray, " window"], counts: Counts
) -> Float64[np.ndarray, " sample"]:
    """Return the sum of products of deviations from the means."""
    x, y = x - x.mean(), y - y.mean()  # the means of each sample are then near 0, and little cancels
    return counts @ (x * y) - (counts @ x) * (counts @ y) / counts.sum(axis=1)


def _divide(
    above: Float64[np.ndarray, " sample"], below: Float64[np.ndarray, " sample"]
) -> Float64[np.ndarray, " sample"]:
    is_defined = below > LEAST_SPREAD
    return np.where(is_defined, above / np.where(is_defined, below, 1.0), np.nan)


def _swaps(turns: Sequence[FaithfulnessRow]) -> dict[Swap, Interval]:
    side = np.sign([row.commanded[2] for row in turns])
    followed, mirrored = (
        side * np.array([getattr(row, source.name)[2] for row in turns])
        for source in (Source.from_imagined, Source.from_mirrored)
    )
    nearer = np.array([row.mirrored_distance for row in turns]) - np.array([row.distance for row in turns])
    values = {
        Swap.both_sides: ((followed > 0) & (mirrored < 0)).astype(np.float64),
        Swap.order: _wins(followed - mirrored),
        Swap.nearer: _wins(nearer),
    }
    return {swap: _share(own, [row.trajectory for row in turns]) for swap, own in values.items()}


def _wins(margins: Float64[np.ndarray, " window"]) -> Float64[np.ndarray, " window"]:
    return (1 + np.sign(margins)) / 2


def _share(values: Float64[np.ndarray, " window"], trajectories: Sequence[str]) -> Interval:
    """Return a share and its interval: where all agree, which leaves a bootstrap no width, Wilson's."""
    if values.min() == values.max() and values[0] in (0, 1):
        count = len(set(trajectories))
        wide = share_interval(int(values[0]) * count, count)
        return Interval(mean=float(values[0]), low=wide.low, high=wide.high, n=len(values))
    found = interval_of(_mean(values), bootstrap_counts(trajectories))
    assert found is not None
    return found


def faithfulness_markdown(
    results: Mapping[float, FaithfulnessResult], rows: Sequence[FaithfulnessRow]
) -> str:
    """Return the tables, and what was not measured."""
    lines = []
    for horizon_s, result in results.items():
        lines += [
            f"### faithfulness: {horizon_s:g} s, {result.num_windows} windows, {result.num_turns} of "
            f"which turn by {MIN_TURN_RAD} rad or more",
            "",
            f"| motion read from | {' | '.join(measure.value for measure in Measure)} |",
            f"| --- |{' --- |' * len(Measure)}",
        ]
        for source, found in result.sources.items():
            texts = [_text(found[measure]) if measure in found else "" for measure in Measure]
            lines.append(f"| {source.value} | {' | '.join(texts)} |")
        lines += ["", *(f"- {swap.value}: {_text(found)}" for swap, found in result.swaps.items()), ""]
    counts = Counter((row.horizon_s, row.status) for row in rows if row.status != Status.measured.name)
    lines += [
        f"- {count} windows of faithfulness {status.replace('_', ' ')} at {horizon_s:g} s"
        for (horizon_s, status), count in counts.items()
    ]
    return "\n".join([*lines, ""])


def _text(value: Interval) -> str:
    return f"{value.mean:.3f} [{value.low:.3f}, {value.high:.3f}]"
