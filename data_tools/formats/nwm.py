"""The sets of Navigation World Models: folders of `0.jpg, 1.jpg, ...` and `traj_data.pkl`, 4 frames a second.

The folder of one trajectory is also our own format, so `read_trajectory` reads it; here is what a set adds:
the lists of names that say which trajectories are for training and for tests, and the unit of its scores.
"""

from collections.abc import Sequence
from pathlib import Path

from data_tools.trajectory import ReadReport, read_folders, read_trajectories

PERIOD_S = 0.25
"""Time between frames [s]: the folders hold no times."""
SPACING_M = {"recon": 0.25, "scand": 0.38, "tartan_drive": 0.72, "go_stanford": 0.12, "sacson": 0.255}
"""Unit of the published ATE and RPE [m], from `data_config.yaml` of the public code.

It is a constant there, near to but not the mean step length of the recordings (`Trajectory.spacing_m`).
"""


def read_names(path: Path) -> list[str]:
    """Read trajectory names, one a line, as `data_splits/<set>/<part>/traj_names.txt` holds them."""
    names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    unusable = [name for name in names if name.startswith(".") or "/" in name or "\\" in name]
    if not names or unusable:
        raise ValueError(
            f"{path} should hold one folder name a line; "
            + (f"{unusable[0]!r} is not one" if unusable else "it holds none")
        )
    return names


def read_nwm(root: Path, *, names: Sequence[str] | None = None, period_s: float = PERIOD_S) -> ReadReport:
    """Open the trajectories of a set, or those of its `names` in that order.

    `period_s` [s] is the time between frames, which the folders do not hold. Trajectories that are missing or
    not whole are skipped and listed with the reason. The place of each is the name of the set's folder,
    unless the trajectory has an info.json that says another.
    """
    if names is None:
        return read_trajectories(root, period_s=period_s)
    return read_folders([root / name for name in names], period_s=period_s)
