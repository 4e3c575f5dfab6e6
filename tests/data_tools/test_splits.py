import numpy as np
import pytest

from data_tools.splits import choose_places, is_held_out, split_by_place, split_by_trajectory
from data_tools.trajectory import Trajectory


def recordings(num_places: int, num_each: int) -> list[Trajectory]:
    return [
        Trajectory(
            name=f"run{index}",
            place=f"map{place:02d}",
            frames=np.zeros((2, 5, 7, 3), np.uint8),
            poses=None,
            times_s=np.arange(2.0),
        )
        for place in range(num_places)
        for index in range(num_each)
    ]


def test_both_sides_together_are_everything_once_and_in_order():
    everything = recordings(5, 7)
    split = split_by_trajectory(everything, seed=3, held_out_fraction=0.3)
    chosen = {id(item) for item in split.held_out}
    assert [item for item in everything if id(item) in chosen] == list(split.held_out)
    assert [item for item in everything if id(item) not in chosen] == list(split.train)


def test_adding_trajectories_moves_none():
    everything = recordings(7, 7)
    small = split_by_trajectory(everything[::3], seed=1, held_out_fraction=0.3)
    large = split_by_trajectory(everything[::-1], seed=1, held_out_fraction=0.3)
    assert set(small.train) <= set(large.train)
    assert set(small.held_out) <= set(large.held_out)


def test_fractions_hold_and_are_nested():
    names = [f"name{index}" for index in range(5000)]
    previous: set[str] = set()
    for fraction in (0.0, 0.01, 0.1, 0.5, 1.0):
        chosen = {name for name in names if is_held_out(name, seed=0, fraction=fraction)}
        assert len(chosen) / len(names) == pytest.approx(fraction, abs=0.02)
        assert previous <= chosen
        previous = chosen


def test_seeds_and_places_choose_differently():
    names = [f"name{index}" for index in range(100)]
    choices = [[is_held_out(name, seed=seed, fraction=0.5) for name in names] for seed in (0, 1)]
    assert choices[0] != choices[1]
    sides = [is_held_out(f"map{place}/run0", seed=0, fraction=0.5) for place in range(20)]
    assert 0 < sum(sides) < 20


def test_no_place_is_on_both_sides():
    everything = recordings(7, 3)
    places = choose_places(everything, seed=0, fraction=0.4)
    split = split_by_place(everything, held_out_places=places)
    assert {item.place for item in split.held_out} == places
    assert not {item.place for item in split.train} & places


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
def test_refuses_fractions_that_are_none(fraction: float):
    with pytest.raises(ValueError, match="from 0 to 1"):
        is_held_out("a", seed=0, fraction=fraction)


def test_refuses_an_empty_side_and_unknown_places():
    with pytest.raises(ValueError, match="14 for training and 0 held out"):
        split_by_trajectory(recordings(2, 7), seed=0, held_out_fraction=0.0)
    with pytest.raises(ValueError, match=r"no trajectory is from map99; the places are map00, map01"):
        split_by_place(recordings(2, 3), held_out_places=["map00", "map99"])
