"""Bag scan: the messages of a bag that is cut off or damaged, found record by record, without its index.

Recorders write the index last, so a bag whose recorder or copy was stopped has none, and rosbags refuses it.
What stands before the cut is whole, and is read here; what does not is named. Formats:
http://wiki.ros.org/Bags/Format/2.0 and https://mcap.dev/spec.
"""

import bz2
import io
import sqlite3
import struct
import sys
import zlib
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from data_tools.formats.bag_source import (
    ROS1_SUFFIXES,
    STORAGE_SUFFIXES,
    Encoding,
    Message,
    Topic,
    UnreadableBagError,
)

MAX_RECORD_BYTES = 1 << 28
"""Largest record that is read, and largest chunk once unpacked: recorders write chunks of 1 to 4 MB."""
_ROS1_MAGIC, _MCAP_MAGIC = b"#ROSBAG V2.0\n", b"\x89MCAP0\r\n"
_MAX_HEADER_BYTES = 1 << 20
_MAX_FAULTS = 10
_REMEDIES = {".bag": "`rosbag reindex`", ".mcap": "`mcap recover`", ".db3": "`sqlite3 FILE .recover`"}
_ENCODINGS = {encoding.value for encoding in Encoding}


@dataclass(frozen=True)
class Fault:
    """Something that a scan could not read."""

    reason: str


Found = Topic | Message | Fault
"""What a scan meets: a topic once before its messages (its number of messages is not known yet), messages."""


class ScannedBag:
    """A bag without a usable index; UnreadableBagError if nothing of it can be read."""

    def __init__(self, path: Path, *, because: str) -> None:
        self._path = path
        topics: dict[str, Topic] = {}
        counts: Counter[str] = Counter()
        faults: list[str] = []
        for found in _scan(path):
            match found:
                case Topic():
                    topics.setdefault(found.name, found)
                case Message():
                    counts[found.topic] += 1
                case Fault():
                    faults.append(found.reason)
        remedies = " or ".join({_REMEDIES[_kind(file)]: None for file in _files(path)}) or "another copy"
        if not counts:
            reasons = "; ".join([because, *faults[:_MAX_FAULTS]])
            raise UnreadableBagError(
                f"{reasons}; no message was found without an index either, try {remedies}"
            )
        self.topics = tuple(replace(topic, num_messages=counts[topic.name]) for topic in topics.values())
        self.faults = (
            f"{because}; {counts.total()} messages were found without an index; for more, try {remedies}",
            *faults[:_MAX_FAULTS],
            *([f"{len(faults) - _MAX_FAULTS} more parts are damaged"] if len(faults) > _MAX_FAULTS else []),
        )

    def messages(self, names: Collection[str], *, start_ns: int = 0) -> Iterator[Message]:
        """Yield the messages of some topics that were received at a time or later."""
        for found in _scan(self._path):
            if isinstance(found, Message) and found.topic in names and found.received_ns >= start_ns:
                yield found


def _scan(path: Path) -> Iterator[Found]:
    """Yield what a bag holds, in the order of the file, or of the files of a folder."""
    for file in _files(path):
        try:
            yield from _scan_file(file)
        except (ValueError, KeyError, struct.error, sqlite3.Error) as error:
            yield Fault(f"{file} is cut off or damaged: {error}")


def _scan_file(path: Path) -> Iterator[Found]:
    match _kind(path):
        case ".bag":
            return scan_ros1(path)
        case ".mcap":
            return scan_mcap(path)
        case _:
            return scan_db3(path)


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    stored = [each for each in path.iterdir() if each.suffix in STORAGE_SUFFIXES]
    return sorted(stored, key=lambda each: (len(each.name), each.name))  # bag_2 before bag_10


def _kind(path: Path) -> str:
    return ".bag" if path.suffix in ROS1_SUFFIXES else path.suffix


class _Record(NamedTuple):
    operation: int
    fields: dict[bytes, bytes]
    content: bytes
    is_whole: bool
    position: int


def scan_ros1(path: Path) -> Iterator[Found]:
    """Yield what a ROS 1 bag holds, also one whose last chunk was never finished."""
    with path.open("rb") as file:
        if file.read(len(_ROS1_MAGIC)) != _ROS1_MAGIC:
            raise ValueError(f"it does not begin with {_ROS1_MAGIC!r}")
        topics: dict[bytes, str] = {}
        yield from _ros1_connections(file, topics)
        for record in _ros1_records(file):
            if not record.is_whole:
                yield Fault(f"{path} is cut off in the record at byte {record.position}")
            yield from _ros1_found(record, topics)


