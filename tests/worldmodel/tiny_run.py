"""A pretraining run of seconds: `python -m tests.worldmodel.tiny_run OUT` trains it, or goes on with it.

`{"setting": value}` as second argument changes settings: JSON, choices by name, `model` without its sizes.
"""

import json
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from data_tools.config import schema, to_dict, to_object
from data_tools.document_config import DocumentConfig
from data_tools.mixture import MixtureConfig
from tests.data_tools.recordings import drive
from worldmodel.corpus import Corpus
from worldmodel.feedforward import ExpertsConfig, FeedForwardKind
from worldmodel.optimisation import OptimisationConfig
from worldmodel.precision import Precision
from worldmodel.pretrain import train
from worldmodel.pretrain_config import PretrainConfig
from worldmodel.ranks import Ranks, joined
from worldmodel.representation.cache import LatentCache, starts_of
from worldmodel.representation.rae import RaeConfig, RaeRepresentation, with_statistics
from worldmodel.router import Balancing
from worldmodel.transfusion import TransfusionConfig

SHAPE = RaeConfig(
    image_size=16,
    patch_size=8,
    hidden_size=64,
    num_layers=1,
    decoder_hidden_size=16,
    decoder_num_layers=1,
    decoder_num_heads=2,
    decoder_intermediate_size=16,
)
TEXTS = ["a wall ahead, a door on the left"] * 3


def make_config(out: Path, **changes: object) -> PretrainConfig:
    """Return a run of ten steps."""
    settings = dict(
        data="",
        text="",
        representation="",
        out=str(out),
        vocab_size=330,
        num_steps=10,
        num_rows=2,
        tokens_per_row=240,
        num_heldout_batches=1,
        evaluate_every=5,
        checkpoint_every=2,
        num_threads=1,
        precision=Precision.float32,
        model=TransfusionConfig(
            width=32, num_blocks=2, num_heads=2, num_kv_heads=1, text_hidden=32, image_hidden=48
        ),
        documents=DocumentConfig(num_targets=4, max_context=3, max_characters=40, max_video_frames=8),
        mixture=MixtureConfig(),
        optimisation=OptimisationConfig(learning_rate=5e-3, warmup_steps=2),
    )
    return PretrainConfig(**(settings | changes))  # pyright: ignore[reportArgumentType]


def make_mixture(balancing: Balancing) -> TransfusionConfig:
    """Return a model with experts, balanced so strongly that ten steps show it."""
    experts = ExpertsConfig(
        num_experts=5,
        top_k=2,
        expert_hidden=16,
        shared_hidden=24,
        balancing=balancing,
        balance_weight=0.5,
        bias_rate=0.02,
    )
    return TransfusionConfig(
        width=32,
        num_blocks=2,
        num_heads=2,
        num_kv_heads=1,
        feedforward=FeedForwardKind.experts,
        experts=experts,
    )


def make_corpus(seed: int) -> Corpus:
    """Return recordings with random latents."""
    trajectories = [drive(num_frames, seed=seed + index) for index, num_frames in enumerate((53, 31, 40))]
    starts = starts_of(trajectories)
    rng = np.random.default_rng(seed)
    latents = rng.standard_normal((int(starts[-1]), SHAPE.num_tokens, SHAPE.hidden_size)).astype(np.float16)
    return Corpus(trajectories, TEXTS, LatentCache(latents, starts), recordings=f"drives from {seed}")


def make_representation() -> RaeRepresentation:
    """Return an untrained encoder with statistics that are not those of its latents."""
    untrained = RaeRepresentation.create(SHAPE, generator=torch.Generator().manual_seed(0))
    shape = (SHAPE.num_tokens, SHAPE.hidden_size)
    return with_statistics(untrained, mean=torch.zeros(shape), std=torch.full(shape, 2.0))


def run(out: Path, *, ranks: Ranks | None = None, **changes: object) -> None:
    """Train, or go on training."""
    torch.set_num_threads(1)
    config = make_config(out, **changes)
    train(config, make_representation(), training=make_corpus(0), heldout=make_corpus(1), ranks=ranks)


def read_changes(text: str) -> dict[str, object]:
    """Return settings from JSON, on top of those of `make_config`."""
    node = OmegaConf.merge(schema(PretrainConfig), to_dict(make_config(Path())), json.loads(text))
    assert isinstance(node, DictConfig)
    config = to_object(node, PretrainConfig)
    return {each.name: getattr(config, each.name) for each in fields(config) if each.name != "out"}


if __name__ == "__main__":
    changes = read_changes(sys.argv[2] if len(sys.argv) > 2 else "{}")
    with joined(timeout_s=60.0) as ranks:
        run(Path(sys.argv[1]), ranks=ranks, **changes)
