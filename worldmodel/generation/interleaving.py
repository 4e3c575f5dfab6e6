"""Interleaving: text until an image marker, then a frame, then on, until the document ends."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from worldmodel.branching import FrameSampling, noised_history
from worldmodel.generation.prefix import Piece
from worldmodel.generation.sequences import Sequences
from worldmodel.generation.token_choice import TextSampling, choose_tokens
from worldmodel.number_tokens import NumberReader, TokenizedText
from worldmodel.tokenizer import TextTokenizer


@dataclass
class Continuation:
    """What followed a document: texts and the latents of frames; whether it ended, or met a limit."""

    pieces: list[Piece] = field(default_factory=list)
    has_ended: bool = False

    @property
    def text(self) -> str:
        """All texts, one after another."""
        return "".join(piece for piece in self.pieces if isinstance(piece, str))


@dataclass(frozen=True)
class Written:
    """A text that a sequence wrote, and the marker that it wrote next; None if it met the limit."""

    ids: list[int]
    stop: int | None


class Writer:
    """Writes on in sequences; draws of all of them come from one generator."""

    def __init__(
        self,
        sequences: Sequences,
        tokenizer: TextTokenizer,
        *,
        text: TextSampling,
        frame: FrameSampling,
        generator: torch.Generator,
    ) -> None:
        self._sequences, self._tokenizer = sequences, tokenizer
        self._text, self._frame, self._generator = text, frame, generator

    def write(
        self, readers: Sequence[NumberReader], active: Bool[Tensor, " sequence"], *, with_images: bool
    ) -> list[Written]:
        """Write in the active sequences, each until <eos>, <image> (if allowed) or the limit.

        `readers` read the numbers of each text. A marker that stops a text is not in the cache.
        """
        stops = {self._tokenizer.end, *([self._tokenizer.image_begin] if with_images else [])}
        written = [Written([], None) for _ in readers]
        left = active
        for _ in range(self._text.max_tokens):
            chosen = self._choose(with_images=with_images).tolist()
            for row, index in enumerate(chosen):
                if left[row] and index in stops:
                    written[row] = Written(written[row].ids, index)
                elif left[row]:
                    written[row].ids.append(index)
            left = left & torch.tensor([each.stop is None for each in written])
            if not left.any():
                break
            self._sequences.write(self._read(chosen, readers, left), left)
        return written

    def imagine(self, active: Bool[Tensor, " sequence"]) -> Float[Tensor, "sequence token channel"]:
        """Sample a frame in each active sequence, from noise of its own."""
        return self._sequences.imagine(self._noise(), self._frame, active)

    def interleave(
        self, readers: Sequence[NumberReader], *, max_frames: int, history_noise: float
    ) -> list[Continuation]:
        """Write and imagine until every sequence has ended, or met the limit of a text or of frames."""
        found = [Continuation() for _ in readers]
        active = torch.ones(len(found), dtype=torch.bool)
        for num_frames in range(max_frames + 1):
            written = self.write(readers, active, with_images=max_frames > 0)
            for row in torch.nonzero(active)[:, 0].tolist():
                if written[row].ids:
                    found[row].pieces.append(self._tokenizer.decode(written[row].ids))
                found[row].has_ended = written[row].stop == self._tokenizer.end
            active = active & torch.tensor([each.stop == self._tokenizer.image_begin for each in written])
            if num_frames == max_frames or not active.any():
                break
            latents = self.imagine(active)
            for row in torch.nonzero(active)[:, 0].tolist():
                found[row].pieces.append(latents[row])
            history = latents
            if history_noise > 0:
                history = noised_history(latents, self._noise(), level=history_noise)
            self._sequences.append_frame(history, active, time=1 - history_noise)
            readers = [NumberReader() for _ in readers]  # what follows a frame is a text of its own
        return found

    def _noise(self) -> Float[Tensor, "sequence token channel"]:
        return torch.randn(self._sequences.frame_shape, generator=self._generator)

    def _choose(self, *, with_images: bool) -> Tensor:
        logits = self._sequences.logits()
        # Never written: padding, a second beginning, and the end of an image, which is where frames end.
        banned = [self._tokenizer.pad, self._tokenizer.begin, self._tokenizer.image_end]
        logits[:, banned + ([] if with_images else [self._tokenizer.image_begin])] = float("-inf")
        uniform = torch.zeros(len(logits))
        if self._text.temperature > 0:
            uniform = torch.rand(len(logits), generator=self._generator)
        return choose_tokens(logits, uniform, self._text)

    def _read(
        self, chosen: list[int], readers: Sequence[NumberReader], active: Bool[Tensor, " sequence"]
    ) -> TokenizedText:
        """Annotate one new token of each sequence, as the tokenizer annotates whole texts."""
        count = len(chosen)
        ids, places = np.full(count, self._tokenizer.pad, dtype=np.int64), np.zeros(count, dtype=np.int64)
        values, is_value = np.zeros(count, dtype=np.float32), np.zeros(count, dtype=np.bool_)
        for row in torch.nonzero(active)[:, 0].tolist():
            ids[row] = chosen[row]
            places[row] = self._tokenizer.read(chosen[row], readers[row])
            if readers[row].is_complete:
                values[row], is_value[row] = float(readers[row].text), True
        return TokenizedText(ids, places, values, is_value)
