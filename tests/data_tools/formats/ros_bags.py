"""Bags for tests, written by the library that also reads them; their messages made by hand."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Ros2Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

SECOND_NS = 1_000_000_000
START_NS = 1_700_000_000 * SECOND_NS
CAMERA, ODOMETRY = "/camera/image_raw/compressed", "/odom"
LZ4, BZ2 = Ros1Writer.CompressionFormat.LZ4, Ros1Writer.CompressionFormat.BZ2


class Kind(Enum):
    """What is written."""

    ros1 = ".bag"
    sqlite3 = ".db3"
    mcap = ".mcap"


@dataclass(frozen=True)
class Sent:
    """One message of a test's bag."""

    topic: str
    message: Any
    received_ns: int


ROS1 = get_typestore(Stores.ROS1_NOETIC)
ROS2 = get_typestore(Stores.ROS2_HUMBLE)
ROS1.register(get_types_from_msg("geometry_msgs/TransformStamped[] transforms", "tf2_msgs/msg/TFMessage"))
TYPES = ROS2.types


def write_bag(
    path: Path, sent: Sequence[Sent], kind: Kind, *, compression: Ros1Writer.CompressionFormat | None = None
) -> Path:
    """Write a bag and return its path: a file of ROS 1 gets its suffix, a bag of ROS 2 is a folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind is Kind.ros1:
        path = path.with_name(path.name + ".bag")
        writer, store = Ros1Writer(path), ROS1
        if compression is not None:
            writer.set_compression(compression)
        serialise = store.serialize_ros1
    else:
        plugin = StoragePlugin.MCAP if kind is Kind.mcap else StoragePlugin.SQLITE3
        writer, store = Ros2Writer(path, version=9, storage_plugin=plugin), ROS2
        serialise = store.serialize_cdr
    with writer:
        connections = {}
        for each in sent:
            type_name = each.message.__msgtype__
            if each.topic not in connections:
                connections[each.topic] = writer.add_connection(each.topic, type_name, typestore=store)
            if isinstance(each.message, Raw):
                data = each.message.data
            else:
                data = serialise(_with_sequence(each.message, kind), type_name)
            writer.write(connections[each.topic], each.received_ns, data)
    return path


@dataclass(frozen=True)
class Raw:
    """Bytes that are said to be a message of a type, and may be none."""

    data: bytes
    __msgtype__: str = "sensor_msgs/msg/CompressedImage"


def storage_of(folder: Path) -> Path:
    """Return the one storage file of a ROS 2 bag."""
    (path,) = (each for each in folder.iterdir() if each.suffix in (".mcap", ".db3"))
    return path


def header(time_ns: int, frame: str = "world") -> Any:
    """Return a header; `write_bag` gives those of ROS 1 their sequence number."""
    stamp = TYPES["builtin_interfaces/msg/Time"](sec=time_ns // SECOND_NS, nanosec=time_ns % SECOND_NS)
    return TYPES["std_msgs/msg/Header"](stamp=stamp, frame_id=frame)


def jpeg(shade: int, size: tuple[int, int] = (8, 6)) -> bytes:
    """Return a JPEG of one grey."""
    buffer = io.BytesIO()
    Image.new("RGB", size, (shade, shade, shade)).save(buffer, format="JPEG")
    return buffer.getvalue()


def compressed(data: bytes, time_ns: int, *, form: str = "jpeg") -> Any:
    """Return a compressed image."""
    return TYPES["sensor_msgs/msg/CompressedImage"](
        header=header(time_ns), format=form, data=np.frombuffer(data, dtype=np.uint8)
    )


def raw(pixels: np.ndarray, encoding: str, time_ns: int, *, padding: int = 0, big_endian: int = 0) -> Any:
    """Return a raw image of bytes [row, byte], each row followed by some that are no pixels."""
    rows = np.pad(pixels, ((0, 0), (0, padding)), constant_values=255)
    num_bytes = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono16": 2}.get(encoding, 1)
    return TYPES["sensor_msgs/msg/Image"](
        header=header(time_ns),
        height=len(rows),
        width=pixels.shape[1] // num_bytes,
        encoding=encoding,
        is_bigendian=big_endian,
        step=rows.shape[1],
        data=rows.reshape(-1),
    )


def pose(x_m: float, y_m: float, yaw_rad: float) -> Any:
    """Return a pose in the plane."""
    rotation = TYPES["geometry_msgs/msg/Quaternion"](
        x=0.0, y=0.0, z=float(np.sin(yaw_rad / 2)), w=float(np.cos(yaw_rad / 2))
    )
    return TYPES["geometry_msgs/msg/Pose"](
        position=TYPES["geometry_msgs/msg/Point"](x=x_m, y=y_m, z=0.5), orientation=rotation
    )


def with_covariance(at: Any) -> Any:
    """Return a pose with a covariance of zeros."""
    return TYPES["geometry_msgs/msg/PoseWithCovariance"](pose=at, covariance=np.zeros(36))


def odometry(x_m: float, y_m: float, yaw_rad: float, time_ns: int) -> Any:
    """Return odometry that stands still at a pose."""
    zero = TYPES["geometry_msgs/msg/Vector3"](x=0.0, y=0.0, z=0.0)
    twist = TYPES["geometry_msgs/msg/Twist"](linear=zero, angular=zero)
    return TYPES["nav_msgs/msg/Odometry"](
        header=header(time_ns),
        child_frame_id="base",
        pose=with_covariance(pose(x_m, y_m, yaw_rad)),
        twist=TYPES["geometry_msgs/msg/TwistWithCovariance"](twist=twist, covariance=np.zeros(36)),
    )


def transform(x_m: float, y_m: float, yaw_rad: float, time_ns: int, frames: tuple[str, str]) -> Any:
    """Return a transform between two frames."""
    at = pose(x_m, y_m, yaw_rad)
    shift = TYPES["geometry_msgs/msg/Vector3"](x=x_m, y=y_m, z=0.0)
    return TYPES["geometry_msgs/msg/TransformStamped"](
        header=header(time_ns, frames[0]),
        child_frame_id=frames[1],
        transform=TYPES["geometry_msgs/msg/Transform"](translation=shift, rotation=at.orientation),
    )


def drive(num_frames: int, *, size: tuple[int, int] = (8, 6)) -> list[Sent]:
    """Return compressed images of rising grey each 0.1 s and odometry each 0.05 s, received 7 ms later."""
    sent = []
    for step in range(2 * num_frames):
        time_ns = START_NS + step * SECOND_NS // 20
        at = odometry(0.1 * step, -0.2 * step, 0.01 * step, time_ns)
        sent.append(Sent(ODOMETRY, at, time_ns + 7_000_000))
        if step % 2 == 0:
            image = compressed(jpeg(step, size), time_ns)
            sent.append(Sent(CAMERA, image, time_ns + 7_000_000))
    return sent


def _with_sequence(message: Any, kind: Kind) -> Any:
    """Return a message whose headers have the sequence number that only ROS 1 knows."""
    if kind is not Kind.ros1:
        return message
    if message.__msgtype__ == "tf2_msgs/msg/TFMessage":
        inner = [_with_sequence(each, kind) for each in message.transforms]
        return TYPES[message.__msgtype__](transforms=inner)
    stamped = ROS1.types["std_msgs/msg/Header"](
        seq=0, stamp=message.header.stamp, frame_id=message.header.frame_id
    )
    return type(message)(**{**vars(message), "header": stamped})
