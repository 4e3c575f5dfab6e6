"""Packing: documents into rows of tokens, with positions, noise levels and what each token must predict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from data_tools.documents import (
    Document,
    FrameKey,
    Image,
    Kind,
    frames_of,
    segments_of,
    texts_of,
)
from worldmodel.flattening import COLUMNS, Flat, Flattener, NoiseLevels
from worldmodel.flow import FlowConfig, draw_times
from worldmodel.tokenizer import TextTokenizer, TokenizedText

KINDS = tuple(Kind)


@runtime_checkable
class LatentSource(Protocol):
    """Where the latents of frames come from; channels count as those of a `Representation`."""

    @property
    def num_channels(self) -> int:
        """Channels of a token that are generated."""
        ...

    @property
    def num_context_channels(self) -> int:
        """Channels of a token that frames are looked at with, if those are others; else 0."""
        ...

    def lookup(self, keys: Sequence[FrameKey]) -> Float[Tensor, "frame token channel"]:
        """Return the normalised latents of frames: context channels, then those that are generated."""
        ...


@dataclass(frozen=True)
class PackedBatch:
    """Rows of packed documents. Latents are clean: noise is drawn where the loss is computed.

    The first `num_context_channels` of `latents` are those that a frame is looked at with, if the
    representation has two encoders; the rest (`generated`) are those that are noised and predicted.
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
    num_context_channels: int = 0

    @property
    def generated(self) -> Float[Tensor, "row token channel"]:
        """The channels of the latents that flow matching generates; noise has their shape."""
        return self.latents[..., self.num_context_channels :]

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
        return replace(self, **fields)

    def to(self, device: torch.device) -> "PackedBatch":
        """Return the batch on a device."""
        tensors = {
            name: value.to(device, non_blocking=True)
            for name, value in vars(self).items()
            if isinstance(value, Tensor)
        }
        return replace(self, **tensors)


def draw_noise_levels(
    document: Document, config: FlowConfig, *, latent_size: int, rng: np.random.Generator
) -> NoiseLevels:
    """Draw the time of every frame of a document.

    Targets get independent times. Frames that are only context are clean (t = 1) in `clean_context_share` of
    the documents; in the others they are noised independently and predicted as well (diffusion forcing, arXiv
    2407.01392).
    """
    is_target = np.array([s.is_target for s in segments_of(document) if isinstance(s, Image)], dtype=np.bool_)
    clean = bool(rng.random() < config.clean_context_share)
    times = draw_times(len(is_target), config, latent_size=latent_size, rng=rng)
    if clean:
        times = np.where(is_target, times, np.float32(1.0))
        return NoiseLevels(times, is_target, has_clean_context=True)
    return NoiseLevels(times, np.ones_like(is_target), has_clean_context=False)


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
        self._tokens: dict[str, TokenizedText] = {}

    def length(self, document: Document) -> int:
        """Return how many tokens a document takes: <bos>, texts, frames with two markers each, <eos>."""
        tokens = self._tokens_of(document)
        num_text = sum(len(tokens[text.text]) for text in texts_of(document))
        num_images = len(frames_of(document)) * (self.latents_per_frame + 2)
        return 1 + num_text + num_images + (0 if document.branches else 1)

    def empty(self) -> "Rows":
        """Return the rows of a batch, without documents yet."""
        return Rows(self.num_rows, self.tokens_per_row)

    def pack(self, filled: "Rows", *, rng: np.random.Generator) -> PackedBatch:
        """Pack the documents of a batch; `rng` draws the frames' noise levels."""
        frames: list[list[FrameKey]] = [[] for _ in range(self.num_rows)]
        rows: list[list[tuple[Flat, Document, bool]]] = [[] for _ in range(self.num_rows)]
        num_context, num_generated = self.latents.num_context_channels, self.latents.num_channels
        for document, row in filled.documents:
            levels = draw_noise_levels(
                document, self.flow, latent_size=self.latents_per_frame * num_generated, rng=rng
            )
            flat = Flattener(
                self._tokens_of(document), self.tokenizer, levels, self.latents_per_frame
            ).document(document)
            rows[row].append((flat, document, levels.has_clean_context))
            frames[row].extend(frames_of(document))
        self._tokens.clear()
        columns = [self._row(row) for row in rows]
        stacked = {name: np.stack([column[name] for column in columns]) for name in columns[0]}
        latents = torch.zeros(self.num_rows, self.tokens_per_row, num_context + num_generated)
        looked_up = self.latents.lookup([key for row in frames for key in row])
        latents[torch.from_numpy(stacked["is_image"])] = looked_up.flatten(
            0, 1
        )  # frame token -> image tokens
        return _to_batch(
            stacked, latents, latents_per_frame=self.latents_per_frame, num_context_channels=num_context
        )

    def _tokens_of(self, document: Document) -> dict[str, TokenizedText]:
        """Tokenise a document's texts, each once a batch: lengths are asked for before it is packed."""
        texts = list(dict.fromkeys(text.text for text in texts_of(document)))
        new = [text for text in texts if text not in self._tokens]
        self._tokens.update(zip(new, self.tokenizer.encode_many(new), strict=True))
        return {text: self._tokens[text] for text in texts}

    def _row(self, documents: Sequence[tuple[Flat, Document, bool]]) -> dict[str, np.ndarray]:
        """Lay documents one after another, shift what counts tokens or frames, and pad."""
        parts: dict[str, list[np.ndarray]] = {name: [] for name in (*COLUMNS, "kind", "has_clean_context")}
        start = num_frames = 0
        for flat, document, clean in documents:
            for name in COLUMNS:
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
        for name, (dtype, default, width) in COLUMNS.items():
            parts[name].append(np.full((padding, width) if width else padding, default, dtype=dtype))
        parts["reach"][-1] = np.arange(start, self.tokens_per_row) + 1  # padding sees itself alone
        parts["ids"][-1] = np.full(padding, self.tokenizer.pad)
        parts["kind"].append(np.full(padding, -1))
        parts["has_clean_context"].append(np.full(padding, False))
        return {name: np.concatenate(columns) for name, columns in parts.items()}


def _to_batch(
    columns: dict[str, np.ndarray],
    latents: Float[Tensor, "row token channel"],
    *,
    latents_per_frame: int,
    num_context_channels: int,
) -> PackedBatch:
    _check_frames_are_whole(columns, latents_per_frame)
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
        num_context_channels=num_context_channels,
    )


def _check_frames_are_whole(columns: Mapping[str, np.ndarray], latents_per_frame: int) -> None:
    """Assert that each frame's tokens lie together, all of one time and all targets or none.

    What reads frames as wholes (the U-Net of latent_io.py) takes the targets of a batch in their order.
    """
    is_image = columns["is_image"]
    for name in ("frame", "times", "is_flow_target"):
        frames = columns[name][is_image].reshape(-1, latents_per_frame)
        assert (frames == frames[:, :1]).all(), f"tokens of one frame differ in {name}"
    assert not columns["is_flow_target"][~is_image].any(), "text is no flow target"
