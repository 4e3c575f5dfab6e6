"""Bag messages: the bytes of ROS messages as images and poses, each with its time.

Only the standard types below are read, by definitions that rosbags brings: nothing is built from the
definitions that a bag holds.
"""

import functools
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from data_tools.formats.bag_source import Encoding, require_rosbags
from data_tools.frames import MAX_PIXELS
from data_tools.recording import BadImage, EncodedImage, SourceImage

RAW_IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
IMAGE_TYPES = (RAW_IMAGE, COMPRESSED_IMAGE)
ODOMETRY = "nav_msgs/msg/Odometry"
POSE = "geometry_msgs/msg/PoseStamped"
POSE_WITH_COVARIANCE = "geometry_msgs/msg/PoseWithCovarianceStamped"
TRANSFORM = "geometry_msgs/msg/TransformStamped"
TRANSFORMS = "tf2_msgs/msg/TFMessage"
OLD_TRANSFORMS = "tf/msg/tfMessage"  # ROS 1 before tf2
POSE_TYPES = (ODOMETRY, POSE, POSE_WITH_COVARIANCE, TRANSFORM, TRANSFORMS, OLD_TRANSFORMS)
TRANSFORM_TYPES = (TRANSFORM, TRANSFORMS, OLD_TRANSFORMS)
"""Types whose messages say between which two frames a pose is."""

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_MAX_ENCODED_BYTES = 4 * MAX_PIXELS
# Bytes a pixel, and which of them are red, green and blue. 8UC1 and 8UC3 are OpenCV's names (REP 118 lists
# them as generic); its colour order is BGR.
_LAYOUTS = {
    "rgb8": (3, (0, 1, 2)),
    "bgr8": (3, (2, 1, 0)),
    "8UC3": (3, (2, 1, 0)),
    "rgba8": (4, (0, 1, 2)),
    "bgra8": (4, (2, 1, 0)),
    "mono8": (1, (0, 0, 0)),
    "8UC1": (1, (0, 0, 0)),
    "mono16": (2, (0, 0, 0)),
}
_BAYER = "bayer_"
_BAYER_8 = tuple(f"{_BAYER}{pattern}8" for pattern in ("rggb", "bggr", "gbrg", "grbg"))


class MessageError(ValueError):
    """A message that cannot be read, and why."""


class StampedPose(NamedTuple):
    """A pose with the time that its message states (0: none) and the quaternion as it came."""

    stamp_ns: int
    position_m: tuple[float, float, float]
    quaternion_xyzw: tuple[float, float, float, float]


def deserialise(data: bytes, type_name: str, encoding: Encoding) -> Any:
    """Return a message of one of the types above as an object with its fields; MessageError if it is none."""
    store = _type_store(encoding)
    try:
        match encoding:
            case Encoding.ros1:
                return store.deserialize_ros1(data, type_name)
            case Encoding.cdr:
                return store.deserialize_cdr(data, type_name)
    # Bytes that are no such message raise SerdeError, but also struct.error, UnicodeDecodeError and more.
    except Exception as error:
        raise MessageError(f"it is no {type_name}: {type(error).__name__}: {error}") from error


def stamp_ns(message: Any) -> int:
    """Return the time that a message's header states [ns]; 0 if its sender left it empty."""
    return message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec


def check_colours(message: Any, type_name: str) -> None:
    """Raise MessageError for compressed depth: no picture, though its type is that of compressed pictures."""
    if type_name == COMPRESSED_IMAGE and "compressedDepth" in message.format:
        raise MessageError(f"it is a depth image ({message.format[:50]!r}), not a picture")


def to_image(message: Any, type_name: str, *, name: str) -> SourceImage:
    """Return the picture of an image message: the bytes of a JPEG or PNG as they are, raw pixels as RGB.

    Bayer mosaics come at half their width and height, one pixel for each square of four sensors: exact, and
    navigation frames are smaller still. What is no picture is a BadImage that calls it `name`.
    """
    if type_name == RAW_IMAGE:
        try:
            return _raw_pixels(message)
        except MessageError as error:
            return BadImage(f"{name}: {error}")
    data = message.data.tobytes()
    if not data.startswith((_JPEG, _PNG)):
        return BadImage(f"{name}: its format {message.format[:50]!r} is neither JPEG nor PNG")
    if len(data) > _MAX_ENCODED_BYTES:
        return BadImage(f"{name}: it has {len(data)} bytes, more than {_MAX_ENCODED_BYTES}")
    return EncodedImage(data, name)


