"""Bag source: the topics of one ROS bag, and its messages as bytes, in the order they were received in.

ROS 1 bags (`.bag`), ROS 2 folders with `metadata.yaml`, and bare `.mcap` and `.db3` files are read by the
library rosbags, without ROS. What it refuses, because it is cut off or damaged, is for `bag_scan`.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    from rosbags.rosbag1 import Reader as Ros1Reader
    from rosbags.rosbag2 import Reader as Ros2Reader

ROS1_SUFFIXES = (".bag", ".active")
"""`.bag.active` is what a recorder of ROS 1 leaves behind when it is not ended properly."""
STORAGE_SUFFIXES = (".mcap", ".db3")
"""Files of ROS 2 bags; they are bags too where `metadata.yaml` is missing."""


class Encoding(Enum):
    """How a message is written as bytes."""

    ros1 = "ros1"
    cdr = "cdr"  # ROS 2


@dataclass(frozen=True)
class Topic:
    """One topic of a bag; types are named as in ROS 2: `sensor_msgs/msg/Image`."""

    name: str
    type_name: str
    encoding: Encoding
    num_messages: int


class Message(NamedTuple):
    """One message: which topic, when the recorder received it, and its bytes."""

    topic: str
    received_ns: int
    data: bytes


class UnreadableBagError(ValueError):
    """A bag, or the rest of it, that cannot be read."""


@runtime_checkable
class BagSource(Protocol):
    """What a reader needs of a bag."""

    @property
    def topics(self) -> Sequence[Topic]:
        """All topics, of any type."""
        ...

    @property
    def faults(self) -> Sequence[str]:
        """What is missing of the bag, one sentence each."""
        ...

    def messages(self, names: Collection[str], *, start_ns: int = 0) -> Iterator[Message]:
        """Yield the messages of some topics that were received at a time or later, from the bag's begin.

        The file is open while this runs. UnreadableBagError where the bag is damaged.
        """
        ...


class IndexedBag:
    """A whole bag, read by rosbags with the bag's own index; UnreadableBagError if it refuses the bag."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.faults: tuple[str, ...] = ()
        encoding = Encoding.ros1 if path.suffix in ROS1_SUFFIXES else Encoding.cdr
        with _readable(path), _reader(path) as reader:
            self.topics = tuple(
                Topic(name, info.msgtype or "more than one type", encoding, info.msgcount)
                for name, info in reader.topics.items()
            )

    def messages(self, names: Collection[str], *, start_ns: int = 0) -> Iterator[Message]:
        """Yield the messages of some topics that were received at a time or later."""
        with _readable(self._path), _reader(self._path) as reader:
            connections = [each for each in reader.connections if each.topic in names]
            for connection, received_ns, data in reader.messages(connections, start=start_ns):
                yield Message(connection.topic, received_ns, data)


def require_rosbags() -> None:
    """Raise an ImportError that names the remedy where rosbags is not installed."""
    try:
        import rosbags.rosbag1  # noqa: PLC0415
        import rosbags.rosbag2  # noqa: F401, PLC0415
    except ImportError as error:
        raise ImportError("reading ROS bags needs rosbags: pip install 'worldnav[rosbags]'") from error


def _reader(path: Path) -> "Ros1Reader | Ros2Reader":
    require_rosbags()
    from rosbags.rosbag1 import Reader as Ros1Reader  # noqa: PLC0415
    from rosbags.rosbag2 import Reader as Ros2Reader  # noqa: PLC0415

    return Ros1Reader(path) if path.suffix in ROS1_SUFFIXES else Ros2Reader(path)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except ImportError:
        raise
    # A parser of foreign bytes raises whatever these lead it to: struct.error, AssertionError, MemoryError.
    except Exception as error:
        raise UnreadableBagError(
            f"{path} cannot be read by rosbags: {type(error).__name__}: {error}"
        ) from error
