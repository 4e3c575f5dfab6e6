"""Sources: which reader opens a folder or file, and with what settings."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from omegaconf import MISSING

from data_tools.formats.nwm import PERIOD_S, read_names, read_nwm
from data_tools.frames import FrameFiles
from data_tools.recording import EncodedFiles, PoseTrack, Recording
from data_tools.trajectory import ReadReport, Skipped


class SourceKind(Enum):
    """The form that recordings are in."""

    nwm = "nwm"
    """Folders of NWM, GNM and ViNT: 0.jpg, 1.jpg, ... and traj_data.pkl; and our own."""


@dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """Where recordings are, and in what form."""

    source: SourceKind = MISSING
    data: str = MISSING
    """File or folder."""
    place: str | None = None
    """What all recordings are said to be from; None takes what the source says, as a rule a folder's name."""
    names: str | None = None
    """nwm: file with the names of the trajectories to take (traj_names.txt)."""
    source_period_s: float = PERIOD_S
    """nwm: time between frames [s], which its folders do not hold."""


def open_source(config: SourceConfig) -> Iterator[Recording | Skipped]:
    """Open the recordings of a source one after the other; those that cannot be opened come as `Skipped`."""
    path = Path(config.data)
    if not path.exists():
        raise FileNotFoundError(f"data={path} does not exist")
    match config.source:
        case SourceKind.nwm:
            names = None if config.names is None else read_names(Path(config.names))
            return _recordings_of(read_nwm(path, names=names, period_s=config.source_period_s), config.place)


def _recordings_of(report: ReadReport, place: str | None) -> Iterator[Recording | Skipped]:
    yield from report.skipped
    for trajectory in report.trajectories:
        assert isinstance(trajectory.frames, FrameFiles)
        poses = trajectory.poses
        yield Recording(
            name=trajectory.name,
            place=place or trajectory.place,
            images=EncodedFiles(trajectory.frames.paths),
            image_times_s=trajectory.times_s,
            track=None if poses is None else PoseTrack(trajectory.times_s, poses),
        )
