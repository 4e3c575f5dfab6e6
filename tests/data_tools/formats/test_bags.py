"""Bags as recordings: the same drive from every kind of bag, whole or cut off; what is missing is told."""

import sys
from pathlib import Path

import numpy as np
import pytest

from data_tools.formats.bags import BagTopics, KnownTopics, read_bags
from data_tools.planar import Forward
from data_tools.recording import EncodedImage, Recording
from data_tools.trajectory import Skipped
from tests.data_tools.formats.ros_bags import (
    CAMERA,
    ODOMETRY,
    SECOND_NS,
    START_NS,
    TYPES,
    Kind,
    Raw,
    Sent,
    drive,
    odometry,
    raw,
    storage_of,
    transform,
    write_bag,
)

TOPICS = BagTopics(images=["/nowhere", CAMERA], poses=[ODOMETRY])


def read_one(path: Path, topics: BagTopics = TOPICS) -> Recording:
    (found,) = read_bags(path, topics=topics)
    assert isinstance(found, Recording), found
    return found


def read_none(path: Path, topics: BagTopics = TOPICS) -> str:
    (found,) = read_bags(path, topics=topics)
    assert isinstance(found, Skipped) and found.folder == path
    return found.reason


@pytest.mark.parametrize("kind", Kind)
def test_a_drive_is_the_same_from_every_kind_of_bag(tmp_path: Path, kind: Kind):
    found = read_one(write_bag(tmp_path / "campus" / "a", drive(4), kind))
    assert (found.name, found.place, found.faults) == ("a", "campus", ())
    np.testing.assert_allclose(found.image_times_s - 1.7e9, [0.0, 0.1, 0.2, 0.3], atol=1e-6)
    assert found.track is not None
    steps = np.arange(8)
    np.testing.assert_allclose(found.track.times_s - 1.7e9, 0.05 * steps, atol=1e-6)
    expected = np.stack([0.1 * steps, -0.2 * steps, 0.01 * steps], axis=-1)
    np.testing.assert_allclose(found.track.poses, expected, atol=1e-12)
    images = list(found.images.select([0, 3]))
    assert [int(each.decode()[0, 0, 0]) for each in images if isinstance(each, EncodedImage)] == [0, 6]


@pytest.mark.parametrize("kind", Kind)
def test_a_bag_that_is_cut_off_gives_what_is_there(tmp_path: Path, kind: Kind):
    path = write_bag(tmp_path / "a", drive(200, size=(320, 240)), kind)
    file = path if path.is_file() else storage_of(path)
    whole = read_one(path)
    images = list(whole.images.select(range(200)))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    found = read_one(path)
    num_images = len(found.images)
    assert 90 <= num_images <= 101
    assert whole.track is not None and found.track is not None
    np.testing.assert_array_equal(found.image_times_s, whole.image_times_s[:num_images])
    np.testing.assert_array_equal(found.track.poses, whole.track.poses[: len(found.track.poses)])
    assert list(found.images.select(range(num_images))) == images[:num_images]
    assert "cannot be read by rosbags" in found.faults[0] and "for more, try `" in found.faults[0]
    assert "cut off" in found.faults[1]


def test_a_folder_gives_its_bags_by_path_and_goes_on_behind_bad_ones(tmp_path: Path):
    for place, kind in (("x", Kind.ros1), ("y", Kind.mcap)):
        write_bag(tmp_path / place / "drive", drive(2), kind)
    write_bag(tmp_path / "other", drive(2)[:1], Kind.ros1)
    (tmp_path / "broken.bag").write_bytes(b"#ROSBAG V2.0\n")
    broken, first, second, other = read_bags(tmp_path, topics=TOPICS)
    assert isinstance(broken, Skipped) and "no message was found without an index either" in broken.reason
    assert isinstance(first, Recording) and (first.name, first.place) == ("x_drive", "x")
    assert isinstance(second, Recording) and (second.name, second.place) == ("y_drive", "y")
    assert isinstance(other, Skipped) and other.folder == tmp_path / "other.bag"
    named = next(iter(read_bags(tmp_path / "x", topics=TOPICS, place="campus")))
    assert isinstance(named, Recording) and named.place == "campus"


def test_unknown_topics_are_one_error_that_lists_what_there_is(tmp_path: Path):
    write_bag(tmp_path / "a", drive(2), Kind.ros1)
    write_bag(tmp_path / "b", drive(2), Kind.mcap)
    expected = (
        r"bag 'a' has no messages of type sensor_msgs/msg/Image, sensor_msgs/msg/CompressedImage on /camera; "
        r"it has .*/odom \(nav_msgs/msg/Odometry\).*; nor has any of the other 1 bags"
    )
    with pytest.raises(ValueError, match=expected) as caught:
        list(read_bags(tmp_path, topics=BagTopics(images=["/camera"])))
    assert f"{CAMERA} (sensor_msgs/msg/CompressedImage)" in str(caught.value)
    with pytest.raises(ValueError, match=r"of type nav_msgs.* on /camera/image_raw/compressed; it has"):
        list(read_bags(tmp_path / "a.bag", topics=BagTopics(images=[CAMERA], poses=[CAMERA])))


def test_topics_are_found_with_and_without_their_slash_in_order_of_preference(tmp_path: Path):
    sent = [Sent("/second", each.message, each.received_ns) for each in drive(2) if each.topic == CAMERA]
    path = write_bag(tmp_path / "a", [*sent, *drive(3)], Kind.ros1)
    names = [CAMERA.strip("/"), "/second"]
    assert len(read_one(path, BagTopics(images=names)).images) == 3
    assert len(read_one(path, BagTopics(images=names[::-1])).images) == 2
    assert read_one(path, BagTopics(images=names)).track is None


