"""Sources: which reader opens a folder or file, and with what settings."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path

from omegaconf import MISSING

from data_tools.formats.bags import BagTopics, KnownTopics, read_bags
from data_tools.formats.lerobot import LeRobotKeys, read_lerobot
from data_tools.formats.nwm import PERIOD_S, read_names, read_nwm
from data_tools.formats.pose_table import (
    KITTI,
    TARTAN_AIR,
    TARTAN_DRIVE,
    TUM,
    KittiForm,
    TumForm,
    read_kitti,
    read_tum,
)
from data_tools.formats.recon import RECON, ReconKeys, read_recon
from data_tools.formats.video import VIDEO, VideoForm, read_videos
from data_tools.frames import FrameFiles
from data_tools.recording import EncodedFiles, PoseTrack, Recording
from data_tools.trajectory import ReadReport, Skipped


class SourceKind(Enum):
    """The form that recordings are in; settings of each are beside it in the configuration."""

    nwm = "nwm"  # folders of NWM, GNM and ViNT: 0.jpg, 1.jpg, ... and traj_data.pkl; and our own
    recon = "recon"  # RECON's HDF5 files
    bags = "bags"  # ROS 1 and ROS 2 bags, topics by configuration
    scand = "scand"  # ... with the topics of SCAND
    sacson = "sacson"  # ... of SACSoN / HuRoN
    tartan_drive = "tartan_drive"  # ... of TartanDrive
    kitti = "kitti"  # images, a pose a row, times: KITTI odometry
    tartan_drive_kitti = "tartan_drive_kitti"  # ... as TartanDrive 2.0 is downloaded
    tartan_air = "tartan_air"  # ... of TartanAir
    tum = "tum"  # lists of images and poses with a time in each row: TUM RGB-D
    video = "video"  # video files, with poses beside them or without
    lerobot = "lerobot"  # LeRobot v3


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
    bags: BagTopics = field(
        default_factory=lambda: BagTopics(
            images=["/camera/image_raw/compressed", "/camera/image_raw"], poses=["/odom"]
        )
    )
    recon: ReconKeys = RECON
    kitti: KittiForm = KITTI
    tum: TumForm = TUM
    video: VideoForm = VIDEO
    lerobot: LeRobotKeys = field(default_factory=LeRobotKeys)


def open_source(config: SourceConfig) -> Iterator[Recording | Skipped]:
    """Open the recordings of a source one after the other; those that cannot be opened come as `Skipped`."""
    path, place = Path(config.data), config.place
    if not path.exists():
        raise FileNotFoundError(f"data={path} does not exist")
    match config.source:
        case SourceKind.nwm:
            names = None if config.names is None else read_names(Path(config.names))
            items = _recordings_of(read_nwm(path, names=names, period_s=config.source_period_s), place)
        case SourceKind.recon:
            items = read_recon(path, keys=config.recon, place=place)
        case SourceKind.bags | SourceKind.scand | SourceKind.sacson | SourceKind.tartan_drive as kind:
            topics = config.bags if kind is SourceKind.bags else KnownTopics[kind.name].value
            items = read_bags(path, topics=topics, place=place)
        case SourceKind.kitti | SourceKind.tartan_drive_kitti | SourceKind.tartan_air as kind:
            forms = {SourceKind.tartan_drive_kitti: TARTAN_DRIVE, SourceKind.tartan_air: TARTAN_AIR}
            items = read_kitti(path, form=forms.get(kind, config.kitti), place=place)
        case SourceKind.tum:
            items = read_tum(path, form=config.tum, place=place)
        case SourceKind.video:
            items = read_videos(path, form=config.video, place=place)
        case SourceKind.lerobot:
            items = _placed(read_lerobot(path, keys=config.lerobot), place)
    return items


def _placed(items: Iterator[Recording | Skipped], place: str | None) -> Iterator[Recording | Skipped]:
    for item in items:
        yield replace(item, place=place) if place and isinstance(item, Recording) else item


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
