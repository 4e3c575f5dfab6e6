"""Messages: every layout of pixels gives the same picture, poses and times are exact, damage is named."""

import numpy as np
import pytest

from data_tools.formats.bag_messages import (
    COMPRESSED_IMAGE,
    ODOMETRY,
    RAW_IMAGE,
    TRANSFORM,
    TRANSFORMS,
    MessageError,
    check_colours,
    deserialise,
    stamp_ns,
    to_image,
    to_poses,
)
from data_tools.formats.bag_source import Encoding
from data_tools.recording import BadImage, EncodedImage
from tests.data_tools.formats.ros_bags import (
    ROS1,
    ROS2,
    TYPES,
    compressed,
    header,
    jpeg,
    odometry,
    pose,
    raw,
    transform,
    with_covariance,
)

TIME_NS = 1_234_567_890_123_456_789
PICTURE = np.random.default_rng(0).integers(0, 256, (3, 5, 3), dtype=np.uint8)
ALPHA = np.full((3, 5, 1), 77, dtype=np.uint8)
GREY = PICTURE[..., :1]
GREY_16 = np.concatenate([PICTURE[..., 1:2], GREY], axis=-1)  # low byte, high byte


def rows(pixels: np.ndarray) -> np.ndarray:
    return pixels.reshape(len(pixels), -1)


@pytest.mark.parametrize(
    ("encoding", "pixels", "expected"),
    [
        ("rgb8", PICTURE, PICTURE),
        ("bgr8", PICTURE[..., ::-1], PICTURE),
        ("rgba8", np.concatenate([PICTURE, ALPHA], axis=-1), PICTURE),
        ("bgra8", np.concatenate([PICTURE[..., ::-1], ALPHA], axis=-1), PICTURE),
        ("mono8", GREY, np.repeat(GREY, 3, axis=-1)),
        ("mono16", GREY_16, np.repeat(GREY, 3, axis=-1)),
    ],
)
@pytest.mark.parametrize("padding", [0, 3])
def test_raw_pixels_come_as_rgb(encoding: str, pixels: np.ndarray, expected: np.ndarray, padding: int):
    image = to_image(raw(rows(pixels), encoding, TIME_NS, padding=padding), RAW_IMAGE, name="a")
    np.testing.assert_array_equal(image, expected)


def test_the_high_byte_comes_first_where_the_sender_says_so():
    message = raw(rows(GREY_16[..., ::-1]), "mono16", TIME_NS, big_endian=1)
    np.testing.assert_array_equal(to_image(message, RAW_IMAGE, name="a"), np.repeat(GREY, 3, axis=-1))


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_a_mosaic_gives_a_pixel_a_square(pattern: str):
    """Greens 30 and 41 are averaged upwards; the odd last row and column belong to no square."""
    greens = iter([30, 41])
    square = np.array([{"r": 10, "b": 90}.get(colour) or next(greens) for colour in pattern], dtype=np.uint8)
    mosaic = np.pad(np.tile(square.reshape(2, 2), (2, 3)), ((0, 1), (0, 1)))
    image = to_image(raw(mosaic, f"bayer_{pattern}8", TIME_NS), RAW_IMAGE, name="a")
    np.testing.assert_array_equal(image, np.tile(np.array([10, 36, 90], dtype=np.uint8), (2, 3, 1)))


def test_encoded_images_keep_their_bytes():
    data = jpeg(40)
    image = to_image(compressed(data, TIME_NS, form="rgb8; jpeg compressed bgr8"), COMPRESSED_IMAGE, name="a")
    assert image == EncodedImage(data, "a")


