"""Trainer: the state of a pretraining run, one step of it, and its checkpoints."""

import copy
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from data_tools.randomness import generator_for
from worldmodel.batches import Batches
from worldmodel.checkpoint import (
    latest_step,
    read_json,
    remove_old_steps,
    step_folder,
    write_folder,
    write_folder_together,
)
from worldmodel.documents import PackedBatch
from worldmodel.objective import Weighing, loss_weights, losses, next_centre
from worldmodel.optimisation import Optimisers, learning_rate, update_average
from worldmodel.pieces import held, piece_of, pieces_of
from worldmodel.pretrain_config import CompileUnit, PretrainConfig
from worldmodel.ranks import Ranks
from worldmodel.sharding import Sharding, copy_of, gathered, is_sharded, shard
from worldmodel.stored_tensors import StoredTensors
from worldmodel.transfusion import Transfusion


@dataclass
class Trainer:
    """All state of a run: it goes into a checkpoint and comes back equal."""

    model: Transfusion
    average: Transfusion
    optimisers: Optimisers
    batches: Batches
    noise: torch.Generator
    make: Callable[[], Transfusion]
    """Constructs a model of the same sizes, its weights undefined."""
    step: int = 0
    centre: Float[Tensor, ""] | None = None
    """Moving average of the losses (`next_centre`); None before the first step."""

    vocabulary: str | None = None
    """Hash of the tokenizer; a state of another vocabulary of the same size is refused."""
    _before: tuple[dict[str, object], Tensor] | None = None

    def next_batch(self) -> PackedBatch:
        """Draw the next batch, such that `give_back` can undo it."""
        self._before = self.batches.state_dict(), self.noise.get_state()
        return next(self.batches)

    def give_back(self) -> None:
        """Put data and noise back to before the batch drawn last, whose step could not be made."""
        assert self._before is not None
        batches, noise = self._before
        self.batches.load_state_dict(batches)
        self.noise.set_state(noise)

    def is_finite(self, ranks: Ranks) -> bool:
        """Whether all weights are finite, on every rank."""
        parts = (held(parameter) for parameter in self.model.parameters())
        return not ranks.any(not all(bool(part.isfinite().all()) for part in parts))

    def save(self, root: Path, *, keep: int, ranks: Ranks | None = None) -> None:
        """Write a training state, and drop old ones; all ranks must call it.

        The first rank writes it if it has all of it, otherwise each writes what it holds.
        """
        ranks = ranks or Ranks()
        streams = {"noise": self.noise.get_state()}
        objective = {} if self.centre is None else {"centre": self.centre}
        groups = {
            "model": pieces_of(self.model),
            "average": pieces_of(self.average),
            "optimisers": self.optimisers.pieces(),
            "random": {name: piece_of(tensor) for name, tensor in streams.items()},
            "objective": {name: piece_of(tensor) for name, tensor in objective.items()},
        }
        state = {"step": self.step, "batches": self.batches.state_dict(), "vocabulary": self.vocabulary}
        folder, texts = step_folder(root, self.step), {"state.json": json.dumps(state)}
        if is_sharded(self.model):
            write_folder_together(folder, groups, texts, ranks=ranks)
        elif ranks.is_first:
            tensors = {
                group: {name: piece.rows for name, piece in pieces.items()}
                for group, pieces in groups.items()
            }
            write_folder(folder, tensors, texts)
        if ranks.is_first:
            remove_old_steps(root, keep=keep)

    def whole_average(self, ranks: Ranks) -> Transfusion | None:
        """Return the averaged model, to save it; None on all ranks but the first. All must call it."""
        if is_sharded(self.average):
            return gathered(self.average, self.make, ranks=ranks)
        return self.average if ranks.is_first else None

    def go_on(self, steps: Path, *, num_steps: int, ranks: Ranks) -> None:
        """Go on from the newest training state in a folder, if there is one.

        ValueError if the run has taken more than `num_steps` already, or if ranks do not find the same state.
        """
        newest = latest_step(steps)
        if newest is not None:
            self.restore(newest)
        total = ranks.add(torch.tensor(float(self.step))).item()
        if ranks.any(total != self.step * ranks.count):
            raise ValueError(
                f"rank {ranks.rank} of {ranks.count} found the state of step {self.step} in {steps}, another "
                "rank that of another; `out` must be a folder that all machines share"
            )
        if self.step > num_steps:
            raise ValueError(
                f"needed a run of at most num_steps={num_steps} steps, {newest} is of {self.step}; raise "
                "num_steps, delete that folder, or give another `out`"
            )

    def restore(self, folder: Path) -> None:
        """Go on from a training state; ValueError if it is damaged, or of another model or other data.

        Any number of ranks may have written it, and be reading it.
        """
        try:
            self._restore(folder)
        except (FileNotFoundError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise ValueError(
                f"this run cannot go on from {folder}: {type(error).__name__}: {error}. Give the data and "
                "the model that it began with, delete that folder, or give another `out`."
            ) from error

    def _restore(self, folder: Path) -> None:
        state = read_json(folder / "state.json")
        vocabulary = state.get("vocabulary")
        if None not in (vocabulary, self.vocabulary) and vocabulary != self.vocabulary:
            raise ValueError(
                f"it was trained on another vocabulary: needed the tokenizer {self.vocabulary}, "
                f"it had {vocabulary}"
            )
        for name, module in (("model", self.model), ("average", self.average)):
            _load(module, StoredTensors(folder, name))
        self.optimisers.restore(StoredTensors(folder, "optimisers").read_all(self.optimisers.places()))
        self.noise.set_state(StoredTensors(folder, "random").read_whole()["noise"])
        batches, step = state.get("batches"), state.get("step")
        if not isinstance(batches, dict) or not isinstance(step, int):
            raise ValueError("state.json needs the object `batches` and the number `step`")
        self.batches.load_state_dict(batches)
        self.step = step
        self.centre = StoredTensors(folder, "objective").read_whole().get("centre")


@torch.no_grad()
def _load(module: nn.Module, stored: StoredTensors) -> None:
    """Put stored tensors, or of each what is held here, into a module."""
    pieces = pieces_of(module)
    found = stored.read_all({name: piece.place for name, piece in pieces.items()})
    for name, piece in pieces.items():
        piece.rows.copy_(found[name])


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
    ranks = ranks or Ranks()
    make = partial(
        Transfusion,
        config.model,
        vocab_size=vocab_size,
        latent_channels=latent_channels,
        context_channels=context_channels,
        latents_per_frame=latents_per_frame,
    )
    model = make().initialise(generator=generator_for(config.seed, "init"))
    device = config.device.of_rank(ranks.local)
    if device.type == "cuda":
        torch.cuda.set_device(device)  # what FSDP, NCCL and FlexAttention take when none is named
    if config.sharding is Sharding.fsdp and ranks.count > 1:
        shard(model, ranks=ranks, device=device, communication=config.communication.dtype)
        average = copy_of(model, make, ranks=ranks, device=device)
    else:
        average = copy.deepcopy(model.to(device)).requires_grad_(False)
    if config.compile:
        _compile(model, config.compile_unit)
    optimisers = Optimisers(model, config.optimisation, ranks=ranks)
    return Trainer(model, average, optimisers, batches, generator_for(config.seed, "noise"), make)


def _compile(model: Transfusion, unit: CompileUnit) -> None:
    match unit:
        case CompileUnit.model:
            model.compile(fullgraph=True)
        case CompileUnit.block:
            for block in model.blocks:
                # Only `forward`: what FSDP does before and after it cannot be part of the graph.
                block.forward = torch.compile(block.forward, fullgraph=True)


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
    noise: Float[Tensor, "row token generated"] | None = None,
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
    if not is_sharded(trainer.model):
        ranks.add_gradients(trainer.model.parameters())
    norm = _clip(trainer.model, optimisation.clip_norm)
    language, flow, total = ranks.add(summed).tolist()
    if not (math.isfinite(total) and math.isfinite(norm)):
        raise FloatingPointError(
            f"the loss is {total} and its gradient has the norm {norm} at step {trainer.step + 1}, of the "
            f"documents {trainer.batches.last_documents}; lower optimisation.learning_rate and run the "
            "command again: it goes on from the last good state"
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


def _clip(model: Transfusion, most: float) -> float:
    """Shorten the gradient to a norm of at most `most`, and return the norm it had."""
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), most)
    return (norm.full_tensor() if isinstance(norm, DTensor) else norm).item()


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
    num_own = len(parts)
    if is_sharded(trainer.model):
        # All ranks gather parameters equally often: one with fewer parts computes its last twice.
        num_most = len(replace(ranks, rank=0).shares(len(whole.ids), at_once=config.rows_at_once))
        parts = [*parts, *[parts[-1]] * (num_most - num_own)]
    first = found(*parts[0])
    means, counts, centre = first.means.detach(), first.counts, None
    is_centred = config.objective.weighing is Weighing.centred
    if is_centred or trainer.model.has_balance_loss:
        # What depends on the whole batch costs the other parts a forward pass of their own.
        with torch.no_grad():
            others = [found(*part) for part in parts[1:]]
            means = ranks.add(means + sum(each.means for each in others[: num_own - 1]))
            counts = ranks.add(counts + sum(each.counts for each in others[: num_own - 1]))
    if is_centred:
        centre = next_centre(trainer.centre, means, config.objective)
    weights = loss_weights(means, centre, config.objective)
    summed, seen = torch.zeros(3, device=means.device), torch.zeros_like(counts)
    for index, losses_of_part in enumerate(chain((first,), (found(*part) for part in parts[1:]))):
        is_own = float(index < num_own)
        balance = trainer.model.balance_loss(losses_of_part.load, counts)
        loss = (losses_of_part.total(weights) + balance) * is_own
        loss.backward()
        summed += torch.cat((losses_of_part.means * is_own, loss[None])).detach()
        seen += losses_of_part.counts * is_own
    return centre, summed, ranks.add(seen)
