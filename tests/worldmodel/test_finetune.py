"""Fine-tuning: each example once, answers alone, the same after an interruption."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.worldmodel.tiny_run import SHAPE, make_representation
from worldmodel import finetune
from worldmodel.finetune import FinetuneConfig, answers_only, make_lesson, train
from worldmodel.flow import Prediction
from worldmodel.model_folder import load_model
from worldmodel.optimisation import OptimisationConfig
from worldmodel.precision import Precision
from worldmodel.predictor import WorldModel
from worldmodel.question_sets import QuestionSet, read_question_set
from worldmodel.tokenizer import TextTokenizer
from worldmodel.training_record import read_record
from worldmodel.transfusion import Transfusion, TransfusionConfig

NUM_EXAMPLES = 23


def make_model(seed: int = 0) -> WorldModel:
    generator = torch.Generator().manual_seed(seed)
    representation = make_representation()
    tokenizer = TextTokenizer.train(["which number is it?"], 330)
    shape = TransfusionConfig(
        width=32, num_blocks=2, num_heads=2, num_kv_heads=1, text_hidden=32, image_hidden=48
    )
    transfusion = Transfusion(
        shape, vocab_size=tokenizer.vocab_size, latent_channels=SHAPE.hidden_size
    ).initialise(generator=generator)
    return WorldModel(transfusion, tokenizer, representation, prediction=Prediction.latent)


@pytest.fixture(scope="module")
def questions(tmp_path_factory) -> QuestionSet:
    folder = tmp_path_factory.mktemp("vqa")
    entries = []
    for number in range(NUM_EXAMPLES):
        grey = np.full((16, 16, 3), 10 * number, np.uint8)
        Image.fromarray(grey).save(folder / f"{number}.png")
        entries.append({"image": f"{number}.png", "question": "which number is it?", "answer": f"a{number}."})
    (folder / "set.json").write_text(json.dumps(entries))
    return read_question_set(folder)


def config(out: Path, **settings: object) -> FinetuneConfig:
    defaults = {
        "model": "nano",  # whose record of training goes on; its weights are those given
        "data": "",
        "out": str(out),
        "num_rows": 2,
        "tokens_per_row": 40,
        "checkpoint_every": 2,
        "num_threads": 1,
        "precision": Precision.float32,
        "optimisation": OptimisationConfig(learning_rate=5e-3, warmup_steps=1, ema_decay=0.5),
    }
    return FinetuneConfig(**(defaults | settings))  # pyright: ignore


def test_every_example_is_seen_exactly_once_and_answers_alone_are_learned(questions, tmp_path):
    model = make_model()
    lesson = make_lesson(model, questions, config(tmp_path))
    batches, learned, num_pictures = lesson.batches(seed=0), "", 0
    for _ in range(lesson.num_batches):
        batch = answers_only(next(batches), image_marker=model.tokenizer.image_begin)
        learned += model.tokenizer.decode(batch.text_target[batch.text_weight > 0].tolist())
        num_pictures += int(batch.is_image.sum()) // SHAPE.num_tokens
        assert not batch.is_flow_target.any()
        assert set(batch.text_weight.tolist()) <= {0.0, 1.0}
    assert Counter(learned.split("<eos>")[:-1]) == Counter(f"a{n}." for n in range(NUM_EXAMPLES))
    assert num_pictures == NUM_EXAMPLES and lesson.num_batches > 3
    with pytest.raises(StopIteration):
        next(batches)


def test_a_run_that_was_stopped_ends_as_an_unbroken_one(questions, tmp_path, monkeypatch):
    torch.set_num_threads(1)
    whole = train(make_model(), questions, config(tmp_path / "whole"))
    step = finetune.train_step

    def stop_after_three(trainer, *arguments):
        if trainer.step == 3:
            raise KeyboardInterrupt
        return step(trainer, *arguments)

    monkeypatch.setattr(finetune, "train_step", stop_after_three)
    with pytest.raises(KeyboardInterrupt):
        train(make_model(), questions, config(tmp_path / "broken"))
    assert not (tmp_path / "broken" / "model").exists()
    monkeypatch.setattr(finetune, "train_step", step)
    resumed = train(make_model(), questions, config(tmp_path / "broken"))
    assert resumed.step == whole.step
    for one, other in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(one, other)
    losses = [json.loads(line) for line in (tmp_path / "broken" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in losses] == list(range(1, whole.step + 1))
    assert losses[-1]["language"] < losses[0]["language"] and losses[0]["flow"] == 0


@pytest.mark.parametrize(
    ("seed", "settings", "match"),
    [
        (0, {"num_rows": 4}, "num_rows=4, not 2"),
        (0, {"seed": 1}, "seed=1, not 0"),
        (1, {}, "weights=[0-9a-f]{16}, not"),
    ],
)
def test_a_stopped_run_does_not_go_on_with_other_settings_or_another_model(
    questions, tmp_path, seed, settings, match
):
    torch.set_num_threads(1)
    train(make_model(), questions, config(tmp_path))
    with pytest.raises(ValueError, match=match):
        train(make_model(seed), questions, config(tmp_path, **settings))
    train(make_model(), questions, config(tmp_path, checkpoint_every=1, recompute=True))


def test_it_leaves_a_model_folder_that_began_at_the_given_weights(questions, tmp_path):
    torch.set_num_threads(1)
    slow = OptimisationConfig(learning_rate=1e-9, warmup_steps=1, weight_decay=0.0)
    train(make_model(), questions, config(tmp_path, optimisation=slow))
    loaded, model = load_model(tmp_path / "model"), make_model()
    for one, other in zip(loaded.transfusion.parameters(), model.transfusion.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-4)
    record = read_record(tmp_path / "model")
    assert record.data == questions.identity and list(record.tokens) == ["question"]


def test_examples_without_room_are_named_and_none_left_is_refused(questions, tmp_path, capsys):
    with pytest.raises(ValueError, match="raise tokens_per_row"):
        make_lesson(make_model(), questions, config(tmp_path, tokens_per_row=12))
    model = make_model()
    shortest = min(
        make_lesson(model, questions, config(tmp_path)).packer.length(d) for d in questions.documents
    )
    lesson = make_lesson(model, questions, config(tmp_path, tokens_per_row=shortest))
    num_left = NUM_EXAMPLES - len(lesson.documents)
    assert 0 < num_left < NUM_EXAMPLES
    assert f"{num_left} of {NUM_EXAMPLES} examples have more than" in capsys.readouterr().err
