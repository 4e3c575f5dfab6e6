"""Parquet files of LeRobot data sets: frames, episodes and tasks written, rows of one episode read."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64, Shaped

from data_tools.formats.lerobot_layout import DATA_FILE_MB, FilePlace
from data_tools.recording import BadImage, EncodedImage, SourceImage

_EPISODES_PER_WRITE = 100
_MAX_GROUP_BYTES = 2**30
"""Largest group of rows whose numbers are read at once: a million frames of a hundred numbers and more."""
_MAX_IMAGE_BYTES = 100 * 2**20
_IMAGES_PER_READ = 8


class RowWriter:
    """Writes rows of frames, an episode at a time, and begins another file where LeRobot would."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._places = [FilePlace()]
        self._writer: Any = None

    def add(self, columns: dict[str, Shaped[np.ndarray, " row *number"]]) -> FilePlace:
        """Write the rows of one episode as one group, and return the file that has them."""
        import pyarrow as pa  # noqa: PLC0415 - readers of other formats need no Parquet
        import pyarrow.parquet as pq  # noqa: PLC0415

        path = self._places[-1].data_path(self._root)
        if self._writer is not None and path.stat().st_size >= DATA_FILE_MB * 2**20:
            self.close()
            self._places.append(self._places[-1].next())
            path = self._places[-1].data_path(self._root)
        table = pa.table({key: _to_arrow(values) for key, values in columns.items()})
        if self._writer is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = pq.ParquetWriter(path, table.schema)
        self._writer.write_table(table)
        return self._places[-1]

    def close(self) -> None:
        """End the file that is open."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def read_back(self, key: str) -> Shaped[np.ndarray, " row *number"]:
        """Return one column of all that was written; the files must be closed."""
        import pyarrow.parquet as pq  # noqa: PLC0415

        paths = [place.data_path(self._root) for place in self._places]
        return np.concatenate([to_numpy(pq.read_table(path, columns=[key])[key]) for path in paths])


class EpisodeWriter:
    """Writes rows of episodes into one file, some at a time."""

    def __init__(self, root: Path) -> None:
        self._path = FilePlace().episodes_path(root)
        self._rows: list[dict[str, Any]] = []
        self._writer: Any = None

    def add(self, row: dict[str, Any]) -> None:
        """Take a row with names and types as the first one had."""
        self._rows.append(row | {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0})
        if len(self._rows) >= _EPISODES_PER_WRITE:
            self._write()

    def close(self) -> None:
        """Write what remains, and end the file."""
        self._write()
        if self._writer is not None:
            self._writer.close()

    def _write(self) -> None:
        import pyarrow as pa  # noqa: PLC0415
        import pyarrow.parquet as pq  # noqa: PLC0415

        if not self._rows:
            return
        if self._writer is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = pq.ParquetWriter(self._path, pa.Table.from_pylist(self._rows).schema)
        self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._writer.schema))
        self._rows.clear()


def write_tasks(path: Path, tasks: Sequence[str]) -> None:
    """Write the tasks in the order of their numbers.

    LeRobot looks texts up in the index of a pandas table; what makes a column the index is a note in the
    file's schema, which is written here without pandas.
    """
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    kinds = {"task_index": ("int64", "int64"), "task": ("unicode", "object")}
    note = {
        "index_columns": ["task"],
        "column_indexes": [],
        "columns": [
            {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": stored, "metadata": None}
            for name, (kind, stored) in kinds.items()
        ],
        "pandas_version": "2.0.0",
    }
    table = pa.table(
        {"task_index": pa.array(range(len(tasks)), pa.int64()), "task": pa.array(tasks, pa.string())}
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata({"pandas": json.dumps(note)}), path)


class RowReader:
    """Reads the rows of one episode after another; a file stays open as long as they lie in it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._path: Path | None = None
        self._file: Any = None
        self._episodes: Int64[np.ndarray, "group 2"] = np.zeros((0, 2), dtype=np.int64)

    def columns(self, place: FilePlace, episode: int, keys: Sequence[str]) -> dict[str, np.ndarray]:
        """Return columns of numbers of one episode, in the order of the file; ValueError if it has no such.

        Only groups of rows that can hold the episode are read.
        """
        import pyarrow as pa  # noqa: PLC0415

        groups = self.groups(place, episode)
        needed = list(dict.fromkeys(["episode_index", *keys]))
        missing = sorted(set(needed) - set(self._file.schema_arrow.names))
        if missing:
            raise ValueError(f"{self._path} has no column {missing[0]!r}")
        num_bytes = max((_group_bytes(self._file, group, needed) for group in groups), default=0)
        if num_bytes > _MAX_GROUP_BYTES:
            raise ValueError(
                f"{self._path}: {num_bytes} bytes in one group of rows, at most {_MAX_GROUP_BYTES}"
            )
        kept = []
        for group in groups:
            table = self._file.read_row_group(group, columns=needed)
            kept.append(table.filter(table["episode_index"].to_numpy() == episode))
        if not sum(map(len, kept)):
            raise ValueError(f"{self._path} holds no rows of it")
        rows = pa.concat_tables(kept)
        return {key: to_numpy(rows[key]) for key in keys}

    def groups(self, place: FilePlace, episode: int) -> list[int]:
        """Return the numbers of the groups of rows that can hold an episode."""
        path = place.data_path(self._root)
        if path != self._path:
            self._open(path)
        low, high = self._episodes[:, 0], self._episodes[:, 1]
        return np.flatnonzero((low <= episode) & (episode <= high)).tolist()

    def _open(self, path: Path) -> None:
        self._path, self._file = None, _open_parquet(path)
        names = [self._file.schema.column(index).path for index in range(len(self._file.schema))]
        if "episode_index" not in names:
            raise ValueError(f"{path} has no column 'episode_index'")
        column = names.index("episode_index")
        metadata = self._file.metadata
        self._episodes = np.array(
            [_range(metadata.row_group(group).column(column)) for group in range(metadata.num_row_groups)],
            dtype=np.int64,
        ).reshape(-1, 2)
        self._path = path


