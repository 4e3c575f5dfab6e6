"""Small models and documents that the tests of the world model share."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from data_tools.action_text import format_actions
from data_tools.documents import Branch, Document, FrameKey, Image, Kind, Text
from worldmodel.tokenizer import TextTokenizer
from worldmodel.transfusion import Transfusion, TransfusionConfig

CHANNELS = 6
NUM_LATENTS = 4


class RandomLatents:
    """Latents of 50 frames, standard normal: `num_context_channels` and `num_channels` side by side."""

    def __init__(self, num_channels: int = CHANNELS, num_context_channels: int = 0) -> None:
        self.num_channels, self.num_context_channels = num_channels, num_context_channels
        shape = (50, NUM_LATENTS, num_context_channels + num_channels)
        self.table = torch.randn(shape, generator=torch.Generator().manual_seed(3))

    def lookup(self, keys: Sequence[FrameKey]) -> torch.Tensor:
        return self.table[torch.tensor([key.frame for key in keys], dtype=torch.long)]


class IndexedRepresentation:
    """Reads a frame's number from its first pixel and returns that row of `RandomLatents`."""

    image_size = 8
    num_tokens = NUM_LATENTS
    fingerprint = "indexed"

    def __init__(self, latents: RandomLatents) -> None:
        self._table = latents.table
        self.num_channels, self.num_context_channels = latents.num_channels, latents.num_context_channels

    def encode(self, frames: torch.Tensor) -> torch.Tensor:
        return self._table[frames[:, 0, 0, 0].long()]

    def save(self, folder: Path) -> None:
        raise NotImplementedError

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(latents), 8, 8, 3, dtype=torch.uint8)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="session")
def tokenizer() -> TextTokenizer:
    return TextTokenizer.train(["turn left, then go forward two metres", "a wall ahead"] * 5, 320)


@pytest.fixture(scope="session")
def latents() -> RandomLatents:
    return RandomLatents()


@pytest.fixture
def make_model(tokenizer: TextTokenizer) -> Callable[..., Transfusion]:
    """Return a builder of small models whose latent output is not zero."""

    def make(*, channels: int = CHANNELS, context_channels: int = 0, **sizes: object) -> Transfusion:
        defaults = dict(width=48, num_blocks=2, num_heads=3, num_kv_heads=1, text_hidden=40, image_hidden=56)
        config = TransfusionConfig(**(defaults | sizes))  # pyright: ignore[reportArgumentType]
        model = Transfusion(
            config,
            vocab_size=tokenizer.vocab_size,
            latent_channels=channels,
            context_channels=context_channels,
            latents_per_frame=NUM_LATENTS,
        )
        generator = torch.Generator().manual_seed(1)
        model.initialise(generator=generator)
        with torch.no_grad():
            model.latent_output.weight.normal_(0, 0.3, generator=generator)
        return model

    return make


@pytest.fixture
def forward_document() -> Callable[..., Document]:
    """Return a builder of forward documents with random actions: two jumps and a chain of two steps."""

    def make(*, num_context: int = 2, seed: int = 0) -> Document:
        rng = np.random.default_rng(seed)
        actions = np.concatenate((rng.uniform(-2, 2, (4, 3)), rng.uniform(0, 4, (4, 1))), axis=1)
        texts = [Text(text, 0.1) for text in format_actions(actions)]
        frames = [Image(FrameKey(0, int(frame)), is_target=True) for frame in rng.integers(50, size=4)]
        context = tuple(Image(FrameKey(0, 10 + k), is_target=False) for k in range(num_context))
        chain = Branch((texts[2], frames[2]), (Branch((texts[3], frames[3])),))
        branches = (Branch((texts[0], frames[0])), Branch((texts[1], frames[1])), chain)
        return Document(Kind.forward, context, branches)

    return make
