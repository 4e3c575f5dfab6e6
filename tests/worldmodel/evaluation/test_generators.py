"""The one place that opens a model to generate with."""

import sys
import types

import torch

from tests.worldmodel.evaluation.fakes import Seer
from worldmodel.evaluation import generators
from worldmodel.evaluation.generators import Speaker, open_generator


def test_a_model_is_loaded_in_its_precision_and_generates_from_the_seed(monkeypatch):
    opened = []

    class Generator(Seer):
        def __init__(self, model: object, config: object) -> None:
            opened.append((model, config))

    module = types.ModuleType("worldmodel.generation")
    module.Generator = Generator  # pyright: ignore
    module.GenerationConfig = lambda *, seed: f"seed {seed}"  # pyright: ignore
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(generators, "load_model", lambda name, dtype: (name, dtype))
    found = open_generator("nano", dtype=torch.bfloat16, seed=7)
    assert isinstance(found, Speaker)
    assert opened == [(("nano", torch.bfloat16), "seed 7")]
