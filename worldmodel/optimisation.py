"""Optimisation: Muon and AdamW, the learning-rate schedule, and the moving average of the weights."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from worldmodel.muon import Muon
from worldmodel.pieces import Piece, Place, held, place_of
from worldmodel.ranks import Ranks

_ADAMW_STATE = ("step", "exp_avg", "exp_avg_sq")
_MUON_STATE = ("momentum_buffer",)


class MatrixOptimiser(Enum):
    """What updates the matrices of the blocks."""

    adamw = "adamw"
    muon = "muon"
    """Momentum made orthogonal by Newton-Schulz steps (arXiv 2502.16982)."""


@dataclass(frozen=True, kw_only=True)
class OptimisationConfig:
    """Optimisers with warm-up, a constant rate and a linear cool-down.

    The paper's optimiser is unknown; a constant rate lets a run be prolonged after it began.
    """

    matrices: MatrixOptimiser = MatrixOptimiser.muon
    expert_matrices: MatrixOptimiser = MatrixOptimiser.adamw
    """What updates the routed experts. Muon costs the same for all of them, however few tokens a step has:
    little in a step of millions, a fifth of all else in nano's 5,376 with 16 experts of hidden size 192.
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

    def __post_init__(self) -> None:
        if not (self.learning_rate > 0 and self.clip_norm > 0 and self.weight_decay >= 0):
            raise ValueError(
                f"needed learning_rate and clip_norm above 0 and weight_decay of at least 0, got "
                f"{self.learning_rate}, {self.clip_norm} and {self.weight_decay}"
            )
        if self.warmup_steps < 0:
            raise ValueError(f"warmup_steps must be at least 0, got {self.warmup_steps}")
        for name in ("cooldown_share", "ema_decay"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {getattr(self, name)}")
        if not (0 <= self.beta1 < 1 and 0 <= self.beta2 < 1):
            raise ValueError(f"beta1 and beta2 must be in [0, 1), got {self.beta1} and {self.beta2}")


def learning_rate(step: int, num_steps: int, config: OptimisationConfig) -> float:
    """Return the rate of step `step` (from 0) of `num_steps`."""
    warmup = min(1.0, (step + 1) / max(1, config.warmup_steps))
    cooldown_steps = max(1, round(config.cooldown_share * num_steps))
    cooldown = min(1.0, (num_steps - step) / cooldown_steps)
    return config.learning_rate * min(warmup, cooldown)


class Optimisers:
    """The optimisers of a run, stepped together: one for the blocks' matrices, AdamW for all else.

    Weight decay leaves norms and embeddings alone. Of a sharded model they update what this rank holds.
    """

    def __init__(self, model: nn.Module, config: OptimisationConfig, *, ranks: Ranks | None = None) -> None:
        # Of a parameter that is shared out, the optimisers see a plain tensor: the rows that are held here.
        self._of_whole = {
            parameter: nn.Parameter(held(parameter)) if isinstance(parameter, DTensor) else parameter
            for parameter in model.parameters()
        }
        self._places: dict[Tensor, Place] = {part: place_of(whole) for whole, part in self._of_whole.items()}
        self._names: dict[Tensor, str] = {}
        groups: dict[str, list[nn.Parameter]] = {"muon": [], "decayed": [], "free": []}
        for name, parameter in model.named_parameters():
            part = self._of_whole[parameter]
            self._names[part] = name
            groups[_group_of(name, parameter, config)].append(part)
        adamw_groups = [
            {"params": groups["decayed"], "weight_decay": config.weight_decay},
            {"params": groups["free"], "weight_decay": 0.0},
        ]
        self._each: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(
                [group for group in adamw_groups if group["params"]],
                lr=config.learning_rate,
                betas=(config.beta1, config.beta2),
                fused=True,
            )
        ]
        if groups["muon"]:
            self._each.append(
                Muon(
                    groups["muon"],
                    places=self._places,
                    are_shared_out=any(isinstance(each, DTensor) for each in self._of_whole),
                    lr=config.learning_rate,
                    weight_decay=config.weight_decay,
                    ranks=ranks or Ranks(),
                )
            )

    def step(self, *, rate: float) -> None:
        """Update all parameters at this learning rate and clear their gradients."""
        for whole, part in self._of_whole.items():
            if part is not whole:
                part.data = held(whole)
                part.grad = None if whole.grad is None else held(whole.grad)
                whole.grad = None
        for optimiser in self._each:
            for group in optimiser.param_groups:
                group["lr"] = rate
            optimiser.step()
            optimiser.zero_grad()

    def tensors(self) -> dict[str, Tensor]:
        """Return what is held of the state by parameter name, for a checkpoint."""
        return {name: piece.rows for name, piece in self.pieces().items()}

    def pieces(self) -> dict[str, Piece]:
        """Return the same with the places of all tensors."""
        return {
            f"{self._names[parameter]}/{key}": Piece(self._place(parameter, key), value)
            for optimiser in self._each
            for parameter, state in optimiser.state.items()
            for key, value in state.items()
        }

    def places(self) -> dict[str, Place]:
        """Return the names and places of the state after at least one step."""
        return {
            f"{self._names[parameter]}/{key}": self._place(parameter, key)
            for _, parameter, keys in self.states()
            for key in keys
        }

    def _place(self, parameter: Tensor, key: str) -> Place:
        return Place.whole(()) if key == "step" else self._places[parameter]

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `tensors` returned after at least one step; ValueError for any other set."""
        given = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        needed = {name: place.held_shape for name, place in self.places().items()}
        if given != needed:
            wrong = sorted({name for name, _ in given.items() ^ needed.items()})
            raise ValueError(
                f"needed {len(needed)} tensors of these optimisers, got {len(given)}; missing, unknown or of "
                f"another shape are {', '.join(wrong[:3])}, {len(wrong)} in all"
            )
        for optimiser, parameter, keys in self.states():
            optimiser.state[parameter] = {
                key: tensors[f"{self._names[parameter]}/{key}"].to(parameter.device) for key in keys
            }

    def states(self) -> Iterator[tuple[torch.optim.Optimizer, Tensor, tuple[str, ...]]]:
        """Yield what is held of each parameter, with its optimiser and the names of what that keeps of it."""
        for optimiser in self._each:
            keys = _ADAMW_STATE if isinstance(optimiser, torch.optim.AdamW) else _MUON_STATE
            for group in optimiser.param_groups:
                for parameter in group["params"]:
                    yield optimiser, parameter, keys


def _group_of(name: str, parameter: nn.Parameter, config: OptimisationConfig) -> str:
    if parameter.dim() < 2 or "embedding.weight" in name:
        return "free"
    # Routed experts are stacks of matrices.
    optimiser = config.expert_matrices if parameter.dim() == 3 else config.matrices
    if name.startswith("blocks.") and optimiser is MatrixOptimiser.muon:
        return "muon"
    return "decayed"


@torch.no_grad()
def update_average(average: Iterable[Tensor], current: Iterable[Tensor], *, step: int, decay: float) -> None:
    """Move the average toward the current weights; its memory is at most a tenth of the steps done so far."""
    weight = 1 - min(decay, step / (step + 10))
    for mean, value in zip(average, current, strict=True):
        held(mean).lerp_(held(value), weight)
