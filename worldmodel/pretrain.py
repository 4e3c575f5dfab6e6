"""Pretraining: `python -m worldmodel.pretrain data=FOLDER text=FOLDER representation=FOLDER out=FOLDER`.

Killed at any moment it goes on from its last checkpoint; on a CPU the resumed run equals an unbroken one bit for bit.
`out` then holds `model/` (what `WorldModel` loads: the moving average of the weights), `steps/` (training states),
`log.jsonl` and `config.json`.
"""

import copy
import itertools
import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import hydra
import torch
from data_tools.splits import split_by_trajectory
from omegaconf import MISSING, DictConfig
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from data_tools.builders import make_builders
from data_tools.config import store, to_dict, to_object
from data_tools.document_config import DocumentConfig
from data_tools.mixture import Mixture, MixtureConfig
from data_tools.provenance import current_commit, installed_versions
from data_tools.randomness import generator_for, numpy_generator_for
from data_tools.text_sources import SOURCES, Use, read_texts
from data_tools.trajectory import Trajectory, read_trajectories
from worldmodel.batches import Batches
from worldmodel.checkpoint import (
    latest_step,
    read_json,
    read_tensors,
    remove_old_steps,
    step_folder,
    write_folder,
)
from worldmodel.documents import PackedBatch, Packer
from worldmodel.heldout import heldout_losses
from worldmodel.model_folder import save_model
from worldmodel.objective import Losses, ObjectiveConfig, losses
from worldmodel.optimisation import (
    OptimisationConfig,
    learning_rate,
    make_optimiser,
    optimiser_tensors,
    restore_optimiser,
    update_average,
)
from worldmodel.representation.cache import FrameCache, LatentCache, identity_of
from worldmodel.representation.rae import RaeRepresentation
from worldmodel.tokenizer import TextTokenizer
from worldmodel.transfusion import Transfusion, TransfusionConfig


class Precision(Enum):
    """In what the transformer computes; parameters, optimiser and errors are float32 always."""

    float32 = "float32"
    bfloat16 = "bfloat16"

    @property
    def dtype(self) -> torch.dtype:
        """The torch dtype of that name."""
        match self:
            case Precision.float32:
                return torch.float32
            case Precision.bfloat16:
                return torch.bfloat16


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """One pretraining run; the defaults are nano's."""

    data: str = MISSING
    """Folder of trajectories, as `envs.collect` or `data_tools` writes them."""
    text: str = MISSING
    """Folder of public text, as `data_tools.text_sources` makes it."""
    representation: str = MISSING
    """Folder of a trained representation."""
    out: str = MISSING
    seed: int = 0
    vocab_size: int = 1024
    num_steps: int = 8000
    num_rows: int = 12
    tokens_per_row: int = 448
    heldout_share: float = 0.05
    """Share of trajectories that are never trained on."""
    num_heldout_batches: int = 8
    evaluate_every: int = 500
    checkpoint_every: int = 250
    keep_checkpoints: int = 2
    num_threads: int = 2
    precision: Precision = Precision.bfloat16
    model: TransfusionConfig = field(default_factory=TransfusionConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optimisation: OptimisationConfig = field(default_factory=OptimisationConfig)
    documents: DocumentConfig = field(default_factory=DocumentConfig)
    mixture: MixtureConfig = field(default_factory=MixtureConfig)


@dataclass(frozen=True)
class Corpus:
    """What documents are made of: one split of the data."""

    trajectories: Sequence[Trajectory]
    texts: Sequence[str]
    latents: LatentCache


@dataclass
class Trainer:
    """All state of a run: it goes into a checkpoint and comes back equal."""

    model: Transfusion
    average: Transfusion
    optimiser: torch.optim.AdamW
    batches: Batches
    noise: torch.Generator
    step: int = 0

    def save(self, root: Path, *, keep: int) -> None:
        """Write a training state, and drop old ones."""
        tensors = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": optimiser_tensors(self.model, self.optimiser),
            "random": {"noise": self.noise.get_state()},
        }
        state = json.dumps({"step": self.step, "batches": self.batches.state_dict()})
        write_folder(step_folder(root, self.step), tensors, {"state.json": state})
        remove_old_steps(root, keep=keep)

    def restore(self, folder: Path) -> None:
        """Go on from a training state."""
        state = read_json(folder / "state.json")
        self.model.load_state_dict(read_tensors(folder / "model.safetensors"))
        self.average.load_state_dict(read_tensors(folder / "average.safetensors"))
        restore_optimiser(self.model, self.optimiser, read_tensors(folder / "optimiser.safetensors"))
        self.noise.set_state(read_tensors(folder / "random.safetensors")["noise"])
        batches, step = state["batches"], state["step"]
        assert isinstance(batches, dict) and isinstance(step, int)
        self.batches.load_state_dict(batches)
        self.step = step


