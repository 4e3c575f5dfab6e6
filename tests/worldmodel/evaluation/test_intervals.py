"""Intervals over groups."""

import numpy as np
import pytest

from worldmodel.evaluation.intervals import mean_interval, ratio_interval


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_the_value_is_the_ratio_of_sums_and_lies_in_its_interval():
    found = ratio_interval(np.array([2.0, 9.0, 1.0]), np.array([1.0, 3.0, 2.0]), ["a", "b", "c"], rng=rng())
    assert found.value == pytest.approx(12 / 6)
    assert found.low is not None and found.high is not None
    assert 0.5 <= found.low <= 2 <= found.high <= 3


def test_one_group_has_no_interval():
    found = mean_interval(np.array([1.0, 2.0]), ["a", "a"], rng=rng())
    assert (found.value, found.low, found.high, found.num_groups) == (1.5, None, None, 1)


def test_the_interval_of_a_mean_has_the_width_that_theory_gives():
    values = np.random.default_rng(1).standard_normal(900)
    found = mean_interval(values, [str(n) for n in range(900)], rng=rng())
    assert found.low is not None and found.high is not None
    assert found.high - found.low == pytest.approx(2 * 1.96 / 30, rel=0.1)


def test_items_of_one_group_are_not_independent():
    values, groups = np.repeat([0.0, 1.0, 0.0, 1.0], 50), [str(n) for n in np.repeat(np.arange(4), 50)]
    tied = mean_interval(values, groups, rng=rng())
    free = mean_interval(values, [str(n) for n in range(200)], rng=rng())
    assert tied.high - tied.low > 3 * (free.high - free.low)  # pyright: ignore


def test_lengths_that_disagree_are_refused():
    with pytest.raises(ValueError, match="2 items"):
        ratio_interval(np.ones(2), np.ones(2), ["a"], rng=rng())
