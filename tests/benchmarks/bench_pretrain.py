"""Speed of a pretraining step against the matrix products of this machine, as JSON.

`python -m tests.benchmarks.bench_pretrain [repeats=5] [key=value of worldmodel/conf/pretrain.yaml ...]`:
synthetic documents of nano's mixture, eager and compiled. `fraction_of_matmul` is the step's FLOP a
core-second over that of square products in the same precision, timed in turn; CPU time, since other work on
the machine disturbs wall time. FLOP are those of the products, masked pairs of tokens included.
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

import worldmodel.pretrain
from data_tools.config import to_object
from data_tools.randomness import numpy_generator_for
from tests.data_tools.recordings import drive
from worldmodel.corpus import Corpus, make_batches, make_tokenizer
from worldmodel.documents import PackedBatch
from worldmodel.objective import losses
from worldmodel.pretrain_config import PretrainConfig
from worldmodel.representation.cache import LatentCache, starts_of
from worldmodel.trainer import Trainer, make_trainer, train_step

MATMUL_SIZE = 2048
NUM_CONSUMERS = 10
WORDS = (
    "the robot",
    "turns left",
    "goes on",
    "a door",
    "a wall ahead",
    "two metres",
    "of the room",
    "and then",
)


def main() -> None:
    """Time eager and compiled steps and print what they cost."""
    repeats = [each.removeprefix("repeats=") for each in sys.argv[1:] if each.startswith("repeats=")] or ["5"]
    config = _config([each for each in sys.argv[1:] if not each.startswith("repeats=")])
    torch.set_num_threads(config.num_threads)
    trainer = _trainer(config)
    batch = next(trainer.batches)
    flops = _flops(trainer, batch, config)
    report: dict[str, object] = {
        "threads": config.num_threads,
        "precision": config.precision.value,
        "parameters": sum(parameter.numel() for parameter in trainer.model.parameters()),
        "tokens_per_step": batch.ids.numel(),
        "gflop_per_step": round(flops / 1e9, 2),
        "batch_core_s": round(_timed(lambda: next(trainer.batches))[1], 4),
        "torch": torch.__version__,
    }
    for name, compiled in (("eager", False), ("compiled", True)):
        variant = replace(config, compile=compiled)
        report[name] = _measure(_trainer(variant), batch, variant, flops=flops, repeats=int(repeats[-1]))
    print(json.dumps(report, indent=1))


def _config(overrides: list[str]) -> PretrainConfig:
    folder = Path(worldmodel.pretrain.__file__).parent / "conf"
    paths = ["data=''", "text=''", "representation=''", f"out={tempfile.gettempdir()}"]
    with initialize_config_dir(str(folder), version_base=None):
        return to_object(compose("pretrain", overrides=[*paths, *overrides]), PretrainConfig)


def _trainer(config: PretrainConfig) -> Trainer:
    """Return a run on recordings with random latents of nano's size: 16 tokens of 128 channels."""
    rng = numpy_generator_for(config.seed, "data")
    trajectories = [drive(200, seed=seed) for seed in range(10)]
    starts = starts_of(trajectories)
    latents = rng.standard_normal((int(starts[-1]), 16, 128)).astype(np.float16)
    texts = [" ".join(rng.choice(WORDS, 500)) for _ in range(20)]
    corpus = Corpus(trajectories, texts, LatentCache(latents, starts), recordings="drives")
    tokenizer = make_tokenizer(config, corpus)
    batches = make_batches(config, corpus, tokenizer, latents_per_frame=16, role="training")
    return make_trainer(config, batches, vocab_size=config.vocab_size, latent_channels=128)


def _flops(trainer: Trainer, batch: PackedBatch, config: PretrainConfig) -> int:
    """Return the floating-point operations of the products in one step, forward and backward."""
    noise = torch.randn(batch.latents.shape, generator=trainer.noise)
    with FlopCounterMode(display=False) as counter:
        found = losses(trainer.model, batch, noise, config.objective, dtype=config.precision.dtype)
        (found.language + found.flow).backward()
    trainer.model.zero_grad()
    return counter.get_total_flops()


def _measure(
    trainer: Trainer, batch: PackedBatch, config: PretrainConfig, *, flops: int, repeats: int
) -> dict[str, object]:
    """Time steps on one batch in turn with products, and profile one more step."""
    size = MATMUL_SIZE
    left, right = (torch.ones(size, size, dtype=config.precision.dtype) for _ in range(2))
    first_s, _ = _timed(lambda: train_step(trainer, batch, config))
    train_step(trainer, batch, config)
    steps, products = [], []
    for _ in range(repeats):
        products.append(_timed(lambda: left @ right))
        steps.append(_timed(lambda: train_step(trainer, batch, config)))
    step_s, step_core_s = (statistics.median(times) for times in zip(*steps, strict=True))
    product_core_s = statistics.median(core_s for _, core_s in products)
    product_flops = 2 * size**3
    return {
        "first_step_s": round(first_s, 2),
        "step_s": round(step_s, 4),
        "step_core_s": round(step_core_s, 4),
        "tokens_per_s": round(batch.ids.numel() / step_s),
        "tokens_per_core_s": round(batch.ids.numel() / step_core_s),
        "gflop_per_s": round(flops / step_s / 1e9, 1),
        "gflop_per_core_s": round(flops / step_core_s / 1e9, 1),
        "matmul_gflop_per_core_s": round(product_flops / product_core_s / 1e9, 1),
        "fraction_of_matmul": round(flops / step_core_s * product_core_s / product_flops, 3),
        "consumers": _consumers(lambda: train_step(trainer, batch, config)),
    }


def _consumers(run: Callable[[], object]) -> dict[str, float]:
    """Return the operations that take most CPU time, as shares of all."""
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        run()
    times = {event.key: event.self_cpu_time_total for event in profiler.key_averages()}
    total = sum(times.values())
    largest = sorted(times, key=lambda key: -times[key])[:NUM_CONSUMERS]
    return {key[:80]: round(times[key] / total, 3) for key in largest}


def _timed(run: Callable[[], object]) -> tuple[float, float]:
    """Return wall and CPU time [s] of one call."""
    start_s, start_core_s = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - start_s, time.process_time() - start_core_s


if __name__ == "__main__":
    main()
