"""Packing: documents into rows of tokens, with positions, noise levels and what each token must predict."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int
from torch import Tensor

from data_tools.documents import (
    Branch,
    Document,
    FrameKey,
    Image,
    Kind,
    Segment,
    Text,
    frames_of,
    segments_of,
    texts_of,
)
from worldmodel.flow import FlowConfig
from worldmodel.tokenizer import TextTokenizer, TokenizedText

KINDS = tuple(Kind)
IMAGE_MARKER_WEIGHT = 0.1
"""Language-loss weight of <image>: enough to learn when a frame follows, which is nearly always plain."""


@runtime_checkable
class LatentSource(Protocol):
    """Where the latents of frames come from."""

    def lookup(self, keys: Sequence[FrameKey]) -> Float[Tensor, "frame token channel"]:
        """Return the normalised latents of frames."""
        ...


@dataclass(frozen=True)
class PackedBatch:
    """Rows of packed documents. Latents are clean: noise is drawn where the loss is computed.

    `frame` numbers the frames of a row (-1 for text), `reach` is the end of a token's branch (see
    attention.py), `is_flow_target` marks latents that carry flow loss. Text token k is predicted from the
    hidden state at the flat index `text_from[k]`, since a branch's first token follows the end of the
    context, not its neighbour in the row.
    """

    ids: Int[Tensor, "row token"]
    places: Int[Tensor, "row token"]
    values: Float[Tensor, "row token"]
    is_value: Bool[Tensor, "row token"]
    is_image: Bool[Tensor, "row token"]
    latents: Float[Tensor, "row token channel"]
    times: Float[Tensor, "row token"]
    positions: Int[Tensor, "row token 3"]
    frame: Int[Tensor, "row token"]
    reach: Int[Tensor, "row token"]
    kind: Int[Tensor, "row token"]
    is_flow_target: Bool[Tensor, "row token"]
    has_clean_context: Bool[Tensor, "row token"]
    text_from: Int[Tensor, " target"]
    text_target: Int[Tensor, " target"]
    text_weight: Float[Tensor, " target"]
    text_kind: Int[Tensor, " target"]
    latents_per_frame: int

    def rows(self, chosen: slice) -> "PackedBatch":
        """Return some of the rows, with the text that is predicted in them."""
        num_rows, num_tokens = self.ids.shape
        indices = torch.arange(num_rows)[chosen]
        new_row = torch.full((num_rows,), -1).index_put((indices,), torch.arange(len(indices)))
        row, token = new_row[self.text_from // num_tokens], self.text_from % num_tokens
        kept = row >= 0
        fields = {
            name: value[kept] if name.startswith("text_") else value[chosen]
            for name, value in vars(self).items()
            if isinstance(value, Tensor)
        }
        fields["text_from"] = (row * num_tokens + token)[kept]
        return PackedBatch(**fields, latents_per_frame=self.latents_per_frame)


@dataclass(frozen=True)
class NoiseLevels:
    """Times of a document's frames, in the order of `segments_of`, and which of them are to be predicted."""

    times: Float32[np.ndarray, " frame"]
    is_target: Bool[np.ndarray, " frame"]
    has_clean_context: bool


def num_tokens(document: Document, tokenizer: TextTokenizer, *, latents_per_frame: int) -> int:
    """Return a document's length in a row: <bos>, its texts, its frames with two markers each, <eos>."""
    num_text = sum(
        len(tokens) for tokens in tokenizer.encode_many([text.text for text in texts_of(document)])
    )
    num_images = len(frames_of(document)) * (latents_per_frame + 2)
    return 1 + num_text + num_images + (0 if document.branches else 1)


def draw_noise_levels(
    document: Document, config: FlowConfig, *, latent_size: int, rng: np.random.Generator
) -> NoiseLevels:
    """Draw the time of every frame of a document.

    Targets get independent shifted uniform times. Frames that are only context are clean (t = 1) in
    `clean_context_share` of the documents; in the others they are noised independently and predicted as well
    (diffusion forcing, arXiv 2407.01392).
    """
    is_target = np.array([s.is_target for s in segments_of(document) if isinstance(s, Image)], dtype=np.bool_)
    clean = bool(rng.random() < config.clean_context_share)
    tau = 1 - rng.random(len(is_target))
    shift = config.shift(latent_size)
    times = 1 - shift * tau / (1 + (shift - 1) * tau)
    if clean:
        times = np.where(is_target, times, 1.0)
        return NoiseLevels(times.astype(np.float32), is_target, has_clean_context=True)
    return NoiseLevels(times.astype(np.float32), np.ones_like(is_target), has_clean_context=False)


@dataclass
class _Flat:
    """One document as columns of tokens; indices count from its first token, frames from its first frame."""

    columns: dict[str, np.ndarray]
    num_frames: int

    @property
    def length(self) -> int:
        return len(self.columns["ids"])


