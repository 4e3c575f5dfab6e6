"""Distillation: `python -m worldmodel.distill teacher=nano data=FOLDER text=FOLDER out=FOLDER`.

The student begins as its teacher and learns to go in `student_steps` steps of the sampler where the teacher
goes in many. It is trained on its own path: the first step maps noise to the end point of the teacher's
trajectory (arXiv 2101.02388), each later step maps the state to which the student's own earlier steps lead to
the same end point, so that all states of a path have one end, as in consistency models (arXiv 2303.01469).
Between lessons it goes on with what its teacher was trained on (`rehearsal_every`), so that text, and what is
read off it, are kept. Killed at any moment the same command goes on; under `torchrun` ranks share the work.
"""

import hashlib
import json
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import hydra
import torch
from jaxtyping import Float
from omegaconf import MISSING, DictConfig
from torch import Tensor

from data_tools.config import store, to_dict, to_object
from data_tools.provenance import current_commit, installed_versions
from data_tools.whole_file import write_text
from worldmodel.batches import Batches
from worldmodel.corpus import Corpus, load_corpora, make_batches
from worldmodel.documents import PackedBatch
from worldmodel.flow import euler_step
from worldmodel.lessons import Lesson, LessonConfig, Lessons
from worldmodel.model_folder import load_model, resolve, save_model
from worldmodel.objective import ObjectiveConfig, predict_latents
from worldmodel.predictor import WorldModel
from worldmodel.pretrain_config import PretrainConfig
from worldmodel.progress import step_progress
from worldmodel.ranks import Ranks, joined
from worldmodel.representation.interface import sizes_of
from worldmodel.sharding import Sharding
from worldmodel.start import begin_with, shaped_as
from worldmodel.trainer import Trainer, make_trainer, train_step
from worldmodel.training_log import TrainingLog
from worldmodel.training_record import hardware, hash_weights, read_record
from worldmodel.transfusion import Transfusion


