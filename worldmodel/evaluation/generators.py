"""Generator: the model folder that benchmarks draw with and ask, opened in one place."""

from typing import Protocol, runtime_checkable

import torch

from worldmodel.evaluation.protocols import AnswerNats, Answers, Captions, Draws
from worldmodel.generation import GenerationConfig, Generator
from worldmodel.model_folder import load_model


@runtime_checkable
class Speaker(Draws, Captions, Answers, AnswerNats, Protocol):
    """All that benchmarks ask of a model."""


def open_generator(model: str, *, dtype: torch.dtype, seed: int) -> Speaker:
    """Load a model folder, or a model that ships by its name, to generate in `dtype` from a seed."""
    return Generator(load_model(model, dtype=dtype), GenerationConfig(seed=seed))
