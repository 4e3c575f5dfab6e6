"""Bag index: times and poses of a bag from one pass over it, and its images, read when asked for."""

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from data_tools.formats.bag_messages import (
    MessageError,
    check_colours,
    deserialise,
    stamp_ns,
    to_image,
    to_poses,
)
from data_tools.formats.bag_source import BagSource, Message, Topic, UnreadableBagError
from data_tools.recording import BadImage, SourceImage

_LAST_NS = 2**63 - 1


class Clock(Enum):
    """Which time a message has."""

    header = "header"  # when it was measured, as its sender says; when it was received, if it says nothing
    received = "received"  # when the recorder received it


class BagIndex:
    """What is known of the messages of an image topic and a pose topic, added in the bag's order.

    Nothing of an image is kept but its time. Messages that cannot be read are left out, and counted.
    """

    def __init__(
        self,
        images: Topic,
        poses: Topic | None,
        *,
        clock: Clock,
        frame: str | None = None,
        child_frame: str | None = None,
    ) -> None:
        self._images, self._poses = images, poses
        self._clock, self._frame, self._child_frame = clock, frame, child_frame
        self._received_ns, self._image_numbers, self._image_times_ns = array("q"), array("q"), array("q")
        self._pose_times_ns, self._pose_numbers = array("q"), array("d")
        self._counts: Counter[str] = Counter()
        self._unstamped: Counter[str] = Counter()
        self._left_out: Counter[str] = Counter()
        self._reasons: dict[str, str] = {}

    def add(self, message: Message) -> None:
        """Take in the next message of one of the two topics."""
        self._counts[message.topic] += 1
        try:
            if message.topic == self._images.name:
                self._add_image(message)
            else:
                self._add_poses(message)
        except MessageError as error:
            self._left_out[message.topic] += 1
            number = self._counts[message.topic] - 1
            self._reasons.setdefault(message.topic, f"the first is message {number}: {error}")

    @property
    def received_ns(self) -> Int64[np.ndarray, " message"]:
        """When each message of the image topic was received [ns], those left out included."""
        return np.array(self._received_ns, dtype=np.int64)

    @property
    def image_numbers(self) -> Int64[np.ndarray, " image"]:
        """Which message of its topic each image is."""
        return np.array(self._image_numbers, dtype=np.int64)

    @property
    def image_times_s(self) -> Float64[np.ndarray, " image"]:
        """The time of each image [s]."""
        return np.array(self._image_times_ns, dtype=np.int64) / 1e9

    @property
    def pose_times_s(self) -> Float64[np.ndarray, " pose"]:
        """The time of each pose [s]."""
        return np.array(self._pose_times_ns, dtype=np.int64) / 1e9

    @property
    def poses(self) -> Float64[np.ndarray, "pose 7"]:
        """Position [m] and quaternion (x, y, z, w) of each pose."""
        return np.array(self._pose_numbers, dtype=np.float64).reshape(-1, 7)

    @property
    def faults(self) -> tuple[str, ...]:
        """What was left out and what is doubtful, one sentence each."""
        left_out = [
            f"{number} of {self._counts[topic]} messages of {topic} are left out; {self._reasons[topic]}"
            for topic, number in self._left_out.items()
        ]
        unstamped = [
            f"{number} of {self._counts[topic]} messages of {topic} state no time; that of receipt is taken"
            for topic, number in self._unstamped.items()
            if number > 0
        ]
        return (*left_out, *unstamped)

    def _add_image(self, message: Message) -> None:
        self._received_ns.append(min(message.received_ns, _LAST_NS))
        content = deserialise(message.data, self._images.type_name, self._images.encoding)
        check_colours(content, self._images.type_name)
        self._image_times_ns.append(self._time_ns(stamp_ns(content), message))
        self._image_numbers.append(len(self._received_ns) - 1)

    def _add_poses(self, message: Message) -> None:
        assert self._poses is not None
        content = deserialise(message.data, self._poses.type_name, self._poses.encoding)
        found = to_poses(content, self._poses.type_name, frame=self._frame, child_frame=self._child_frame)
        for pose in found:
            self._pose_times_ns.append(self._time_ns(pose.stamp_ns, message))
            self._pose_numbers.extend((*pose.position_m, *pose.quaternion_xyzw))

    def _time_ns(self, stamped_ns: int, message: Message) -> int:
        if stamped_ns != 0 and self._clock is Clock.header:
            return stamped_ns
        if message.received_ns > _LAST_NS:
            raise MessageError(f"it was received at {message.received_ns} ns, which is no time")
        self._unstamped[message.topic] += self._clock is Clock.header
        return message.received_ns


@dataclass(frozen=True, kw_only=True, eq=False)
class BagImages:
    """The images of one topic, as a stream that opens the bag when it is read."""

    source: BagSource = field(repr=False)
    topic: Topic
    received_ns: Int64[np.ndarray, " message"] = field(repr=False)
    numbers: Int64[np.ndarray, " image"] = field(repr=False)
    """Which message of the topic each image is."""
    bag: str
    """What errors call the bag."""

    def __len__(self) -> int:
        return len(self.numbers)

    def select(self, indices: Sequence[int]) -> Iterator[SourceImage]:
        """Yield the images at increasing indices, one each; those that are not asked for are not decoded."""
        if (np.diff(indices) <= 0).any():
            raise ValueError(f"bag {self.bag!r}: images are read in order; needed increasing indices")
        return self._select(self.numbers[np.asarray(indices, dtype=np.int64)])

    def _select(self, wanted: Int64[np.ndarray, " _"]) -> Iterator[SourceImage]:
        waiting = iter(wanted.tolist())
        number = next(waiting, None)
        if number is None:
            return
        reason = "the bag ends before it; was the file changed?"
        try:
            for at, message in self._messages(number):
                if at == number:
                    yield self._image(message, number)
                    number = next(waiting, None)
                if number is None:
                    return
        except (UnreadableBagError, OSError) as error:
            reason = str(error)
        while number is not None:
            yield BadImage(f"{self._name(number)}: {reason}")
            number = next(waiting, None)

    def _messages(self, first: int) -> Iterator[tuple[int, Message]]:
        """Yield the messages of the topic with their numbers, from one that is at or before the first."""
        if (np.diff(self.received_ns) >= 0).all():
            start_ns = int(self.received_ns[first])
            first = int(np.searchsorted(self.received_ns, start_ns))
        else:
            start_ns, first = 0, 0
        yield from enumerate(self.source.messages([self.topic.name], start_ns=start_ns), start=first)

    def _image(self, message: Message, number: int) -> SourceImage:
        try:
            content: Any = deserialise(message.data, self.topic.type_name, self.topic.encoding)
        except MessageError as error:
            return BadImage(f"{self._name(number)}: {error}")
        return to_image(content, self.topic.type_name, name=self._name(number))

    def _name(self, number: int) -> str:
        return f"message {number} of {self.topic.name} in bag {self.bag!r}"
