"""What evaluations ask of a model: pictures for texts, texts for pictures, answers, how likely they are."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from jaxtyping import Float, UInt8
from torch import Tensor


@runtime_checkable
class Draws(Protocol):
    """Makes pictures."""

    def draw(self, texts: Sequence[str], *, names: Sequence[str]) -> UInt8[Tensor, "batch size size 3"]:
        """Return one picture a text, from noise that is a function of a seed and the picture's name."""
        ...


@runtime_checkable
class Captions(Protocol):
    """Describes pictures."""

    def caption(self, frames: UInt8[Tensor, "batch height width 3"]) -> list[str]:
        """Return one sentence a picture."""
        ...


@runtime_checkable
class Answers(Protocol):
    """Answers questions about pictures."""

    def answer(self, frames: UInt8[Tensor, "batch height width 3"], questions: Sequence[str]) -> list[str]:
        """Return one answer a picture and question."""
        ...


@runtime_checkable
class AnswerNats(Protocol):
    """Says how unlikely answers are."""

    def answer_nats(
        self,
        frames: UInt8[Tensor, "batch height width 3"],
        questions: Sequence[str],
        answers: Sequence[Sequence[str]],
    ) -> Sequence[Sequence[float]] | Float[Tensor, "batch answer"]:
        """Return the nats of each candidate answer, its end included; all questions have equally many."""
        ...
