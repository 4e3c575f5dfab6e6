"""Trainer: the state of a pretraining run, one step of it, and its checkpoints."""

import copy
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from data_tools.randomness import generator_for
from worldmodel.batches import Batches
from worldmodel.checkpoint import read_json, remove_old_steps, step_folder, write_folder
from worldmodel.documents import PackedBatch
from worldmodel.objective import Weighing, loss_weights, losses, next_centre
from worldmodel.optimisation import Optimisers, learning_rate, update_average
from worldmodel.pretrain_config import PretrainConfig
from worldmodel.ranks import Ranks
from worldmodel.tensor_file import read_tensors
from worldmodel.transfusion import Transfusion


@dataclass
class Trainer:
    """All state of a run: it goes into a checkpoint and comes back equal."""

    model: Transfusion
    average: Transfusion
    optimisers: Optimisers
    batches: Batches
    noise: torch.Generator
    step: int = 0
    centre: Float[Tensor, ""] | None = None
    """Moving average of the losses (`next_centre`); None before the first step."""

    def save(self, root: Path, *, keep: int) -> None:
        """Write a training state, and drop old ones."""
        tensors = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimisers": self.optimisers.tensors(),
            "random": {"noise": self.noise.get_state()},
            "objective": {} if self.centre is None else {"centre": self.centre},
        }
        state = json.dumps({"step": self.step, "batches": self.batches.state_dict()})
        write_folder(step_folder(root, self.step), tensors, {"state.json": state})
        remove_old_steps(root, keep=keep)

    def restore(self, folder: Path) -> None:
        """Go on from a training state; ValueError if it is damaged, or of another model or other data."""
        try:
            self._restore(folder)
        except (FileNotFoundError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise ValueError(
                f"this run cannot go on from {folder}: {type(error).__name__}: {error}. Give the data and "
                "the model that it began with, delete that folder, or give another `out`."
            ) from error

    def _restore(self, folder: Path) -> None:
        state = read_json(folder / "state.json")
        self.model.load_state_dict(read_tensors(folder / "model.safetensors"))
        self.average.load_state_dict(read_tensors(folder / "average.safetensors"))
        self.optimisers.restore(read_tensors(folder / "optimisers.safetensors"))
        self.noise.set_state(read_tensors(folder / "random.safetensors")["noise"])
        batches, step = state.get("batches"), state.get("step")
        if not isinstance(batches, dict) or not isinstance(step, int):
            raise ValueError("state.json needs the object `batches` and the number `step`")
        self.batches.load_state_dict(batches)
        self.step = step
        self.centre = read_tensors(folder / "objective.safetensors").get("centre")


def make_trainer(
    config: PretrainConfig,
    batches: Batches,
    *,
    vocab_size: int,
    latent_channels: int,
    context_channels: int = 0,
    latents_per_frame: int | None = None,
    ranks: Ranks | None = None,
) -> Trainer:
    """Return a run before its first step, on the device of this rank."""
    model = Transfusion(
        config.model,
        vocab_size=vocab_size,
        latent_channels=latent_channels,
        context_channels=context_channels,
        latents_per_frame=latents_per_frame,
    )
    model.initialise(generator=generator_for(config.seed, "init"))
    model.to(config.device.of_rank((ranks or Ranks()).local))
    average = copy.deepcopy(model).requires_grad_(False)
    if config.compile:
        model.compile(fullgraph=True)
    optimisers = Optimisers(model, config.optimisation)
    return Trainer(model, average, optimisers, batches, generator_for(config.seed, "noise"))


@dataclass(frozen=True)
class StepReport:
    """Losses of one step over the whole batch, and the gradient's norm before clipping."""

    total: float
    language: float
    flow: float
    gradient_norm: float


def train_step(
    trainer: Trainer,
    batch: PackedBatch,
    config: PretrainConfig,
    *,
    ranks: Ranks | None = None,
    noise: Float[Tensor, "row token channel"] | None = None,
) -> StepReport:
    """Make one optimiser step on a batch, of which this rank computes its rows.

    `noise` is drawn from the trainer's stream unless it is given.
    FloatingPointError if the loss or its gradient is not finite; the weights are those of the step before.
    """
    ranks = ranks or Ranks()
    optimisation = config.optimisation
    if noise is None:
        noise = torch.randn(batch.generated.shape, generator=trainer.noise)
    device = next(trainer.model.parameters()).device
    shares = ranks.shares(len(noise), at_once=config.rows_at_once)
    is_all = len(shares) == ranks.count == 1
    parts = [((batch if is_all else batch.rows(rows)).to(device), noise[rows].to(device)) for rows in shares]
    centre, summed, counts = _accumulate_gradients(trainer, parts, batch, config, ranks)
    ranks.add_gradients(trainer.model.parameters())
    norm = torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), optimisation.clip_norm).item()
    language, flow, total = ranks.add(summed).tolist()
    if not (math.isfinite(total) and math.isfinite(norm)):
        raise FloatingPointError(
            f"the loss is {total} and its gradient has the norm {norm} at step {trainer.step + 1}, of the "
            f"documents {trainer.batches.last_documents}; lower optimisation.learning_rate and run the "
            "command again: it goes on from the last checkpoint"
        )
    trainer.centre = centre
    trainer.optimisers.step(rate=learning_rate(trainer.step, config.num_steps, optimisation))
    trainer.step += 1
    for model in (trainer.model, trainer.average):
        model.rebalance(counts)  # both have the same biases
    update_average(
        trainer.average.parameters(),
        trainer.model.parameters(),
        step=trainer.step,
        decay=optimisation.ema_decay,
    )
    return StepReport(total, language, flow, norm)


def _accumulate_gradients(
    trainer: Trainer,
    parts: Sequence[tuple[PackedBatch, Tensor]],
    whole: PackedBatch,
    config: PretrainConfig,
    ranks: Ranks,
) -> tuple[Float[Tensor, ""] | None, Float[Tensor, "3"], Float[Tensor, "layer expert"]]:
    """Add up the gradients of this rank's parts of a batch, each with its noise.

    Return the next centre of the losses, what the parts give of language, flow and loss, and how many tokens
    of the whole batch each expert got.
    """
    found = partial(
        losses,
        trainer.model,
        config=config.objective,
        dtype=config.precision.dtype,
        whole=whole,
        recompute=config.recompute,
    )
    first = found(*parts[0])
    means, counts, centre = first.means.detach(), first.counts, None
    is_centred = config.objective.weighing is Weighing.centred
    if is_centred or trainer.model.has_balance_loss:
        # What depends on the whole batch costs the other parts a forward pass of their own.
        with torch.no_grad():
            others = [found(*part) for part in parts[1:]]
        means = ranks.add(means + sum(each.means for each in others))
        counts = ranks.add(counts + sum(each.counts for each in others))
    if is_centred:
        centre = next_centre(trainer.centre, means, config.objective)
    weights = loss_weights(means, centre, config.objective)
    summed, seen = torch.zeros(3, device=means.device), torch.zeros_like(counts)
    for losses_of_part in chain((first,), (found(*part) for part in parts[1:])):
        loss = losses_of_part.total(weights) + trainer.model.balance_loss(losses_of_part.load, counts)
        loss.backward()
        summed += torch.cat((losses_of_part.means, loss[None])).detach()
        seen += losses_of_part.counts
    return centre, summed, ranks.add(seen)
