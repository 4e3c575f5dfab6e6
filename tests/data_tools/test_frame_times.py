import numpy as np
import pytest

from data_tools.frame_times import nearest_frames, period_of, spans_gap


def test_the_period_is_that_of_most_steps():
    assert period_of(np.array([0.0, 0.25, 0.5, 7.0, 7.25])) == 0.25
    with pytest.raises(ValueError, match="needs two frames; got 1"):
        period_of(np.zeros(1))


def test_nearest_frames_agree_with_a_search_of_all():
    rng = np.random.default_rng(0)
    times_s = np.cumsum(rng.uniform(0.01, 1.0, size=53))
    moments_s = rng.uniform(-2.0, times_s[-1] + 2.0, size=211)
    expected = np.abs(times_s[None] - moments_s[:, None]).argmin(axis=1)
    np.testing.assert_array_equal(nearest_frames(times_s, moments_s), expected)


def test_of_two_equally_near_the_earlier_is_taken():
    np.testing.assert_array_equal(
        nearest_frames(np.array([0.0, 1.0, 3.0]), np.array([0.5, 2.0, 9.0])), [0, 1, 2]
    )


def test_a_window_spans_a_gap_if_a_long_step_lies_between_its_ends():
    times_s = np.array([0.0, 1.0, 2.0, 5.0, 6.0, 8.0])  # the step of two periods is still none
    starts, ends = np.array([0, 0, 2, 3, 3]), np.array([2, 3, 3, 3, 5])
    np.testing.assert_array_equal(spans_gap(times_s, starts, ends), [False, True, True, False, False])
