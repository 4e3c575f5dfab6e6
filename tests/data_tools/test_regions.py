from dataclasses import replace

import numpy as np
import pytest

from data_tools.regions import RegionConfig, split_by_region
from data_tools.stretches import Stretch
from data_tools.trajectory import Trajectory
from data_tools.world_frame import WorldFrame
from tests.data_tools.recordings import drive


def walk(name: str, positions: np.ndarray, *, place: str = "course") -> Trajectory:
    poses = np.column_stack([positions, np.zeros(len(positions))])
    return replace(drive(len(poses), seed=1, with_texts=False), name=name, place=place, poses=poses)


def walks(number: int, *, seed: int = 0) -> list[Trajectory]:
    """Drives that cross one another all the time."""
    rng = np.random.default_rng(seed)
    return [
        walk(
            f"w{index}", np.cumsum(rng.normal(size=(rng.integers(60, 200), 2)), axis=0), place=f"p{index % 2}"
        )
        for index in range(number)
    ]


def positions(
    stretches: tuple[Stretch, ...], trajectories: list[Trajectory], place: str | None
) -> np.ndarray:
    by_name = {each.name: each for each in trajectories if place in (None, each.place)}
    parts = [
        poses[each.start : each.stop, :2]
        for each in stretches
        if each.source in by_name and (poses := by_name[each.source].poses) is not None
    ]
    return np.concatenate(parts)


def test_a_drive_by_hand():
    """Along a line, a frame a metre: with any centre, the guard takes 3 frames beside a disc of 25."""
    line = walk("line", np.column_stack([np.arange(100.0), np.zeros(100)]))
    for seed in range(5):
        split = split_by_region(
            [line],
            config=RegionConfig(guard_m=3.0),
            frame=WorldFrame.shared,
            seed=seed,
            held_out_fraction=0.25,
        )
        (region,) = split.regions
        held_out = np.flatnonzero(np.abs(np.arange(100) - region.x_m) <= region.radius_m)
        assert 25 <= len(held_out) <= 26  # two frames may be equally far
        first, last = int(held_out[0]), int(held_out[-1])
        assert split.held_out == (Stretch("line", first, last + 1),)
        sides = [Stretch("line", 0, first - 3), Stretch("line", last + 4, 100)]
        lengths = [max(0, each.stop - each.start) for each in sides]
        assert split.train == tuple(each for each, n in zip(sides, lengths, strict=True) if n >= 12)
        assert split.num_short_frames == sum(n for n in lengths if n < 12)
        assert split.num_guard_frames == min(3, first) + min(3, 99 - last)


@pytest.mark.parametrize("frame", [WorldFrame.shared, WorldFrame.by_place])
@pytest.mark.parametrize("num_regions", [1, 3])
@pytest.mark.parametrize("guard_m", [0.0, 0.5, 2.0])
def test_no_held_out_position_lies_within_the_guard_of_a_training_position(
    frame: WorldFrame, num_regions: int, guard_m: float
):
    trajectories = walks(9)
    config = RegionConfig(guard_m=guard_m, num_regions=num_regions, min_frames=1)
    split = split_by_region(trajectories, config=config, frame=frame, seed=2, held_out_fraction=0.2)
    places = [None] if frame is WorldFrame.shared else ["p0", "p1"]
    num_held_out = 0
    for place in places:
        held_out, train = (positions(side, trajectories, place) for side in (split.held_out, split.train))
        distances_m = np.linalg.norm(held_out[:, None] - train[None], axis=-1)
        assert distances_m.min() > guard_m
        num_held_out += len(held_out)
        num_frames = sum(each.num_frames for each in trajectories if place in (None, each.place))
        assert len(held_out) == np.ceil(0.2 * num_frames)
    assert len(split.regions) == num_regions * len(places)
    total = sum(each.num_frames for each in trajectories)
    num_train = sum(each.stop - each.start for each in split.train)
    assert split.num_short_frames == 0
    assert num_train + num_held_out + split.num_guard_frames == total


def test_stretches_too_short_are_counted_and_the_order_does_not_matter():
    trajectories = walks(9)
    settings = {"frame": WorldFrame.shared, "seed": 2, "held_out_fraction": 0.2}
    every, long = (
        split_by_region(trajectories, config=RegionConfig(min_frames=frames), **settings)  # type: ignore[arg-type]
        for frames in (1, 12)
    )
    kept = [each for each in every.train if each.stop - each.start >= 12]
    assert list(long.train) == kept
    dropped = {*every.train, *every.held_out} - {*long.train, *long.held_out}
    assert long.num_short_frames == sum(each.stop - each.start for each in dropped) > 0
    assert split_by_region(trajectories[::-1], config=RegionConfig(), **settings) == long  # type: ignore[arg-type]
    other = split_by_region(trajectories, config=RegionConfig(), **{**settings, "seed": 3})  # type: ignore[arg-type]
    assert other.regions != long.regions


def test_refuses_what_leaves_a_side_empty_or_cannot_be_compared():
    trajectories = walks(3)

    def split(*, guard_m: float = 0.0, frame: WorldFrame = WorldFrame.shared, fraction: float = 0.2) -> None:
        config = RegionConfig(guard_m=guard_m)
        split_by_region(trajectories, config=config, frame=frame, seed=0, held_out_fraction=fraction)

    with pytest.raises(ValueError, match="it has 0 for training"):
        split(guard_m=1000.0)
    with pytest.raises(ValueError, match="with frame=own nobody's can"):
        split(frame=WorldFrame.own)
    with pytest.raises(ValueError, match=r"between 0 and 1; got 0\.0"):
        split(fraction=0.0)
    with pytest.raises(ValueError, match="guard_m of at least 0"):
        RegionConfig(guard_m=-1.0)
    with pytest.raises(ValueError, match="1 names are shared"):
        split_by_region(
            [trajectories[0]] * 2,
            config=RegionConfig(),
            frame=WorldFrame.shared,
            seed=0,
            held_out_fraction=0.2,
        )
