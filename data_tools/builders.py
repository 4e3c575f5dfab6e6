"""Builder: makes documents of one kind; a document depends on the builder and on the random stream given to it.

Builders read poses, times and texts, never frames.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from data_tools.action_documents import ForwardBuilder, InstructedBuilder, InverseBuilder
from data_tools.document_config import DocumentConfig
from data_tools.documents import Document, Kind
from data_tools.media_documents import CaptionBuilder, QuestionBuilder, TextBuilder, VideoBuilder
from data_tools.trajectory import Trajectory


@runtime_checkable
class Builder(Protocol):
    """Makes documents of one kind."""

    def build(self, *, rng: np.random.Generator) -> Document:
        """Make one document out of the stream's next numbers."""
        ...


def make_builders(
    trajectories: Sequence[Trajectory],
    texts: Sequence[str],
    config: DocumentConfig,
    *,
    kinds: Sequence[Kind] = tuple(Kind),
    held_out: bool = False,
) -> Mapping[Kind, Builder]:
    """Return a builder for each kind; ValueError for a kind that the data cannot make.

    `held_out` chooses the wordings kept from training instead of all others: only evaluation sets it.
    """

    def make(kind: Kind) -> Builder:
        match kind:
            case Kind.forward:
                return ForwardBuilder(trajectories, config)
            case Kind.inverse:
                return InverseBuilder(trajectories, config)
            case Kind.instructed:
                return InstructedBuilder(trajectories, config, held_out=held_out)
            case Kind.caption:
                return CaptionBuilder(trajectories, config, held_out=held_out)
            case Kind.question:
                return QuestionBuilder(trajectories, config, held_out=held_out)
            case Kind.video:
                return VideoBuilder(trajectories, config)
            case Kind.text:
                return TextBuilder(texts, config)

    return {kind: make(kind) for kind in kinds}
