"""Prefix: given texts and frames as rows of tokens, laid out as training documents are."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from data_tools.documents import Branch, Document, FrameKey, Image, Kind, Segment, Text
from worldmodel.flattening import COLUMNS, Flat, Flattener, NoiseLevels
from worldmodel.tokenizer import TextTokenizer

Piece = str | Float[Tensor, "token channel"]
"""A text, or the latents of a frame."""


def prefix_rows(
    documents: Sequence[Sequence[Piece]], tokenizer: TextTokenizer, *, latents_per_frame: int
) -> tuple[dict[str, Tensor], list[int]]:
    """Return the columns of documents that go on, one a row, padded at the right; and their lengths.

    Each begins with <bos>, each frame stands between its markers, and each text is cut into tokens by itself.
    """
    flats = [_flatten(document, tokenizer, latents_per_frame) for document in documents]
    lengths = [flat.length for flat in flats]
    longest = max(lengths)
    columns: dict[str, Tensor] = {}
    for name, (dtype, default, width) in COLUMNS.items():
        shape = (len(flats), longest, width) if width else (len(flats), longest)
        column = np.full(shape, default, dtype=dtype)
        if name == "reach":
            column[:] = np.arange(longest) + 1  # padding sees itself alone
        if name == "ids":
            column[:] = tokenizer.pad
        for row, flat in enumerate(flats):
            column[row, : flat.length] = flat.columns[name]
        columns[name] = torch.from_numpy(column)
    return columns, lengths


def _flatten(document: Sequence[Piece], tokenizer: TextTokenizer, latents_per_frame: int) -> Flat:
    texts = [piece for piece in document if isinstance(piece, str)]
    tokens = dict(zip(texts, tokenizer.encode_many(texts), strict=True))
    segments: list[Segment] = []
    num_frames = 0
    for piece in document:
        if isinstance(piece, str):
            segments.append(Text(piece, 0.0))
        else:
            segments.append(Image(FrameKey(0, num_frames), is_target=False))
            num_frames += 1
    clean = NoiseLevels(np.ones(num_frames, np.float32), np.zeros(num_frames, np.bool_), True)
    # An empty branch keeps the document open: one that ends has <eos>.
    open_document = Document(Kind.caption, tuple(segments), (Branch(()),))
    return Flattener(tokens, tokenizer, clean, latents_per_frame).document(open_document)
