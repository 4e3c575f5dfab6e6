"""Bags of ROS 1 and ROS 2 as recordings: images of one topic, planar poses of another; ROS is not needed.

Opening a bag passes over its messages once and keeps times and poses; images are read again, in order, when
they are asked for, so that memory does not grow with a bag's length.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from math import pi
from pathlib import Path

import numpy as np

from data_tools.formats.bag_files import find_bags
from data_tools.formats.bag_index import BagImages, BagIndex, Clock
from data_tools.formats.bag_messages import IMAGE_TYPES, POSE_TYPES, TRANSFORM_TYPES
from data_tools.formats.bag_scan import ScannedBag
from data_tools.formats.bag_source import BagSource, IndexedBag, Topic, UnreadableBagError, require_rosbags
from data_tools.planar import Forward, WorldUp, planar_poses, quaternion_matrices
from data_tools.pose import wrap_angle
from data_tools.recording import PoseTrack, Recording
from data_tools.trajectory import Skipped


@dataclass(frozen=True, kw_only=True)
class BagTopics:
    """Which topics of a bag are read; of several, the first that the bag has messages of."""

    images: list[str]
    poses: list[str] = field(default_factory=list)
    """Odometry, stamped poses or transforms; none reads plain video."""
    frame: str | None = None
    """For topics of transforms (`/tf`): the world's frame. Chains of transforms are not followed."""
    child_frame: str | None = None
    """For topics of transforms: the robot's frame."""
    up: WorldUp = WorldUp.z
    forward: Forward = Forward.x
    yaw_offset_rad: float = 0.0
    """Added to every heading [rad], where the body's axes are turned against the robot."""
    clock: Clock = Clock.header

    def __post_init__(self) -> None:
        if not self.images:
            raise ValueError("needed at least one topic of images, got none; name it in `images`")


class KnownTopics(Enum):
    """Topics of public sets, as Navigation World Models' data were made: by NoMaD's `process_bags`.

    Source: train/vint_train/process_data/process_bags_config.yaml of robodhruv/visualnav-transformer at
    commit 942a6a3. They are those of SCAND's wheeled robot; its legged one has others.
    """

    scand = BagTopics(
        images=["/image_raw/compressed", "/camera/rgb/image_raw/compressed"],
        poses=["/odom", "/jackal_velocity_controller/odom"],
    )
    sacson = BagTopics(images=["/fisheye_image/compressed"], poses=["/odometry"])  # also called HuRoN
    tartan_drive = BagTopics(
        images=["/multisense/left/image_rect_color"],
        poses=["/odometry/filtered_odom"],
        yaw_offset_rad=pi / 2,  # `ang_offset` there
    )


class UnknownTopicsError(ValueError):
    """A bag that has none of the topics that were asked for."""


def read_bags(path: Path, *, topics: BagTopics, place: str | None = None) -> Iterator[Recording | Skipped]:
    """Read a bag, or all bags in a folder and the folders below, one recording each.

    A recording is named after its bag; its `faults` say what the bag lacks. Bags that have none of the topics
    come last.

    Args:
        path: A `.bag`, `.mcap` or `.db3` file, a folder with `metadata.yaml`, or a folder with many of these.
        topics: What is read of each bag.
        place: Where it was recorded; None takes the name of the folder that the bag is in.

    Returns:
        Recordings by path, and the bags that were skipped with the reason.

    Raises:
        FileNotFoundError: There is no bag.
        ImportError: The library rosbags is not installed.
        ValueError: The file is no bag, or (at the end of the iteration) no bag has the topics.
    """
    require_rosbags()
    return _read_all(find_bags(path), topics=topics, place=place)


def _read_all(
    bags: Sequence[tuple[Path, str]], *, topics: BagTopics, place: str | None
) -> Iterator[Recording | Skipped]:
    without: list[Skipped] = []
    for path, name in bags:
        try:
            yield _read_bag(path, name=name, place=place or path.resolve().parent.name, topics=topics)
        except UnknownTopicsError as error:
            without.append(Skipped(path, str(error)))
        except (ValueError, OSError) as error:
            yield Skipped(path, str(error))
    if without and len(without) == len(bags):
        others = f"; nor has any of the other {len(bags) - 1} bags" if len(bags) > 1 else ""
        raise UnknownTopicsError(without[0].reason + others)
    yield from without


def _read_bag(path: Path, *, name: str, place: str, topics: BagTopics) -> Recording:
    try:
        return _recording(IndexedBag(path), name=name, place=place, topics=topics)
    except UnreadableBagError as error:
        scanned = ScannedBag(path, because=str(error))
        return _recording(scanned, name=name, place=place, topics=topics)


def _recording(source: BagSource, *, name: str, place: str, topics: BagTopics) -> Recording:
    images = _choose(source, topics.images, IMAGE_TYPES, name)
    poses = _choose(source, topics.poses, POSE_TYPES, name) if topics.poses else None
    if poses and poses.type_name in TRANSFORM_TYPES and None in (topics.frame, topics.child_frame):
        raise UnknownTopicsError(
            f"{poses.name} of bag {name!r} holds transforms; say which with `frame` and `child_frame`"
        )
    index = BagIndex(images, poses, clock=topics.clock, frame=topics.frame, child_frame=topics.child_frame)
    for message in source.messages([topic.name for topic in (images, poses) if topic]):
        index.add(message)
    for topic, num_read in ((images, len(index.image_numbers)), (poses, len(index.pose_times_s))):
        if topic and num_read == 0:
            reason = (
                "; ".join(index.faults) or f"no transform leads from {topics.frame} to {topics.child_frame}"
            )
            raise ValueError(f"bag {name!r} holds nothing on {topic.name} that can be used: {reason}")
    return Recording(
        name=name,
        place=place,
        images=BagImages(
            source=source,
            topic=images,
            received_ns=index.received_ns,
            numbers=index.image_numbers,
            bag=name,
        ),
        image_times_s=index.image_times_s,
        track=_track(index, topics) if poses else None,
        faults=(*source.faults, *index.faults),
    )


def _choose(source: BagSource, names: Sequence[str], types: Sequence[str], bag: str) -> Topic:
    """Return the first topic with messages of one of the types; UnknownTopicsError lists what there is."""
    filled = {topic.name.strip("/"): topic for topic in source.topics if topic.num_messages > 0}
    found = [filled[name.strip("/")] for name in names if name.strip("/") in filled]
    for topic in found:
        if topic.type_name in types:
            return topic
    listed = [topic for topic in filled.values() if topic.type_name in (*IMAGE_TYPES, *POSE_TYPES)]
    described = ", ".join(f"{each.name} ({each.type_name})" for each in dict.fromkeys([*found, *listed]))
    raise UnknownTopicsError(
        f"bag {bag!r} has no messages of type {', '.join(types)} on {' or '.join(names)}; "
        f"it has {described or 'no images or poses at all'}"
    )


def _track(index: BagIndex, topics: BagTopics) -> PoseTrack:
    with np.errstate(over="ignore"):  # damaged numbers: a length that overflows gives a heading of NaN
        rotations = quaternion_matrices(index.poses[:, 3:])
    poses = planar_poses(index.poses[:, :3], rotations, up=topics.up, forward=topics.forward)
    poses[:, 2] = wrap_angle(poses[:, 2] + topics.yaw_offset_rad)
    return PoseTrack(index.pose_times_s, poses)
