"""Laws of estimates: Student's interval by hand, differences paired by seed, rows that cannot be mixed."""

import math

import pytest

from tests.worldmodel.ablation.made_rows import make_row
from worldmodel.ablation.estimates import estimate, estimates_of


def test_interval_of_three_values_by_hand():
    found = estimate([1.0, 2.0, 3.0])
    # t(0.975, 2 degrees of freedom) = 4.30265; deviation 1, error 1 / sqrt(3)
    assert (found.mean, found.n) == (2.0, 3)
    assert found.half_width == pytest.approx(4.30265 / math.sqrt(3), abs=1e-4)
    assert not found.excludes_zero


def test_one_seed_has_no_interval():
    assert estimate([0.5]).half_width is None
    assert not estimate([0.5]).excludes_zero


def test_differences_are_paired_by_seed():
    # Seeds differ by tens, arms by almost exactly 1: only pairing sees it.
    rows = [
        make_row("one", 0, {"m": 10.0}),
        make_row("one", 1, {"m": 50.0}),
        make_row("one", 2, {"m": 90.0}),
        make_row("two", 1, {"m": 51.1}),
        make_row("two", 0, {"m": 11.0}),
        make_row("two", 3, {"m": 0.0}),
    ]
    one, two = estimates_of(rows, arms=["one", "two"], measures=["m"])
    assert one.differences == {} and one.values["m"].n == 3
    assert two.differences["m"].mean == pytest.approx(1.05)
    assert two.differences["m"].n == 2
    assert not one.values["m"].excludes_zero


def test_what_an_arm_lacks_is_absent():
    rows = [make_row("one", 0, {"m": 1.0}), make_row("two", 0, {"n": 2.0})]
    one, two = estimates_of(rows, arms=["one", "two", "never run"], measures=["m", "n"])
    assert set(one.values) == {"m"} and set(two.values) == {"n"} and two.differences == {}


@pytest.mark.parametrize("field", ["data", "heldout", "table"])
def test_rows_of_different_data_are_refused(field):
    rows = [make_row("one", 0, {"m": 1.0}), make_row("one", 1, {"m": 1.0}, **{field: "other"})]
    with pytest.raises(ValueError, match=f"one `{field}`"):
        estimates_of(rows, arms=["one"], measures=["m"])


def test_two_rows_of_one_run_are_refused():
    with pytest.raises(ValueError, match="more than one row"):
        estimates_of([make_row("one", 0, {"m": 1.0})] * 2, arms=["one"], measures=["m"])
    with pytest.raises(ValueError, match="got none"):
        estimates_of([], arms=["one"], measures=["m"])
