"""Bags through rosbags: topics, messages in order of receipt, one kind of error for what it refuses."""

import sys
from pathlib import Path

import pytest

from data_tools.formats.bag_source import (
    BagSource,
    Encoding,
    IndexedBag,
    Topic,
    UnreadableBagError,
    require_rosbags,
)
from tests.data_tools.formats.ros_bags import (
    CAMERA,
    LZ4,
    ODOMETRY,
    START_NS,
    Kind,
    drive,
    storage_of,
    write_bag,
)


@pytest.mark.parametrize("kind", Kind)
def test_topics_and_messages(tmp_path: Path, kind: Kind):
    bag = IndexedBag(write_bag(tmp_path / "a", drive(3), kind))
    assert isinstance(bag, BagSource) and bag.faults == ()
    encoding = Encoding.ros1 if kind is Kind.ros1 else Encoding.cdr
    assert sorted(bag.topics, key=lambda topic: topic.name) == [
        Topic(CAMERA, "sensor_msgs/msg/CompressedImage", encoding, 3),
        Topic(ODOMETRY, "nav_msgs/msg/Odometry", encoding, 6),
    ]
    messages = list(bag.messages([CAMERA, ODOMETRY]))
    received_ns = [message.received_ns for message in messages]
    assert len(messages) == 9 and received_ns == sorted(received_ns)
    assert received_ns[0] == START_NS + 7_000_000
    late = list(bag.messages([CAMERA], start_ns=START_NS + 107_000_000))
    assert [message.received_ns - START_NS for message in late] == [107_000_000, 207_000_000]
    assert {message.topic for message in late} == {CAMERA}


@pytest.mark.parametrize("kind", [Kind.sqlite3, Kind.mcap])
def test_a_bare_file_is_read_as_its_folder_is(tmp_path: Path, kind: Kind):
    folder = write_bag(tmp_path / "a", drive(3), kind)
    whole, bare = (list(IndexedBag(path).messages([CAMERA])) for path in (folder, storage_of(folder)))
    assert len(whole) == 3 and whole == bare


def test_what_rosbags_refuses_is_one_kind_of_error(tmp_path: Path):
    (tmp_path / "a.bag").write_bytes(b"no bag")
    with pytest.raises(UnreadableBagError, match=r"a.bag cannot be read by rosbags: ReaderError"):
        IndexedBag(tmp_path / "a.bag")
    path = write_bag(tmp_path / "b", drive(3), Kind.ros1, compression=LZ4)
    data = bytearray(path.read_bytes())
    data[4500:4700] = bytes(200)  # in its only chunk, which begins at 4109
    path.write_bytes(data)
    with pytest.raises(UnreadableBagError, match=r"b.bag cannot be read by rosbags"):
        list(IndexedBag(path).messages([CAMERA]))


def test_its_absence_names_the_command_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "rosbags.rosbag1", None)
    with pytest.raises(ImportError, match=r"needs rosbags: pip install 'worldnav\[rosbags\]'"):
        require_rosbags()
