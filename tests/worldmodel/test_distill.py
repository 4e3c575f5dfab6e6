"""Laws of distillation: what a lesson holds, where a student's own path leads, and that it learns."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from data_tools.documents import FrameKey
from data_tools.randomness import generator_for
from planners.evaluate import ImaginationConfig
from tests.worldmodel.tiny_run import SHAPE, make_config, make_corpus, make_representation
from worldmodel import distill
from worldmodel.corpus import Corpus, make_batches, make_tokenizer
from worldmodel.distill import (
    DistillConfig,
    distill_step,
    make_student,
    on_own_path,
    teach,
)
from worldmodel.flow import Prediction, euler_step
from worldmodel.lessons import LessonConfig, Lessons
from worldmodel.model_folder import load_model, save_model
from worldmodel.objective import ObjectiveConfig, predict_latents
from worldmodel.predictor import WorldModel
from worldmodel.ranks import Ranks
from worldmodel.start import shaped_as
from worldmodel.trainer import Trainer
from worldmodel.training_log import TrainingLog
from worldmodel.training_record import make_record, read_record
from worldmodel.transfusion import Transfusion

LESSON = LessonConfig(num_rows=3, num_candidates=2, max_context=2, max_horizon=7, teacher_steps=5)
TOKENS_PER_ROW = 80


class NumberedFrames:
    """Frames that show the number of their trajectory and their own."""

    def __init__(self, trajectory: int, num_frames: int) -> None:
        self._trajectory, self._num_frames = trajectory, num_frames

    def __len__(self) -> int:
        return self._num_frames

    def __getitem__(self, index: int) -> np.ndarray:
        frame = np.zeros((2, 3, 3), dtype=np.uint8)
        frame[0, 0], frame[0, 1] = self._trajectory, index
        return frame


class CorpusRepresentation:
    """Reads a frame's numbers and returns the latents that the corpus has of it."""

    image_size, num_tokens, num_channels = 16, SHAPE.num_tokens, SHAPE.hidden_size
    num_context_channels, fingerprint = 0, "corpus"

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus

    def encode(self, frames: torch.Tensor) -> torch.Tensor:
        keys = [FrameKey(*pair) for pair in frames[:, 0, :2, 0].tolist()]
        return self._corpus.latents.lookup(keys)

    def save(self, folder: Path) -> None:
        raise NotImplementedError

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(latents), 16, 16, 3, dtype=torch.uint8)


def make_teacher(config, corpus: Corpus) -> WorldModel:
    tokenizer = make_tokenizer(config, corpus)
    transfusion = Transfusion(config.model, vocab_size=tokenizer.vocab_size, latent_channels=64)
    transfusion.initialise(generator=torch.Generator().manual_seed(1))
    with torch.no_grad():  # the outputs of a model before its first step are all alike
        transfusion.latent_output.weight.normal_(0, 0.1, generator=torch.Generator().manual_seed(2))
    return WorldModel(transfusion, tokenizer, CorpusRepresentation(corpus), prediction=Prediction.latent)


@pytest.fixture
def corpus() -> Corpus:
    made = make_corpus(0)
    shown = [
        replace(trajectory, frames=NumberedFrames(index, trajectory.num_frames))
        for index, trajectory in enumerate(made.trajectories)
    ]
    return replace(made, trajectories=shown)


@pytest.fixture
def teacher(tmp_path, corpus) -> WorldModel:
    return make_teacher(make_config(tmp_path), corpus)


def make_lessons(teacher: WorldModel, corpus: Corpus, folder: Path, config: LessonConfig = LESSON) -> Lessons:
    return Lessons(
        teacher,
        corpus.trajectories,
        corpus.latents,
        config,
        tokens_per_row=TOKENS_PER_ROW,
        seed=3,
        folder=folder,
    )


def make_trainer(tmp_path: Path, teacher: WorldModel, corpus: Corpus) -> tuple[Trainer, DistillConfig]:
    settings = vars(make_config(tmp_path, tokens_per_row=TOKENS_PER_ROW))
    settings |= {"model": teacher.transfusion.config, "vocab_size": teacher.tokenizer.vocab_size}
    own = {"teacher": "", "lessons": LESSON, "num_lessons": 2, "student_steps": 2, "rehearsal_every": 0}
    config = DistillConfig(**(settings | own))  # pyright: ignore[reportArgumentType]
    batches = make_batches(
        make_config(tmp_path), corpus, teacher.tokenizer, latents_per_frame=4, role="rehearsal"
    )
    return make_student(config, teacher, batches), config


