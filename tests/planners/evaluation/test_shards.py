"""Shards: rows do not depend on the workers, on a kill or on a restart."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from planners.evaluation.records import OpenLoopRow
from planners.evaluation.shards import ShardStore, run_shards
from tests.planners.evaluation.rows import open_loop_row


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """A task: one row a number; `marker` counts the calls, `kill_first` kills the process at the first."""

    values: tuple[int, ...]
    marker: Path
    kill_first: bool = False


def square(task: Numbers) -> Sequence[OpenLoopRow]:
    """Return a row a number, ATE its square."""
    num_calls = len(list(task.marker.parent.glob(f"{task.marker.name}.*")))
    task.marker.with_name(f"{task.marker.name}.{num_calls}").touch()
    if task.kill_first and num_calls == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    assert torch.get_num_threads() == 1
    return [open_loop_row(f"p{value}", ate_m=float(value**2)) for value in task.values]


def tasks(folder: Path, *, kill: bool = False) -> dict[str, Numbers]:
    return {
        f"shard{index}": Numbers(
            values=(index, index + 1), marker=folder / f"mark{index}", kill_first=kill and index == 1
        )
        for index in range(3)
    }


def calls(folder: Path) -> int:
    return len(list(folder.glob("mark*")))


def run(
    folder: Path, *, num_workers: int = 0, config_hash: str = "f" * 64, kill: bool = False
) -> list[OpenLoopRow]:
    store = ShardStore(folder=folder / "shards", config_hash=config_hash)
    return run_shards(
        square, tasks(folder, kill=kill), row_type=OpenLoopRow, store=store, num_workers=num_workers
    )


def test_a_restart_computes_nothing_again_and_gives_the_same_rows(tmp_path: Path) -> None:
    first = run(tmp_path)
    assert [row.ate_m for row in first] == [0.0, 1.0, 1.0, 4.0, 4.0, 9.0]
    assert run(tmp_path) == first
    assert calls(tmp_path) == 3


def test_a_truncated_shard_is_computed_again(tmp_path: Path) -> None:
    first = run(tmp_path)
    (path,) = (tmp_path / "shards").glob("shard1-*.parquet")
    path.write_bytes(path.read_bytes()[:-7])
    assert run(tmp_path) == first
    assert calls(tmp_path) == 4
    assert pq.read_table(path).num_rows == 2


def test_another_configuration_shares_nothing(tmp_path: Path) -> None:
    run(tmp_path)
    run(tmp_path, config_hash="e" * 64)
    assert calls(tmp_path) == 6


def test_a_shard_renamed_from_another_configuration_is_not_taken(tmp_path: Path) -> None:
    run(tmp_path)
    for path in list((tmp_path / "shards").glob("*.parquet")):
        path.rename(path.with_name(path.name.replace("f" * 12, "e" * 12)))
    run(tmp_path, config_hash="e" * 64)
    assert calls(tmp_path) == 6


def test_a_failed_write_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(table: object, file: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("planners.evaluation.shards.pq.write_table", full_disk)
    with pytest.raises(OSError, match=r"No space left.*run the same command again"):
        run(tmp_path)
    assert list((tmp_path / "shards").iterdir()) == []


def test_a_shard_with_a_failure_is_returned_but_tried_again(tmp_path: Path) -> None:
    def run_with(failing: set[float]) -> list[OpenLoopRow]:
        return run_shards(
            square,
            tasks(tmp_path),
            row_type=OpenLoopRow,
            store=ShardStore(folder=tmp_path / "shards", config_hash="f" * 64),
            num_workers=0,
            has_failed=lambda row: row.ate_m in failing,
        )

    first = run_with({9.0})
    assert [row.ate_m for row in first] == [0.0, 1.0, 1.0, 4.0, 4.0, 9.0]
    assert run_with(set()) == first
    assert calls(tmp_path) == 4, "the shard that failed was computed twice"


def test_without_workers_ray_is_not_imported(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from tests.planners.evaluation.test_shards import run;"
        f"run(pathlib.Path({str(tmp_path)!r})); sys.exit('ray' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_rows_do_not_depend_on_workers_or_on_a_killed_one(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "ray").mkdir()
    here = run(tmp_path / "here")
    assert run(tmp_path / "ray", num_workers=2, kill=True) == here
    assert calls(tmp_path / "ray") == 4, "one shard's worker was killed once"
