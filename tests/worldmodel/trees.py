"""Random documents with branches, and what their tokens see, written from the words of the definition.

A document is a tree: a context, branches, branches of branches. It is read from the root down. A token sees
what was read before it on the way from the context to itself, and the whole of its own frame.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from data_tools.documents import Branch, Document, FrameKey, Image, Kind, Segment, Text
from tests.worldmodel.conftest import NUM_LATENTS, RandomLatents
from worldmodel.documents import PackedBatch, Packer
from worldmodel.flow import FlowConfig
from worldmodel.tokenizer import TextTokenizer

WORDS = ("", "a wall", "go forward two metres", "turn left", "3.5", "action: dx=+0.335")


def random_document(rng: np.random.Generator) -> Document:
    """Draw a document: up to three segments a branch, up to two branches at each of three levels."""
    return Document(Kind.forward, _segments(rng), _branches(rng, depth=3))


def _segments(rng: np.random.Generator) -> tuple[Segment, ...]:
    return tuple(_segment(rng) for _ in range(rng.integers(4)))


def _segment(rng: np.random.Generator) -> Segment:
    if rng.random() < 0.5:
        return Text(WORDS[rng.integers(len(WORDS))], weight=float(rng.choice([0.0, 0.1, 1.0])))
    return Image(FrameKey(0, int(rng.integers(50))), is_target=bool(rng.random() < 0.5))


def _branches(rng: np.random.Generator, *, depth: int) -> tuple[Branch, ...]:
    count = rng.integers(3) if depth else 0
    return tuple(Branch(_segments(rng), _branches(rng, depth=depth - 1)) for _ in range(count))


@dataclass(frozen=True)
class Place:
    """Where a token stands: its document, the branches that lead to it, and its frame if it is a latent."""

    document: int
    path: tuple[int, ...]
    frame: int | None = None


def places_of(document: Document, tokenizer: TextTokenizer, *, number: int) -> list[Place]:
    """List a document's tokens: <bos>, the context, <eos> if nothing grows from it, then its branches."""
    num_frames = iter(range(10**6))

    def own(segments: Sequence[Segment], path: tuple[int, ...]) -> Iterator[Place]:
        for segment in segments:
            if isinstance(segment, Text):
                yield from [Place(number, path)] * len(tokenizer.encode(segment.text))
            else:
                latent = Place(number, path, next(num_frames))
                yield from [Place(number, path), *[latent] * NUM_LATENTS, Place(number, path)]

    def grown(branches: Sequence[Branch], path: tuple[int, ...]) -> Iterator[Place]:
        for index, branch in enumerate(branches):
            yield from own(branch.segments, (*path, index))
            yield from grown(branch.branches, (*path, index))

    ends = [] if document.branches else [Place(number, ())]
    return [Place(number, ()), *own(document.context, ()), *ends, *grown(document.branches, ())]


def sees(query: Place, key: Place, *, is_read_before: bool) -> bool:
    """Return whether a token sees another one, which is read before it or not."""
    if query.document != key.document:
        return False
    if query.frame is not None and query.frame == key.frame:
        return True
    return is_read_before and query.path[: len(key.path)] == key.path


def mask_by_definition(places: Sequence[Place], *, num_tokens: int) -> torch.Tensor:
    """Return which token of a row sees which, pair by pair; padding sees itself alone."""
    mask = torch.eye(num_tokens, dtype=torch.bool)
    for i, query in enumerate(places):
        for j, key in enumerate(places):
            mask[i, j] = sees(query, key, is_read_before=j <= i)
    return mask


def pack_rows(
    given: Sequence[Document], tokenizer: TextTokenizer, latents: RandomLatents, *, tokens_per_row: int
) -> tuple[PackedBatch, list[list[Place]]]:
    """Pack documents into two rows, and list the places of each row; documents without room are left out."""
    packer = Packer(
        tokenizer,
        latents,
        FlowConfig(),
        num_rows=2,
        tokens_per_row=tokens_per_row,
        latents_per_frame=NUM_LATENTS,
    )
    rows = packer.empty()
    for document in given:
        if packer.length(document) <= tokens_per_row:
            rows.place(document, packer.length(document))
    places: list[list[Place]] = [[], []]
    for number, (document, row) in enumerate(rows.documents):
        places[row] += places_of(document, tokenizer, number=number)
    return packer.pack(rows, rng=np.random.default_rng(0)), places
