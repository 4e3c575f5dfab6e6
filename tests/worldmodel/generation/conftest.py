"""Small world models, and documents run as in training: the slow reference of generation."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from data_tools.documents import Document, FrameKey, Image, Kind, Text
from tests.worldmodel.conftest import NUM_LATENTS, IndexedRepresentation
from worldmodel.attend import PackedAttend
from worldmodel.attention import hybrid_mask
from worldmodel.documents import PackedBatch, Packer
from worldmodel.feedforward import FeedForwardKind, Modalities
from worldmodel.flattening import NoiseLevels
from worldmodel.flow import FlowConfig, Prediction, guide, sample, sample_times
from worldmodel.generation import GenerationConfig
from worldmodel.generation.prefix import Piece
from worldmodel.predictor import WorldModel
from worldmodel.transfusion import TokenInputs


@pytest.fixture(params=list(FeedForwardKind))
def world_model(request, make_model, tokenizer, latents) -> WorldModel:
    model = make_model(feedforward=request.param)
    return WorldModel(model, tokenizer, IndexedRepresentation(latents), prediction=Prediction.latent)


class Listed:
    """Latents of given frames, by their number."""

    def __init__(self, frames: Sequence[torch.Tensor]) -> None:
        self.table = torch.stack(list(frames)) if frames else torch.zeros(0, NUM_LATENTS, 6)
        self.num_channels, self.num_context_channels = self.table.shape[2], 0

    def lookup(self, keys: Sequence[FrameKey]) -> torch.Tensor:
        return self.table[torch.tensor([key.frame for key in keys], dtype=torch.long)]


class Reference:
    """Runs whole documents through the packer of training, every time from their beginning."""

    def __init__(self, model: WorldModel, monkeypatch: pytest.MonkeyPatch) -> None:
        self.model, self._monkeypatch = model, monkeypatch

    def run(
        self, pieces: Sequence[Piece], *, last_time: float = 1.0, history_time: float = 1.0
    ) -> tuple[torch.Tensor, PackedBatch]:
        """Return the hidden states of a document whose frames have these times, and the document."""
        frames = [piece for piece in pieces if isinstance(piece, torch.Tensor)]
        numbers = iter(range(len(frames)))
        segments = tuple(
            Text(piece, 1.0) if isinstance(piece, str) else Image(FrameKey(0, next(numbers)), False)
            for piece in pieces
        )
        times = np.full(len(frames), history_time, np.float32)
        times[-1:] = last_time
        levels = NoiseLevels(times, np.zeros(len(frames), np.bool_), has_clean_context=True)
        self._monkeypatch.setattr("worldmodel.documents.draw_noise_levels", lambda *_, **__: levels)
        packer = Packer(
            self.model.tokenizer,
            Listed(frames),
            FlowConfig(),
            num_rows=1,
            tokens_per_row=300,
            latents_per_frame=NUM_LATENTS,
        )
        rows, document = packer.empty(), Document(Kind.caption, segments)
        assert rows.place(document, packer.length(document))
        batch = packer.pack(rows, rng=np.random.default_rng(0))
        inputs = TokenInputs(**{name: getattr(batch, name) for name in TokenInputs.__dataclass_fields__})
        attend = PackedAttend(hybrid_mask(batch.reach, batch.frame))
        hidden, _ = self.model.transfusion(inputs, attend, Modalities.of(inputs.is_image))
        return hidden, batch

    def logits(self, pieces: Sequence[Piece], *, num_last: int) -> torch.Tensor:
        """Return the scores of the last tokens that a document predicts, <eos> the last of all."""
        hidden, batch = self.run(pieces)
        return self.model.transfusion.text_logits(hidden[0, batch.text_from[-num_last:]])

    def nats(self, pieces: Sequence[Piece], *, num_last: int) -> torch.Tensor:
        """Return how unlikely the last tokens of a document are, <eos> included."""
        _, batch = self.run(pieces)
        logits = self.logits(pieces, num_last=num_last)
        return torch.nn.functional.cross_entropy(logits, batch.text_target[-num_last:], reduction="sum")

    def frame(self, pieces: Sequence[Piece], noise: torch.Tensor, config: GenerationConfig) -> torch.Tensor:
        """Sample the frame after a document; without the condition, the texts since the last frame go."""
        free = list(pieces)
        while free and isinstance(free[-1], str):
            free.pop()

        def predicted(before: Sequence[Piece], noised: torch.Tensor, time: float) -> torch.Tensor:
            hidden, batch = self.run([*before, noised], last_time=time, history_time=1 - config.history_noise)
            return self.model.transfusion.latents(hidden[0, batch.frame[0] == batch.frame.max()])

        def guided(noised: torch.Tensor, time: float) -> torch.Tensor:
            plain = predicted(pieces, noised, time)
            return guide(plain, predicted(free, noised, time), scale=config.frame.guidance)

        times = sample_times(config.frame.num_steps, shift=config.frame.time_shift)
        return sample(guided, noise, times=times, sampler=config.frame.sampler)


@pytest.fixture
def reference(world_model, monkeypatch) -> Reference:
    return Reference(world_model, monkeypatch)


@pytest.fixture
def frame() -> Callable[[int], torch.Tensor]:
    """Return a maker of frames that `IndexedRepresentation` reads a number from."""
    return lambda number: torch.full((8, 8, 3), number, dtype=torch.uint8)
