"""Supervised fine-tuning: `python -m worldmodel.finetune model=FOLDER data=FOLDER out=FOLDER`.

One epoch over a set of pictures, questions and answers (question_sets.py for its forms): every example is
seen exactly once, and answers alone are learned, with the <eos> that ends them. Killed at any moment it goes
on from its last checkpoint. `out` then holds `model/`, `steps/`, `log.jsonl` and `config.json`, as after
pretraining.
"""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import hydra
import torch
from omegaconf import MISSING, DictConfig
from rich.progress import Progress

from data_tools.config import store, to_dict, to_object
from data_tools.documents import Document, Kind
from data_tools.provenance import current_commit, installed_versions
from data_tools.randomness import numpy_generator_for
from data_tools.whole_file import write_text
from worldmodel.batches import Batches
from worldmodel.checkpoint import latest_step
from worldmodel.documents import PackedBatch, Packer
from worldmodel.epoch import Epoch
from worldmodel.evaluation.results import hash_model
from worldmodel.flow import FlowConfig
from worldmodel.live_latents import LiveLatents
from worldmodel.model_folder import load_model, resolve, save_model
from worldmodel.objective import ObjectiveConfig
from worldmodel.optimisation import OptimisationConfig
from worldmodel.precision import Device, Precision
from worldmodel.predictor import WorldModel
from worldmodel.pretrain_config import PretrainConfig
from worldmodel.question_sets import QuestionSet, read_question_set
from worldmodel.ranks import Ranks
from worldmodel.representation.interface import sizes_of
from worldmodel.start import begin_with
from worldmodel.tensor_file import hash_tensors
from worldmodel.trainer import Trainer, make_trainer, train_step
from worldmodel.training_log import TrainingLog
from worldmodel.training_record import make_record

CONFIG, LOG, MODEL, STEPS = "config.json", "log.jsonl", "model", "steps"
FREE = {
    *("model", "data", "out", "device", "num_threads"),
    *("rows_at_once", "recompute", "checkpoint_every", "keep_checkpoints"),
}
"""Settings with which a stopped run may go on as it likes; model and data go by what they hold."""


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """One epoch over a set of questions."""

    model: str = MISSING
    data: str = MISSING
    out: str = MISSING
    seed: int = 0
    num_rows: int = 8
    tokens_per_row: int = 512
    rows_at_once: int | None = None
    recompute: bool = False
    checkpoint_every: int = 250
    keep_checkpoints: int = 2
    num_threads: int = 2
    device: Device = Device.cpu
    precision: Precision = Precision.bfloat16
    optimisation: OptimisationConfig = field(
        default_factory=lambda: OptimisationConfig(learning_rate=2e-4, warmup_steps=20)
    )

    def __post_init__(self) -> None:
        if min(self.num_rows, self.tokens_per_row, self.checkpoint_every, self.keep_checkpoints) < 1:
            raise ValueError(
                "num_rows, tokens_per_row, checkpoint_every, keep_checkpoints must be at least 1"
            )


@dataclass(frozen=True)
class Lesson:
    """What an epoch is made of, and how many batches it takes."""

    packer: Packer
    documents: Sequence[Document]
    identity: str
    num_batches: int

    def batches(self, *, seed: int) -> Batches:
        """Return the batches of the epoch, from its beginning."""
        epoch = Epoch(self.documents, seed=seed, count_tokens=self.packer.length)
        return Batches(epoch, self.packer, rng=numpy_generator_for(seed, "finetune"), data=self.identity)


def make_lesson(model: WorldModel, questions: QuestionSet, config: FinetuneConfig) -> Lesson:
    """Lay out an epoch; examples with more tokens than a row has are named, and are not in it.

    ValueError if none is left.
    """
    packer = Packer(
        model.tokenizer,
        LiveLatents(model.representation, questions.trajectories),
        FlowConfig(prediction=model.prediction, clean_context_share=1.0),
        num_rows=config.num_rows,
        tokens_per_row=config.tokens_per_row,
        latents_per_frame=model.representation.num_tokens,
    )
    lengths = [packer.length(document) for document in questions.documents]
    fits = [length <= config.tokens_per_row for length in lengths]
    kept = [document for document, is_kept in zip(questions.documents, fits, strict=True) if is_kept]
    if len(kept) < len(fits):
        print(
            f"{len(fits) - len(kept)} of {len(fits)} examples have more than {config.tokens_per_row} tokens "
            f"(the longest {max(lengths)}) and are left out; raise tokens_per_row to learn from them",
            file=sys.stderr,
        )
    if not kept:
        raise ValueError(
            f"no example fits into a row of {config.tokens_per_row} tokens; raise tokens_per_row"
        )
    num_batches = count_batches(Epoch(kept, seed=config.seed, count_tokens=packer.length), packer)
    return Lesson(packer, kept, questions.identity, num_batches)


def count_batches(epoch: Epoch, packer: Packer) -> int:
    """Return how many batches an epoch fills, as `Batches` fills them; consumes the epoch."""
    rows, count = packer.empty(), 1
    for document in epoch:
        length = packer.length(document)
        if not rows.place(document, length):
            rows, count = packer.empty(), count + 1
            rows.place(document, length)  # has room: what is longer than a row was refused
    return count


