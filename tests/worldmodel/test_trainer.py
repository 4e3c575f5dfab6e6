"""Laws of one step of a run, and of its state."""

from dataclasses import astuple
from pathlib import Path

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from tests.worldmodel.tiny_run import make_config, make_corpus
from worldmodel.corpus import make_batches, make_tokenizer
from worldmodel.objective import ObjectiveConfig, Weighing, losses
from worldmodel.precision import Device
from worldmodel.pretrain_config import PretrainConfig
from worldmodel.ranks import Ranks
from worldmodel.trainer import Trainer, make_trainer, train_step


def test_the_centre_of_losses_goes_on(tmp_path):
    objective = ObjectiveConfig(weighing=Weighing.centred)
    (unbroken, config), (resumed, _) = (
        make_first_step(tmp_path / name, objective) for name in ("one", "other")
    )
    for trainer in (unbroken, resumed):
        train_step(trainer, next(trainer.batches), config)
    unbroken.save(tmp_path / "steps", keep=1)
    resumed.centre = None
    resumed.restore(tmp_path / "steps" / "step_00000001")
    reports = [train_step(trainer, next(trainer.batches), config) for trainer in (unbroken, resumed)]
    assert reports[0] == reports[1]
    assert unbroken.centre is not None
    assert reports[0].total == pytest.approx(2 * unbroken.centre.item(), rel=1e-5)


def make_first_step(
    out: Path, objective: ObjectiveConfig, **changes: object
) -> tuple[Trainer, PretrainConfig]:
    config = make_config(out, objective=objective, **changes)
    corpus = make_corpus(0)
    tokenizer = make_tokenizer(config, corpus)
    batches = make_batches(config, corpus, tokenizer, latents_per_frame=4, role="training")
    return make_trainer(config, batches, vocab_size=tokenizer.vocab_size, latent_channels=64), config


@pytest.mark.parametrize("weighing", list(Weighing))
@pytest.mark.parametrize("changes", [{"rows_at_once": 2}, {"rows_at_once": 1, "recompute": True}])
def test_a_step_in_parts_is_the_step_at_once(tmp_path, weighing, changes):
    reports = []
    for settings in ({}, changes):
        objective = ObjectiveConfig(weighing=weighing)
        trainer, config = make_first_step(tmp_path, objective, num_rows=5, **settings)
        reports.append([train_step(trainer, next(trainer.batches), config) for _ in range(2)])
    for at_once, in_parts in zip(*reports, strict=True):
        assert astuple(in_parts) == pytest.approx(astuple(at_once), rel=1e-4)


def test_recomputing_keeps_less_and_changes_nothing(tmp_path):
    trainer, config = make_first_step(tmp_path, ObjectiveConfig())
    batch = next(trainer.batches)
    noise = torch.randn(batch.latents.shape, generator=trainer.noise)
    kept, gradients = [], []
    for recompute in (False, True):
        sizes: list[int] = []
        with saved_tensors_hooks(lambda x, sizes=sizes: sizes.append(x.nbytes) or x, lambda x: x):
            found = losses(
                trainer.model, batch, noise, config.objective, dtype=torch.float32, recompute=recompute
            )
        (found.language + found.flow).backward()
        kept.append(sum(sizes))
        gradients.append([parameter.grad for parameter in trainer.model.parameters()])
        trainer.model.zero_grad()
    assert kept[1] < kept[0] / 2
    torch.testing.assert_close(gradients[1], gradients[0])


def test_a_device_that_is_not_there_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(
        ValueError, match="needed a GPU for process 0 of this machine, found 0; set device=cpu"
    ):
        make_first_step(tmp_path, ObjectiveConfig(), device=Device.cuda)


def test_rows_are_shared_out_and_none_is_lost():
    for count, at_once in ((1, None), (1, 3), (2, 2), (3, 1)):
        rows = [
            index
            for rank in range(count)
            for rows in Ranks(rank=rank, count=count).shares(7, at_once=at_once)
            for index in range(7)[rows]
        ]
        assert sorted(rows) == list(range(7))
    with pytest.raises(ValueError, match="num_rows=1 leaves some of 2 ranks without work"):
        Ranks(rank=0, count=2).shares(1, at_once=None)


@pytest.mark.parametrize("weight", [float("nan"), 1e38])
def test_a_step_that_is_not_finite_changes_no_weight(tmp_path, weight):
    """A weight of 1e38 leaves the loss finite and makes the gradient overflow."""
    trainer, config = make_first_step(tmp_path, ObjectiveConfig(flow_weight=weight))
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    with pytest.raises(FloatingPointError, match=r"at step 1, of the documents forward 0-\d+, .*; lower opt"):
        train_step(trainer, next(trainer.batches), config)
    assert trainer.step == 0 and trainer.optimisers.tensors() == {}
    for name, value in trainer.model.state_dict().items():
        assert torch.equal(value, before[name]), name
