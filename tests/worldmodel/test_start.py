"""Start: an adapted run begins where its model ended, keeps its vocabulary, and says what both have seen."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from data_tools.fingerprint import fingerprint
from tests.worldmodel.tiny_run import make_config, make_corpus, make_representation, run
from worldmodel.corpus import Corpus
from worldmodel.model_folder import load_model
from worldmodel.precision import Precision
from worldmodel.pretrain import train
from worldmodel.sharding import Sharding
from worldmodel.start import shaped_as
from worldmodel.tensor_file import read_tensors
from worldmodel.training_record import TrainingRecord, hash_weights, read_record, to_json


@pytest.fixture(scope="module")
def first(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("first")
    run(out, num_steps=2)
    return out / "model"


def elsewhere() -> Corpus:
    made = make_corpus(5)
    moved = [replace(each, place="elsewhere", name=f"other{i}") for i, each in enumerate(made.trajectories)]
    return replace(made, trajectories=moved, recordings="elsewhere")


def adapt(first: Path, out: Path, *, num_steps: int = 1, **changes: object) -> Path:
    torch.set_num_threads(1)
    model = load_model(str(first), dtype=torch.float32)
    config = shaped_as(make_config(out, start=str(first), num_steps=num_steps, **changes), model)
    train(config, make_representation(), training=elsewhere(), heldout=elsewhere(), start=model)
    return out / "model"


def test_the_first_step_is_one_from_the_given_weights(first, tmp_path):
    slow = make_config(tmp_path).optimisation
    small = replace(slow, learning_rate=1e-9, warmup_steps=1)
    adapted = adapt(first, tmp_path, optimisation=small)
    before, after = (read_tensors(folder / "model.safetensors") for folder in (first, adapted))
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor, rtol=0, atol=2e-3)  # kept in half precision
    assert (adapted / "tokenizer.json").read_bytes() == (first / "tokenizer.json").read_bytes()


def test_an_adapted_run_goes_on_from_its_own_checkpoint(first, tmp_path):
    whole = adapt(first, tmp_path / "whole", num_steps=4)
    adapt(first, tmp_path / "two", num_steps=4, checkpoint_every=2)
    steps = sorted((tmp_path / "two" / "steps").iterdir())
    shutil.rmtree(steps[-1])
    shutil.rmtree(tmp_path / "two" / "model")
    resumed = adapt(first, tmp_path / "two", num_steps=4, checkpoint_every=2)
    assert (whole / "model.safetensors").read_bytes() == (resumed / "model.safetensors").read_bytes()


def test_the_record_says_what_both_have_seen(first, tmp_path):
    record, before = read_record(adapt(first, tmp_path)), read_record(first)
    assert record.places == sorted({*before.places, "elsewhere"})
    assert record.trajectories["elsewhere"] == sorted(
        fingerprint([each]) for each in elsewhere().trajectories
    )
    for place in before.places:
        assert record.trajectories[place] == before.trajectories[place]
    assert record.started_from == hash_weights(first) and before.started_from is None


def test_a_place_whose_recordings_are_unknown_stays_so(first, tmp_path):
    old = tmp_path / "old"
    shutil.copytree(first, old)
    record: TrainingRecord = replace(read_record(first), places=["elsewhere", "yard"], trajectories={})
    (old / "training.json").write_text(to_json(record))
    found = read_record(adapt(old, tmp_path / "adapted"))
    assert found.places == ["elsewhere", "yard"] and found.trajectories == {}


def test_a_sharded_run_does_not_start_from_a_model(tmp_path):
    with pytest.raises(ValueError, match="needs sharding=replicated"):
        make_config(tmp_path, start="nano", sharding=Sharding.fsdp, precision=Precision.bfloat16)
