"""Batches: a resumable stream of packed batches drawn from a mixture, or from another stream of documents."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import numpy as np

from data_tools.documents import Document, Kind
from worldmodel.documents import PackedBatch, Packer

_MOST_SKIPPED = 100
"""Texts without room that are left out of one batch before it is the configuration that must be wrong."""


@runtime_checkable
class DocumentStream(Protocol):
    """Documents one after another, as `data_tools.mixture.Mixture` gives them; it may end."""

    @property
    def num_documents(self) -> dict[Kind, int]:
        """Documents given so far, by kind."""
        ...

    @property
    def num_tokens(self) -> dict[Kind, int]:
        """Tokens given so far, by kind."""
        ...

    def __next__(self) -> Document:
        """Return the next document."""
        ...

    def state_dict(self) -> dict[str, object]:
        """Return all that going on from here needs."""
        ...

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Go on where a stream of the same documents stopped."""
        ...


class Batches:
    """Fills a batch with the mixture's next documents until one does not fit; that one opens the next batch.

    A piece of text with more tokens than a row holds (tables of numbers, say) is left out and counted; of
    other kinds it is a ValueError, since their length is what the configuration makes it.
    `state_dict` is plain JSON: counters, the state of the stream that draws noise levels, and `data`, which
    names what the mixture's documents are made of.
    """

    def __init__(
        self, mixture: DocumentStream, packer: Packer, *, rng: np.random.Generator, data: str
    ) -> None:
        self._mixture, self._packer, self._rng = mixture, packer, rng
        self.data = data
        self.num_skipped = 0
        self._first: dict[Kind, int] = {}

    @property
    def last_documents(self) -> str:
        """Kinds and numbers of the documents of the batch given last: `forward 3-9, video 1`."""
        spans = {kind: (self._first.get(kind, 0), end) for kind, end in self._mixture.num_documents.items()}
        return ", ".join(
            f"{kind.value} {first}" if end == first + 1 else f"{kind.value} {first}-{end - 1}"
            for kind, (first, end) in spans.items()
            if end > first
        )

    def __next__(self) -> PackedBatch:
        """Return the next batch; the last one of a stream that ends holds what is left."""
        rows, num_tried = self._packer.empty(), 0
        self._first = self._mixture.num_documents
        while True:
            before = self._mixture.state_dict()
            try:
                document = next(self._mixture)
            except StopIteration:
                if rows.documents:
                    return self._packer.pack(rows, rng=self._rng)
                raise
            length = self._packer.length(document)
            if document.kind is Kind.text and length > self._packer.tokens_per_row:
                self.num_skipped, num_tried = self.num_skipped + 1, num_tried + 1
                if num_tried > _MOST_SKIPPED:
                    raise ValueError(
                        f"{num_tried} pieces of text one after another have more than the "
                        f"{self._packer.tokens_per_row} tokens of a row; lower documents.max_characters"
                    )
                continue
            if not rows.place(document, length):
                # Documents are functions of their number, so giving one back costs nothing but building it
                # twice.
                self._mixture.load_state_dict(before)
                return self._packer.pack(rows, rng=self._rng)

    @property
    def num_tokens(self) -> dict[str, int]:
        """Tokens given so far, by kind of document."""
        return {kind.value: count for kind, count in self._mixture.num_tokens.items()}

    def state_dict(self) -> dict[str, object]:
        """Return where the stream is."""
        return {
            "mixture": self._mixture.state_dict(),
            "rng": self._rng.bit_generator.state,
            "num_skipped": self.num_skipped,
            "data": self.data,
        }

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Go on from where a stream of the same mixture and data was; ValueError for any other."""
        mixture, rng, num_skipped = state.get("mixture"), state.get("rng"), state.get("num_skipped")
        if not (isinstance(mixture, Mapping) and isinstance(rng, Mapping) and isinstance(num_skipped, int)):
            raise ValueError(
                "the state of batches needs the objects `mixture` and `rng`, and the count `num_skipped`"
            )
        if state.get("data") != self.data:
            raise ValueError(
                f"this state is of other data: needed {self.data} (a hash of recordings and texts), got "
                f"{state.get('data')}"
            )
        self.num_skipped = num_skipped
        self._mixture.load_state_dict(mixture)
        self._rng.bit_generator.state = dict(rng)
