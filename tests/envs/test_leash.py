"""A game ends with its program, however that ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from envs.leash import Leash

PLAYER = """
import sys, time
from envs.doom_engine import DoomEngine
engine = DoomEngine("map01")
print(engine._game._folder.name, flush=True)
time.sleep(100)
"""


def processes_of(folder: Path) -> set[str]:
    """Command lines that name the folder or what is in it."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if str(folder) in line:
            found.add(line)
    return found


def shared_memory() -> set[str]:
    return {name for name in os.listdir("/dev/shm") if name.startswith("ViZDoom")}


def test_nothing_is_left_of_a_killed_program_and_its_game():
    before = shared_memory()
    player = subprocess.Popen([sys.executable, "-c", PLAYER], stdout=subprocess.PIPE, text=True)
    assert player.stdout is not None
    folder = Path(player.stdout.readline().strip())
    mapped = shared_memory() - before
    lines = processes_of(folder)
    assert folder.exists() and len(lines) == 2, "the engine and its watcher"
    instance = next(line.split("+viz_instance_id\0")[1].split("\0")[0] for line in lines if "iwad" in line)
    assert any(name.endswith(instance) for name in mapped)
    player.send_signal(signal.SIGKILL)
    player.communicate()
    for _ in range(100):
        if not folder.exists() and not processes_of(folder):
            break
        time.sleep(0.05)
    assert not folder.exists() and not processes_of(folder)
    assert not [name for name in shared_memory() if name.endswith(instance)]


def test_a_watch_that_was_ended_touches_nothing(tmp_path: Path):
    (tmp_path / "engine.ini").touch()
    leash = Leash(tmp_path)
    leash.let_go()
    leash.let_go()
    assert (tmp_path / "engine.ini").exists() and not processes_of(tmp_path)
