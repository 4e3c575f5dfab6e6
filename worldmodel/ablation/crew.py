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
from pathlib import Path

from worldmodel.ablation.table import Run
from worldmodel.ablation.workshop import Workshop


@dataclass(frozen=True)
class Finished:
    """A run that ended; `error` says how if it has no row."""

    run: Run
    error: str | None


class _Worker:
    """A process with its connection, and the run it is at."""

    def __init__(self, out: Path, number: int, keep_models: bool) -> None:
        self._arguments = (out, number, keep_models)
        self.run: Run | None = None
        self._start()

    def _start(self) -> None:
        # Forked children would share torch's threads and locks.
        context = multiprocessing.get_context("spawn")
        self.connection, there = context.Pipe()
        self._process = context.Process(target=_work, args=(there, *self._arguments), daemon=True)
        self._process.start()
        there.close()  # so that the end of the process is the end of the connection

    def give(self, waiting: list[Run]) -> None:
        """Give it the next run, if there is one."""
        self.run = waiting.pop(0) if waiting else None
        if self.run is not None:
            # A process that has ended is noticed when its answer is read.
            with contextlib.suppress(BrokenPipeError):
                self.connection.send(self.run)

    def finish(self) -> Finished:
        """Return how its run ended; a process that ended with it is replaced."""
        assert self.run is not None
        try:
            return Finished(self.run, self.connection.recv())
        except (EOFError, ConnectionResetError):
            self._process.join()
            code = self._process.exitcode
            self._start()
            return Finished(self.run, f"its process ended with {code} (-9: killed, as when memory runs out)")

    def end(self) -> None:
        """End the process, whatever it is at."""
        self._process.kill()
        self._process.join()


def make_rows(runs: Sequence[Run], out: Path, *, num_workers: int, keep_models: bool) -> Iterator[Finished]:
    """Make the rows of runs and yield each run when it has ended; one that fails does not stop the others.

    What workers print goes to `out/worker-<number>.log`. Workers end with this process, however it ends.
    """
    waiting = list(runs)
    workers = [_Worker(out, number, keep_models) for number in range(min(num_workers, len(waiting)))]
    try:
        for worker in workers:
            worker.give(waiting)
        while busy := [worker for worker in workers if worker.run is not None]:
            ready = wait([worker.connection for worker in busy])
            for worker in (each for each in busy if each.connection in ready):
                finished = worker.finish()
                worker.give(waiting)
                yield finished
    finally:
        for worker in workers:
            worker.end()


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
