"""Laws of folders that are whole or absent: full disks, and processes that end between any two steps."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.worldmodel.processes import start_ranks
from worldmodel.checkpoint import write_folder, write_folder_together
from worldmodel.pieces import Piece, Place
from worldmodel.ranks import Ranks
from worldmodel.stored_tensors import StoredTensors
from worldmodel.tensor_file import read_tensors, write_tensors

FULL_DISK = """
import resource, sys
from pathlib import Path
import torch
from worldmodel.checkpoint import write_folder

resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
write_folder(Path(sys.argv[1]), {"model": {"weight": torch.zeros(100_000)}}, {})
"""


def write(folder: Path, value: float) -> None:
    write_folder(folder, {"model": {"weight": torch.full((2,), value)}}, {"note.json": "{}"})


def value_in(folder: Path) -> float:
    return float(read_tensors(folder / "model.safetensors")["weight"][0])


def interrupt(folder: Path) -> None:
    raise KeyboardInterrupt


def test_a_full_disk_is_one_clear_error_and_leaves_the_old_folder_alone(tmp_path):
    write(tmp_path / "model", 1.0)
    run = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / "model")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    last = run.stderr.strip().splitlines()[-1]
    assert last.startswith(f"OSError: could not write {tmp_path / 'model'}: ")
    assert last.endswith("the last whole checkpoint is untouched")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert value_in(tmp_path / "model") == 1.0


def test_a_tensor_file_that_the_disk_refuses_is_an_os_error(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OSError, match="could not write"):
            write_tensors(tmp_path / "state.safetensors", {"weight": torch.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("renames_before", [0, 1])
def test_a_stop_between_two_renames_loses_neither_folder(tmp_path, monkeypatch, renames_before):
    folder = tmp_path / "model"
    write(folder, 1.0)
    rename, done = Path.rename, []

    def stopping(path: Path, target: Path) -> Path:
        if len(done) == renames_before:
            done.append("stopped")
            raise SystemExit
        done.append("renamed")
        return rename(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", stopping)
        # What a killed process does not do either.
        patched.setattr("worldmodel.checkpoint._recover", lambda folder: None)
        with pytest.raises(SystemExit):
            write(folder, 2.0)
    whole = [path for path in (folder, tmp_path / ".model.old") if path.exists()]
    assert [value_in(path) for path in whole] == [1.0]
    with pytest.raises(KeyboardInterrupt):
        write_folder(folder, {}, {"note.json": "{}"}, write_rest=interrupt)
    assert value_in(folder) == 1.0
    write(folder, 2.0)
    assert value_in(folder) == 2.0
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def write_together(ranks: Ranks, folder: Path) -> None:
    """Write a folder on two ranks; the second time the disk refuses the second one."""
    for value in (1.0, 2.0):
        if value == 2.0 and ranks.rank == 1:
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        place = Place.of_rank((20_001,), rank=ranks.rank, count=2)
        groups = {"model": {"weight": Piece(place, torch.full(place.held_shape, value))}}
        write_folder_together(folder / "state", groups, {"state.json": "{}"}, ranks=ranks)


def test_a_rank_whose_disk_is_full_is_an_error_on_all_and_leaves_the_old_state(tmp_path):
    for rank, process in enumerate(start_ranks(write_together, tmp_path, count=2)):
        process.join(timeout=100)
        message = (tmp_path / f"error-{rank}").read_text()
        assert message.startswith(f"OSError: could not write {tmp_path / 'state'}: ")
        assert ("another rank had no success" in message) == (rank == 0)
        assert message.endswith("the last whole checkpoint is untouched")
    assert torch.equal(StoredTensors(tmp_path / "state", "model").read_whole()["weight"], torch.ones(20_001))
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_leftovers_of_other_folders_stay(tmp_path):
    (tmp_path / ".models.123").mkdir()
    (tmp_path / ".model.123").mkdir()
    write(tmp_path / "model", 1.0)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".models.123", "model"]
