"""Pose file: the positions and yaws of one recording in `traj_data.pkl`, Navigation World Models' form."""

import pickle
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from data_tools.safe_pickle import load_pickle

POSE_FILE = "traj_data.pkl"


def write_poses(poses: Float64[np.ndarray, "frame 3"], folder: Path) -> None:
    """Write poses (x, y, yaw) [m, m, rad] into a folder, exactly."""
    # Copies, so that the pickle holds the two arrays and not the views' base.
    content = {"position": poses[:, :2].copy(), "yaw": poses[:, 2].copy()}
    (folder / POSE_FILE).write_bytes(pickle.dumps(content, protocol=4))


def read_poses(folder: Path) -> Float64[np.ndarray, "frame 3"]:
    """Read the poses of a folder, ours or others'; ValueError or FileNotFoundError says what is wrong."""
    path = folder / POSE_FILE
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing; it holds the positions and yaws of the recording")
    content = load_pickle(path)
    if not isinstance(content, dict) or not {"position", "yaw"} <= content.keys():
        raise ValueError(f"{path} needs a dict with `position` and `yaw`; it holds {_describe(content)}")
    position, yaw_rad = (_real_numbers(content[name], f"{path}: {name}") for name in ("position", "yaw"))
    if yaw_rad.ndim == 2 and yaw_rad.shape[1] == 1:  # some sets hold a column
        yaw_rad = yaw_rad[:, 0]
    if position.ndim != 2 or position.shape[1] != 2 or yaw_rad.ndim != 1:
        raise ValueError(
            f"{path} needs position [frame, 2] and yaw [frame]; it holds {list(position.shape)} "
            f"and {list(yaw_rad.shape)}"
        )
    if len(position) != len(yaw_rad):
        raise ValueError(f"{path}: lengths disagree: {len(position)} positions, {len(yaw_rad)} yaws")
    return np.column_stack([position, yaw_rad])


def _real_numbers(value: object, what: str) -> Float64[np.ndarray, "..."]:
    # Lists are not converted: a few hundred bytes can hold one that mentions itself a billion times over.
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu":
        came = f"an array of {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__
        raise ValueError(f"{what} must be an array of real numbers; it is {came}")
    return value.astype(np.float64)


def _describe(content: object) -> str:
    return f"a dict with {sorted(map(str, content))}" if isinstance(content, dict) else type(content).__name__
