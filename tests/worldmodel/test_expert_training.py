"""Laws of training mixtures of experts: parts, ranks and stretches give the run of one process at once."""

import json
import subprocess
import sys
from dataclasses import astuple
from pathlib import Path

import pytest
import torch

from data_tools.config import to_dict
from tests.worldmodel.tiny_run import make_config, make_corpus, make_mixture, run
from worldmodel.checkpoint import latest_step
from worldmodel.corpus import make_batches, make_tokenizer
from worldmodel.pretrain_config import PretrainConfig
from worldmodel.router import Balancing
from worldmodel.tensor_file import read_tensors
from worldmodel.trainer import Trainer, make_trainer, train_step


def make_run(out: Path, balancing: Balancing, **changes: object) -> tuple[Trainer, PretrainConfig]:
    config = make_config(out, model=make_mixture(balancing), **changes)
    corpus = make_corpus(0)
    tokenizer = make_tokenizer(config, corpus)
    batches = make_batches(config, corpus, tokenizer, latents_per_frame=4, role="training")
    return make_trainer(config, batches, vocab_size=tokenizer.vocab_size, latent_channels=64), config


def biases_of(model: torch.nn.Module) -> torch.Tensor:
    return torch.stack([buffer for name, buffer in model.named_buffers() if "selection_bias" in name])


@pytest.mark.parametrize("balancing", list(Balancing))
@pytest.mark.parametrize("changes", [{"rows_at_once": 2}, {"rows_at_once": 1, "recompute": True}])
def test_a_step_in_parts_is_the_step_at_once(tmp_path, balancing, changes):
    reports, trainers = [], []
    for settings in ({}, changes):
        trainer, config = make_run(tmp_path, balancing, num_rows=5, **settings)
        reports.append(train_step(trainer, next(trainer.batches), config))
        trainers.append(trainer)
    assert astuple(reports[1]) == pytest.approx(astuple(reports[0]), rel=1e-4)
    if balancing is Balancing.bias:
        torch.testing.assert_close(biases_of(trainers[0].model), biases_of(trainers[1].model), rtol=0, atol=0)


def test_the_balance_loss_is_part_of_the_loss_and_of_its_gradient(tmp_path):
    trainer, config = make_run(tmp_path, Balancing.loss)
    report = train_step(trainer, next(trainer.batches), config)
    objective = config.objective
    rest = report.total - objective.language_weight * report.language - objective.flow_weight * report.flow
    # Two layers, each with its weight of 0.5 and a loss between 1 and the number of experts.
    assert 2 * 0.5 * 0.9 < rest < 2 * 0.5 * 5


def test_biases_of_the_model_and_its_average_are_one_and_go_into_checkpoints(tmp_path):
    trainer, config = make_run(tmp_path, Balancing.bias)
    for _ in range(2):
        train_step(trainer, next(trainer.batches), config)
    biases = biases_of(trainer.model)
    assert biases.shape == (2, 5)
    # Two steps up or down by the rate each, or none where a load was even.
    assert (biases / 0.02).round().abs().max() in (1, 2) and biases.abs().sum() > 0
    assert torch.equal(biases, biases_of(trainer.average))
    trainer.save(tmp_path / "steps", keep=1)
    resumed, _ = make_run(tmp_path, Balancing.bias)
    resumed.restore(tmp_path / "steps" / "step_00000002")
    assert torch.equal(biases_of(resumed.model), biases) and torch.equal(biases_of(resumed.average), biases)
    reports = [train_step(each, next(each.batches), config) for each in (trainer, resumed)]
    assert reports[0] == reports[1]
    assert torch.equal(biases_of(resumed.model), biases_of(trainer.model))


@pytest.mark.parametrize("balancing", list(Balancing))
def test_two_ranks_train_as_one_does(tmp_path, balancing):
    changes = json.dumps({"model": to_dict(make_mixture(balancing))})
    run(tmp_path / "one", model=make_mixture(balancing))
    subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
            *("-m", "tests.worldmodel.tiny_run", str(tmp_path / "two"), changes),
        ],
        check=True,
        capture_output=True,
        timeout=600,
    )
    logs = [
        [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    ]
    for name in ("total", "language", "flow", "gradient_norm"):
        theirs, ours = ([record[name] for record in log] for log in logs)
        assert ours[0] == pytest.approx(theirs[0], rel=1e-5), name
        # A token whose experts are close goes elsewhere after rounding: differences grow from step to step.
        assert ours == pytest.approx(theirs, rel=2e-2), name
    if balancing is Balancing.bias:
        newest = latest_step(tmp_path / "two" / "steps")
        assert newest is not None
        tensors = read_tensors(newest / "model.safetensors")
        biases = [value for name, value in tensors.items() if "selection_bias" in name]
        assert len(biases) == 2 and all(value.abs().sum() > 0 for value in biases)