def to_poses(
    message: Any, type_name: str, *, frame: str | None = None, child_frame: str | None = None
) -> list[StampedPose]:
    """Return the poses of a message: one, or for transforms those from `frame` to `child_frame`, if any."""
    if type_name in TRANSFORM_TYPES:
        transforms = [message] if type_name == TRANSFORM else message.transforms
        return [
            _stamped(stamp_ns(each), each.transform.translation, each.transform.rotation)
            for each in transforms
            if _is_frame(each.header.frame_id, frame) and _is_frame(each.child_frame_id, child_frame)
        ]
    pose = message.pose if type_name == POSE else message.pose.pose
    return [_stamped(stamp_ns(message), pose.position, pose.orientation)]


@functools.cache
def _type_store(encoding: Encoding) -> Any:
    require_rosbags()
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore  # noqa: PLC0415

    # These types are the same in all distributions of ROS 1, and in all of ROS 2.
    store = get_typestore(Stores.ROS1_NOETIC if encoding is Encoding.ros1 else Stores.ROS2_HUMBLE)
    definition = "geometry_msgs/TransformStamped[] transforms"
    for type_name in (TRANSFORMS, OLD_TRANSFORMS):
        if type_name not in store.fielddefs:
            store.register(get_types_from_msg(definition, type_name))
    return store


def _stamped(time_ns: int, position: Any, rotation: Any) -> StampedPose:
    return StampedPose(
        time_ns, (position.x, position.y, position.z), (rotation.x, rotation.y, rotation.z, rotation.w)
    )


def _is_frame(found: str, wanted: str | None) -> bool:
    """Whether frames agree; ROS 1 before tf2 began their names with a slash."""
    return wanted is None or found.lstrip("/") == wanted.lstrip("/")


def _raw_pixels(message: Any) -> UInt8[np.ndarray, "height width 3"]:
    encoding, height, width, step = message.encoding, message.height, message.width, message.step
    is_bayer = encoding in _BAYER_8
    if encoding not in _LAYOUTS and not is_bayer:
        known = ", ".join((*_LAYOUTS, *_BAYER_8))
        raise MessageError(f"its encoding {encoding[:50]!r} is not read; known are {known}")
    num_bytes, colours = (1, (0,)) if is_bayer else _LAYOUTS[encoding]
    if height * width == 0 or height * width > MAX_PIXELS:
        raise MessageError(f"it has {width} x {height} pixels; needed are 1 to {MAX_PIXELS}")
    if step < width * num_bytes or len(message.data) != step * height:
        raise MessageError(
            f"it has {len(message.data)} bytes; {width} x {height} pixels of {encoding} in rows of {step} "
            "bytes need another number"
        )
    rows = np.asarray(message.data, dtype=np.uint8).reshape(height, step)[:, : width * num_bytes]
    pixels = rows.reshape(height, width, num_bytes)
    if is_bayer:
        return _from_mosaic(pixels[..., 0], encoding.removeprefix(_BAYER)[:4])
    if encoding == "mono16":
        pixels = pixels[..., :1] if message.is_bigendian else pixels[..., 1:]  # the high byte
    return np.ascontiguousarray(pixels[..., list(colours)])


def _from_mosaic(
    sensors: UInt8[np.ndarray, "row column"], pattern: str
) -> UInt8[np.ndarray, "height width 3"]:
    """Return one pixel for each square of four sensors, whose colours the pattern names row by row."""
    height, width = sensors.shape[0] // 2, sensors.shape[1] // 2
    if height == 0 or width == 0:
        raise MessageError(f"a mosaic needs two rows and columns; it has {list(sensors.shape)}")
    # square row column
    corners = np.stack(
        [sensors[row : 2 * height : 2, column : 2 * width : 2] for row in (0, 1) for column in (0, 1)]
    )
    red, blue = corners[pattern.index("r")], corners[pattern.index("b")]
    first, second = (index for index, colour in enumerate(pattern) if colour == "g")
    green = (corners[first].astype(np.uint16) + corners[second] + 1) // 2
    return np.stack([red, green.astype(np.uint8), blue], axis=-1)