def test_what_is_no_picture_says_why():
    def reason(message, type_name: str = RAW_IMAGE) -> str:
        image = to_image(message, type_name, name="image 7")
        assert isinstance(image, BadImage)
        return image.reason

    plain = raw(rows(PICTURE), "rgb8", TIME_NS)
    assert "image 7: its encoding '32FC1' is not read; known are rgb8" in reason(
        TYPES[RAW_IMAGE](**{**vars(plain), "encoding": "32FC1"})
    )
    assert "it has 45 bytes; 5 x 4 pixels of rgb8 in rows of 15 bytes need another number" in reason(
        TYPES[RAW_IMAGE](**{**vars(plain), "height": 4})
    )
    assert "needed are 1 to 25000000" in reason(
        TYPES[RAW_IMAGE](**{**vars(plain), "height": 1 << 31, "width": 1 << 31})
    )
    assert "its format 'webp' is neither JPEG nor PNG" in reason(
        compressed(b"RIFF....WEBP", TIME_NS, form="webp"), COMPRESSED_IMAGE
    )


def test_compressed_depth_is_refused():
    check_colours(compressed(jpeg(1), TIME_NS, form="jpeg"), COMPRESSED_IMAGE)
    depth = compressed(b"\0" * 12 + jpeg(1), TIME_NS, form="16UC1; compressedDepth png")
    with pytest.raises(MessageError, match=r"depth image .'16UC1; compressedDepth png'., not a picture"):
        check_colours(depth, COMPRESSED_IMAGE)


def test_all_types_of_poses_hold_the_same_pose():
    at = pose(1.5, -2.5, 0.75)
    expected = (TIME_NS, (1.5, -2.5, 0.5), (0.0, 0.0, float(np.sin(0.375)), float(np.cos(0.375))))
    stamped = TYPES["geometry_msgs/msg/PoseStamped"](header=header(TIME_NS), pose=at)
    uncertain = TYPES["geometry_msgs/msg/PoseWithCovarianceStamped"](
        header=header(TIME_NS), pose=with_covariance(at)
    )
    for message in (odometry(1.5, -2.5, 0.75, TIME_NS), stamped, uncertain):
        assert to_poses(message, message.__msgtype__) == [expected]


def test_transforms_are_those_between_two_frames():
    wanted = transform(1.0, 2.0, 0.0, TIME_NS, ("/odom", "base"))
    others = [transform(9.0, 9.0, 0.0, TIME_NS, frames) for frames in (("map", "odom"), ("odom", "camera"))]
    message = TYPES[TRANSFORMS](transforms=[others[0], wanted, others[1], wanted])
    found = to_poses(message, TRANSFORMS, frame="odom", child_frame="base")
    assert [each.position_m for each in found] == [(1.0, 2.0, 0.0)] * 2
    assert to_poses(others[0], TRANSFORM, frame="odom", child_frame="base") == []


@pytest.mark.parametrize("encoding", Encoding)
def test_bytes_come_back_as_the_message_that_was_written(encoding: Encoding):
    message = odometry(1.5, -2.5, 0.75, TIME_NS)
    if encoding is Encoding.cdr:
        data = bytes(ROS2.serialize_cdr(message, ODOMETRY))
    else:
        stamped = ROS1.types["std_msgs/msg/Header"](seq=7, stamp=message.header.stamp, frame_id="world")
        data = bytes(ROS1.serialize_ros1(type(message)(**{**vars(message), "header": stamped}), ODOMETRY))
    found = deserialise(data, ODOMETRY, encoding)
    assert stamp_ns(found) == TIME_NS
    assert to_poses(found, ODOMETRY) == to_poses(message, ODOMETRY)
    with pytest.raises(MessageError, match="it is no nav_msgs/msg/Odometry: "):
        deserialise(data[:100], ODOMETRY, encoding)


@pytest.mark.parametrize("type_name", [TRANSFORMS, "tf/msg/tfMessage"])
def test_both_generations_of_transforms_are_known(type_name: str):
    data = bytes(ROS1.serialize_ros1(ROS1.types[TRANSFORMS](transforms=[]), TRANSFORMS))
    assert deserialise(data, type_name, Encoding.ros1).transforms == []
