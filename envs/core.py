"""Core: a processor core for a simulator's process, where its client goes while the two talk.

A simulator in a process of its own answers each message by waking its client. On one core that is a switch
between two processes; across cores it is an interrupt, which on a virtual machine costs more than the
simulation: on one core ViZDoom drives 447 plans of eight steps a second, across two 141.
"""

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO


class Core:
    """A core open to this thread, held against other simulators of this user until it is given back.

    Where all are held, `number` is None and nothing is bound.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._claim: IO[str] | None = None
        for number in sorted(os.sched_getaffinity(0)):
            self._claim = _claim(number)
            if self._claim is not None:
                self.number = number
                break

    @contextlib.contextmanager
    def joined(self) -> Iterator[None]:
        """Bind this thread to the core, and with it the processes that it starts meanwhile."""
        if self.number is None:
            yield
            return
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {self.number})
        try:
            yield
        finally:
            os.sched_setaffinity(0, before)

    def give_back(self) -> None:
        """Let others have it; twice is allowed. A process that ends gives back what it held."""
        if self._claim is not None:
            self._claim.close()
        self.number = self._claim = None


def _claim(number: int) -> IO[str] | None:
    path = Path(tempfile.gettempdir()) / f"worldnav-{os.getuid()}-core-{number}.lock"
    file = path.open("w", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file
