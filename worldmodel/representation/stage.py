"""Stage: a seeded training loop that can be stopped at any moment and goes on from its last checkpoint."""

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from worldmodel.representation.masters import MasterWeights
from worldmodel.tensor_file import read_with_note, write_tensors

BETAS = (0.9, 0.95)
"""Of AdamW, as in MAE (arXiv 2111.06377)."""


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """Length and step size of one stage of training."""

    num_steps: int
    batch_size: int = 256
    learning_rate: float = 1e-3
    """Peak; reached after the warm-up, then falling to zero along a cosine."""
    warmup_share: float = 0.05
    weight_decay: float = 0.05
    max_gradient_norm: float = 1.0
    checkpoint_period_s: float = 60.0

    def __post_init__(self) -> None:
        """Refuse a stage without steps or samples."""
        if self.num_steps < 1 or self.batch_size < 1:
            raise ValueError(
                f"needed num_steps and batch_size of at least 1, got {self.num_steps} and {self.batch_size}"
            )
        if not 0.0 <= self.warmup_share < 1.0:
            raise ValueError(f"warmup_share must be in [0, 1), got {self.warmup_share}")

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        warmup = self.num_steps * self.warmup_share
        if step + 1 < warmup:
            return self.learning_rate * (step + 1) / warmup
        progress = (step + 1 - warmup) / (self.num_steps - warmup)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


def run_stage(
    name: str,
    config: StageConfig,
    masters: MasterWeights,
    draw_loss: Callable[[torch.Generator], Float[Tensor, ""]],
    *,
    checkpoint: Path,
    generator: torch.Generator,
    made_of: tuple[object, ...],
) -> list[float]:
    """Train to the end of the stage, from `checkpoint` if it is there.

    Args:
        name: What the progress bar says, and what a checkpoint must have been written by.
        config: Length and step size.
        masters: The weights to train.
        draw_loss: Draws a batch from the generator and returns its loss.
        checkpoint: File of the state: weights, moments, generator, losses. Removed by nobody; a stage that is
            complete is not run again.
        generator: The only source of randomness; advanced.
        made_of: What the loss depends on besides (seed, task, data, an encoder that is kept), by its `repr`:
            a checkpoint of other things, or of another `config`, is refused.

    Returns:
        The loss of every step since the beginning of the stage.
    """
    identity = _identity(config, made_of)
    losses = _resume(name, identity, config, masters, checkpoint, generator)
    console = Console()
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
    )
    started_s = saved_s = time.monotonic()
    first_step = masters.step_count
    with bar:
        task = bar.add_task(name, total=config.num_steps, completed=first_step)
        while masters.step_count < config.num_steps:
            loss = draw_loss(generator)
            masters.step(
                loss,
                learning_rate=config.learning_rate_at(masters.step_count),
                max_norm=config.max_gradient_norm,
            )
            losses.append(float(loss.detach()))
            now_s = time.monotonic()
            is_due = now_s - saved_s > config.checkpoint_period_s
            if is_due or masters.step_count == config.num_steps:
                _save(name, identity, masters, losses, checkpoint, generator)
                rate = (masters.step_count - first_step) * config.batch_size / (now_s - started_s)
                console.print(
                    f"{name}: step {masters.step_count}, loss {_recent(losses):.4f}, {rate:.0f} samples/s",
                    highlight=False,
                )
                saved_s = now_s
            bar.update(task, completed=masters.step_count, description=f"{name} {_recent(losses):.4f}")
    return losses


def _recent(losses: list[float]) -> float:
    recent = losses[-100:]
    return sum(recent) / len(recent)


def _identity(config: StageConfig, made_of: tuple[object, ...]) -> str:
    """Return a hash of what determines a stage; how often it is saved does not."""
    determining = (replace(config, checkpoint_period_s=0.0), made_of)
    return hashlib.sha256(repr(determining).encode()).hexdigest()[:16]


def _save(
    name: str,
    identity: str,
    masters: MasterWeights,
    losses: list[float],
    checkpoint: Path,
    generator: torch.Generator,
) -> None:
    tensors = masters.state() | {
        "generator": generator.get_state(),
        "losses": torch.tensor(losses, dtype=torch.float64),
    }
    note = {"stage": name, "step_count": masters.step_count, "identity": identity}
    write_tensors(checkpoint, tensors, note=note)


def _resume(
    name: str,
    identity: str,
    config: StageConfig,
    masters: MasterWeights,
    checkpoint: Path,
    generator: torch.Generator,
) -> list[float]:
    if not checkpoint.exists():
        return []
    tensors, note = read_with_note(checkpoint)
    step_count = note.get("step_count")
    if note.get("stage") != name or not isinstance(step_count, int) or step_count > config.num_steps:
        raise ValueError(
            f"{checkpoint} is of stage {note.get('stage')!r} after {step_count} steps; needed {name!r} "
            f"with at most {config.num_steps}. Give another output folder, or delete that file."
        )
    if note.get("identity") != identity:
        raise ValueError(
            f"{checkpoint} was written with other settings, seed, data or encoder: needed {identity} (a hash "
            f"of them), got {note.get('identity')}. Give another output folder, or delete that file."
        )
    try:
        masters.restore(tensors, step_count=step_count)
    except (KeyError, RuntimeError) as error:
        raise ValueError(
            f"{checkpoint} was written with another model: {error}. Give another output "
            "folder, or delete that file."
        ) from error
    generator.set_state(tensors["generator"])
    return tensors["losses"].tolist()
