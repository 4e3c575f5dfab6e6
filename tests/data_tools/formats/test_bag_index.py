"""The index of a bag and its images: nothing moves when messages are left out, memory stays flat."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from data_tools.formats.bag_index import BagImages, BagIndex, Clock
from data_tools.formats.bag_source import Encoding, IndexedBag, Message, Topic
from data_tools.recording import BadImage, EncodedImage, ImageStream
from tests.data_tools.formats.ros_bags import (
    CAMERA,
    ODOMETRY,
    ROS2,
    SECOND_NS,
    START_NS,
    Kind,
    Raw,
    Sent,
    compressed,
    drive,
    jpeg,
    odometry,
    write_bag,
)

IMAGES = Topic(CAMERA, "sensor_msgs/msg/CompressedImage", Encoding.cdr, 3)


def index_of(bag: IndexedBag, *, clock: Clock = Clock.header) -> BagIndex:
    topics = {topic.name: topic for topic in bag.topics}
    index = BagIndex(topics[CAMERA], topics.get(ODOMETRY), clock=clock)
    for message in bag.messages([CAMERA, ODOMETRY]):
        index.add(message)
    return index


def images_of(path: Path) -> BagImages:
    bag = IndexedBag(path)
    index = index_of(bag)
    (topic,) = (topic for topic in bag.topics if topic.name == CAMERA)
    return BagImages(
        source=bag, topic=topic, received_ns=index.received_ns, numbers=index.image_numbers, bag="a"
    )


def shades(images: BagImages, indices: list[int]) -> list[int]:
    """Return the greys of images, which must all be encoded ones."""
    found = list(images.select(indices))
    assert all(isinstance(image, EncodedImage) for image in found)
    return [int(image.decode()[0, 0, 0]) for image in found if isinstance(image, EncodedImage)]


@pytest.mark.parametrize("clock", Clock)
def test_times_are_those_of_the_clock(tmp_path: Path, clock: Clock):
    index = index_of(IndexedBag(write_bag(tmp_path / "a", drive(3), Kind.mcap)), clock=clock)
    late_s = 0.0 if clock is Clock.header else 0.007
    start_s = START_NS / SECOND_NS
    np.testing.assert_allclose(index.image_times_s - start_s, [late_s, 0.1 + late_s, 0.2 + late_s], atol=1e-6)
    np.testing.assert_allclose(index.pose_times_s - start_s, np.arange(6) * 0.05 + late_s, atol=1e-6)
    np.testing.assert_allclose(index.poses[5, :3], [0.5, -1.0, 0.5])
    assert index.faults == ()


def test_what_states_no_time_has_that_of_its_receipt_and_says_so(tmp_path: Path):
    sent = [Sent(CAMERA, compressed(jpeg(0), stamp_ns), START_NS) for stamp_ns in (0, 5 * SECOND_NS, 0)]
    index = index_of(IndexedBag(write_bag(tmp_path / "a", sent, Kind.sqlite3)))
    np.testing.assert_array_equal(index.image_times_s, [1.7e9, 5.0, 1.7e9])
    assert index.faults == (f"2 of 3 messages of {CAMERA} state no time; that of receipt is taken",)


@pytest.mark.parametrize("kind", Kind)
def test_images_behind_unreadable_messages_keep_their_places(tmp_path: Path, kind: Kind):
    sent = drive(10)
    cameras = [place for place, each in enumerate(sent) if each.topic == CAMERA]
    depth = compressed(jpeg(0), START_NS, form="16UC1; compressedDepth png")
    sent[cameras[2]] = Sent(CAMERA, Raw(b"\1\2\3"), sent[cameras[2]].received_ns)
    sent[cameras[5]] = Sent(CAMERA, depth, sent[cameras[5]].received_ns)
    path = write_bag(tmp_path / "a", sent, kind)
    (fault,) = index_of(IndexedBag(path)).faults
    assert fault.startswith(
        f"2 of 10 messages of {CAMERA} are left out; the first is message 2: it is no sensor"
    )
    images = images_of(path)
    assert isinstance(images, ImageStream) and len(images) == 8
    assert shades(images, list(range(8))) == [0, 2, 6, 8, 12, 14, 16, 18]
    assert shades(images, [2, 4, 7]) == [6, 12, 18]
    assert shades(images, []) == []


def test_equal_times_are_told_apart(tmp_path: Path):
    sent = [Sent(CAMERA, compressed(jpeg(shade), START_NS), START_NS) for shade in (30, 60, 90)]
    for kind in Kind:
        images = images_of(write_bag(tmp_path / kind.name, sent, kind))
        assert [shades(images, [index]) for index in range(3)] == [[30], [60], [90]]


def test_messages_out_of_order_are_still_found():
    """Files of a split bag may overlap in time; then a stream begins at the bag's begin."""

    class Unsorted:
        topics = (IMAGES,)
        faults = ()

        def messages(self, names, *, start_ns=0):
            assert start_ns == 0
            for shade, received_ns in ((10, 3), (20, 1), (30, 2)):
                message = compressed(jpeg(shade), START_NS)
                data = bytes(ROS2.serialize_cdr(message, message.__msgtype__))
                yield Message(CAMERA, received_ns, data)

    images = BagImages(
        source=Unsorted(), topic=IMAGES, received_ns=np.array([3, 1, 2]), numbers=np.arange(3), bag="a"
    )
    assert shades(images, [1, 2]) == [20, 30]


def test_a_bag_that_is_gone_gives_bad_images(tmp_path: Path):
    path = write_bag(tmp_path / "a", drive(4), Kind.ros1)
    images = images_of(path)
    path.write_bytes(path.read_bytes()[:5000])
    bad = list(images.select([1, 3]))
    assert [type(image) for image in bad] == [BadImage, BadImage]
    assert isinstance(bad[1], BadImage) and f"message 3 of {CAMERA} in bag 'a': " in bad[1].reason


def test_refuses_indices_that_go_back(tmp_path: Path):
    images = images_of(write_bag(tmp_path / "a", drive(3), Kind.mcap))
    with pytest.raises(ValueError, match="bag 'a': images are read in order"):
        images.select([1, 1])


def test_a_time_that_is_none_is_left_out():
    index = BagIndex(IMAGES, None, clock=Clock.received)
    message = compressed(jpeg(0), START_NS)
    index.add(Message(CAMERA, 2**63, bytes(ROS2.serialize_cdr(message, message.__msgtype__))))
    assert len(index.image_numbers) == 0 and "which is no time" in index.faults[0]


@pytest.mark.parametrize("kind", Kind)
def test_memory_does_not_grow_with_the_bag(tmp_path: Path, kind: Kind):
    def peak_bytes(num_frames: int) -> int:
        noise = np.random.default_rng(0).bytes(100_000)
        sent = [
            Sent(topic, message, START_NS + step)
            for step in range(num_frames)
            for topic, message in (
                (CAMERA, compressed(b"\xff\xd8\xff" + noise, START_NS + step)),
                (ODOMETRY, odometry(0.0, 0.0, 0.0, START_NS + step)),
            )
        ]
        path = write_bag(tmp_path / f"{kind.name}{num_frames}", sent, kind)
        tracemalloc.start()
        images = images_of(path)
        assert (
            sum(isinstance(image, EncodedImage) for image in images.select(range(num_frames))) == num_frames
        )
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    peak_bytes(3)  # the first bag also pays for the library's types
    short, long = peak_bytes(40), peak_bytes(120)  # chunks of 1 MB: of 4 MB and of 12 MB
    assert long < 1.1 * short + 50_000
    assert long < 6_000_000
