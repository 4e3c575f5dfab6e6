"""Export of trajectories as a LeRobot data set: the command.

Usage: python -m data_tools.export_lerobot data=recordings out=outputs/lerobot

The set appears whole or not at all. Trajectories that cannot be read are named on stderr and left out; one
that does not fit into the set, such as one of uneven times, stops the export.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import hydra
import numpy as np
from omegaconf import MISSING, DictConfig
from rich.console import Console
from rich.progress import track

from data_tools.config import store, to_object
from data_tools.formats.lerobot_writer import WrittenSet, write_lerobot
from data_tools.trajectory import Trajectory, read_trajectories


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """What is exported, and what the set says of it."""

    data: str = MISSING
    """Folder of trajectories."""
    out: str = MISSING
    """Folder of the new data set."""
    fps: float | None = None
    """Frames a second; None takes the mean rate of the first trajectory."""
    retime: bool = False
    """Give frames the times of an even rate, which LeRobot needs to a tenth of a millisecond and cameras do
    not keep; poses stay those of the frames. One that would move by half a period or more stops it."""
    robot_type: str = "mobile_robot"
    task: str = "navigate"
    """Of frames that no instruction is about."""


def run(config: ExportConfig) -> WrittenSet:
    """Export what can be read, after saying on stderr what cannot."""
    report = read_trajectories(Path(config.data))
    for skipped in report.skipped:
        print(f"skipped {skipped.folder}: {skipped.reason}", file=sys.stderr)
    if not report.trajectories:
        raise ValueError(f"{config.data} holds no trajectory that can be read; {report.num_skipped} skipped")
    console = Console(stderr=True)
    fps = mean_rate(report.trajectories[0]) if config.fps is None else config.fps
    given = report.trajectories
    trajectories = track(
        [retimed(each, fps=fps) for each in given] if config.retime else given,
        "writing episodes",
        console=console,
        disable=not console.is_terminal,
    )
    return write_lerobot(
        trajectories,
        Path(config.out),
        fps=fps,
        robot_type=config.robot_type,
        task=config.task,
    )


def retimed(trajectory: Trajectory, *, fps: float) -> Trajectory:
    """Return a trajectory at an even rate; ValueError if a frame would move by half a period or more."""
    even_s = trajectory.times_s[0] + np.arange(trajectory.num_frames) / fps
    furthest_s = float(np.abs(even_s - trajectory.times_s).max())
    if furthest_s >= 0.5 / fps:
        raise ValueError(
            f"trajectory {trajectory.name!r} has a frame {furthest_s:.3g} s away from its time at {fps:g} "
            "frames a second; give the rate that all trajectories have, or leave this one out"
        )
    return replace(trajectory, times_s=even_s)


def mean_rate(trajectory: Trajectory) -> float:
    """Return the mean number of frames a second; ValueError for a single frame."""
    if trajectory.num_frames < 2:
        raise ValueError(f"trajectory {trajectory.name!r} has one frame and thus no rate; say it with `fps`")
    return (trajectory.num_frames - 1) / float(trajectory.times_s[-1] - trajectory.times_s[0])


@hydra.main(version_base=None, config_path="conf", config_name="export_lerobot")
def main(node: DictConfig) -> None:
    """Export, and say what was written."""
    written = run(to_object(node, ExportConfig))
    counts = f"{written.num_episodes} episodes, {written.num_frames} frames, {written.num_tasks} tasks"
    print(f"{written.root}: {counts}")


store("export_lerobot_schema", ExportConfig)

if __name__ == "__main__":
    main()
