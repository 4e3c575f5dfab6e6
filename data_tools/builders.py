"""Builder: makes documents of one kind, each a function of the data and of the random stream it gets.

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
) -> Mapping[Kind, Builder]:
    """Return a builder for each kind, without held-out wordings; ValueError for what the data cannot make."""
    return {kind: _make(kind, trajectories, texts, config) for kind in kinds}


def _make(
    kind: Kind,
    trajectories: Sequence[Trajectory],
    texts: Sequence[str],
    config: DocumentConfig,
) -> Builder:
    match kind:
        case Kind.forward:
            builder = ForwardBuilder(trajectories, config)
        case Kind.inverse:
            builder = InverseBuilder(trajectories, config)
        case Kind.instructed:
            builder = InstructedBuilder(trajectories, config, held_out=False)
        case Kind.caption:
            builder = CaptionBuilder(trajectories, config, held_out=False)
        case Kind.question:
            builder = QuestionBuilder(trajectories, config, held_out=False)
        case Kind.video:
            builder = VideoBuilder(trajectories, config)
        case Kind.text:
            builder = TextBuilder(texts, config)
    return builder
