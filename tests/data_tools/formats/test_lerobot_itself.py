"""LeRobot itself opens what is written here, and what it writes is read here.

It needs other versions of libraries than this package, so it runs in an interpreter of its own, which the
environment variable WORLDNAV_LEROBOT_PYTHON names.
"""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from data_tools.formats.lerobot import LeRobotKeys, read_lerobot
from data_tools.formats.lerobot_writer import write_lerobot
from data_tools.pose import displacement_between
from data_tools.recording import EncodedImage, Recording
from tests.data_tools.formats import lerobot_probe
from tests.data_tools.formats.lerobot_sets import FPS, MAX_ERROR, all_images, drives, error_of

PYTHON = os.environ.get("WORLDNAV_LEROBOT_PYTHON")

pytestmark = pytest.mark.skipif(
    PYTHON is None,
    reason="WORLDNAV_LEROBOT_PYTHON names no interpreter with LeRobot (pip install 'lerobot[dataset]')",
)


def run_probe(task: str, folder: Path, root: Path, file: Path) -> None:
    assert PYTHON is not None
    caches = {"HF_HOME": str(folder / "cache"), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [PYTHON, lerobot_probe.__file__, task, str(root), str(file)]
    run = subprocess.run(command, env=kept | caches, capture_output=True, text=True, check=False, timeout=600)
    assert run.returncode == 0, run.stderr[-3000:]


def test_lerobot_opens_what_is_written(tmp_path: Path):
    written = drives()
    write_lerobot(written, tmp_path / "set", fps=FPS, robot_type="walker", task="explore")
    run_probe("open", tmp_path, tmp_path / "set", tmp_path / "found.npz")
    found = np.load(tmp_path / "found.npz")

    states = np.concatenate([each.poses for each in written if each.poses is not None]).astype(np.float32)
    images = np.concatenate([np.asarray(each.frames) for each in written])
    assert (int(found["num_episodes"]), float(found["fps"])) == (3, FPS)
    np.testing.assert_array_equal(found["observation.state"], states)
    np.testing.assert_array_equal(found["episode_index"], [0] * 7 + [1] * 5 + [2] * 11)
    np.testing.assert_array_equal(found["timestamp"][7:12], (np.arange(5) / FPS).astype(np.float32))
    assert found["tasks"][7:12].tolist() == ["explore", "go 1 m", "go 1 m", "turn", "explore"]
    assert error_of(found["images"], images) < MAX_ERROR
    assert error_of(found["window_images"], images[8:11]) < MAX_ERROR
    assert error_of(found["part_images"], images[7:12]) < MAX_ERROR
    poses = written[1].poses
    assert poses is not None
    np.testing.assert_allclose(
        found["window_actions"][:, :3], displacement_between(poses[2:4], poses[3:5]), atol=1e-6
    )
    np.testing.assert_allclose(found["state_mean"], states.astype(np.float64).mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(found["image_std"].ravel(), (images / 255).std(axis=(0, 1, 2)), rtol=1e-6)

    # Both decode the same film alike, so what is read here is what LeRobot trains on.
    recordings = [
        each for each in read_lerobot(tmp_path / "set", keys=LeRobotKeys()) if isinstance(each, Recording)
    ]
    ours = np.concatenate([all_images(each.images) for each in recordings])
    assert np.abs(ours.astype(int) - found["images"]).max() <= 1


def test_what_lerobot_writes_is_read(tmp_path: Path):
    first, _, second = drives()
    images = np.concatenate([np.asarray(first.frames), np.asarray(second.frames)])
    states = np.random.default_rng(0).normal(size=(18, 3)).astype(np.float32)
    episodes = np.repeat([0, 1], [7, 11])
    np.savez(tmp_path / "given.npz", images=images, states=states, episodes=episodes)
    run_probe("write", tmp_path, tmp_path / "theirs", tmp_path / "given.npz")

    read = [
        each for each in read_lerobot(tmp_path / "theirs", keys=LeRobotKeys()) if isinstance(each, Recording)
    ]
    assert [(each.name, each.place, len(each.images), each.faults) for each in read] == [
        ("theirs_episode_000000", "theirs", 7, ()),
        ("theirs_episode_000001", "theirs", 11, ()),
    ]
    for episode, recording in enumerate(read):
        assert recording.track is not None
        np.testing.assert_array_equal(recording.track.poses, states[episodes == episode])
        np.testing.assert_array_equal(recording.image_times_s, np.arange(len(recording.images)) / 10)
        # LeRobot compresses more than we do.
        assert error_of(all_images(recording.images), images[episodes == episode]) < 3 * MAX_ERROR
    in_rows = list(read_lerobot(tmp_path / "theirs", keys=LeRobotKeys(camera="observation.image")))
    assert isinstance(in_rows[1], Recording)
    decoded = [
        image.decode() for image in in_rows[1].images.select(range(11)) if isinstance(image, EncodedImage)
    ]
    np.testing.assert_array_equal(np.stack(decoded), images[episodes == 1])
