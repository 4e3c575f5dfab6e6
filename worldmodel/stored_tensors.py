"""Stored tensors: a group of tensors on disk, in one safetensors file or one for each rank that wrote.

A shard `model-00002-of-00003.safetensors` holds rows of tensors; the JSON note in its header has of each the
shape of the whole and the offset of the rows in it. Any number of ranks reads what any other number wrote,
each only the rows that it needs. Nothing is pickled.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from worldmodel.pieces import Piece, Place
from worldmodel.tensor_file import write_tensors


def write_shard(folder: Path, group: str, pieces: Mapping[str, Piece], *, rank: int, count: int) -> None:
    """Write what one of `count` ranks holds of a group; of tensors that are not shared out the first does."""
    own = {
        name: piece
        for name, piece in pieces.items()
        if (rank == 0 if piece.place.is_whole else piece.place.num_rows > 0)
    }
    note = {
        name: {"shape": list(piece.place.shape), "offset": [piece.place.start] + [0] * (piece.rows.dim() - 1)}
        for name, piece in own.items()
        if piece.rows.dim() > 0
    }
    path = folder / f"{group}-{rank + 1:05d}-of-{count:05d}.safetensors"
    write_tensors(path, {name: piece.rows for name, piece in own.items()}, note={"pieces": note})


@dataclass(frozen=True)
class _Part:
    path: Path
    start: int
    num_rows: int


@dataclass
class _Stored:
    shape: tuple[int, ...]
    parts: list[_Part] = field(default_factory=list)


class StoredTensors:
    """A group of tensors in a folder; FileNotFoundError or ValueError if files are missing or damaged."""

    def __init__(self, folder: Path, group: str) -> None:
        self._name = f"{group} in {folder}"
        self._stored: dict[str, _Stored] = {}
        for path in _files(folder, group):
            self._add(path)
        for name, stored in self._stored.items():
            num_rows = sum(part.num_rows for part in stored.parts)
            if num_rows != (stored.shape[0] if stored.shape else 1):
                raise ValueError(
                    f"{self._name}: {name} has {stored.shape} entries, the files hold {num_rows} rows of it; "
                    "fetch them again"
                )

    def _add(self, path: Path) -> None:
        try:
            for name, shape, part in _parts(path):
                stored = self._stored.setdefault(name, _Stored(shape))
                if stored.shape != shape:
                    raise ValueError(f"{path}: {name} has another shape than in the other shards")
                stored.parts.append(part)
        except (SafetensorError, json.JSONDecodeError, KeyError, IndexError, AttributeError) as error:
            raise ValueError(
                f"{path} is truncated or no safetensors file ({type(error).__name__}: {error}); fetch it "
                "again"
            ) from error

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the whole tensors, by name."""
        return {name: stored.shape for name, stored in self._stored.items()}

    def check(self, needed: Mapping[str, tuple[int, ...]]) -> None:
        """Refuse tensors of other names or shapes than are needed, with some of them named; ValueError."""
        given = self.shapes
        problems = [f"{name} is missing" for name in sorted(needed.keys() - given.keys())]
        problems += [f"{name} is unknown" for name in sorted(given.keys() - needed.keys())]
        problems += [
            f"{name} has the shape {given[name]}, needed was {needed[name]}"
            for name in sorted(needed.keys() & given.keys())
            if given[name] != tuple(needed[name])
        ]
        if problems:
            raise ValueError(
                f"{self._name} is of another architecture or vocabulary: {'; '.join(problems[:3])}"
                f"{f', and {len(problems) - 3} more' if len(problems) > 3 else ''}"
            )

    def read(self, name: str, place: Place) -> Tensor:
        """Read some rows of a tensor; the name must be there, and the shape that of the tensor."""
        stored = self._stored[name]
        assert stored.shape == place.shape, f"{name}: {stored.shape} is not {place.shape}"
        parts = sorted(stored.parts, key=lambda part: part.start)
        found = [rows for part in parts if (rows := _overlap(name, part, place)) is not None]
        return torch.cat(found) if len(found) > 1 else found[0] if found else torch.zeros(place.held_shape)

    def read_all(self, places: Mapping[str, Place]) -> dict[str, Tensor]:
        """Read the tensors that are needed, or those rows of them; ValueError if there are others."""
        self.check({name: place.shape for name, place in places.items()})
        return {name: self.read(name, place) for name, place in places.items()}

    def read_whole(self) -> dict[str, Tensor]:
        """Read everything."""
        return self.read_all({name: Place.whole(shape) for name, shape in self.shapes.items()})


def _parts(path: Path) -> Iterator[tuple[str, tuple[int, ...], _Part]]:
    """Yield the names in a file, with the shapes of the whole tensors and the rows that are here."""
    with safe_open(path, framework="pt") as opened:
        note = json.loads((opened.metadata() or {}).get("note", "{}")).get("pieces", {})
        # `keys` is a method of the file handle, which is not iterable itself.
        for name in list(opened.keys()):
            rows = tuple(opened.get_slice(name).get_shape())
            place = note.get(name, {"shape": rows, "offset": [0]})
            shape = tuple(place["shape"])
            if rows[1:] != shape[1:]:
                raise ValueError(f"{path}: {name} has rows of another shape than its note says")
            yield name, shape, _Part(path, place["offset"][0] if rows else 0, rows[0] if rows else 1)


def _overlap(name: str, part: _Part, place: Place) -> Tensor | None:
    """Read the rows of a place that a file has; None if it has none of them."""
    first = max(place.start, part.start)
    end = min(place.start + place.num_rows, part.start + part.num_rows)
    if first >= end:
        return None
    with safe_open(part.path, framework="pt") as opened:
        if not place.shape:
            return opened.get_tensor(name)
        return opened.get_slice(name)[first - part.start : end - part.start]


def _files(folder: Path, group: str) -> list[Path]:
    """Return the one file of a group, or all of its shards."""
    single = folder / f"{group}.safetensors"
    if single.is_file():
        return [single]
    shards = sorted(folder.glob(f"{group}-*-of-*.safetensors"))
    if not shards:
        raise FileNotFoundError(
            f"no {single.name} in {folder}, and no shards of it; is this the folder you meant?"
        )
    found = re.fullmatch(rf"{re.escape(group)}-\d+-of-(\d+)\.safetensors", shards[0].name)
    count = int(found[1]) if found else 0
    expected = {f"{group}-{rank + 1:05d}-of-{count:05d}.safetensors" for rank in range(count)}
    if {shard.name for shard in shards} != expected:
        missing = sorted(expected - {shard.name for shard in shards})
        raise FileNotFoundError(
            f"{folder} has {len(shards)} of {count} shards of {group}: {', '.join(missing[:3])} missing or "
            "others among them; fetch the folder again"
        )
    return shards