def train_step(trainer: Trainer, batch: PackedBatch, config: PretrainConfig) -> tuple[Losses, Tensor]:
    """Make one optimiser step; return the losses and the gradient's norm before clipping."""
    optimisation = config.optimisation
    noise = torch.randn(batch.latents.shape, generator=trainer.noise)
    found = losses(trainer.model, batch, noise, config.objective, dtype=config.precision.dtype)
    found.total.backward()
    norm = torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), optimisation.clip_norm)
    for group in trainer.optimiser.param_groups:
        group["lr"] = learning_rate(trainer.step, config.num_steps, optimisation)
    trainer.optimiser.step()
    trainer.optimiser.zero_grad()
    trainer.step += 1
    update_average(
        trainer.average.parameters(),
        trainer.model.parameters(),
        step=trainer.step,
        decay=optimisation.ema_decay,
    )
    return found, norm


def load_corpora(config: PretrainConfig, representation: RaeRepresentation) -> tuple[Corpus, Corpus]:
    """Return the training and the held-out corpus; what is missing of the latents is made beside the data."""
    report = read_trajectories(Path(config.data))
    if report.num_skipped:
        print(f"skipped {report.num_skipped} incomplete trajectories of {config.data}", file=sys.stderr)
    split = split_by_trajectory(report.trajectories, seed=config.seed, held_out_fraction=config.heldout_share)
    texts = (
        read_texts_for(Use.training, Path(config.text)),
        read_texts_for(Use.evaluation, Path(config.text)),
    )
    training, heldout = (
        Corpus(trajectories, text, cache_latents(representation, trajectories, Path(config.data) / "cache"))
        for trajectories, text in zip((split.train, split.held_out), texts, strict=True)
    )
    return training, heldout


def cache_latents(
    representation: RaeRepresentation, trajectories: Sequence[Trajectory], folder: Path
) -> LatentCache:
    """Return the latents of all frames, encoding those that were not before."""
    frames = FrameCache.build(trajectories, folder, image_size=representation.image_size)
    identity = f"{representation.fingerprint}-{identity_of(trajectories)}"
    return LatentCache.build(representation, frames, folder, identity=identity)


def make_tokenizer(config: PretrainConfig, corpus: Corpus) -> TextTokenizer:
    """Learn the vocabulary from the training text and the recordings' captions, questions and commands."""
    recorded = (
        text.text if text.answer is None else f"{text.text} {text.answer}"
        for trajectory in corpus.trajectories
        for text in trajectory.texts
    )
    return TextTokenizer.train(itertools.chain(corpus.texts, recorded), config.vocab_size)


def make_batches(
    config: PretrainConfig, corpus: Corpus, tokenizer: TextTokenizer, *, latents_per_frame: int, role: str
) -> Batches:
    """Return the stream of batches of a corpus; `role` separates the random streams of training and held-out."""
    packer = Packer(
        tokenizer,
        corpus.latents,
        config.objective.flow,
        num_rows=config.num_rows,
        tokens_per_row=config.tokens_per_row,
        latents_per_frame=latents_per_frame,
    )
    shares = config.mixture.token_shares
    builders = make_builders(corpus.trajectories, corpus.texts, config.documents, kinds=tuple(shares))
    seed = int(numpy_generator_for(config.seed, role).integers(2**31))
    mixture = Mixture(builders, shares, seed=seed, count_tokens=packer.length)
    return Batches(mixture, packer, rng=numpy_generator_for(config.seed, f"{role}/times"))


