"""Shards: a fixed cut of an evaluation into tasks, run in parallel on Ray, resumable at any moment.

A shard's rows depend on the shard alone: it is computed with one torch thread, its seeds come from the names
of its problems, and who computes it when changes nothing. Its file appears whole or not at all, so a stopped
run skips what it has; a killed worker's shard is computed again by Ray.
"""

import contextlib
import logging
import os
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from data_tools.whole_file import whole_file
from planners.evaluation.records import from_table, to_table

Task = TypeVar("Task")
Row = TypeVar("Row")
OnProgress = Callable[[int, int], None]
"""Called with the number of shards done and of all shards."""

CONFIG_HASH = b"config_hash"
NUM_RETRIES = 3
KEEP_MEMORY: dict[str, str] = dict.fromkeys(("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"), str(2**30))
"""Environment in which glibc keeps the memory of one forward for the next: given back and faulted in again, a
plan of 64 x 3 takes 0.50 s instead of 0.41."""
OBJECT_STORE_BYTES = 128 * 2**20  # rows are small; Ray's default takes a third of the memory


@dataclass(frozen=True, kw_only=True)
class ShardStore:
    """The folder that holds the finished shards of one configuration."""

    folder: Path
    config_hash: str

    def path(self, name: str) -> Path:
        """Return the file of a shard; another configuration has other files."""
        return self.folder / f"{name}-{self.config_hash[:12]}.parquet"

    def write(self, name: str, rows: Sequence[object], row_type: type) -> None:
        """Write a shard so that its file is whole or absent, also on a full disk."""
        path = self.path(name)
        table = to_table(rows, row_type).replace_schema_metadata({CONFIG_HASH: self.config_hash.encode()})
        try:
            write_table(table, path)
        except OSError as error:
            raise OSError(
                error.errno,
                f"could not write {path} ({error.strerror}); finished shards are kept: make room and run the "
                "same command again",
            ) from error

    def read(self, name: str, row_type: type[Row]) -> list[Row] | None:
        """Return a finished shard's rows; None if it is absent, damaged or of another configuration."""
        path = self.path(name)
        if not path.is_file():
            return None
        try:
            table = pq.read_table(path)
            metadata = table.schema.metadata or {}
            return (
                from_table(table, row_type)
                if metadata.get(CONFIG_HASH) == self.config_hash.encode()
                else None
            )
        except (pa.ArrowException, OSError, ValueError):
            return None


def write_table(table: pa.Table, path: Path) -> None:
    """Write a Parquet file, whole or not at all."""
    with whole_file(path) as temporary:
        pq.write_table(table, temporary)


def run_shards(
    work: Callable[[Task], Sequence[Row]],
    tasks: Mapping[str, Task],
    *,
    row_type: type[Row],
    store: ShardStore,
    num_workers: int,
    has_failed: Callable[[Row], bool] = lambda row: False,
    on_progress: OnProgress | None = None,
) -> list[Row]:
    """Return the rows of all tasks in the order of `tasks`, computing those that the store lacks.

    With no workers the tasks run in this process and Ray is not imported.

    Args:
        work: Importable by name. It should turn the failure of one problem into a row; an exception that
            leaves it stops the run, and finished shards stay.
        tasks: By the name of their shard.
        row_type: What `work` returns.
        store: Where finished shards are kept.
        num_workers: Ray workers.
        has_failed: Tells a row that holds a failure. A shard with such a row is returned but not kept, so
            that the same command tries it again: a full disk is no property of the problem.
        on_progress: Told after every shard.

    Returns:
        The rows.
    """
    report = on_progress or (lambda done, total: None)
    rows = {name: store.read(name, row_type) for name in tasks}
    missing = {name: task for name, task in tasks.items() if rows[name] is None}
    report(len(tasks) - len(missing), len(tasks))
    runner = _run_here(work, missing) if num_workers == 0 else _run_on_ray(work, missing, num_workers)
    with contextlib.closing(runner):
        for num_done, (name, shard_rows) in enumerate(runner, start=len(tasks) - len(missing) + 1):
            if not any(has_failed(row) for row in shard_rows):
                store.write(name, shard_rows, row_type)
            rows[name] = list(shard_rows)
            report(num_done, len(tasks))
    return [row for name in tasks for row in rows[name] or ()]


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one torch thread: sums split over threads round differently."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _run_task(work: Callable[[Task], Sequence[Row]], task: Task) -> Sequence[Row]:
    with one_thread():
        return work(task)


def _run_here(
    work: Callable[[Task], Sequence[Row]], tasks: Mapping[str, Task]
) -> Generator[tuple[str, Sequence[Row]], None, None]:
    for name, task in tasks.items():
        yield name, _run_task(work, task)


def _run_on_ray(
    work: Callable[[Task], Sequence[Row]], tasks: Mapping[str, Task], num_workers: int
) -> Generator[tuple[str, Sequence[Row]], None, None]:
    if not tasks:
        return
    with ray_session(num_workers) as ray:
        remote = ray.remote(num_cpus=1, max_retries=NUM_RETRIES)(_run_task)
        pending = {remote.remote(work, task): name for name, task in tasks.items()}
        while pending:
            ready, _ = ray.wait(list(pending), num_returns=1)
            for reference in ready:
                yield pending.pop(reference), ray.get(reference)


def worker_session(num_workers: int) -> contextlib.AbstractContextManager[Any]:
    """Keep workers from one part of a run to the next; without workers there is nothing to keep."""
    return ray_session(num_workers) if num_workers else contextlib.nullcontext()


@contextlib.contextmanager
def ray_session(num_workers: int) -> Iterator[Any]:
    """Give a local Ray that is quiet, stays on this machine and reports nothing to anybody.

    Inside another session it gives that one: a command with several parts starts its workers once.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's 15 starves on a machine that does other work
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.update(KEEP_MEMORY)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own deprecations are not our user's concern
        import ray  # noqa: PLC0415 (evaluation in one process needs no Ray)

        if ray.is_initialized():
            yield ray
            return
        ray.init(
            num_cpus=num_workers,
            num_gpus=0,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=OBJECT_STORE_BYTES,
            _node_ip_address="127.0.0.1",
        )
    try:
        yield ray
    finally:
        ray.shutdown()
