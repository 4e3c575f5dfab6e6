"""TrainingLog: one JSON line a step of a pretraining run, its times and held-out losses among them."""

import json
from pathlib import Path

from data_tools.whole_file import write_text


class TrainingLog:
    """The log of a run that goes on after `step` steps; lines of later steps are cut off.

    A line that was half written (the process killed, the disk full) is cut off too, with all that follow.
    """

    def __init__(self, path: Path, *, step: int) -> None:
        self._path = path
        self._lines = _whole_lines(path, step=step)
        write_text(path, "".join(json.dumps(line) + "\n" for line in self._lines))

    def append(self, line: dict[str, object]) -> None:
        """Add what is to be said of one step."""
        with self._path.open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
        self._lines.append(line)

    @property
    def training_s(self) -> float:
        """Time spent in all steps [s]."""
        return sum(
            (seconds for line in self._lines if isinstance(seconds := line.get("seconds"), float)), 0.0
        )

    @property
    def newest_heldout(self) -> dict[str, float]:
        """The newest held-out losses; empty before the first."""
        found = [heldout for line in self._lines if isinstance(heldout := line.get("heldout"), dict)]
        return found[-1] if found else {}


def _whole_lines(path: Path, *, step: int) -> list[dict[str, object]]:
    """Return the lines of a file up to a step, or up to the first that is not whole."""
    lines = []
    for text in path.read_bytes().split(b"\n")[:-1] if path.is_file() else []:
        try:
            line = json.loads(text)
        except ValueError:
            break
        if not isinstance(line, dict) or not isinstance(line.get("step"), int) or line["step"] > step:
            break
        lines.append(line)
    return lines
