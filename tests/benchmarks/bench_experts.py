"""Speed of a mixture of experts against dense layers with equal active parameters, as JSON.

`python -m tests.benchmarks.bench_experts [granularity=4] [num_experts=16] [width=192] [tokens=5376]
[repeats=9] [threads=1] [device=cpu] [dtype=bfloat16] [steps=3]`: the layer alone, forward and backward, and
(steps=0 leaves it out) a whole training step of nano with such layers. Dense are one SwiGLU for all tokens,
and one for each modality. All variants are timed in turn, so that other work on the machine meets them alike;
a ratio is the median of the ratios of each turn. On a CPU times are CPU time.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch

from tests.benchmarks.bench_pretrain import _config, _trainer
from tests.benchmarks.compose import read_arguments
from worldmodel.feedforward import Experts, ExpertsConfig, FeedForwardKind, Modalities, PerModality, SwiGlu
from worldmodel.sizes import num_parameters
from worldmodel.trainer import train_step

IMAGE_SHARE = 0.6
"""Of the tokens of the layer that is timed alone: about that of nano's batches."""


def main() -> None:
    """Time the layers and the steps and print what they cost."""
    given = read_arguments(
        sys.argv[1:],
        granularity="4",
        num_experts="16",
        width="192",
        tokens="5376",
        repeats="9",
        threads="1",
        device="cpu",
        dtype="bfloat16",
        steps="3",
    )
    torch.set_num_threads(int(given["threads"]))
    experts = ExpertsConfig.of_granularity(
        int(given["granularity"]), width=int(given["width"]), num_experts=int(given["num_experts"])
    )
    device = torch.device(given["device"])
    report: dict[str, object] = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "settings": given,
        "torch": torch.__version__,
        "layer": _layers(experts, given, device),
    }
    if int(given["steps"]) and device.type == "cpu":
        report["nano_step"] = _steps(experts, int(given["width"]), int(given["steps"]), given["threads"])
    print(json.dumps(report, indent=1))


def _layers(experts: ExpertsConfig, given: Mapping[str, str], device: torch.device) -> dict[str, object]:
    """Time forward and backward of the feed-forward layers alone."""
    generator = torch.Generator().manual_seed(0)
    width, num_tokens, dtype = int(given["width"]), int(given["tokens"]), getattr(torch, given["dtype"])
    draw = torch.randn(2, num_tokens, width, generator=generator).to(device, dtype)
    tokens, gradient = draw[0].requires_grad_(), draw[1]
    modalities = Modalities.of((torch.rand(num_tokens, generator=generator) < IMAGE_SHARE).to(device))
    shared, mixture = SwiGlu(width, 4 * width), Experts(width, experts)
    per_modality = PerModality(width, text_hidden=4 * width, image_hidden=4 * width)
    for layer in (shared, per_modality, mixture):
        for parameter in layer.parameters():
            torch.nn.init.normal_(parameter, std=width**-0.5, generator=generator)
        layer.to(device)
    runs = {
        "shared": lambda: shared(tokens).backward(gradient),
        "per_modality": lambda: per_modality(tokens, modalities).backward(gradient),
        "experts": lambda: mixture(tokens, modalities)[0].backward(gradient),
    }
    _, load = mixture(tokens, modalities)
    return {
        "parameters": {"shared": num_parameters(shared), "experts": num_parameters(mixture)},
        "largest_load_over_mean": round((load[0].max() / load[0].mean()).item(), 2),
        **_in_turn(runs, int(given["repeats"]), device),
    }


def _steps(experts: ExpertsConfig, width: int, repeats: int, threads: str) -> dict[str, object]:
    """Time training steps of nano whose blocks have these layers, on one batch."""
    hidden = [f"model.{modality}_hidden={4 * width}" for modality in ("text", "image")]
    config = _config([f"model.width={width}", *hidden, f"num_threads={threads}"])
    runs: dict[str, Callable[[], object]] = {}
    batch = next(_trainer(config).batches)
    for kind in FeedForwardKind:
        of_kind = replace(config, model=replace(config.model, feedforward=kind, experts=experts))
        trainer = _trainer(of_kind)
        runs[kind.value] = lambda trainer=trainer, config=of_kind: train_step(trainer, batch, config)
    return {"tokens": batch.ids.numel(), **_in_turn(runs, repeats, torch.device("cpu"))}


def _in_turn(
    runs: Mapping[str, Callable[[], object]], repeats: int, device: torch.device
) -> dict[str, object]:
    """Return the median time of each run, and how much longer experts take than each other one."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(repeats + 1):
        for name, run in runs.items():
            spent_s = _timed(run, device)
            if turn:  # the first one warms up
                times[name].append(spent_s)
    ratios = {
        f"experts_over_{name}": round(
            statistics.median(ours / theirs for ours, theirs in zip(times["experts"], each, strict=True)), 3
        )
        for name, each in times.items()
        if name != "experts"
    }
    return {**{f"{name}_s": round(statistics.median(each), 5) for name, each in times.items()}, **ratios}


def _timed(run: Callable[[], object], device: torch.device) -> float:
    """Return how long a run takes [s]: CPU time on a CPU, else until the device is done."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start_s = clock()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return clock() - start_s


if __name__ == "__main__":
    main()
