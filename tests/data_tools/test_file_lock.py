"""A lock is held by one process at a time, and freed when its process is killed."""

import subprocess
import sys
from pathlib import Path

from data_tools.file_lock import locked

HOLD = "import sys, time; from pathlib import Path; from data_tools.file_lock import locked\n"
HOLD += "with locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"


def test_a_second_process_waits_for_the_first(tmp_path: Path) -> None:
    path = tmp_path / "folder" / ".lock"
    with locked(path):
        waiting = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True)
        try:
            waiting.wait(timeout=1)
        except subprocess.TimeoutExpired:
            pass
        assert waiting.poll() is None
    assert waiting.stdout is not None and waiting.stdout.readline() == "held\n"
    waiting.kill()
    waiting.wait()
    waiting.stdout.close()
    with locked(path):
        assert path.is_file()