def test_a_lesson_is_what_the_long_sampler_makes_of_its_noise(tmp_path, teacher, corpus):
    lesson = make_lessons(teacher, corpus, tmp_path).load(1)
    target = lesson.batch.is_flow_target
    assert target.sum() == LESSON.num_rows * LESSON.num_candidates * SHAPE.num_tokens
    noise = torch.randn(3, 2, 4, 64, generator=generator_for(3, "lessons/noise", rank=1))
    torch.testing.assert_close(lesson.noise[target], noise.reshape(-1, 64))
    # The packed document leads along the same trajectory.
    state, ends = lesson.noise[target], lesson.batch.latents[target]
    for time, next_time in pairwise(torch.linspace(0, 1, LESSON.teacher_steps + 1).tolist()):
        noise = lesson.noise.clone()
        noise[target] = (state - time * ends) / (1 - time)
        batch = replace(lesson.batch, times=torch.where(target, time, lesson.batch.times))
        latents = predict_latents(teacher.transfusion, batch, noise, ObjectiveConfig(), dtype=torch.float32)
        state = euler_step(state, latents, time=time, next_time=next_time)
    torch.testing.assert_close(state, ends, rtol=0, atol=5e-3)  # kept in half precision


def test_lessons_may_be_of_the_noises_that_a_planner_imagines_from(tmp_path, teacher, corpus):
    lessons = make_lessons(teacher, corpus, tmp_path, replace(LESSON, noise_seeds=[5, 8]))
    first, second, third = (lessons.load(number) for number in range(3))
    target = first.batch.is_flow_target
    for lesson, seed in ((first, 5), (second, 8), (third, 5)):
        noise = torch.randn(4, 64, generator=ImaginationConfig(noise_seed=seed).noise(77))
        torch.testing.assert_close(lesson.noise[target], noise.repeat(3 * 2, 1))
    ends = predict_latents(
        teacher.transfusion, first.batch, first.noise, ObjectiveConfig(), dtype=torch.float32
    )
    one_step = make_lessons(
        teacher, corpus, tmp_path / "one", replace(LESSON, noise_seeds=[5, 8], teacher_steps=1)
    )
    torch.testing.assert_close(one_step.load(0).batch.generated[target], ends, rtol=0, atol=5e-3)


def test_a_lesson_is_made_once_and_is_a_function_of_its_number(tmp_path, teacher, corpus):
    first, again = (make_lessons(teacher, corpus, tmp_path / name) for name in ("one", "other"))
    torch.testing.assert_close(first.load(2).batch.latents, again.load(2).batch.latents, rtol=0, atol=0)
    assert not torch.equal(first.load(2).batch.latents, first.load(3).batch.latents)
    path = first.folder / "000002.safetensors"
    before = path.stat().st_mtime_ns
    first.make(2)
    assert path.stat().st_mtime_ns == before


def test_the_path_of_a_student_is_that_of_its_own_sampler(tmp_path, teacher, corpus):
    lesson, config = make_lessons(teacher, corpus, tmp_path).load(0), ObjectiveConfig()
    target = lesson.batch.is_flow_target
    placed = on_own_path(teacher.transfusion, lesson, step=1, num_steps=2, config=config, dtype=torch.float32)
    ends = predict_latents(teacher.transfusion, lesson.batch, lesson.noise, config, dtype=torch.float32)
    expected = 0.5 * lesson.noise[target] + 0.5 * ends
    found = 0.5 * placed.noise[target] + 0.5 * placed.batch.latents[target]
    torch.testing.assert_close(found, expected)
    assert placed.batch.times[target].unique().tolist() == [0.5]
    assert placed.batch.times[~target & placed.batch.is_image].unique().tolist() == [1.0]


def test_a_student_comes_to_its_teachers_end_points(tmp_path, teacher, corpus):
    trainer, config = make_trainer(tmp_path, teacher, corpus)
    lessons = make_lessons(teacher, corpus, tmp_path)
    lesson = lessons.load(0)
    ends = lesson.batch.latents[lesson.batch.is_flow_target]

    def error() -> float:
        drafts = predict_latents(
            trainer.model, lesson.batch, lesson.noise, config.objective, dtype=torch.float32
        )
        return (drafts - ends).square().mean().item()

    before = error()
    lines = [distill_step(trainer, lessons, config, Ranks()) for _ in range(config.num_steps)]
    assert error() < 0.7 * before
    assert {line["stage"] for line in lines} == {"1/1", "1/2", "2/2"}


