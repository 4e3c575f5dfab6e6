"""Faithfulness tables: errors, slopes and swaps by hand, and intervals over whole recordings."""

import numpy as np
import pytest

from planners.evaluation.faithfulness_table import (
    Measure,
    Source,
    Swap,
    _correlation,
    _median,
    _slope,
    bootstrap_counts,
    faithfulness_markdown,
    faithfulness_results,
    interval_of,
)
from planners.evaluation.metrics import Interval
from planners.evaluation.prediction_rows import Status
from tests.planners.evaluation.prediction_rows import faithfulness_row


def test_errors_and_slopes_by_hand():
    """Imagined frames show half of what was commanded."""
    commands = [(0.2, 0.0, 0.4), (0.6, 0.0, -0.2), (1.0, 0.0, 0.0), (0.05, 0.0, 0.6)]
    rows = [
        faithfulness_row(index, command, imagined=[each / 2 for each in command])
        for index, command in enumerate(commands)
    ]
    result = faithfulness_results(rows)[1.0]
    assert (result.num_windows, result.num_turns) == (4, 3)
    found = {measure: each.mean for measure, each in result.sources[Source.from_imagined].items()}
    assert found[Measure.translation_error_m] == pytest.approx((0.1 + 0.3) / 2)
    assert found[Measure.translation_share] == pytest.approx(0.5)
    assert found[Measure.yaw_error_rad] == pytest.approx((0.1 + 0.2) / 2)
    assert found[Measure.yaw_share] == pytest.approx(0.5)
    assert (found[Measure.ahead_slope], found[Measure.yaw_slope]) == pytest.approx((0.5, 0.5))
    assert found[Measure.yaw_correlation] == pytest.approx(1)
    own = result.sources[Source.from_true]
    assert own[Measure.translation_error_m].high == 0 and own[Measure.yaw_slope].mean == pytest.approx(1)
    median = result.sources[Source.median_motion]
    assert median[Measure.translation_error_m].mean == pytest.approx(np.median([0.2, 0.2, 0.6, 0.35]))
    assert median[Measure.ahead_slope].mean == pytest.approx(0) and Measure.ahead_correlation not in median


def test_yaw_errors_are_the_short_way_round():
    rows = [faithfulness_row(index, (0.0, 0.0, 3.1), imagined=(0.0, 0.0, -3.1)) for index in range(2)]
    found = faithfulness_results(rows)[1.0].sources[Source.from_imagined]
    assert found[Measure.yaw_error_rad].mean == pytest.approx(2 * np.pi - 6.2)
    assert Measure.translation_share not in found, "nothing moved"


def test_swaps_count_sides_order_and_nearness():
    left, right = (0.5, 0.0, 0.5), (0.5, 0.0, -0.5)
    rows = [
        faithfulness_row(0, left, imagined=(0.5, 0, 0.4), mirrored=(0.5, 0, -0.3)),  # both sides
        faithfulness_row(1, right, imagined=(0.5, 0, -0.1), mirrored=(0.5, 0, 0.2)),  # both sides
        faithfulness_row(2, left, imagined=(0.5, 0, 0.4), mirrored=(0.5, 0, 0.1), distances=(2.0, 1.0)),
        faithfulness_row(3, right, imagined=(0.5, 0, 0.1), mirrored=(0.5, 0, 0.1), distances=(1.0, 1.0)),
        faithfulness_row(4, (0.5, 0.0, 0.05), imagined=(0.5, 0, -0.4), mirrored=(0.5, 0, 0.4)),  # straight
    ]
    swaps = faithfulness_results(rows)[1.0].swaps
    assert swaps[Swap.both_sides].mean == 2 / 4 and swaps[Swap.both_sides].n == 4
    assert swaps[Swap.order].mean == 3.5 / 4
    assert swaps[Swap.nearer].mean == 2.5 / 4


