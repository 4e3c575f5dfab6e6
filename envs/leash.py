"""Leash: ends a game when the program that plays it is gone, even one that was killed.

The engine is a process of its own and does not notice: it would wait for the next tic for ever, and its
folder and shared memory would stay (measured). So each game has a watcher, this file run as a program of
10 MB, which reads from a pipe that the program holds: it comes to its end when the program does.
"""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path


class Leash:
    """Watches over a game while the program runs.

    Args:
        folder: The game's own folder, by which the engine's process is known; removed with it.
    """

    def __init__(self, folder: Path) -> None:
        # A session of its own, so that Ctrl-C is not for it; isolated, so that it starts in 15 ms.
        self._watcher = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, str(folder)], stdin=subprocess.PIPE, start_new_session=True
        )

    def let_go(self) -> None:
        """End the watch over a game that was closed; twice is allowed."""
        if self._watcher.returncode is None:
            self._watcher.communicate(b"closed")


def _watch(folder: str) -> None:
    if sys.stdin.buffer.read():
        return
    for process in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (process / "cmdline").read_text().split("\0")
        except (OSError, UnicodeDecodeError):  # it has ended, or is none of ours
            continue
        if f"{folder}/engine.ini" in arguments:
            os.kill(int(process.name), signal.SIGKILL)
            _remove_shared_memory(arguments[arguments.index("+viz_instance_id") + 1])
    shutil.rmtree(folder, ignore_errors=True)


def _remove_shared_memory(instance: str) -> None:
    for path in Path("/dev/shm").glob(f"ViZDoom*{instance}"):
        path.unlink(missing_ok=True)


if __name__ == "__main__":
    _watch(sys.argv[1])
