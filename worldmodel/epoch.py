"""Epoch: a list of documents, each given exactly once, in an order that the seed draws; resumable."""

from collections.abc import Callable, Mapping, Sequence

from data_tools.documents import Document, Kind
from data_tools.randomness import numpy_generator_for


class Epoch:
    """A stream that ends: what `Batches` takes besides a mixture."""

    def __init__(
        self, documents: Sequence[Document], *, seed: int, count_tokens: Callable[[Document], int]
    ) -> None:
        self._documents, self._count_tokens, self._seed = documents, count_tokens, seed
        self._order = numpy_generator_for(seed, "epoch").permutation(len(documents))
        self._position = 0
        self._num_documents: dict[Kind, int] = {}
        self._num_tokens: dict[Kind, int] = {}

    @property
    def num_documents(self) -> dict[Kind, int]:
        """Documents given so far, by kind."""
        return dict(self._num_documents)

    @property
    def num_tokens(self) -> dict[Kind, int]:
        """Tokens given so far, by kind."""
        return dict(self._num_tokens)

    def __iter__(self) -> "Epoch":
        return self

    def __next__(self) -> Document:
        """Return the next document, or end."""
        if self._position == len(self._documents):
            raise StopIteration
        document = self._documents[int(self._order[self._position])]
        self._position += 1
        kind = document.kind
        self._num_documents[kind] = self._num_documents.get(kind, 0) + 1
        self._num_tokens[kind] = self._num_tokens.get(kind, 0) + self._count_tokens(document)
        return document

    def state_dict(self) -> dict[str, object]:
        """Return where the stream is."""
        return {
            "seed": self._seed,
            "length": len(self._documents),
            "position": self._position,
            "num_documents": {kind.value: count for kind, count in self._num_documents.items()},
            "num_tokens": {kind.value: count for kind, count in self._num_tokens.items()},
        }

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Go on where an epoch of the same length and seed was; ValueError for any other."""
        given = {name: state.get(name) for name in ("seed", "length")}
        needed = {"seed": self._seed, "length": len(self._documents)}
        position, documents, tokens = (
            state.get(name) for name in ("position", "num_documents", "num_tokens")
        )
        if given != needed or not isinstance(position, int) or not 0 <= position <= len(self._documents):
            raise ValueError(f"this state is of another epoch: needed {needed}, got {given} at {position}")
        if not isinstance(documents, Mapping) or not isinstance(tokens, Mapping):
            raise ValueError("the state of an epoch needs num_documents and num_tokens by kind")
        self._position = position
        self._num_documents = {Kind(name): int(count) for name, count in documents.items()}
        self._num_tokens = {Kind(name): int(count) for name, count in tokens.items()}