def test_unheeded_actions_give_chance_and_no_more():
    rows = [
        faithfulness_row(
            index,
            (0.5, 0.0, 0.3 * side),
            imagined=(0.5, 0, 0.2),
            mirrored=(0.5, 0, 0.2),
            distances=(1.0, 1.0),
        )
        for index, side in enumerate([1, -1, -1, 1, 1, 1])
    ]
    swaps = faithfulness_results(rows)[1.0].swaps
    assert [swaps[each].mean for each in Swap] == [0.0, 0.5, 0.5]


def test_a_share_that_all_agree_on_has_an_interval_of_its_recordings():
    rows = [
        faithfulness_row(index, (0.5, 0.0, 0.3), imagined=(0.5, 0, 0.3), mirrored=(0.5, 0, -0.3))
        for index in range(8)
    ]
    both = faithfulness_results(rows)[1.0].swaps[Swap.both_sides]
    # Wilson, 4 of 4: 4 / (4 + 1.96^2).
    assert (both.mean, both.n, both.high) == (1.0, 8, pytest.approx(1)) and both.low == pytest.approx(
        4 / (4 + 1.96**2), abs=1e-3
    )


def median_of(values: np.ndarray, trajectories: list[str]) -> Interval:
    found = interval_of(_median(values), bootstrap_counts(trajectories))
    assert found is not None
    return found


def test_intervals_resample_recordings_not_windows():
    values = np.random.default_rng(0).normal(size=20)
    names = [f"drive{index}" for index in range(20)]
    single = median_of(values, names)
    repeated = median_of(np.repeat(values, 3), [name for name in names for _ in range(3)])
    assert (repeated.mean, repeated.low, repeated.high) == (single.mean, single.low, single.high)
    assert (single.n, repeated.n) == (20, 60) and single.low < single.mean < single.high


def test_statistics_of_draws_agree_with_numpy_on_the_windows_drawn():
    rng = np.random.default_rng(1)
    commanded, read = rng.normal(size=9), rng.normal(size=9)
    trajectories = list("aabbbcdde")
    counts = bootstrap_counts(trajectories)
    own = {
        "median": (_median(read)(counts), lambda x, y: np.median(y)),
        "slope": (_slope(commanded, read)(counts), lambda x, y: np.polyfit(x, y, 1)[0]),
        "correlation": (_correlation(commanded, read)(counts), lambda x, y: np.corrcoef(x, y)[0, 1]),
    }
    assert counts[0].tolist() == [1] * 9
    for sample in range(12):
        drawn = np.repeat(np.arange(9), counts[sample])
        assert len({trajectories[each] for each in drawn}) > 1
        for found, reference in own.values():
            assert found[sample] == pytest.approx(reference(commanded[drawn], read[drawn]))


def test_what_is_not_defined_has_no_interval():
    counts = bootstrap_counts(["a", "b", "c"])
    same = np.full(3, 0.7)
    assert interval_of(_slope(same, np.arange(3.0)), counts) is None
    assert interval_of(_median(np.full(3, np.nan)), counts) is None
    (whole, *_) = _median(np.array([np.nan, 2.0, 5.0]))(counts)
    assert whole == 3.5


def test_the_text_says_what_was_not_measured():
    rows = [faithfulness_row(index, (0.5, 0.0, 0.3), imagined=(0.4, 0, 0.3)) for index in range(3)]
    rows.append(faithfulness_row(7, (), imagined=(), status=Status.too_short))
    text = faithfulness_markdown(faithfulness_results(rows), rows)
    assert "### faithfulness: 1 s, 3 windows, 3 of which turn by 0.1 rad or more" in text
    assert "| imagined frames | 0.100 [0.100, 0.100] | 0.200 [0.200, 0.200] |" in text
    assert "- 1 windows of faithfulness too short at 1 s" in text


def test_nothing_measured_is_no_table():
    rows = [faithfulness_row(0, (), imagined=(), status=Status.failed)]
    assert faithfulness_results(rows) == {}
    assert faithfulness_markdown({}, rows) == "- 1 windows of faithfulness failed at 1 s\n"
