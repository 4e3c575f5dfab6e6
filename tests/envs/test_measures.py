"""Measures, by hand."""

import numpy as np
import pytest

from envs.measures import Measures, is_reached, is_success, measure, path_length_m, soft_spl, spl

CORNER = np.array([[0, 0, 0], [3, 0, 1], [3, 4, 2]], dtype=np.float64)


def test_path_length_adds_straight_pieces_and_ignores_turns():
    assert path_length_m(CORNER) == 7
    assert path_length_m(CORNER[:, :2]) == 7
    assert path_length_m(CORNER[:1]) == 0
    assert path_length_m(CORNER + np.array([5, -2, 1])) == pytest.approx(7)


@pytest.mark.parametrize(
    ("success", "geodesic_m", "length_m", "score"),
    [(True, 5.0, 7.0, 5 / 7), (True, 5.0, 5.0, 1.0), (True, 5.0, 4.0, 1.0), (False, 5.0, 5.0, 0.0)],
)
def test_spl_by_hand(success: bool, geodesic_m: float, length_m: float, score: float):
    assert spl(success=success, geodesic_m=geodesic_m, length_m=length_m) == pytest.approx(score)


def test_soft_spl_rewards_progress_without_a_stop():
    """Half of the way in 5 m, where 4 m in all was shortest: 1/2 * 4/5."""
    assert soft_spl(final_distance_m=2.0, geodesic_m=4.0, length_m=5.0) == pytest.approx(0.4)
    assert soft_spl(final_distance_m=6.0, geodesic_m=4.0, length_m=5.0) == 0
    assert soft_spl(final_distance_m=0.0, geodesic_m=4.0, length_m=5.0) == spl(
        success=True, geodesic_m=4.0, length_m=5.0
    )


def test_success_needs_a_stop_and_reached_does_not():
    assert is_success(1.0, stopped=True) and not is_success(1.01, stopped=True)
    assert not is_success(0.1, stopped=False)
    assert is_reached(np.array([5.0, 1.0, 3.0])) and not is_reached(np.array([5.0, 1.01, 3.0]))


def test_passing_the_goal_is_reached_without_success():
    scores = measure(
        poses=CORNER,
        distances_m=np.array([5.0, 0.5, 4.0]),
        collided=np.array([True, False]),
        stopped=True,
        geodesic_m=5.0,
    )
    assert scores == Measures(
        success=False,
        reached=True,
        spl=0.0,
        soft_spl=scores.soft_spl,
        final_distance_m=4.0,
        path_length_m=7.0,
        collisions=1,
        num_steps=2,
    )
    assert scores.soft_spl == pytest.approx(0.2 * 5 / 7)


def test_bad_lengths_are_refused():
    with pytest.raises(ValueError, match="geodesic distance above 0"):
        spl(success=True, geodesic_m=0.0, length_m=1.0)
    with pytest.raises(ValueError, match="finite geodesic"):
        soft_spl(final_distance_m=1.0, geodesic_m=np.inf, length_m=1.0)
    with pytest.raises(ValueError, match=r"n \+ 1 poses.*got 3 poses, 3 distances, 3 steps"):
        measure(
            poses=CORNER,
            distances_m=np.zeros(3),
            collided=np.zeros(3, dtype=bool),
            stopped=True,
            geodesic_m=1.0,
        )