@dataclass(frozen=True, kw_only=True)
class DistillConfig(PretrainConfig):
    """One distillation; `model`, `vocab_size` and `representation` are those of the teacher."""

    teacher: str = MISSING
    """Name or folder of a trained model."""
    student: str | None = None
    """Name or folder of a model of the teacher's shape that the student begins as; None is the teacher."""
    lessons: LessonConfig = field(default_factory=LessonConfig)
    num_lessons: int = 400
    """Lessons that are made; training goes through them in order, again and again."""
    student_steps: int = 2
    """Steps of the sampler that the student learns to do with: each from 1 to this many."""
    rehearsal_every: int = 4
    """One step of so many is on documents of pretraining instead of a lesson; 0 is none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.start is not None:
            raise ValueError("a student begins as its teacher, or as student=MODEL; leave start out")
        if self.sharding is not Sharding.replicated:
            raise ValueError(
                f"needed sharding=replicated, since each rank runs the whole student on its own path; got "
                f"{self.sharding.value}"
            )
        if self.num_lessons < 1 or self.student_steps < 1 or self.rehearsal_every < 0:
            raise ValueError(
                "num_lessons and student_steps must be at least 1, rehearsal_every at least 0; got "
                f"{self.num_lessons}, {self.student_steps} and {self.rehearsal_every}"
            )


def on_own_path(
    model: Transfusion,
    lesson: Lesson,
    *,
    step: int,
    num_steps: int,
    config: ObjectiveConfig,
    dtype: torch.dtype,
) -> Lesson:
    """Return a lesson at the state that the student's own sampler reaches before step `step` of `num_steps`.

    The noise is chosen such that the straight path from it to the end point passes through that state:
    z = (1 - t) noise + t end.
    """
    device = next(model.parameters()).device
    batch, noise = lesson.batch, lesson.noise
    target = batch.is_flow_target
    ends, state = batch.generated[target], noise[target]
    times = torch.linspace(0, 1, num_steps + 1).tolist()
    for earlier in range(step):
        batch, noise = _at(lesson, state, ends, times[earlier])
        predicted = predict_latents(model, batch.to(device), noise.to(device), config, dtype=dtype)
        state = euler_step(
            state,
            predicted.to(state.device),
            time=times[earlier],
            next_time=times[earlier + 1],
        )
    return Lesson(*_at(lesson, state, ends, times[step]))


def _at(
    lesson: Lesson,
    state: Float[Tensor, "flow_target channel"],
    ends: Float[Tensor, "flow_target channel"],
    time: float,
) -> tuple[PackedBatch, Float[Tensor, "row token generated"]]:
    """Return the batch at one time of all targets, and the noise that gives `state` there."""
    target = lesson.batch.is_flow_target
    noise = lesson.noise.clone()
    noise[target] = (state - time * ends) / (1 - time)
    return replace(lesson.batch, times=torch.where(target, time, lesson.batch.times)), noise


def distill(config: DistillConfig, ranks: Ranks | None = None) -> None:
    """Distil until `num_steps`, from the last checkpoint if there is one; leave the model in `out/model`."""
    ranks = ranks or Ranks()
    torch.set_num_threads(config.num_threads)
    teacher = load_model(config.teacher, dtype=config.precision.dtype)
    representation = teacher.representation
    with ranks.first_goes_ahead():
        corpus, _ = load_corpora(config, representation)
    teach(shaped_as(config, teacher), teacher, corpus, ranks)


def teach(config: DistillConfig, teacher: WorldModel, corpus: Corpus, ranks: Ranks) -> None:
    """Make the lessons, and train a student on them until `num_steps`."""
    out = Path(config.out)
    lessons = open_lessons(config, teacher, corpus)
    for number in range(ranks.rank, config.num_lessons, ranks.count):
        lessons.make(number)
    frame = teacher.representation.num_tokens
    batches = make_batches(config, corpus, teacher.tokenizer, latents_per_frame=frame, role="rehearsal")
    trainer = make_student(config, teacher, batches, ranks)
    trainer.go_on(out / "steps", num_steps=config.num_steps, ranks=ranks)
    log = None
    if ranks.is_first:
        content = {
            "config": to_dict(config),
            "commit": current_commit(),
            "versions": installed_versions(),
        }
        write_text(out / "config.json", json.dumps(content, indent=1))
        log = TrainingLog(out / "log.jsonl", step=trainer.step)
    ranks.wait()
    with step_progress("distillation", config.num_steps, start=trainer.step, shown=ranks.is_first) as advance:
        while trainer.step < config.num_steps:
            line = distill_step(trainer, lessons, config, ranks)
            advance(f"{'lesson' if line['is_lesson'] else 'rehearsal'}  flow {line['flow']:.3f}")
            if log is None:
                continue
            log.append(line)
            if trainer.step % config.checkpoint_every == 0 or trainer.step == config.num_steps:
                trainer.save(out / "steps", keep=config.keep_checkpoints)
                write_student(out / "model", trainer, teacher, config, log)
    # A run that was stopped after its last training state was written has only this left to do.
    if log is not None and _steps_of_student(out / "model") != trainer.step:
        write_student(out / "model", trainer, teacher, config, log)


def _steps_of_student(folder: Path) -> int | None:
    """Return after how many steps a student was written; None if there is no whole one."""
    try:
        return read_record(folder).distilled_steps
    except (FileNotFoundError, ValueError):
        return None


def open_lessons(config: DistillConfig, teacher: WorldModel, corpus: Corpus) -> Lessons:
    """Return the lessons of a run, in a folder that names all they depend on."""
    weights = resolve(config.teacher) / "model.safetensors"
    made_of = (corpus.identity, config.seed, config.lessons, config.tokens_per_row, config.precision)
    digest = hashlib.sha256(weights.read_bytes() + repr(made_of).encode()).hexdigest()[:16]
    return Lessons(
        teacher,
        corpus.trajectories,
        corpus.latents,
        config.lessons,
        tokens_per_row=config.tokens_per_row,
        seed=config.seed,
        folder=Path(config.out) / f"lessons-{digest}",
    )


def make_student(
    config: DistillConfig, teacher: WorldModel, batches: Batches, ranks: Ranks | None = None
) -> Trainer:
    """Return a run whose model and average are the teacher, or the student that is to be taught further."""
    first = teacher if config.student is None else load_model(config.student)
    if first.transfusion.config != teacher.transfusion.config:
        raise ValueError(
            f"needed a student of its teacher's shape, {teacher.transfusion.config}; got "
            f"{first.transfusion.config}"
        )
    if (first.tokenizer.identity, first.prediction) != (teacher.tokenizer.identity, teacher.prediction):
        raise ValueError(
            f"needed a student with its teacher's vocabulary {teacher.tokenizer.identity} and prediction "
            f"{teacher.prediction.value}, got {first.tokenizer.identity} and {first.prediction.value}"
        )
    trainer = make_trainer(
        config,
        batches,
        vocab_size=teacher.tokenizer.vocab_size,
        **sizes_of(teacher.representation),
        ranks=ranks,
    )
    trainer.vocabulary = teacher.tokenizer.identity
    begin_with(trainer, first)
    return trainer


def distill_step(
    trainer: Trainer, lessons: Lessons, config: DistillConfig, ranks: Ranks
) -> dict[str, object]:
    """Make a step on the next lesson, or on documents, and return what the log says of it."""
    started = time.perf_counter()
    every = config.rehearsal_every
    is_lesson = every == 0 or (trainer.step + 1) % every != 0
    stage = int(torch.randint(config.student_steps, (), generator=trainer.noise))
    num_steps = stage + 1 + int(torch.randint(config.student_steps - stage, (), generator=trainer.noise))
    if is_lesson:
        num_rehearsals = trainer.step // every if every else 0
        lesson = lessons.load((trainer.step - num_rehearsals) % config.num_lessons)
        placed = on_own_path(
            trainer.model,
            lesson,
            step=stage,
            num_steps=num_steps,
            config=config.objective,
            dtype=config.precision.dtype,
        )
        done = train_step(trainer, placed.batch, config, ranks=ranks, noise=placed.noise)
    else:
        done = train_step(trainer, trainer.next_batch(), config, ranks=ranks)
    return {
        "step": trainer.step,
        "is_lesson": is_lesson,
        "stage": f"{stage + 1}/{num_steps}" if is_lesson else None,
        "flow": done.flow,
        "language": done.language,
        "gradient_norm": done.gradient_norm,
        "seconds": time.perf_counter() - started,
    }


def write_student(
    folder: Path, trainer: Trainer, teacher: WorldModel, config: DistillConfig, log: TrainingLog
) -> None:
    """Write the moving average as a model folder; its record is the teacher's, with what was added."""
    record = replace(
        read_record(resolve(config.teacher)),
        distilled_from=hash_weights(resolve(config.teacher)),
        distilled_steps=trainer.step,
        distilled_s=round(log.training_s, 1),
        hardware=hardware(),
        commit=current_commit(),
        versions=installed_versions(),
    )
    save_model(
        folder,
        trainer.average,
        teacher.tokenizer,
        teacher.representation,
        prediction=teacher.prediction,
        record=record,
    )


store("distill_schema", DistillConfig)


@hydra.main(config_path="conf", config_name="distill", version_base=None)
def main(node: DictConfig) -> None:
    """Run the configured distillation."""
    config = to_object(node, DistillConfig)
    with joined(timeout_s=config.ranks_timeout_s) as ranks:
        distill(config, ranks)


if __name__ == "__main__":
    main()