def make_trainer(
    config: PretrainConfig, batches: Batches, *, vocab_size: int, latent_channels: int
) -> Trainer:
    """Return a run before its first step."""
    model = Transfusion(config.model, vocab_size=vocab_size, latent_channels=latent_channels)
    model.initialise(generator=generator_for(config.seed, "init"))
    average = copy.deepcopy(model).requires_grad_(False)
    optimiser = make_optimiser(model, config.optimisation)
    return Trainer(model, average, optimiser, batches, generator_for(config.seed, "noise"))


def run(config: PretrainConfig) -> None:
    """Train, or go on training, until `num_steps`; leave the model in `out/model`."""
    torch.set_num_threads(config.num_threads)
    out = Path(config.out)
    steps = out / "steps"
    representation = RaeRepresentation.load(Path(config.representation))
    training, heldout = load_corpora(config, representation)
    tokenizer = _tokenizer_of_run(out, config, training)
    streams = {
        role: make_batches(config, corpus, tokenizer, latents_per_frame=representation.num_tokens, role=role)
        for role, corpus in (("training", training), ("heldout", heldout))
    }
    heldout_batches = [next(streams["heldout"]) for _ in range(config.num_heldout_batches)]
    trainer = make_trainer(
        config,
        streams["training"],
        vocab_size=tokenizer.vocab_size,
        latent_channels=representation.num_channels,
    )
    newest = latest_step(steps)
    if newest is not None:
        trainer.restore(newest)
    _write_config(out, config)

    def finish_stretch() -> None:
        trainer.save(steps, keep=config.keep_checkpoints)
        prediction = config.objective.flow.prediction
        save_model(out / "model", trainer.average, tokenizer, representation, prediction=prediction)

    with _progress() as progress:
        task = progress.add_task("pretraining", total=config.num_steps, completed=trainer.step, note="")
        while trainer.step < config.num_steps:
            started = time.perf_counter()
            batch = next(trainer.batches)
            found, norm = train_step(trainer, batch, config)
            seconds = time.perf_counter() - started
            record = {
                "step": trainer.step,
                "total": found.total.item(),
                "language": found.language.item(),
                "flow": found.flow.item(),
                "gradient_norm": norm.item(),
                "tokens_per_s": batch.ids.numel() / seconds,
            }
            if not math.isfinite(record["total"]):
                raise FloatingPointError(
                    f"the loss is {record['total']} at step {trainer.step}; lower optimisation.learning_rate and go "
                    f"on from {latest_step(steps)}"
                )
            if trainer.step % config.evaluate_every == 0 or trainer.step == config.num_steps:
                generator = generator_for(config.seed, "heldout/noise")
                record["heldout"] = heldout_losses(
                    trainer.average,
                    heldout_batches,
                    config.objective,
                    generator=generator,
                    dtype=config.precision.dtype,
                )
            if trainer.step % config.checkpoint_every == 0 or trainer.step == config.num_steps:
                finish_stretch()
            _log(out, record)
            note = f"flow {record['flow']:.3f}  language {record['language']:.2f}"
            progress.update(task, completed=trainer.step, note=note)


def _tokenizer_of_run(out: Path, config: PretrainConfig, corpus: Corpus) -> TextTokenizer:
    """Return the vocabulary that the run began with, or learn it."""
    path = out / "tokenizer.json"
    if path.is_file():
        return TextTokenizer.load(path)
    tokenizer = make_tokenizer(config, corpus)
    out.mkdir(parents=True, exist_ok=True)
    tokenizer.save(path)
    return tokenizer


def _write_config(out: Path, config: PretrainConfig) -> None:
    content = {
        "config": to_dict(config),
        "commit": current_commit(),
        "versions": installed_versions(),
    }
    (out / "config.json").write_text(json.dumps(content, indent=1), encoding="utf-8")


def _log(out: Path, record: dict[str, object]) -> None:
    with (out / "log.jsonl").open("a", encoding="utf-8") as log:
        log.write(json.dumps(record) + "\n")


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )


store("pretrain_schema", PretrainConfig)


@hydra.main(config_path="conf", config_name="pretrain", version_base=None)
def main(node: DictConfig) -> None:
    """Run the configured pretraining."""
    run(to_object(node, PretrainConfig))


if __name__ == "__main__":
    main()
