"""Crew: several processes that make the rows of runs, one run each at a time."""

import contextlib
import multiprocessing
import os
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

from worldmodel.ablation.table import Run
from worldmodel.ablation.workshop import Workshop


@dataclass(frozen=True)
class Finished:
    """A run that ended; `error` says how if it has no row."""

    run: Run
    error: str | None


@dataclass
class _Worker:
    process: SpawnProcess
    connection: Connection
    run: Run | None = None


def make_rows(runs: Sequence[Run], out: Path, *, num_workers: int, keep_models: bool) -> Iterator[Finished]:
    """Make the rows of runs and yield each run when it has ended; one that fails does not stop the others.

    What workers print goes to `out/worker-<number>.log`. Workers end with this process, however it ends.
    """
    waiting = list(runs)
    workers = [_start(out, number, keep_models) for number in range(min(num_workers, len(waiting)))]
    try:
        for worker in workers:
            _give(worker, waiting)
        while busy := [worker for worker in workers if worker.run is not None]:
            ready = wait([worker.connection for worker in busy])
            for number, worker in enumerate(workers):
                if worker.connection not in ready or worker.run is None:
                    continue
                run, error = worker.run, _ending_of(worker)
                if error is not None and not worker.process.is_alive():
                    workers[number] = _start(out, number, keep_models)
                _give(workers[number], waiting)
                yield Finished(run, error)
    finally:
        for worker in workers:
            worker.process.kill()
            worker.process.join()


def _start(out: Path, number: int, keep_models: bool) -> _Worker:
    # Forked children would share torch's threads and locks.
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_work, args=(there, out, number, keep_models), daemon=True)
    process.start()
    there.close()  # so that the end of the process is the end of the connection
    return _Worker(process, here)


def _give(worker: _Worker, waiting: list[Run]) -> None:
    worker.run = waiting.pop(0) if waiting else None
    if worker.run is not None:
        # A worker that has ended is noticed when its answer is read.
        with contextlib.suppress(BrokenPipeError):
            worker.connection.send(worker.run)


def _ending_of(worker: _Worker) -> str | None:
    try:
        return worker.connection.recv()
    except (EOFError, ConnectionResetError):
        worker.process.join()
        return f"its process ended with {worker.process.exitcode} (-9: killed, as when memory runs out)"


def _work(connection: Connection, out: Path, number: int, keep_models: bool) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    workshop = Workshop(out, keep_models=keep_models)
    log = (out / f"worker-{number}.log").open("a", buffering=1, encoding="utf-8")
    with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        while True:
            try:
                run = connection.recv()
            except EOFError:
                return
            connection.send(_attempt(workshop, run))


def _attempt(workshop: Workshop, run: Run) -> str | None:
    """Make a row; return what went wrong."""
    try:
        workshop.make_row(run)
    except Exception as error:  # whatever it is: the other runs go on, and the command reports it
        traceback.print_exc(file=sys.stderr)
        return f"{type(error).__name__}: {error}"
    return None


def _end_with_parent() -> None:
    """End this process when the command has: killed, it could not say so, and two would train one run."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