_COLUMNS: dict[
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


class _Flattener:
    """Writes one document's tokens in the order of a row: context, then branches depth first."""

    def __init__(
        self,
        tokens: dict[str, TokenizedText],
        tokenizer: TextTokenizer,
        levels: NoiseLevels,
        num_latents: int,
    ) -> None:
        self.columns: dict[str, list[np.ndarray]] = {name: [] for name in _COLUMNS}
        self.reach: list[tuple[int, int, int]] = []  # start, end of a branch's own tokens, end of its subtree
        self.length = 0
        self.num_frames = 0
        self._tokens, self._tokenizer, self._levels = tokens, tokenizer, levels
        self._grid = frame_grid(num_latents)

    def document(self, document: Document) -> _Flat:
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
        return _Flat(columns, self.num_frames)

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
        for name, (dtype, default, width) in _COLUMNS.items():
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
    return _Flattener({}, tokenizer, levels, latents_per_frame).document(document).columns


class Rows:
    """The rows of one batch while documents are put into them, each into the first row with room."""

    def __init__(self, num_rows: int, tokens_per_row: int) -> None:
        self.documents: list[tuple[Document, int]] = []
        self._room = [tokens_per_row] * num_rows
        self._tokens_per_row = tokens_per_row

    def place(self, document: Document, length: int) -> bool:
        """Put a document of `length` tokens into a row, or return False if no row has room."""
        if length > self._tokens_per_row:
            raise ValueError(
                f"a {document.kind.value} document has {length} tokens, a row holds {self._tokens_per_row}; "
                "raise tokens_per_row or shorten the documents"
            )
        for row, left in enumerate(self._room):
            if left >= length:
                self._room[row] -= length
                self.documents.append((document, row))
                return True
        return False


class Packer:
    """Turns documents into packed batches of `num_rows` rows of `tokens_per_row`."""

    def __init__(
        self,
        tokenizer: TextTokenizer,
        latents: LatentSource,
        flow: FlowConfig,
        *,
        num_rows: int,
        tokens_per_row: int,
        latents_per_frame: int,
    ) -> None:
        self.tokenizer, self.latents, self.flow = tokenizer, latents, flow
        self.num_rows, self.tokens_per_row, self.latents_per_frame = (
            num_rows,
            tokens_per_row,
            latents_per_frame,
        )

    def length(self, document: Document) -> int:
        """Return how many tokens of a row a document takes."""
        return num_tokens(document, self.tokenizer, latents_per_frame=self.latents_per_frame)

    def empty(self) -> "Rows":
        """Return the rows of a batch, without documents yet."""
        return Rows(self.num_rows, self.tokens_per_row)

    def pack(self, filled: "Rows", *, rng: np.random.Generator) -> PackedBatch:
        """Pack the documents of a batch; `rng` draws the frames' noise levels."""
        frames: list[list[FrameKey]] = [[] for _ in range(self.num_rows)]
        rows: list[list[tuple[_Flat, Document, bool]]] = [[] for _ in range(self.num_rows)]
        channels = self.latents.lookup([]).shape[-1]
        for document, row in filled.documents:
            levels = draw_noise_levels(
                document, self.flow, latent_size=self.latents_per_frame * channels, rng=rng
            )
            texts = [text.text for text in texts_of(document)]
            tokens = dict(zip(texts, self.tokenizer.encode_many(texts), strict=True))
            flat = _Flattener(tokens, self.tokenizer, levels, self.latents_per_frame).document(document)
            rows[row].append((flat, document, levels.has_clean_context))
            frames[row].extend(frames_of(document))
        columns = [self._row(row) for row in rows]
        stacked = {name: np.stack([column[name] for column in columns]) for name in columns[0]}
        latents = torch.zeros(self.num_rows, self.tokens_per_row, channels)
        looked_up = self.latents.lookup([key for row in frames for key in row])
        latents[torch.from_numpy(stacked["is_image"])] = looked_up.flatten(
            0, 1
        )  # frame token -> image tokens
        return _to_batch(stacked, latents, latents_per_frame=self.latents_per_frame)

    def _row(self, documents: Sequence[tuple[_Flat, Document, bool]]) -> dict[str, np.ndarray]:
        """Lay documents one after another, shift what counts tokens or frames, and pad."""
        parts: dict[str, list[np.ndarray]] = {name: [] for name in (*_COLUMNS, "kind", "has_clean_context")}
        start = num_frames = 0
        for flat, document, clean in documents:
            for name in _COLUMNS:
                column = flat.columns[name]
                offset = num_frames if name == "frame" else start
                if name in ("reach", "previous", "frame"):
                    column = np.where(column >= 0, column + offset, -1)
                parts[name].append(column)
            parts["kind"].append(np.full(flat.length, KINDS.index(document.kind)))
            parts["has_clean_context"].append(np.full(flat.length, clean))
            start += flat.length
            num_frames += flat.num_frames
        padding = self.tokens_per_row - start
        for name, (dtype, default, width) in _COLUMNS.items():
            parts[name].append(np.full((padding, width) if width else padding, default, dtype=dtype))
        parts["reach"][-1] = np.arange(start, self.tokens_per_row) + 1  # padding sees itself alone
        parts["ids"][-1] = np.full(padding, self.tokenizer.pad)
        parts["kind"].append(np.full(padding, -1))
        parts["has_clean_context"].append(np.full(padding, False))
        return {name: np.concatenate(columns) for name, columns in parts.items()}


def _to_batch(
    columns: dict[str, np.ndarray], latents: Float[Tensor, "row token channel"], *, latents_per_frame: int
) -> PackedBatch:
    previous, weight = columns.pop("previous"), columns.pop("weight")
    is_target = (weight > 0) & (previous >= 0)
    row, token = np.nonzero(is_target)
    tensors = {name: torch.from_numpy(column) for name, column in columns.items()}
    return PackedBatch(
        **tensors,
        latents=latents,
        text_from=torch.from_numpy(row * previous.shape[1] + previous[row, token]),
        text_target=tensors["ids"][row, token],
        text_weight=torch.from_numpy(weight[row, token]),
        text_kind=tensors["kind"][row, token],
        latents_per_frame=latents_per_frame,
    )