def _ros1_connections(file: io.BufferedIOBase, topics: dict[bytes, str]) -> Iterator[Found]:
    """Yield the topics that the index repeats, if it is there: the chunk that names them may be damaged."""
    start = file.tell()
    head = next(_ros1_records(file), None)
    if head is None:
        raise ValueError("it ends behind its first line")
    (index_at,) = struct.unpack("<Q", head.fields[b"index_pos"])
    if start < index_at < file.seek(0, io.SEEK_END):
        file.seek(index_at)
        for record in _ros1_records(file):
            yield from _ros1_found(record, topics, in_chunk=True)
    file.seek(start)


def _ros1_records(file: io.BufferedIOBase) -> Iterator[_Record]:
    """Yield records until the end; the last may hold less than it announces."""
    while True:
        position = file.tell()
        head = file.read(4)
        num_header = int.from_bytes(head, "little")
        if len(head) < 4 or num_header > _MAX_HEADER_BYTES:
            if head:
                raise ValueError(f"no record at byte {position}")
            return
        header, size = file.read(num_header), file.read(4)
        if len(header) < num_header or len(size) < 4:
            yield _Record(0, {}, b"", False, position)
            return
        num_content = int.from_bytes(size, "little")
        content = file.read(min(num_content, MAX_RECORD_BYTES))
        fields = _ros1_fields(header)
        yield _Record(fields[b"op"][0], fields, content, len(content) == num_content, position)
        if len(content) < num_content:
            return


def _ros1_fields(header: bytes) -> dict[bytes, bytes]:
    fields, position = {}, 0
    while position < len(header):
        size = int.from_bytes(header[position : position + 4], "little")
        name, mark, value = header[position + 4 : position + 4 + size].partition(b"=")
        if not mark:
            raise ValueError("a record's header holds no field where one should be")
        fields[name] = value
        position += 4 + size
    return fields


def _ros1_found(record: _Record, topics: dict[bytes, str], *, in_chunk: bool = False) -> Iterator[Found]:
    fields = record.fields
    match record.operation:
        case 7 if record.is_whole:  # connection
            type_name = _ros1_fields(record.content)[b"type"].decode()
            topics[fields[b"conn"]] = _normal_topic(fields[b"topic"].decode())
            yield Topic(topics[fields[b"conn"]], _normal_type(type_name), Encoding.ros1, 0)
        case 2 if record.is_whole:  # message
            seconds, nanoseconds = struct.unpack("<II", fields[b"time"])
            if fields[b"conn"] not in topics:
                raise ValueError("it holds messages whose topic is named nowhere")
            yield Message(topics[fields[b"conn"]], seconds * 1_000_000_000 + nanoseconds, record.content)
        case 5 if not in_chunk:
            try:
                content = _unpack(record.content, fields[b"compression"].decode())
                for inner in _ros1_records(io.BytesIO(content)):
                    _check_inner(inner, record)
                    yield from _ros1_found(inner, topics, in_chunk=True)
            except (ValueError, KeyError, struct.error) as error:
                yield Fault(f"the chunk at byte {record.position} is damaged: {error}")
        case _:  # an index, or a kind of record that holds no messages
            pass


def _check_inner(inner: _Record, chunk: _Record) -> None:
    if chunk.is_whole and not inner.is_whole:
        raise ValueError("its last record reaches beyond its end")


def scan_mcap(path: Path) -> Iterator[Found]:
    """Yield what an MCAP file of ROS holds, also one without its end."""
    with path.open("rb") as file:
        if file.read(len(_MCAP_MAGIC)) != _MCAP_MAGIC:
            raise ValueError(f"it does not begin with {_MCAP_MAGIC!r}")
        channels = _Channels({}, {})
        for record in _mcap_records(file):
            if record.operation == 0x0F:  # the end of the data
                return
            if not record.is_whole:
                yield Fault(f"{path} is cut off in the record at byte {record.position}")
            yield from _mcap_found(record, channels)


class _Channels(NamedTuple):
    type_names: dict[int, str]
    topics: dict[int, Topic]


def _mcap_records(file: io.BufferedIOBase) -> Iterator[_Record]:
    while head := file.read(9):
        position = file.tell() - len(head)
        num_content = int.from_bytes(head[1:], "little")
        content = file.read(min(num_content, MAX_RECORD_BYTES)) if len(head) == 9 else b""
        is_whole = len(head) == 9 and len(content) == num_content
        yield _Record(head[0], {}, content, is_whole, position)
        if not is_whole:
            return


