"""Checkpoints: tensors as safetensors, everything else as JSON; a folder is whole or absent.

Nothing read here is executed. A training state is a folder `step_<n>` that appears by a rename, so that a
process killed at any moment leaves the last whole one.
"""

import glob
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor

from data_tools.whole_file import write_text
from worldmodel.pieces import Piece
from worldmodel.ranks import Ranks
from worldmodel.stored_tensors import write_shard
from worldmodel.tensor_file import write_tensors

PREFIX = "step_"


def write_folder(
    folder: Path,
    tensors: Mapping[str, Mapping[str, Tensor]],
    texts: Mapping[str, str],
    *,
    write_rest: Callable[[Path], None] | None = None,
) -> None:
    """Write `<name>.safetensors` and text files into `folder`, whole or not at all.

    A folder that is there is replaced: moved aside, and deleted when the new one is in its place.
    `write_rest` is given the temporary folder, for files that others know how to write.
    """
    _recover(folder)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        temporary.mkdir(parents=True)
        for name, group in tensors.items():
            write_tensors(temporary / f"{name}.safetensors", group)
        for name, text in texts.items():
            write_text(temporary / name, text)
        if write_rest is not None:
            write_rest(temporary)
        if folder.exists():
            folder.rename(_aside(folder))
        temporary.rename(folder)
    except OSError as error:
        raise OSError(f"could not write {folder}: {error}; the last whole checkpoint is untouched") from error
    finally:
        _recover(folder)


def write_folder_together(
    folder: Path, groups: Mapping[str, Mapping[str, Piece]], texts: Mapping[str, str], *, ranks: Ranks
) -> None:
    """Write what each rank holds into one folder on a disk that all share, whole or not at all.

    All ranks must call it. The folder appears when all have written; if one cannot, OSError on all.
    """
    temporary = folder.with_name(f".{folder.name}.together")

    def make() -> None:
        _recover(folder)
        temporary.mkdir(parents=True)

    def write() -> None:
        for name, pieces in groups.items():
            write_shard(temporary, name, pieces, rank=ranks.rank, count=ranks.count)

    def finish() -> None:
        for name, text in texts.items():
            write_text(temporary / name, text)
        if folder.exists():
            folder.rename(_aside(folder))
        temporary.rename(folder)

    try:
        for step, is_mine in ((make, ranks.is_first), (write, True), (finish, ranks.is_first)):
            _together(step if is_mine else None, folder, ranks=ranks)
    finally:
        if ranks.is_first:
            _recover(folder)


def _together(step: Callable[[], None] | None, folder: Path, *, ranks: Ranks) -> None:
    """Do this rank's part of a step and wait until all ranks have; OSError on all if one failed."""
    failure = None
    try:
        if step is not None:
            step()
    except OSError as error:
        failure = error
    if ranks.any(failure is not None):
        reason = failure or "another rank had no success (its own error says why)"
        raise OSError(
            f"could not write {folder}: {reason}; the last whole checkpoint is untouched"
        ) from failure


def _aside(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


def _recover(folder: Path) -> None:
    """Put back what was moved aside and not replaced; delete what a writer of this folder left beside it."""
    if _aside(folder).exists() and not folder.exists():
        _aside(folder).rename(folder)
    for leftover in folder.parent.glob(f".{glob.escape(folder.name)}.*"):
        shutil.rmtree(leftover, ignore_errors=True)


def read_json(path: Path) -> dict[str, object]:
    """Read a JSON object, or say in one error what is wrong with it."""
    if not path.is_file():
        raise FileNotFoundError(f"no {path.name} in {path.parent}; is this folder a worldnav checkpoint?")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}); fetch it again") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a JSON object, got {type(content).__name__}")
    return content


def step_folder(root: Path, step: int) -> Path:
    """Return where the training state after `step` steps lies."""
    return root / f"{PREFIX}{step:08d}"


def latest_step(root: Path) -> Path | None:
    """Return the newest whole training state, or None."""
    return max(root.glob(f"{PREFIX}*"), default=None) if root.is_dir() else None


def remove_old_steps(root: Path, *, keep: int) -> None:
    """Delete all but the newest `keep` training states, and what killed processes left half written."""
    for folder in sorted(root.glob(f"{PREFIX}*"))[:-keep]:
        shutil.rmtree(folder)
    for leftover in root.glob(f".{PREFIX}*"):
        shutil.rmtree(leftover, ignore_errors=True)
