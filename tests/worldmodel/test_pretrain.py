"""Laws of pretraining: golden losses, exact resume, survival of SIGKILL."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.worldmodel.tiny_run import run
from worldmodel.checkpoint import latest_step
from worldmodel.model_folder import load_model
from worldmodel.tensor_file import read_tensors
from worldmodel.training_record import read_record

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


def test_a_model_that_does_not_exist_is_named_with_those_that_do():
    with pytest.raises(FileNotFoundError, match="no world model at nowhere"):
        load_model("nowhere")
