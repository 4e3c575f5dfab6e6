"""Recordings: the trajectories of some folders; what cannot be read is named with its reason, and counted."""

import sys
from collections.abc import Sequence
from pathlib import Path

from data_tools.trajectory import Trajectory, read_trajectories


def open_recordings(folders: Sequence[str]) -> list[Trajectory]:
    """Return all trajectories in these folders, after saying on stderr what was skipped and why."""
    trajectories: list[Trajectory] = []
    for folder in folders:
        report = read_trajectories(Path(folder))
        trajectories += report.trajectories
        for skipped in report.skipped:
            print(f"skipped {skipped.folder}: {skipped.reason}", file=sys.stderr)
        print(
            f"{folder}: {len(report.trajectories)} trajectories, {report.num_skipped} skipped",
            file=sys.stderr,
        )
    return trajectories
