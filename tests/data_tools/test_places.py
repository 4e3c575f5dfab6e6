from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from scipy.sparse.csgraph import connected_components

from data_tools.places import find_places, positions_of, split_by_places
from data_tools.trajectory import Trajectory
from data_tools.world_frame import WorldFrame
from tests.data_tools.recordings import drive


def at(name: str, *positions: tuple[float, float], place: str = "course") -> Trajectory:
    poses = np.column_stack([np.array(positions, np.float64), np.zeros(len(positions))])
    return replace(drive(len(poses), seed=1, with_texts=False), name=name, place=place, poses=poses)


def names(places: tuple[tuple[Trajectory, ...], ...]) -> list[list[str]]:
    return [[each.name for each in place] for place in places]


CHAIN = [
    at("a", (0.0, 0.0), (3.0, 0.0)),
    at("b", (50.0, 0.0)),
    at("c", (8.0, 0.0), (13.0, 0.0)),  # 5 m from a
    at("d", (13.0, 5.01)),  # 5.01 m from c
    at("e", (13.0, -5.0), (-40.0, -40.0)),  # 5 m from c, and far from a
]


def test_places_are_joined_within_the_radius_and_through_others():
    assert names(find_places(CHAIN, radius_m=5.0, frame=WorldFrame.shared)) == [["a", "c", "e"], ["b"], ["d"]]
    assert names(find_places(CHAIN, radius_m=4.99, frame=WorldFrame.shared)) == [[name] for name in "abcde"]
    assert names(find_places(CHAIN, radius_m=36.0, frame=WorldFrame.shared)) == [["a", "c", "d", "e"], ["b"]]
    assert names(find_places(CHAIN, radius_m=37.0, frame=WorldFrame.shared)) == [["a", "b", "c", "d", "e"]]


@pytest.mark.parametrize("radius_m", [0.3, 1.0, 4.0])
def test_places_agree_with_all_distances(radius_m: float):
    rng = np.random.default_rng(0)
    walks = [
        rng.uniform(-25, 25, size=2) + np.cumsum(rng.normal(size=(length, 2)), axis=0)
        for length in rng.integers(1, 30, size=40)
    ]
    trajectories = [at(f"t{index}", *map(tuple, walk)) for index, walk in enumerate(walks)]
    near = np.eye(len(walks), dtype=bool)
    for (i, one), (j, other) in combinations(enumerate(walks), 2):
        near[i, j] = np.linalg.norm(one[:, None] - other[None], axis=-1).min() <= radius_m
    number, labels = connected_components(near, directed=False)
    assert 1 < number < len(walks)
    found = find_places(trajectories, radius_m=radius_m, frame=WorldFrame.shared)
    expected = {frozenset(f"t{i}" for i in np.flatnonzero(labels == label)) for label in range(number)}
    assert {frozenset(each.name for each in place) for place in found} == expected


def test_positions_are_compared_only_within_one_world():
    trajectories = [at("a", (0, 0)), at("b", (0, 0), place="other"), at("c", (0, 1)), at("d", (99, 0))]
    assert names(find_places(trajectories, radius_m=2.0, frame=WorldFrame.shared)) == [["a", "b", "c"], ["d"]]
    by_place = find_places(trajectories, radius_m=2.0, frame=WorldFrame.by_place)
    assert names(by_place) == [["a", "c"], ["b"], ["d"]]
    video = replace(trajectories[3], poses=None)
    own = find_places([*trajectories[:3], video], radius_m=2.0, frame=WorldFrame.own)
    assert names(own) == [["a", "c", "d"], ["b"]]


def islands(*lengths: int) -> tuple[tuple[Trajectory, ...], ...]:
    trajectories = [at(f"t{index}", *[(100.0 * index, 0.0)] * length) for index, length in enumerate(lengths)]
    return find_places(trajectories, radius_m=5.0, frame=WorldFrame.shared)


def test_no_place_is_on_both_sides_and_nothing_is_lost():
    trajectories = [at(f"t{index}", (float(index % 7) * 100.0, float(index))) for index in range(23)]
    places = find_places(trajectories, radius_m=30.0, frame=WorldFrame.shared)
    assert len(places) == 7
    for seed in range(5):
        split = split_by_places(places, seed=seed, held_out_fraction=0.3)
        train, held_out = (
            {int(each.name[1:]) % 7 for each in side} for side in (split.train, split.held_out)
        )
        assert train | held_out == set(range(7)) and not train & held_out
        assert {*split.train, *split.held_out} == set(trajectories)
        for one in split.train:
            for other in split.held_out:
                assert np.linalg.norm(positions_of(one)[:, None] - positions_of(other), axis=-1).min() > 30.0


def test_the_fraction_is_of_frames_and_the_seed_chooses():
    places = islands(*[10] * 50)
    split = split_by_places(places, seed=0, held_out_fraction=0.3)
    assert len(split.held_out) == 15
    assert split_by_places(places[::-1], seed=0, held_out_fraction=0.3).held_out == split.held_out[::-1]
    assert set(split_by_places(places, seed=1, held_out_fraction=0.3).held_out) != set(split.held_out)
    # All are far above the fraction: the smallest is held out.
    assert [
        each.name for each in split_by_places(islands(9, 5, 7), seed=0, held_out_fraction=0.1).held_out
    ] == ["t1"]


def test_refuses_one_place_and_trajectories_nowhere():
    with pytest.raises(ValueError, match=r"all 3 trajectories are of one.*t0, t1, t2.*by=region"):
        split_by_places(
            (tuple(each for place in islands(1, 2, 3) for each in place),), seed=0, held_out_fraction=0.2
        )
    with pytest.raises(ValueError, match="'drive1' has no poses"):
        find_places([drive(7, seed=1, with_poses=False)], radius_m=1.0, frame=WorldFrame.shared)
    with pytest.raises(ValueError, match=r"above 0; got 0\.0"):
        find_places(CHAIN, radius_m=0.0, frame=WorldFrame.own)
    with pytest.raises(ValueError, match=r"between 0 and 1; got 1\.0"):
        split_by_places(islands(1, 2), seed=0, held_out_fraction=1.0)
