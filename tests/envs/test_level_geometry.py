import math

import numpy as np
import pytest

from envs.level_geometry import read_geometry, walkable_map


@pytest.fixture(scope="module")
def geometry():
    return read_geometry("map01")


def test_the_start_pose_is_that_of_the_level(geometry):
    assert geometry.start_pose == pytest.approx([-6.0, -6.0, 0.0])


def test_the_edges_of_every_sector_close(geometry):
    for sector in geometry.sectors:
        _, counts = np.unique(sector.lines.reshape(-1, 2), axis=0, return_counts=True)
        assert (counts % 2 == 0).all()


def test_every_line_that_does_not_block_joins_two_sectors(geometry):
    passages = np.concatenate([sector.lines[~sector.is_blocking] for sector in geometry.sectors])
    _, counts = np.unique(passages, axis=0, return_counts=True)
    assert (counts == 2).all()


def test_obstacles_have_the_width_of_their_kind(geometry):
    assert len(geometry.obstacles)
    assert (geometry.obstacles[:, 2] > 0.3).all()
    assert (geometry.obstacles[:, 2] <= 1.0).all()


def test_one_can_walk_from_the_start_through_most_of_the_level(geometry):
    walkable = walkable_map("map01")
    assert walkable.is_walkable(geometry.start_pose[:2])
    num_places = np.count_nonzero(walkable.component == walkable.largest_component)
    assert num_places * walkable.spacing_m**2 > 1000
    assert math.isfinite(walkable.distance_field(geometry.start_pose[:2]).node_distance_m.min())


def test_a_map_is_kept():
    assert walkable_map("map01") is walkable_map("map01")
