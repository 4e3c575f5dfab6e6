import pickle
from pathlib import Path

import numpy as np
import pytest

from data_tools.pose_file import POSE_FILE, read_poses, write_poses


def test_poses_read_back_bit_for_bit(tmp_path: Path):
    poses = np.random.default_rng(0).normal(size=(7, 3)) * 1e3
    write_poses(poses, tmp_path)
    assert read_poses(tmp_path).tobytes() == poses.tobytes()


def test_whole_numbers_are_poses_too(tmp_path: Path):
    content = {"position": np.array([[1, 2], [3, 4]], np.int16), "yaw": np.array([[0], [1]], np.uint8)}
    (tmp_path / POSE_FILE).write_bytes(pickle.dumps(content))
    np.testing.assert_array_equal(read_poses(tmp_path), [[1.0, 2.0, 0.0], [3.0, 4.0, 1.0]])


def test_other_contents_are_named(tmp_path: Path):
    (tmp_path / POSE_FILE).write_bytes(pickle.dumps({"pos": np.zeros(3)}))
    with pytest.raises(ValueError, match=r"needs a dict with `position` and `yaw`; it holds .*\['pos'"):
        read_poses(tmp_path)
