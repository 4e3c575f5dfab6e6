"""Bags without an index: what stands before the cut is found, byte for byte; what is damaged is named."""

from pathlib import Path

import pytest

from data_tools.formats import bag_scan
from data_tools.formats.bag_scan import ScannedBag
from data_tools.formats.bag_source import IndexedBag, UnreadableBagError
from tests.data_tools.formats.ros_bags import (
    BZ2,
    CAMERA,
    LZ4,
    ODOMETRY,
    START_NS,
    Kind,
    drive,
    storage_of,
    write_bag,
)

TOPICS = [CAMERA, ODOMETRY]
CASES = [
    (Kind.ros1, None),
    (Kind.ros1, LZ4),
    (Kind.ros1, BZ2),
    (Kind.mcap, None),
    (Kind.sqlite3, None),
]


def file_of(path: Path) -> Path:
    return storage_of(path) if path.is_dir() else path


def cut(path: Path, share: float) -> Path:
    file = file_of(path)
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])
    return path


@pytest.mark.parametrize(("kind", "compression"), CASES)
def test_a_scan_of_a_whole_bag_is_what_the_index_gives(tmp_path: Path, kind: Kind, compression):
    path = write_bag(tmp_path / "a", drive(20), kind, compression=compression)
    scanned, indexed = ScannedBag(path, because="a test"), IndexedBag(path)
    assert set(scanned.topics) == set(indexed.topics)
    for topic in TOPICS:
        assert list(scanned.messages([topic])) == list(indexed.messages([topic]))
    (first,) = scanned.faults
    assert first.startswith("a test; 60 messages were found without an index; for more, try `")


@pytest.mark.parametrize(("kind", "compression"), [case for case in CASES if case[1] is not BZ2])
def test_what_stands_before_the_cut_is_found(tmp_path: Path, kind: Kind, compression):
    path = write_bag(tmp_path / "a", drive(200, size=(320, 240)), kind, compression=compression)
    whole = list(IndexedBag(path).messages(TOPICS))
    scanned = ScannedBag(cut(path, 0.6), because="a test")
    found = list(scanned.messages(TOPICS))
    assert 0.5 * len(whole) < len(found) < 0.7 * len(whole)
    for topic in TOPICS:
        of_topic = [message for message in found if message.topic == topic]
        assert of_topic == [message for message in whole if message.topic == topic][: len(of_topic)]
    assert "cut off" in scanned.faults[1]
    assert sum(topic.num_messages for topic in scanned.topics) == len(found)
    late_ns = START_NS + 2_000_000_000
    assert list(scanned.messages(TOPICS, start_ns=late_ns)) == [
        message for message in found if message.received_ns >= late_ns
    ]


def test_a_recorder_that_was_killed_leaves_messages_outside_chunks(tmp_path: Path):
    """Its last chunk says that it has no bytes, and its header that there is no index."""
    path = write_bag(tmp_path / "a", drive(5), Kind.ros1)
    data = path.read_bytes()
    whole = list(IndexedBag(path).messages(TOPICS))
    chunk_at = len(b"#ROSBAG V2.0\n") + 4096  # behind the padded header of the bag
    size_at = chunk_at + 4 + int.from_bytes(data[chunk_at : chunk_at + 4], "little")
    num_content = int.from_bytes(data[size_at : size_at + 4], "little")
    killed = bytearray(data[: size_at + 4 + num_content])
    killed[size_at : size_at + 4] = bytes(4)
    position = killed.index(b"index_pos=") + len(b"index_pos=")
    killed[position : position + 8] = bytes(8)
    path = tmp_path / "a.bag.active"
    path.write_bytes(killed)
    with pytest.raises(UnreadableBagError, match="not indexed"):
        IndexedBag(path)
    assert list(ScannedBag(path, because="a test").messages(TOPICS)) == whole


@pytest.mark.parametrize(("kind", "compression"), [(Kind.ros1, LZ4), (Kind.ros1, None), (Kind.mcap, None)])
def test_a_damaged_chunk_is_named_and_the_next_is_read(tmp_path: Path, kind: Kind, compression):
    """LZ4 packs the topics' names into the damaged chunk: they are taken from the index."""
    path = write_bag(tmp_path / "a", drive(400, size=(320, 240)), kind, compression=compression)
    whole = list(IndexedBag(path).messages(TOPICS))
    file = file_of(path)
    data = bytearray(file.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4000] = b"\xff" * 4000
    file.write_bytes(data)
    scanned = ScannedBag(path, because="a test")
    found = list(scanned.messages(TOPICS))
    assert 0 < len(found) < len(whole)
    assert found[-1] == whole[-1]
    assert any("the chunk at byte" in fault for fault in scanned.faults)


def test_a_chunk_that_would_fill_the_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write_bag(tmp_path / "a", drive(200), Kind.ros1, compression=BZ2)
    monkeypatch.setattr(bag_scan, "MAX_RECORD_BYTES", 50_000)
    with pytest.raises(UnreadableBagError, match="it holds more than 50000 bytes; no message was found"):
        ScannedBag(path, because="a test")


@pytest.mark.parametrize("kind", Kind)
def test_refuses_what_holds_nothing_and_names_the_remedy(tmp_path: Path, kind: Kind):
    path = file_of(cut(write_bag(tmp_path / "a", drive(2), kind), 0.01))
    with pytest.raises(UnreadableBagError, match=r"try `.*`|does not begin with"):
        ScannedBag(path, because="a test")
