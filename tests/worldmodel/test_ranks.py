"""Laws of processes that work together: if one fails all stop, and nothing is lost."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import worldmodel.pretrain
from tests.worldmodel.processes import start_ranks
from tests.worldmodel.tiny_run import run
from worldmodel.checkpoint import latest_step
from worldmodel.documents import PackedBatch
from worldmodel.pretrain_config import PretrainConfig
from worldmodel.ranks import Ranks
from worldmodel.sharding import Sharding
from worldmodel.trainer import StepReport, Trainer

DIES_UNDER_TORCHRUN = """
import sys
from pathlib import Path
from tests.worldmodel.test_ranks import die
from worldmodel.ranks import joined

with joined(timeout_s=30.0) as ranks:
    die(ranks, Path(sys.argv[1]))
"""


def run_with(
    ranks: Ranks, folder: Path, before_step: Callable[[Trainer, PackedBatch], PackedBatch], **changes: object
) -> None:
    """Train, with something done before each step."""
    train_step = worldmodel.pretrain.train_step

    def changed(
        trainer: Trainer, batch: PackedBatch, config: PretrainConfig, *, ranks: Ranks | None = None
    ) -> StepReport:
        return train_step(trainer, before_step(trainer, batch), config, ranks=ranks)

    worldmodel.pretrain.train_step = changed
    try:
        run(folder / "out", ranks=ranks, **changes)
    finally:
        worldmodel.pretrain.train_step = train_step


def die(ranks: Ranks, folder: Path) -> None:
    """Train on two ranks, of which the second is killed in its sixth step."""

    def before_step(trainer: Trainer, batch: PackedBatch) -> PackedBatch:
        if ranks.rank == 1 and trainer.step == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return batch

    run_with(ranks, folder, before_step, sharding=Sharding.fsdp)


def get_stuck(ranks: Ranks, folder: Path) -> None:
    """Train on two ranks, of which the second does nothing from its sixth step on."""

    def before_step(trainer: Trainer, batch: PackedBatch) -> PackedBatch:
        if ranks.rank == 1 and trainer.step == 5:
            time.sleep(600)
        return batch

    run_with(ranks, folder, before_step)


def spoil(ranks: Ranks, folder: Path, *, sharding: Sharding = Sharding.fsdp) -> None:
    """Train, with a latent of the last row of the sixth batch that is not a number."""

    def before_step(trainer: Trainer, batch: PackedBatch) -> PackedBatch:
        if trainer.step != 5:
            return batch
        latents = batch.latents.clone()
        latents[-1] = float("nan")
        return replace(batch, latents=latents)

    run_with(ranks, folder, before_step, sharding=sharding, checkpoint_every=100)


def losses_of(out: Path) -> list[float]:
    return [json.loads(line)["total"] for line in (out / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory) -> list[float]:
    out = tmp_path_factory.mktemp("unbroken")
    run(out)
    return losses_of(out)


def assert_goes_on(folder: Path, unbroken: list[float], *, step: int) -> None:
    """The state after `step` steps is there, and one rank that goes on from it gets the losses of all ten."""
    newest = latest_step(folder / "out" / "steps")
    assert newest is not None and newest.name == f"step_{step:08d}"
    assert [path for path in newest.parent.iterdir() if path.name.startswith(".")] == []
    run(folder / "out")
    assert losses_of(folder / "out") == pytest.approx(unbroken, rel=5e-3)


@pytest.mark.parametrize(("work", "timeout_s"), [(die, 60.0), (get_stuck, 4.0)])
def test_a_rank_that_is_lost_ends_the_others_and_loses_nothing(tmp_path, unbroken, work, timeout_s):
    first, second = start_ranks(work, tmp_path, count=2, timeout_s=timeout_s)
    first.join(timeout=100)
    assert first.exitcode == 1
    second.kill()
    second.join()
    message = (tmp_path / "error-0").read_text()
    assert message.startswith(
        f"LostRanks: rank 0 needed an answer of all 2 ranks within {timeout_s:g} s, and one"
    )
    assert "GLHF" not in message  # what gloo adds for its own developers
    assert message.endswith("the same command goes on from the last checkpoint")
    assert_goes_on(tmp_path, unbroken, step=4)


def test_a_loss_that_is_no_number_on_one_rank_stops_all_and_keeps_the_last_good_state(tmp_path, unbroken):
    started = start_ranks(spoil, tmp_path, count=2)
    for rank, process in enumerate(started):
        process.join(timeout=100)
        assert process.exitcode == 1
        message = (tmp_path / f"error-{rank}").read_text()
        assert message.startswith("FloatingPointError: the loss is nan")
        assert "at step 6, of the documents" in message and "from the last good state" in message
    assert_goes_on(tmp_path, unbroken, step=5)


def test_a_loss_that_is_no_number_keeps_the_last_good_state_of_a_single_rank(tmp_path, unbroken):
    with pytest.raises(FloatingPointError, match="at step 6"):
        spoil(Ranks(), tmp_path)
    assert_goes_on(tmp_path, unbroken, step=5)
    assert losses_of(tmp_path / "out") == unbroken


def test_errors_of_our_own_stay_what_they_are(tmp_path):
    [process] = start_ranks(fail, tmp_path, count=1)
    process.join(timeout=100)
    assert (tmp_path / "error-0").read_text() == "ValueError: too wide"


def fail(ranks: Ranks, folder: Path) -> None:
    raise ValueError("too wide")


@pytest.mark.slow
def test_torchrun_ends_all_when_one_rank_dies(tmp_path, unbroken):
    started = time.monotonic()
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
            *("--no-python", sys.executable, "-c", DIES_UNDER_TORCHRUN, str(tmp_path)),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode != 0 and time.monotonic() - started < 120
    assert "Signal 9 (SIGKILL)" in done.stderr
    assert_goes_on(tmp_path, unbroken, step=4)
