"""Batches: an endless, resumable stream of packed batches drawn from a mixture."""

from collections.abc import Mapping

import numpy as np

from data_tools.mixture import Mixture
from worldmodel.documents import PackedBatch, Packer


class Batches:
    """Fills a batch with the mixture's next documents until one does not fit; that one opens the next batch.

    `state_dict` is plain JSON: the mixture's counters and the state of the stream that draws noise levels.
    """

    def __init__(self, mixture: Mixture, packer: Packer, *, rng: np.random.Generator) -> None:
        self._mixture, self._packer, self._rng = mixture, packer, rng

    def __next__(self) -> PackedBatch:
        """Return the next batch."""
        rows = self._packer.empty()
        while True:
            before = self._mixture.state_dict()
            document = next(self._mixture)
            if not rows.place(document, self._packer.length(document)):
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
        return {"mixture": self._mixture.state_dict(), "rng": self._rng.bit_generator.state}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Go on from where a stream of the same mixture was."""
        mixture, rng = state["mixture"], state["rng"]
        if not isinstance(mixture, Mapping) or not isinstance(rng, Mapping):
            raise ValueError("the state of batches needs `mixture` and `rng`, both JSON objects")
        self._mixture.load_state_dict(mixture)
        self._rng.bit_generator.state = dict(rng)
