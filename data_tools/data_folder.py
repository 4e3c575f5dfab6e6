"""Data folder: the trajectories that a command works on; what cannot be read is named and counted."""

import sys
from pathlib import Path

from data_tools.formats.nwm import read_names
from data_tools.trajectory import ReadReport, Trajectory, read_folders, read_trajectories


def open_data(
    folder: Path, *, names: Path | None = None, period_s: float | None = None
) -> tuple[Trajectory, ...]:
    """Open the trajectories of a folder, after saying on stderr what was skipped and why.

    `names` is a file of names, one a line, and chooses among them; `period_s` is the time between frames [s]
    of folders that hold no times. ValueError if nothing is left.
    """
    report = _read(folder, names, period_s)
    for skipped in report.skipped:
        print(f"skipped {skipped.folder}: {skipped.reason}", file=sys.stderr)
    print(f"{folder}: {len(report.trajectories)} trajectories, {report.num_skipped} skipped", file=sys.stderr)
    if not report.trajectories:
        reason = f"; the first was skipped because {report.skipped[0].reason}" if report.skipped else ""
        raise ValueError(f"{folder} holds no trajectory that can be read{reason}")
    return report.trajectories


def _read(folder: Path, names: Path | None, period_s: float | None) -> ReadReport:
    if names is None:
        return read_trajectories(folder, period_s=period_s)
    return read_folders([folder / name for name in read_names(names)], period_s=period_s)
