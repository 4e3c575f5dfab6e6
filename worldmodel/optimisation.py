"""Optimisation: AdamW, the learning-rate schedule, and the moving average of the weights."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class OptimisationConfig:
    """AdamW with warm-up, a constant rate and a linear cool-down.

    The paper's optimiser is unknown; a constant rate lets a run be prolonged after it began.
    """

    learning_rate: float = 2e-3
    warmup_steps: int = 200
    cooldown_share: float = 0.3
    """Share of the steps, at the end, over which the rate falls to zero."""
    beta1: float = 0.9
    beta2: float = 0.98
    weight_decay: float = 0.05
    clip_norm: float = 1.0
    ema_decay: float = 0.999


def learning_rate(step: int, num_steps: int, config: OptimisationConfig) -> float:
    """Return the rate of step `step` (from 0) of `num_steps`."""
    warmup = min(1.0, (step + 1) / max(1, config.warmup_steps))
    cooldown_steps = max(1, round(config.cooldown_share * num_steps))
    cooldown = min(1.0, (num_steps - step) / cooldown_steps)
    return config.learning_rate * min(warmup, cooldown)


def make_optimiser(model: nn.Module, config: OptimisationConfig) -> torch.optim.AdamW:
    """Return AdamW that decays matrices and leaves norms and embeddings alone."""
    decayed, free = [], []
    for name, parameter in model.named_parameters():
        matrix = parameter.dim() >= 2 and "embedding.weight" not in name
        (decayed if matrix else free).append(parameter)
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": free, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(config.beta1, config.beta2), fused=True)


@torch.no_grad()
def update_average(average: Iterable[Tensor], current: Iterable[Tensor], *, step: int, decay: float) -> None:
    """Move the average toward the current weights; its memory is at most a tenth of the steps done so far."""
    weight = 1 - min(decay, step / (step + 10))
    for mean, value in zip(average, current, strict=True):
        mean.lerp_(value, weight)


def optimiser_tensors(model: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return AdamW's state by parameter name."""
    tensors = {}
    for name, parameter in model.named_parameters():
        for key, value in optimiser.state[parameter].items():
            tensors[f"{name}/{key}"] = value
    return tensors


def restore_optimiser(model: nn.Module, optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what `optimiser_tensors` returned."""
    for name, parameter in model.named_parameters():
        prefix = f"{name}/"
        optimiser.state[parameter] = {
            key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)
        }