def _mcap_found(record: _Record, channels: _Channels, *, in_chunk: bool = False) -> Iterator[Found]:
    content = record.content
    match record.operation:
        case 0x03 if record.is_whole:  # schema
            number, size = struct.unpack_from("<HI", content)
            channels.type_names[number] = _normal_type(content[6 : 6 + size].decode())
        case 0x04 if record.is_whole:  # channel
            number, schema, size = struct.unpack_from("<HHI", content)
            name, at = content[8 : 8 + size].decode(), 8 + size
            (size,) = struct.unpack_from("<I", content, at)
            encoding = content[at + 4 : at + 4 + size].decode()
            if encoding in _ENCODINGS:
                topic = Topic(name, channels.type_names.get(schema, "no type"), Encoding(encoding), 0)
                channels.topics[number] = topic
                yield topic
        case 0x05 if record.is_whole:  # message
            number, _, received_ns = struct.unpack_from("<HIQ", content)
            if number in channels.topics:
                yield Message(channels.topics[number].name, received_ns, content[22:])
        case 0x06 if not in_chunk and len(content) > 32:
            try:
                checksum, size = struct.unpack_from("<II", content, 24)
                records = _unpack(content[40 + size :], content[32 : 32 + size].decode())
                if record.is_whole and checksum not in (0, zlib.crc32(records)):
                    yield Fault(f"the checksum of the chunk at byte {record.position} does not agree")
                for inner in _mcap_records(io.BytesIO(records)):
                    _check_inner(inner, record)
                    yield from _mcap_found(inner, channels, in_chunk=True)
            except (ValueError, KeyError, struct.error) as error:
                yield Fault(f"the chunk at byte {record.position} is damaged: {error}")
        case _:  # an index, or a kind of record that holds no messages
            pass


def scan_db3(path: Path) -> Iterator[Found]:
    """Yield what a SQLite file of ROS 2 holds, up to the first page that is missing."""
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True)) as database:
        # Without this, SQLite opens no file that is shorter than its header says.
        database.execute("PRAGMA writable_schema = ON")
        topics = {}
        rows = database.execute("SELECT id, name, type FROM topics WHERE serialization_format = 'cdr'")
        for number, name, type_name in rows:
            topics[number] = Topic(name, type_name, Encoding.cdr, 0)
            yield topics[number]
        # By row, not by time: the index of times lies behind what it describes.
        rows = database.execute("SELECT topic_id, timestamp, data FROM messages NOT INDEXED ORDER BY id")
        for number, received_ns, data in rows:
            if number in topics:
                yield Message(topics[number].name, received_ns, data)


def _unpack(data: bytes, compression: str) -> bytes:
    """Return what compressed data holds, or its beginning if it is cut off; ValueError if it is damaged."""
    if compression in ("", "none"):
        return data
    decompressor = _decompressor(compression)
    try:
        unpacked = decompressor.decompress(data, MAX_RECORD_BYTES)
    except Exception as error:
        raise ValueError(f"it cannot be unpacked: {error}") from error
    if not decompressor.eof and not decompressor.needs_input:
        raise ValueError(f"it holds more than {MAX_RECORD_BYTES} bytes")
    return unpacked


def _decompressor(compression: str) -> Any:
    """Return a decompressor with the interface of bz2's; lz4 and zstd are those that rosbags brings."""
    if compression == "bz2":
        return bz2.BZ2Decompressor()
    if compression == "lz4":
        from lz4.frame import LZ4FrameDecompressor  # noqa: PLC0415

        return LZ4FrameDecompressor()
    if compression != "zstd":
        raise ValueError(f"its compression {compression[:20]!r} is none of bz2, lz4 and zstd")
    if sys.version_info >= (3, 14):
        from compression import zstd  # noqa: PLC0415
    else:
        from backports import zstd  # noqa: PLC0415
    return zstd.ZstdDecompressor()


def _normal_topic(name: str) -> str:
    """Return a topic as rosbags names it: without doubled or final slashes."""
    return "/" * name.startswith("/") + "/".join(part for part in name.split("/") if part)


def _normal_type(name: str) -> str:
    """Return `package/msg/Name` for the `package/Name` of ROS 1."""
    parts = name.split("/")
    return f"{parts[0]}/msg/{parts[-1]}" if len(parts) > 1 else name
