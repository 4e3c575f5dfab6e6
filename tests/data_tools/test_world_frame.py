from dataclasses import replace

import pytest

from data_tools.world_frame import WorldFrame, world_of
from tests.data_tools.recordings import drive


@pytest.mark.parametrize(
    ("frame", "num_worlds"), [(WorldFrame.shared, 1), (WorldFrame.by_place, 2), (WorldFrame.own, 4)]
)
def test_worlds_are_as_many_as_can_be_compared(frame: WorldFrame, num_worlds: int):
    trajectories = [replace(drive(7, seed=seed), place=place) for seed in (1, 2) for place in ("a", "b")]
    assert len({world_of(each, frame) for each in trajectories}) == num_worlds
