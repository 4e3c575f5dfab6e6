"""Collect: record trajectories of many levels in parallel (`python -m envs.collect out=FOLDER seed=0`).

It can be stopped at any moment; the same command goes on from where it was. Beside the trajectories stand
`config.json` (what a trajectory is made of), `summary_seed<seed>.json`, and a row a trajectory in
`.records/`.
"""

import contextlib
import errno
import json
import multiprocessing
import os
import shutil
import threading
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import hydra
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from data_tools import config as configuration
from data_tools.provenance import current_commit, installed_versions
from data_tools.trajectory import write_trajectory
from data_tools.whole_file import write_text
from envs.collect_summary import Numbers, Row, numbers_table, row_of, summarise
from envs.level_recorder import LevelRecorder, RecordConfig, trajectory_name
from envs.levels import TRAIN_LEVELS, check_level

_RECORDS = ".records"
_STOPPING = threading.Event()
"""Set in a worker when its command has stopped or is gone."""
_SECONDS_TO_CLOSE = 10.0
"""A worker that is to stop finishes its trajectory and closes its engine within this time."""
_TRAJECTORIES_PER_TASK = 25
"""An engine starts in 0.4 s and records a trajectory of 120 frames in about 0.25 s."""


@dataclass(frozen=True, kw_only=True)
class CollectConfig:
    """What to record, and how.

    Attributes:
        out: Folder of the trajectories.
        seed: Trajectories of different seeds are different, and have different names.
        record: What a trajectory is made of: frame size, length, shares.
        levels: Levels of `envs.levels`; the training levels unless given.
        frames_per_level: Frames of each level, rounded up to whole trajectories.
        workers: Processes.
    """

    out: str
    seed: int
    record: RecordConfig = field(default_factory=RecordConfig)
    levels: list[str] = field(default_factory=lambda: list(TRAIN_LEVELS))
    frames_per_level: int = 30_000
    workers: int = 2

    def __post_init__(self) -> None:
        for level in self.levels:
            check_level(level)
        if len(set(self.levels)) != len(self.levels):
            raise ValueError(f"each level may be named once; got {', '.join(self.levels)}")
        if self.frames_per_level < 1 or self.workers < 1 or not self.levels:
            raise ValueError(
                "needed at least one level, frame and worker; got "
                f"{len(self.levels)}, frames_per_level={self.frames_per_level}, workers={self.workers}"
            )

    @property
    def trajectories_per_level(self) -> int:
        """Trajectories of each level."""
        return -(-self.frames_per_level // self.record.trajectory_frames)


@dataclass(frozen=True, kw_only=True)
class Task:
    """Some trajectories of one level, for one worker."""

    out: Path
    level: str
    indices: tuple[int, ...]
    seed: int
    record: RecordConfig


@dataclass(frozen=True, kw_only=True)
class Collection:
    """What a run left: the numbers of all trajectories of its seed, and how many it recorded itself."""

    groups: dict[str, Numbers]
    num_recorded: int


def collect(config: CollectConfig, *, console: Console) -> Collection:
    """Record what is missing in `out`, and write and return the summary of all that is there for this seed.

    It is a ValueError if another configuration made the trajectories in `out`, and an OSError if one cannot
    be written; those that are there stay whole.
    """
    out = Path(config.out)
    (out / _RECORDS).mkdir(parents=True, exist_ok=True)
    _claim(out, config.record)
    names = {
        level: [
            trajectory_name(level, index, seed=config.seed, config=config.record)
            for index in range(config.trajectories_per_level)
        ]
        for level in config.levels
    }
    _remove_unfinished(out, {name for of_level in names.values() for name in of_level})
    started_s = time.monotonic()
    num_recorded = _run(_tasks(out, names, config), config, console=console)
    groups = summarise([Row.read(_row_path(out, name)) for name in _recorded(out, seed=config.seed)])
    summary = {
        "groups": {name: asdict(numbers) for name, numbers in groups.items()},
        "num_trajectories_this_run": num_recorded,
        "seconds_this_run": round(time.monotonic() - started_s, 3),
        "configuration": configuration.to_dict(config),
        "seed": config.seed,
        "commit": current_commit(),
        "versions": installed_versions(),
    }
    _write_json(out / f"summary_seed{config.seed}.json", summary)
    return Collection(groups=groups, num_recorded=num_recorded)


def record_task(task: Task) -> int:
    """Record the trajectories of a task that are not there, and return how many: what a worker runs."""
    if _STOPPING.is_set():
        return 0
    num_recorded = 0
    with LevelRecorder(task.level, task.record) as recorder:
        for index in task.indices:
            name = trajectory_name(task.level, index, seed=task.seed, config=task.record)
            if _STOPPING.is_set():
                break
            if not (task.out / name).exists():
                recording = recorder.record(index, seed=task.seed)
                # The row first: a trajectory that is there has its row.
                _write_json(_row_path(task.out, name), asdict(row_of(recording)))
                write_trajectory(recording.trajectory, task.out)
                num_recorded += 1
    return num_recorded


@hydra.main(version_base=None, config_path="conf", config_name="collect")
def main(node: DictConfig) -> None:
    """Record the trajectories that the command line asks for."""
    console = Console()
    config = configuration.to_object(node, CollectConfig)
    try:
        collection = collect(config, console=console)
    except KeyboardInterrupt:
        console.print("Stopped. What is written is whole; the same command goes on from here.")
        raise SystemExit(130) from None
    console.print(numbers_table(collection.groups))


def _run(tasks: list[Task], config: CollectConfig, *, console: Console) -> int:
    """Record all tasks in parallel, under a progress bar; return the number of trajectories."""
    num_all = len(config.levels) * config.trajectories_per_level
    num_missing = sum(len(task.indices) for task in tasks)
    columns = (TextColumn("recording"), BarColumn(), MofNCompleteColumn(), TextColumn("trajectories"))
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        bar = progress.add_task("recording", total=num_all, completed=num_all - num_missing)
        if not tasks:
            return 0
        context = multiprocessing.get_context("spawn")
        leash, hand = context.Pipe(duplex=False)
        executor = ProcessPoolExecutor(
            min(config.workers, len(tasks)), mp_context=context, initializer=_go_on_leash, initargs=(leash,)
        )
        try:
            pending = [executor.submit(record_task, task) for task in tasks]
            for done in as_completed(pending):
                progress.advance(bar, done.result())
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise OSError(
                error.errno,
                f"could not write to {config.out} ({error.strerror}); whole trajectories are kept: "
                "make room and run the same command again",
            ) from error
        finally:
            hand.close()
            executor.shutdown(cancel_futures=True)
    return num_missing


def _go_on_leash(leash: Connection) -> None:
    """Let this worker stop, and close its engine, when the command stops or is killed, which ends the leash.

    Otherwise a worker of a killed command works on and then waits for tasks for ever (measured). Ctrl-C is
    for the command alone: an engine that it hits while starting is orphaned (measured), so workers leave
    the terminal's session.
    """
    os.setsid()

    def watch() -> None:
        with contextlib.suppress(EOFError):
            leash.recv()
        _STOPPING.set()
        time.sleep(_SECONDS_TO_CLOSE)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _tasks(out: Path, names: dict[str, list[str]], config: CollectConfig) -> list[Task]:
    """Return what is missing, level by level, so that a worker's map of the level serves again."""
    tasks = []
    for level, of_level in names.items():
        missing = [index for index, name in enumerate(of_level) if not (out / name).exists()]
        # At least a task a worker, or a few long trajectories would leave workers idle.
        size = min(_TRAJECTORIES_PER_TASK, max(1, len(missing) // config.workers))
        tasks += [
            Task(
                out=out,
                level=level,
                indices=tuple(missing[start : start + size]),
                seed=config.seed,
                record=config.record,
            )
            for start in range(0, len(missing), size)
        ]
    return tasks


def _claim(out: Path, record: RecordConfig) -> None:
    """Write the configuration that makes the folder's trajectories, or check it against the one there."""
    path, wanted = out / "config.json", asdict(record)
    if not path.exists():
        _write_json(path, wanted)
        return
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path} is not JSON ({error}); remove it if all of {out} was recorded so"
        ) from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} must hold a configuration, it holds {type(found).__name__}; see {out}")
    if found != wanted:
        different = sorted(key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key))
        told = ", ".join(f"{key}={found.get(key)} there, {wanted.get(key)} asked for" for key in different)
        raise ValueError(f"{out} was recorded differently ({told}); choose another out= or the same values")


def _remove_unfinished(out: Path, names: set[str]) -> None:
    """Remove what a stopped run left half-written of the trajectories that this run records."""
    for path in out.glob(".*.partial"):
        if path.name[1:].rsplit(".", 2)[0] in names:
            shutil.rmtree(path)


def _recorded(out: Path, *, seed: int) -> list[str]:
    """Return the names of all whole trajectories of a seed, also those that other calls recorded."""
    names = sorted(path.name for path in out.glob(f"*_seed{seed}_*") if path.is_dir())
    return [name for name in names if not name.startswith(".")]


def _row_path(out: Path, name: str) -> Path:
    return out / _RECORDS / f"{name}.json"


def _write_json(path: Path, content: dict[str, object]) -> None:
    write_text(path, json.dumps(content, indent=2) + "\n")


configuration.store("collect_schema", CollectConfig)

if __name__ == "__main__":
    main()