@dataclass(frozen=True)
class ImageColumn:
    """Images of one episode that lie in the rows of a Parquet file, an `ImageStream`.

    A cell holds the bytes of a PNG or JPEG, or the path of one inside the data set.
    """

    root: Path
    path: Path
    key: str
    episode: int
    groups: tuple[int, ...] = field(repr=False)
    num_images: int

    def __len__(self) -> int:
        return self.num_images

    def select(self, indices: Sequence[int]) -> Iterator[SourceImage]:
        """Yield the images at increasing indices, one each."""
        wanted = iter(indices)
        next_index = next(wanted, None)
        reason = "the rows end before"
        try:
            for index, cell in enumerate(self._cells()):
                if next_index is None:
                    return
                if index == next_index:
                    yield self._to_image(cell, index)
                    next_index = next(wanted, None)
        except (OSError, ValueError) as error:
            reason = str(error)
        while next_index is not None:
            yield BadImage(f"{self._name(next_index)}: {reason}")
            next_index = next(wanted, None)

    def _name(self, index: int) -> str:
        return f"{self.path}, {self.key} of episode {self.episode}, image {index}"

    def _cells(self) -> Iterator[Any]:
        file = _open_parquet(self.path)
        batches = file.iter_batches(
            _IMAGES_PER_READ, row_groups=self.groups, columns=["episode_index", self.key]
        )
        for batch in batches:
            rows = batch.filter(batch.column("episode_index").to_numpy(zero_copy_only=False) == self.episode)
            for cell in rows.column(self.key):
                yield cell.as_py()

    def _to_image(self, cell: Any, index: int) -> SourceImage:
        name = self._name(index)
        if isinstance(cell, bytes):
            cell = {"bytes": cell}
        if not isinstance(cell, dict):
            return BadImage(f"{name}: needed bytes or a path, got {type(cell).__name__}")
        if isinstance(cell.get("bytes"), bytes):
            return EncodedImage(cell["bytes"], name)
        if isinstance(cell.get("path"), str):
            return self._read(cell["path"], name)
        return BadImage(f"{name}: it has neither bytes nor a path")

    def _read(self, relative: str, name: str) -> SourceImage:
        try:
            path = (self.root / relative).resolve()
            if not path.is_relative_to(self.root.resolve()):
                return BadImage(f"{name}: {relative!r} lies outside the data set")
            if path.stat().st_size > _MAX_IMAGE_BYTES:
                return BadImage(f"{name}: {relative!r} has more than {_MAX_IMAGE_BYTES} bytes")
            return EncodedImage(path.read_bytes(), name)
        except (OSError, ValueError) as error:
            return BadImage(f"{name}: {relative!r} cannot be read: {error}")


def to_numpy(column: Any) -> Shaped[np.ndarray, " row *number"]:
    """Return an Arrow column of numbers, or of lists of equally many, as an array; ValueError for others."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return column.to_numpy()
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind) or pa.types.is_large_list(kind):
        flat = to_numpy(pc.call_function("list_flatten", [column]))
        if column.null_count == 0 and len(column) and len(flat) % len(column) == 0 and flat.ndim == 1:
            lengths = pc.call_function("list_value_length", [column]).to_numpy()
            if (lengths == lengths[0]).all():
                return flat.reshape(len(column), -1)
    raise ValueError(f"needed a column of numbers or of lists of equally many, got {kind}")


def _to_arrow(values: np.ndarray) -> Any:
    import pyarrow as pa  # noqa: PLC0415

    if values.ndim == 1:
        return pa.array(values)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])


def _open_parquet(path: Path) -> Any:
    import pyarrow.parquet as pq  # noqa: PLC0415

    # A buffer and no prefetching: else a whole column of images would be read to decode the first.
    return pq.ParquetFile(path, buffer_size=2**20, pre_buffer=False)


def _range(column: Any) -> tuple[int, int]:
    """Return the least and greatest value that a chunk of a column can hold."""
    statistics = column.statistics
    if statistics is None or not statistics.has_min_max:
        return 0, np.iinfo(np.int64).max
    return int(statistics.min), int(statistics.max)


def _group_bytes(file: Any, group: int, keys: Sequence[str]) -> int:
    found = file.metadata.row_group(group)
    columns = [found.column(index) for index in range(found.num_columns)]
    return sum(
        column.total_uncompressed_size
        for column in columns
        if column.path_in_schema.split(".list.")[0] in keys
    )
