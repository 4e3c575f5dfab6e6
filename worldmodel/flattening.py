"""Flattening: one document as columns of tokens, in the order of a row."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int

from data_tools.documents import Branch, Document, FrameKey, Image, Kind, Segment, Text
from worldmodel.tokenizer import TextTokenizer, TokenizedText

IMAGE_MARKER_WEIGHT = 0.1
"""Language-loss weight of <image>: enough to learn when a frame follows, which is nearly always plain."""


@dataclass(frozen=True)
class NoiseLevels:
    """Times of a document's frames, in the order of `segments_of`, and which of them are to be predicted."""

    times: Float32[np.ndarray, " frame"]
    is_target: Bool[np.ndarray, " frame"]
    has_clean_context: bool


@dataclass
class Flat:
    """One document as columns of tokens; indices count from its first token, frames from its first frame."""

    columns: dict[str, np.ndarray]
    num_frames: int

    @property
    def length(self) -> int:
        """Tokens of the document."""
        return len(self.columns["ids"])


COLUMNS: dict[
    str, tuple[type, float, int]
] = {  # dtype, what stands where nothing is given, width (0: one number)
    "ids": (np.int64, 0, 0),
    "places": (np.int64, 0, 0),
    "values": (np.float32, 0, 0),
    "is_value": (np.bool_, False, 0),
    "is_image": (np.bool_, False, 0),
    "times": (np.float32, 0, 0),
    "positions": (np.int64, 0, 3),
    "frame": (np.int64, -1, 0),
    "reach": (np.int64, 0, 0),
    "is_flow_target": (np.bool_, False, 0),
    "previous": (np.int64, -1, 0),
    "weight": (np.float32, 0, 0),
}


class Flattener:
    """Writes one document's tokens in the order of a row: context, then branches depth first."""

    def __init__(
        self,
        tokens: Mapping[str, TokenizedText],
        tokenizer: TextTokenizer,
        levels: NoiseLevels,
        num_latents: int,
    ) -> None:
        self.columns: dict[str, list[np.ndarray]] = {name: [] for name in COLUMNS}
        self.reach: list[tuple[int, int, int]] = []  # start, end of a branch's own tokens, end of its subtree
        self.length = 0
        self.num_frames = 0
        self._tokens, self._tokenizer, self._levels = tokens, tokenizer, levels
        self._grid = frame_grid(num_latents)

    def document(self, document: Document) -> Flat:
        """Write everything and close the columns."""
        position, before = self.marker(self._tokenizer.begin, 0.0, 0, -1)
        position, before = self.segments(document.context, position, before)
        if not document.branches:
            self.marker(self._tokenizer.end, 1.0, position, before)
        own = self.length
        self.branches(document.branches, position, before)
        self.reach.append((0, own, self.length))
        columns = {name: np.concatenate(parts) for name, parts in self.columns.items()}
        for start, end, reach in self.reach:
            columns["reach"][start:end] = reach
        return Flat(columns, self.num_frames)

    def text(self, tokens: TokenizedText, weight: float, position: int, before: int) -> tuple[int, int]:
        """Write text after the token at `before`; return the next position and the last token's index."""
        count = len(tokens)
        if count == 0:
            return position, before
        previous = np.arange(self.length - 1, self.length + count - 1)
        previous[0] = before
        place = np.zeros((count, 3), dtype=np.int64)
        place[:, 0] = np.arange(position, position + count)
        self._write(
            count,
            ids=tokens.ids,
            places=tokens.places,
            values=tokens.values,
            is_value=tokens.is_value,
            positions=place,
            previous=previous,
            weight=np.full(count, weight, dtype=np.float32),
        )
        return position + count, self.length - 1

    def marker(self, token: int, weight: float, position: int, before: int) -> tuple[int, int]:
        """Write one marker."""
        zero = np.zeros(1, dtype=np.int64)
        ids = np.array([token], dtype=np.int64)
        return self.text(
            TokenizedText(ids, zero, zero.astype(np.float32), zero.astype(np.bool_)), weight, position, before
        )

    def image(self, position: int, before: int) -> tuple[int, int]:
        """Write <image>, the latents (which share one position in time) and </image>."""
        position, _ = self.marker(self._tokenizer.image_begin, IMAGE_MARKER_WEIGHT, position, before)
        count = len(self._grid)
        place = np.empty((count, 3), dtype=np.int64)
        place[:, 0] = position
        place[:, 1:] = self._grid
        self._write(
            count,
            is_image=np.ones(count, dtype=np.bool_),
            times=np.full(count, self._levels.times[self.num_frames], dtype=np.float32),
            is_flow_target=np.full(count, self._levels.is_target[self.num_frames]),
            frame=np.full(count, self.num_frames),
            positions=place,
        )
        self.num_frames += 1
        return self.marker(self._tokenizer.image_end, 0.0, position + 1, self.length - 1)

    def segments(self, segments: Sequence[Segment], position: int, before: int) -> tuple[int, int]:
        """Write segments one after another."""
        for segment in segments:
            match segment:
                case Text():
                    position, before = self.text(self._tokens[segment.text], segment.weight, position, before)
                case Image():
                    position, before = self.image(position, before)
        return position, before

    def branches(self, branches: Sequence[Branch], position: int, before: int) -> None:
        """Write branches depth first; each starts again at the position where its parent ended."""
        for branch in branches:
            start = self.length
            end_position, last = self.segments(branch.segments, position, before)
            end = self.length
            self.branches(branch.branches, end_position, last)
            self.reach.append((start, end, self.length))

    def _write(self, count: int, **given: np.ndarray) -> None:
        for name, (dtype, default, width) in COLUMNS.items():
            value = given.get(name)
            if value is None:
                value = np.full((count, width) if width else count, default, dtype=dtype)
            self.columns[name].append(value)
        self.length += count


def frame_grid(num_latents: int) -> Int[np.ndarray, "token 2"]:
    """Return row and column of each latent, from 1 (text stands at 0)."""
    side = math.isqrt(num_latents)
    if side * side != num_latents:
        raise ValueError(f"needed a square number of latents a frame, got {num_latents}")
    return np.stack(np.divmod(np.arange(num_latents), side), axis=-1) + 1


def context_layout(
    tokenizer: TextTokenizer, *, num_frames: int, latents_per_frame: int
) -> dict[str, np.ndarray]:
    """Return the columns of a context of clean frames alone, as every forward document begins."""
    frames = tuple(Image(FrameKey(0, index), is_target=False) for index in range(num_frames))
    # An empty branch keeps the context open: a document that ends has <eos>.
    document = Document(Kind.forward, frames, (Branch(()),))
    levels = NoiseLevels(
        np.ones(num_frames, np.float32), np.zeros(num_frames, np.bool_), has_clean_context=True
    )
    return Flattener({}, tokenizer, levels, latents_per_frame).document(document).columns