def answers_only(batch: PackedBatch, *, image_marker: int) -> PackedBatch:
    """Return a batch in which <image>, which pretraining learns a little, is given."""
    weight = torch.where(batch.text_target == image_marker, 0.0, batch.text_weight)
    return replace(batch, text_weight=weight)


def make_finetuner(
    model: WorldModel, lesson: Lesson, config: FinetuneConfig
) -> tuple[Trainer, PretrainConfig]:
    """Return a run that begins at a model's weights, and the settings of its steps."""
    settings = PretrainConfig(
        data=config.data,
        text="",
        representation="",
        out=config.out,
        seed=config.seed,
        vocab_size=model.tokenizer.vocab_size,
        num_steps=lesson.num_batches,
        num_rows=config.num_rows,
        tokens_per_row=config.tokens_per_row,
        rows_at_once=config.rows_at_once,
        recompute=config.recompute,
        device=config.device,
        precision=config.precision,
        model=model.transfusion.config,
        objective=ObjectiveConfig(
            flow=FlowConfig(prediction=model.prediction, loss_space=model.prediction, clean_context_share=1.0)
        ),
        optimisation=config.optimisation,
    )
    trainer = make_trainer(
        settings,
        lesson.batches(seed=config.seed),
        vocab_size=model.tokenizer.vocab_size,
        **sizes_of(model.representation),
        ranks=None,
    )
    begin_with(trainer, model)
    return trainer, settings


def train(model: WorldModel, questions: QuestionSet, config: FinetuneConfig) -> Trainer:
    """Train until the end of the epoch, from the last checkpoint if there is one; leave `out/model`."""
    out = Path(config.out)
    lesson = make_lesson(model, questions, config)
    trainer, settings = make_finetuner(model, lesson, config)
    trainer.vocabulary = model.tokenizer.identity
    started_as = _settings_of_run(model, config, lesson)
    if latest_step(out / STEPS) is not None:
        _check_settings(out, started_as)
    trainer.go_on(out / STEPS, num_steps=settings.num_steps, ranks=Ranks())
    _write_config(out, config, started_as)
    log = TrainingLog(out / LOG, step=trainer.step)
    with Progress() as progress:
        task = progress.add_task("fine-tuning", total=settings.num_steps, completed=trainer.step)
        while trainer.step < settings.num_steps:
            started = time.perf_counter()
            batch = answers_only(next(trainer.batches), image_marker=model.tokenizer.image_begin)
            done = train_step(trainer, batch, settings)
            log.append({"step": trainer.step, **asdict(done), "seconds": time.perf_counter() - started})
            if trainer.step % config.checkpoint_every == 0 or trainer.step == settings.num_steps:
                trainer.save(out / STEPS, keep=config.keep_checkpoints)
            progress.update(task, completed=trainer.step)
    _write_model(out / MODEL, model, questions, trainer, config, log)
    return trainer


def _write_model(
    folder: Path,
    model: WorldModel,
    questions: QuestionSet,
    trainer: Trainer,
    config: FinetuneConfig,
    log: TrainingLog,
) -> None:
    record = make_record(
        questions.trajectories,
        num_steps=trainer.step,
        tokens=trainer.batches.num_tokens,
        seed=config.seed,
        data=questions.identity,
        log=log,
        start=resolve(config.model),
    )
    save_model(
        folder,
        trainer.average,
        model.tokenizer,
        model.representation,
        prediction=model.prediction,
        record=record,
    )


def _settings_of_run(model: WorldModel, config: FinetuneConfig, lesson: Lesson) -> dict[str, object]:
    """Return all that the outcome of a run depends on."""
    settings = {name: value for name, value in to_dict(config).items() if name not in FREE}
    return settings | {
        "weights": hash_tensors(model.transfusion.state_dict()),
        "examples": lesson.identity,
        "num_examples": sum(document.kind is Kind.question for document in lesson.documents),
        "num_steps": lesson.num_batches,
    }


def _check_settings(out: Path, settings: dict[str, object]) -> None:
    """Refuse to go on with a run that was begun with other settings, another model or other examples."""
    path = out / CONFIG
    begun: dict[str, object] = json.loads(path.read_text(encoding="utf-8"))["run"] if path.is_file() else {}
    differ = [
        f"{name}={value}, not {begun.get(name)}"
        for name, value in settings.items()
        if begun.get(name) != value
    ]
    if differ:
        raise ValueError(
            f"{out} holds a run that was begun otherwise: now {'; '.join(differ)}; go on with the settings "
            "that it was begun with, or give another `out`"
        )


def _write_config(out: Path, config: FinetuneConfig, settings: dict[str, object]) -> None:
    content = {
        "config": to_dict(config),
        "run": settings,
        "commit": current_commit(),
        "versions": installed_versions(),
    }
    write_text(out / CONFIG, json.dumps(content, indent=1))


def run(config: FinetuneConfig) -> None:
    """Load what the configuration names, and train."""
    torch.set_num_threads(config.num_threads)
    model = load_model(config.model)
    print(f"fine-tuning {config.model} ({hash_model(resolve(config.model))})", file=sys.stderr)
    train(model, read_question_set(Path(config.data)), config)


store("finetune_schema", FinetuneConfig)


@hydra.main(version_base=None, config_path="conf", config_name="finetune")
def main(node: DictConfig) -> None:
    """Run the configured fine-tuning."""
    run(to_object(node, FinetuneConfig))


if __name__ == "__main__":
    main()
