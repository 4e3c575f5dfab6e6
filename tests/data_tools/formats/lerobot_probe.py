"""Runs where LeRobot is installed and imports nothing of ours: opens a data set, or writes one.

Usage: python lerobot_probe.py open ROOT OUT.npz
       python lerobot_probe.py write ROOT IN.npz
"""

import sys
from typing import Any

import numpy as np

FPS = 10


def to_images(frames: Any) -> np.ndarray:
    """Return frames of LeRobot, channel first and in [0, 1], as bytes, channel last."""
    return np.round(frames.numpy() * 255).astype(np.uint8).transpose(1, 2, 0)


def open_set(root: str, out: str) -> None:
    """Iterate over a set and save what LeRobot makes of it."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset  # pyright: ignore

    dataset = LeRobotDataset("worldnav/set", root=root, video_backend="pyav")
    items = [dataset[index] for index in range(len(dataset))]
    (camera,) = dataset.meta.camera_keys
    keys = ["observation.state", "action", "timestamp", "episode_index"]
    found: dict[str, Any] = {key: np.stack([item[key].numpy() for item in items]) for key in keys}
    found["images"] = np.stack([to_images(item[camera]) for item in items])
    found["tasks"] = np.array([item["task"] for item in items])
    found["num_episodes"], found["fps"] = dataset.num_episodes, dataset.fps
    found["state_mean"] = dataset.meta.stats["observation.state"]["mean"]
    found["image_std"] = dataset.meta.stats[camera]["std"]

    # A window around a frame of the second episode: LeRobot decodes several frames at once.
    period_s = 1 / dataset.fps
    deltas = {camera: [-period_s, 0.0, period_s], "action": [0.0, period_s]}
    windows = LeRobotDataset("worldnav/set", root=root, video_backend="pyav", delta_timestamps=deltas)
    middle = windows[int(np.flatnonzero(found["episode_index"] == 1)[2])]
    found["window_images"] = np.stack([to_images(frame) for frame in middle[camera]])
    found["window_actions"] = middle["action"].numpy()

    # One episode alone, as training on a part of a set does.
    part = LeRobotDataset("worldnav/set", root=root, video_backend="pyav", episodes=[1])
    found["part_images"] = np.stack([to_images(part[index][camera]) for index in range(len(part))])
    np.savez(out, **found)


def write_set(root: str, source: str) -> None:
    """Write a set of two episodes, the second with another task."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset  # pyright: ignore

    given = np.load(source)
    height, width = given["images"].shape[1:3]
    features = {
        "observation.images.top": {
            "dtype": "video",
            "shape": (height, width, 3),
            "names": ["height", "width", "channels"],
        },
        "observation.image": {
            "dtype": "image",
            "shape": (height, width, 3),
            "names": ["height", "width", "channels"],
        },
        "observation.state": {"dtype": "float32", "shape": (3,), "names": ["x", "y", "yaw"]},
        "action": {"dtype": "float32", "shape": (2,), "names": ["forward", "turn"]},
    }
    dataset = LeRobotDataset.create("worldnav/theirs", fps=FPS, features=features, root=root)
    for episode, task in enumerate(["go", "stop"]):
        for index in np.flatnonzero(given["episodes"] == episode):
            dataset.add_frame(
                {
                    "observation.images.top": given["images"][index],
                    "observation.image": given["images"][index],
                    "observation.state": given["states"][index],
                    "action": np.array([1, index], dtype=np.float32),
                    "task": task,
                }
            )
        dataset.save_episode()
    dataset.finalize()


if __name__ == "__main__":
    {"open": open_set, "write": write_set}[sys.argv[1]](*sys.argv[2:])
