"""Laws of pretraining: golden losses, exact resume, survival of SIGKILL."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import worldmodel.pretrain
from tests.worldmodel.tiny_run import SHAPE, make_config, make_corpus, run
from worldmodel.checkpoint import latest_step
from worldmodel.model_folder import SHIPPED, load_model, resolve
from worldmodel.ranks import Ranks
from worldmodel.representation.rae import RaeRepresentation, with_statistics
from worldmodel.sharding import Sharding
from worldmodel.tensor_file import read_tensors, write_tensors
from worldmodel.tokenizer import TextTokenizer
from worldmodel.training_record import read_record
from worldmodel.transfusion import TransfusionConfig

KILLED_BEFORE_MODEL = """
import os, signal, sys
from pathlib import Path
import worldmodel.pretrain
from tests.worldmodel.tiny_run import run

worldmodel.pretrain.save_model = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
run(Path(sys.argv[1]), checkpoint_every=int(sys.argv[2]))
"""
GOLDEN = Path(__file__).parent / "golden_losses.json"


def log_of(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("unbroken")
    run(out)
    return out


def assert_equal_states(one: Path, other: Path) -> None:
    for name in ("model", "average", "optimisers", "random"):
        first, second = (read_tensors(path / f"{name}.safetensors") for path in (one, other))
        assert first.keys() == second.keys()
        for key, tensor in first.items():
            assert torch.equal(tensor, second[key]), f"{name}/{key}"
    assert (one / "state.json").read_text() == (other / "state.json").read_text()


def assert_equal_ends(one: Path, other: Path) -> None:
    """The last training states of two runs are the same, bit for bit."""
    first, second = latest_step(one / "steps"), latest_step(other / "steps")
    assert first is not None and second is not None
    assert_equal_states(first, second)


def assert_equal_models(one: Path, other: Path) -> None:
    for name in ("model.json", "tokenizer.json", "model.safetensors", "representation.safetensors"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    first, second = (replace(read_record(folder), training_s=0.0, commit=None) for folder in (one, other))
    assert first == second


def rewrite_state(folder: Path, change: Callable[[dict], object]) -> None:
    state = json.loads((folder / "state.json").read_text())
    change(state)
    (folder / "state.json").write_text(json.dumps(state))


def test_ten_steps_give_the_golden_losses(unbroken):
    found = [round(record["total"], 4) for record in log_of(unbroken)]
    assert found == pytest.approx(json.loads(GOLDEN.read_text()), abs=2e-3)


def test_a_run_in_two_stretches_equals_an_unbroken_one(unbroken, tmp_path):
    # A stretch ends at a checkpoint; the schedule is that of the whole run.
    (tmp_path / "steps").mkdir()
    first = unbroken.parent / "first"
    run(first, keep_checkpoints=10)
    for name in ("tokenizer.json",):
        (tmp_path / name).write_bytes((first / name).read_bytes())
    (first / "steps" / "step_00000004").rename(tmp_path / "steps" / "step_00000004")
    run(tmp_path)
    assert [record["step"] for record in log_of(tmp_path)] == [5, 6, 7, 8, 9, 10]
    assert_equal_ends(tmp_path, unbroken)


def test_a_killed_run_goes_on_and_equals_an_unbroken_one(unbroken, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.worldmodel.tiny_run", str(tmp_path)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while latest_step(tmp_path / "steps") is None and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert latest_step(tmp_path / "steps") is not None
    run(tmp_path)
    assert_equal_ends(tmp_path, unbroken)


def test_two_ranks_train_as_one_does(unbroken, tmp_path):
    subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
            *("-m", "tests.worldmodel.tiny_run", str(tmp_path)),
        ],
        check=True,
        capture_output=True,
        timeout=120,
    )
    found, expected = log_of(tmp_path), log_of(unbroken)
    assert [record["step"] for record in found] == [record["step"] for record in expected]
    for name in ("total", "language", "flow", "gradient_norm"):
        ours, theirs = ([record[name] for record in log] for log in (found, expected))
        assert ours[0] == pytest.approx(theirs[0], rel=1e-5), name
        # Muon makes its updates orthogonal in bfloat16: rounding grows from step to step.
        assert ours == pytest.approx(theirs, rel=5e-3), name
    # One process wrote, and another number of ranks can go on from there.
    newest, other = latest_step(tmp_path / "steps"), latest_step(unbroken / "steps")
    assert newest is not None and other is not None
    assert (newest / "state.json").read_text() == (other / "state.json").read_text()


def test_the_model_that_is_left_loads_and_rolls_out(unbroken):
    world_model = load_model(unbroken / "model")
    context = world_model.encode_context(torch.zeros(1, 2, 20, 24, 3, dtype=torch.uint8))
    text = "action: dx=+0.335, dy=-0.020, dyaw=+0.120, dt=0.26"
    rollout = world_model.rollout(
        context, [[[text]]], num_steps=2, generator=torch.Generator().manual_seed(0)
    )
    assert rollout.shape == (1, 1, 1, 4, 64)
    assert torch.isfinite(rollout).all()


def test_the_record_tells_what_it_was_trained_on(unbroken):
    record = read_record(unbroken / "model")
    assert record.places == ["room"]
    assert record.num_steps == 10
    assert record.num_frames == 53 + 31 + 40
    assert sum(record.tokens.values()) <= 10 * 2 * 240
    assert record.heldout == log_of(unbroken)[-1]["heldout"]
    assert record.training_s > 0


def test_the_record_names_the_data_and_the_processors(unbroken):
    record = read_record(unbroken / "model")
    assert record.data == make_corpus(0).identity != make_corpus(1).identity
    assert re.fullmatch(r"[0-9]+ x .+", record.hardware)
    assert "x86_64" not in record.hardware or not Path("/proc/cpuinfo").is_file()


def test_the_record_that_ships_is_read_though_it_names_no_data():
    assert read_record(resolve("nano")).data is None


def test_heldout_losses_are_reported_by_kind_and_noise_level(unbroken):
    report = log_of(unbroken)[-1]["heldout"]
    assert {
        "nats/text",
        "nats/inverse",
        "flow/clean/forward",
        "flow/draft/forward",
        "flow/time_0.0",
    } <= report.keys()


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (
            lambda folder: (folder / "model.safetensors").write_bytes(b"\x10" * 40),
            "truncated or no safetensors",
        ),
        (lambda folder: (folder / "model.json").write_text("{"), "not JSON"),
        (lambda folder: (folder / "model.json").write_text('{"format": 99}'), "format 99"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer"),
        (lambda folder: (folder / "model.json").write_text('{"format": 1, "width": 3}'), "model.json"),
    ],
)
def test_a_damaged_model_folder_is_refused(unbroken, tmp_path, damage, match):
    folder = tmp_path / "model"
    folder.mkdir()
    for path in (unbroken / "model").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    damage(folder)
    with pytest.raises((ValueError, FileNotFoundError), match=match):
        load_model(folder)


def test_parts_of_two_models_are_refused(finished):
    folder = finished / "model"
    tokenizer = (folder / "tokenizer.json").read_bytes()
    TextTokenizer.train(["other words"], 300).save(folder / "tokenizer.json")
    with pytest.raises(ValueError, match=r"needs [0-9]+ tokens, tokenizer\.json has 284; fetch"):
        load_model(folder)
    (folder / "tokenizer.json").write_bytes(tokenizer)
    other = replace(SHAPE, hidden_size=128)
    untrained = RaeRepresentation.create(other, generator=torch.Generator().manual_seed(0))
    mean, std = torch.zeros(4, 128), torch.full((4, 128), 2.0)
    with_statistics(untrained, mean=mean, std=std).save(folder)
    with pytest.raises(ValueError, match=r"needs 64 channels, representation\.safetensors has 128"):
        load_model(folder)


def test_a_folder_that_hides_a_model_that_ships_is_refused(unbroken, tmp_path, monkeypatch):
    shutil.copytree(unbroken / "model", tmp_path / "nano")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="give the absolute path of the one you mean"):
        resolve("nano")
    assert resolve(tmp_path / "nano") == tmp_path / "nano"
    monkeypatch.chdir(SHIPPED)
    assert resolve("nano").resolve() == SHIPPED / "nano"


def test_a_model_that_does_not_exist_is_named_with_those_that_do():
    with pytest.raises(FileNotFoundError, match="no world model at nowhere"):
        load_model("nowhere")


@pytest.mark.parametrize("checkpoint_every", [2, 100])
def test_a_run_killed_between_state_and_model_goes_on_and_leaves_both(unbroken, tmp_path, checkpoint_every):
    """The second is killed after its last step: nothing is left to do but to write the model."""
    process = subprocess.run(
        [sys.executable, "-c", KILLED_BEFORE_MODEL, str(tmp_path), str(checkpoint_every)],
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert process.returncode == -signal.SIGKILL
    assert latest_step(tmp_path / "steps") is not None and not (tmp_path / "model").exists()
    run(tmp_path)
    assert_equal_ends(tmp_path, unbroken)
    assert_equal_models(tmp_path / "model", unbroken / "model")
    assert [record["step"] for record in log_of(tmp_path)] == list(range(1, 11))


@pytest.fixture
def finished(unbroken, tmp_path) -> Path:
    """Return a copy of a finished run."""
    return Path(shutil.copytree(unbroken, tmp_path / "finished"))


def test_a_finished_run_writes_its_model_again_if_that_is_gone_or_older(finished, unbroken):
    shutil.rmtree(finished / "model")
    run(finished)
    assert_equal_models(finished / "model", unbroken / "model")
    record = finished / "model" / "training.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"num_steps": 8}))
    run(finished)
    assert_equal_models(finished / "model", unbroken / "model")


def test_a_run_longer_than_asked_for_is_refused(finished):
    with pytest.raises(ValueError, match=r"num_steps=8 steps, .*step_00000010 is of 10; raise num_steps"):
        run(finished, num_steps=8)


def test_half_a_line_in_the_log_stops_no_run(finished):
    with (finished / "log.jsonl").open("a") as log:
        log.write('{"step": 11, "tot')
    run(finished, num_steps=12)
    assert [record["step"] for record in log_of(finished)] == list(range(1, 13))
    assert read_record(finished / "model").training_s > 0


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (lambda folder: (folder / "average.safetensors").unlink(), r"no average\.safetensors"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"1"), "truncated"),
        (lambda folder: (folder / "state.json").write_text('{"step": 10}'), "needs the object `batches`"),
        (
            lambda folder: write_tensors(folder / "random.safetensors", {"other": torch.zeros(1)}),
            "KeyError: 'noise'",
        ),
        (lambda folder: write_tensors(folder / "optimisers.safetensors", {}), "optimisers in .* is missing"),
        (lambda folder: rewrite_state(folder, lambda state: state["batches"].pop("data")), "other data"),
        (lambda folder: rewrite_state(folder, lambda state: state["batches"]["rng"].clear()), ""),
    ],
)
def test_a_damaged_or_foreign_training_state_is_refused_by_name(finished, damage, match):
    damage(finished / "steps" / "step_00000010")
    with pytest.raises(ValueError, match=f"cannot go on from .*step_00000010: .*{match}") as caught:
        run(finished)
    assert str(caught.value).endswith("delete that folder, or give another `out`.")


def test_a_state_of_another_model_is_refused(finished):
    other = TransfusionConfig(width=32, num_blocks=1, num_heads=2, num_kv_heads=1)
    with pytest.raises(ValueError, match="cannot go on from"):
        run(finished, model=other)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"width": 48, "num_heads": 3}, r"model in .*step_00000010 is of another architecture or vocabulary"),
        ({"num_blocks": 1}, r"blocks\.1\.[a-z_.]+ is unknown; .*, and \d+ more"),
        ({"num_blocks": 3}, r"blocks\.2\.[a-z_.]+ is missing"),
    ],
)
def test_a_state_of_another_architecture_is_refused_with_what_differs(finished, changes, match):
    sizes = dict(width=32, num_blocks=2, num_heads=2, num_kv_heads=1, text_hidden=32, image_hidden=48)
    with pytest.raises(ValueError, match=match):
        run(finished, model=TransfusionConfig(**(sizes | changes)))


def test_a_state_of_another_vocabulary_is_refused(finished):
    larger = TextTokenizer.train([f"{first}{second} " * 3 for first in "abcdef" for second in "ghijk"], 300)
    larger.save(finished / "tokenizer.json")
    with pytest.raises(ValueError, match="trained on another vocabulary: needed the tokenizer "):
        run(finished)
    # Without the tokenizer's hash the sizes tell.
    rewrite_state(finished / "steps" / "step_00000010", lambda state: state.pop("vocabulary"))
    with pytest.raises(ValueError, match=r"text_embedding\.weight has the shape \(\d+, 32\), needed was"):
        run(finished)


def test_a_model_with_another_vocabulary_of_its_size_is_refused(finished):
    path = finished / "model" / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    vocabulary = tokenizer["model"]["vocab"]
    first, second = sorted(vocabulary, key=lambda token: -vocabulary[token])[:2]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    path.write_text(json.dumps(tokenizer))
    with pytest.raises(ValueError, match=r"needs the vocabulary .* that of tokenizer"):
        load_model(finished / "model")


def test_a_model_folder_with_weights_of_another_architecture_is_refused(finished):
    path = finished / "model" / "model.json"
    config = json.loads(path.read_text())
    config["transfusion"]["num_blocks"] = 1
    path.write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"do not fit its model\.json: .*blocks\.1\.attention"):
        load_model(finished / "model")


def test_a_run_that_fits_no_machine_is_refused_before_anything_is_made(tmp_path, monkeypatch):
    representation = RaeRepresentation.create(SHAPE, generator=torch.Generator().manual_seed(0))
    config = make_config(tmp_path)
    monkeypatch.setattr("worldmodel.pretrain.memory_bytes", lambda device: 10**6)
    with pytest.raises(ValueError, match=r"needed 0\.0 GB .*, there are 0\.0 GB; choose a smaller preset"):
        worldmodel.pretrain._check(config, representation, Ranks())
    sharded = replace(config, sharding=Sharding.fsdp)
    monkeypatch.setattr("worldmodel.pretrain.memory_bytes", lambda device: 10**5)
    with pytest.raises(ValueError, match="or sharding=fsdp on more ranks"):
        worldmodel.pretrain._check(sharded, representation, Ranks(rank=1, count=2))


@pytest.mark.parametrize(
    "name",
    [
        *("num_steps", "num_rows", "tokens_per_row", "num_heldout_batches", "evaluate_every"),
        *("checkpoint_every", "keep_checkpoints", "num_threads", "heldout_share"),
    ],
)
def test_a_run_without_steps_rows_or_checkpoints_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match=name):
        make_config(tmp_path, **{name: 0.0 if name == "heldout_share" else 0})
