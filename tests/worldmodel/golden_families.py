"""Golden losses of the preset families: ten steps of each, shrunk in numbers alone.

`python -m tests.worldmodel.golden_families` prints by how much this code differs from the stored losses, and
`python -m tests.worldmodel.golden_families write` stores what it gives; say in the commit why they changed.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from hydra import compose, initialize_config_dir

import worldmodel.pretrain
from data_tools.config import to_object
from tests.data_tools.recordings import drive
from worldmodel.corpus import Corpus, make_batches, make_tokenizer
from worldmodel.pretrain_config import PretrainConfig
from worldmodel.representation.cache import LatentCache, starts_of
from worldmodel.trainer import make_trainer, train_step

GOLDEN = Path(__file__).with_suffix(".json")
NUM_LATENTS, LATENT_CHANNELS = 4, 24
LOSSES = ("total", "language", "flow", "gradient_norm")

NUMBERS = {
    "vocab_size": 330,
    "num_steps": 10,
    "num_rows": 2,
    "tokens_per_row": 240,
    "num_threads": 1,
    "documents.num_targets": 4,
    "documents.max_context": 3,
    "documents.max_characters": 40,
    "documents.max_video_frames": 8,
    "optimisation.warmup_steps": 2,
    "model.num_blocks": 2,
    "model.text_hidden": 24,
    "model.image_hidden": 40,
    "precision": "float32",  # what the proof is of: bfloat16 rounds differently from machine to machine
}
FAMILIES: dict[str, dict[str, object]] = {
    "nano": {"model.width": 32, "model.num_heads": 4, "model.num_kv_heads": 2},
    "small": {"model.width": 48, "model.num_heads": 6, "model.num_kv_heads": 2},
    "base": {"model.width": 64, "model.num_heads": 8, "model.num_kv_heads": 2},
    "paper": {
        "model.width": 64,
        "model.num_heads": 8,
        "model.num_kv_heads": 2,
        "model.experts.num_experts": 10,
        "model.experts.top_k": 3,
        "model.experts.expert_hidden": 16,
        "model.experts.shared_hidden": 16,
        "latents_per_frame": NUM_LATENTS,
        "latent_channels": LATENT_CHANNELS,
    },
}


def compose_preset(family: str, **overrides: object) -> PretrainConfig:
    """Return the settings of a preset, with overrides as on the command line."""
    folder = Path(worldmodel.pretrain.__file__).parent / "conf"
    paths = {"data": "''", "text": "''", "representation": "''", "out": "''", "preset": family}
    with initialize_config_dir(str(folder), version_base=None):
        given = [f"{name}={value}" for name, value in (paths | overrides).items()]
        return to_object(compose("pretrain", overrides=given), PretrainConfig)


def shrunk(family: str) -> PretrainConfig:
    """Return a preset with the switches of its family and numbers that take a second."""
    return compose_preset(family, **NUMBERS, **FAMILIES[family])


def ten_steps(family: str) -> dict[str, list[float]]:
    """Train for ten steps on recordings with random latents; return the losses of each step."""
    config = shrunk(family)
    trajectories = [drive(num_frames, seed=index) for index, num_frames in enumerate((53, 31, 40))]
    starts = starts_of(trajectories)
    latents = np.random.default_rng(0).standard_normal((int(starts[-1]), NUM_LATENTS, LATENT_CHANNELS))
    texts = ["a wall ahead, a door on the left"] * 3
    corpus = Corpus(trajectories, texts, LatentCache(latents.astype(np.float16), starts), recordings="drives")
    batches = make_batches(
        config,
        corpus,
        make_tokenizer(config, corpus),
        latents_per_frame=NUM_LATENTS,
        role="training",
    )
    trainer = make_trainer(config, batches, vocab_size=config.vocab_size, latent_channels=LATENT_CHANNELS)
    reports = [train_step(trainer, next(batches), config) for _ in range(config.num_steps)]
    return {name: [getattr(report, name) for report in reports] for name in LOSSES}


def read_golden() -> dict[str, dict[str, list[float]]]:
    """Return the stored losses: family, kind of loss, step."""
    return json.loads(GOLDEN.read_text())


def main() -> None:
    """Store the losses, or print the largest difference from those that are stored."""
    torch.set_num_threads(1)
    found = {family: ten_steps(family) for family in FAMILIES}
    if sys.argv[1:] == ["write"]:
        lines = [
            f'"{family}": {{\n'
            + ",\n".join(f'  "{name}": {json.dumps(values)}' for name, values in losses.items())
            + "\n}"
            for family, losses in found.items()
        ]
        GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n")
        return
    golden = read_golden()
    for family, losses in found.items():
        differences = {
            name: max(abs(one / other - 1) for one, other in zip(values, golden[family][name], strict=True))
            for name, values in losses.items()
        }
        print(json.dumps({"family": family, "torch": torch.__version__, "relative": differences}))


if __name__ == "__main__":
    main()