def test_headings_have_their_offset_and_their_forward_axis(tmp_path: Path):
    sent = [each for each in drive(1) if each.topic == CAMERA]
    at = odometry(1.0, 2.0, 3.0, START_NS)
    path = write_bag(tmp_path / "a", [*sent, Sent(ODOMETRY, at, START_NS)], Kind.sqlite3)
    turned = read_one(path, BagTopics(images=[CAMERA], poses=[ODOMETRY], yaw_offset_rad=1.0)).track
    assert turned is not None
    np.testing.assert_allclose(turned.poses, [[1.0, 2.0, 4.0 - 2 * np.pi]])
    upward = read_one(path, BagTopics(images=[CAMERA], poses=[ODOMETRY], forward=Forward.z)).track
    assert upward is not None
    np.testing.assert_array_equal(upward.poses, [[1.0, 2.0, np.nan]])


def test_poses_that_are_no_numbers_are_passed_on(tmp_path: Path):
    sent = [each for each in drive(1) if each.topic == CAMERA]
    odd = [odometry(x_m, 0.0, 0.0, START_NS) for x_m in (np.nan, np.inf, 1.0)]
    zero = TYPES["geometry_msgs/msg/Quaternion"](x=0.0, y=0.0, z=0.0, w=0.0)
    huge = TYPES["geometry_msgs/msg/Quaternion"](x=0.0, y=0.0, z=0.0, w=1e300)
    for rotation in (zero, huge):
        message = odometry(5.0, 0.0, 0.0, START_NS)
        placed = TYPES["geometry_msgs/msg/Pose"](position=message.pose.pose.position, orientation=rotation)
        uncertain = TYPES["geometry_msgs/msg/PoseWithCovariance"](pose=placed, covariance=np.zeros(36))
        odd.append(type(message)(**{**vars(message), "pose": uncertain}))
    path = write_bag(tmp_path / "a", [*sent, *(Sent(ODOMETRY, each, START_NS) for each in odd)], Kind.ros1)
    track = read_one(path).track
    assert track is not None
    np.testing.assert_array_equal(track.poses[:, 0], [np.nan, np.inf, 1.0, 5.0, 5.0])
    np.testing.assert_array_equal(track.poses[:, 2], [0.0, 0.0, 0.0, np.nan, np.nan])


def test_a_pose_may_be_a_transform(tmp_path: Path):
    sent = [each for each in drive(1) if each.topic == CAMERA]
    moves = [transform(1.0, 2.0, 0.5, START_NS, frames) for frames in (("odom", "base"), ("map", "odom"))]
    message = TYPES["tf2_msgs/msg/TFMessage"](transforms=moves)
    path = write_bag(tmp_path / "a", [*sent, Sent("/tf", message, START_NS)], Kind.ros1)
    track = read_one(path, BagTopics(images=[CAMERA], poses=["/tf"], frame="odom", child_frame="base")).track
    assert track is not None
    np.testing.assert_allclose(track.poses, [[1.0, 2.0, 0.5]])
    assert "no transform leads from map to base" in read_none(
        path, BagTopics(images=[CAMERA], poses=["/tf"], frame="map", child_frame="base")
    )
    with pytest.raises(ValueError, match="holds transforms; say which with `frame` and `child_frame`"):
        list(read_bags(path, topics=BagTopics(images=[CAMERA], poses=["/tf"])))


def test_raw_images_of_a_known_set(tmp_path: Path):
    """TartanDrive's topics; its headings are turned by a quarter."""
    topics = KnownTopics.tartan_drive.value
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 9)
    sent = [
        Sent(topics.images[0], raw(pixels, "bgr8", START_NS), START_NS),
        Sent(topics.poses[0], odometry(1.0, 2.0, 0.0, START_NS), START_NS),
    ]
    found = read_one(write_bag(tmp_path / "a", sent, Kind.ros1), topics)
    (image,) = found.images.select([0])
    np.testing.assert_array_equal(image, pixels.reshape(2, 3, 3)[..., ::-1])
    assert found.track is not None
    np.testing.assert_allclose(found.track.poses, [[1.0, 2.0, np.pi / 2]])


def test_a_topic_of_which_nothing_can_be_read_skips_the_bag(tmp_path: Path):
    sent = [Sent(CAMERA, Raw(b"\0" * 9), START_NS + step * SECOND_NS) for step in range(3)]
    path = write_bag(tmp_path / "a", sent, Kind.mcap)
    reason = read_none(path, BagTopics(images=[CAMERA]))
    assert f"bag 'a' holds nothing on {CAMERA} that can be used: 3 of 3 messages of" in reason


def test_known_topics_name_images_and_poses():
    assert {known.name for known in KnownTopics} == {"scand", "sacson", "tartan_drive"}
    for known in KnownTopics:
        assert all(name.startswith("/") for name in [*known.value.images, *known.value.poses])
        assert known.value.poses


def test_refuses_no_topics_and_a_missing_library_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(ValueError, match="needed at least one topic of images"):
        BagTopics(images=[])
    monkeypatch.setitem(sys.modules, "rosbags.rosbag1", None)
    with pytest.raises(ImportError, match=r"pip install 'worldnav\[rosbags\]'"):
        read_bags(tmp_path, topics=TOPICS)