@pytest.fixture
def teacher_folder(tmp_path, corpus) -> Path:
    """A teacher of velocities as a model folder, its representation a real one."""
    config = make_config(tmp_path)
    made = make_teacher(config, corpus)
    record = make_record(
        corpus.trajectories,
        num_steps=1,
        tokens={},
        seed=0,
        data="",
        log=TrainingLog(tmp_path / "log", step=0),
    )
    save_model(
        tmp_path / "teacher",
        made.transfusion,
        made.tokenizer,
        make_representation(),
        prediction=Prediction.velocity,
        record=record,
    )
    return tmp_path / "teacher"


def taught(out: Path, teacher_folder: Path, corpus: Corpus, **changes: object) -> DistillConfig:
    """Teach a student of a folder for four steps, as the command does."""
    settings = vars(make_config(out, tokens_per_row=TOKENS_PER_ROW, num_steps=4))
    own = {"teacher": str(teacher_folder), "lessons": LESSON, "num_lessons": 2, "rehearsal_every": 0}
    config = DistillConfig(**(settings | own | changes))  # pyright: ignore[reportArgumentType]
    teacher = load_model(teacher_folder)
    config = shaped_as(config, teacher)
    teach(config, teacher, corpus, Ranks())
    return config


def test_a_student_predicts_what_its_teacher_does(tmp_path, teacher_folder, corpus):
    config = taught(tmp_path / "out", teacher_folder, corpus)
    assert config.objective.flow.prediction is config.objective.flow.loss_space is Prediction.velocity
    student = load_model(tmp_path / "out" / "model")
    assert student.prediction is Prediction.velocity
    assert read_record(tmp_path / "out" / "model").distilled_steps == 4


def test_a_distillation_that_was_stopped_ends_as_an_unbroken_one(
    tmp_path, teacher_folder, corpus, monkeypatch
):
    taught(tmp_path / "whole", teacher_folder, corpus)
    step, done = distill.distill_step, []

    def stop_in_the_fourth(*arguments):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(1)
        return step(*arguments)

    monkeypatch.setattr(distill, "distill_step", stop_in_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        taught(tmp_path / "broken", teacher_folder, corpus)
    assert read_record(tmp_path / "broken" / "model").distilled_steps == 2
    monkeypatch.setattr(distill, "distill_step", step)
    taught(tmp_path / "broken", teacher_folder, corpus)
    whole, broken = (load_model(tmp_path / name / "model").transfusion for name in ("whole", "broken"))
    for one, other in zip(whole.parameters(), broken.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_model_that_was_not_written_is_written_by_the_same_command(
    tmp_path, teacher_folder, corpus, monkeypatch
):
    write, last = distill.write_student, []

    def stop_at_the_last(folder, trainer, *arguments):
        if trainer.step == 4 and not last:
            last.append(1)
            raise KeyboardInterrupt
        write(folder, trainer, *arguments)

    monkeypatch.setattr(distill, "write_student", stop_at_the_last)
    with pytest.raises(KeyboardInterrupt):
        taught(tmp_path / "out", teacher_folder, corpus)
    taught(tmp_path / "out", teacher_folder, corpus)
    assert read_record(tmp_path / "out" / "model").distilled_steps == 4
    with pytest.raises(ValueError, match=r"num_steps=3 steps, .* is of 4"):
        taught(tmp_path / "out", teacher_folder, corpus, num_steps=3)


def test_recordings_without_room_for_a_lesson_are_refused(tmp_path, teacher, corpus):
    long = replace(LESSON, max_context=40, max_horizon=20)
    with pytest.raises(ValueError, match=r"at least 60 frames with poses .* the longest has 53"):
        make_lessons(teacher, corpus, tmp_path, long)


def test_a_row_that_is_too_short_for_a_lesson_is_refused(tmp_path, teacher, corpus):
    long = LessonConfig(num_rows=1, num_candidates=5, max_context=2)
    with pytest.raises(ValueError, match="has 153 tokens, a row holds 80; raise tokens_per_row"):
        make_lessons(teacher, corpus, tmp_path, long).load(0)
