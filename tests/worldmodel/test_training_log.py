"""Laws of the log: it holds whole lines alone, each step once."""

import json
from pathlib import Path

import pytest

from worldmodel.training_log import TrainingLog


def steps_in(path: Path) -> list[int]:
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


def line(step: int, **more: object) -> dict[str, object]:
    return {"step": step, "seconds": 0.5, **more}


@pytest.mark.parametrize("half", [b'{"step": 4, "sec', b"\0\0\0\0\n", b"[]\n", b'{"seconds": 0.5}\n', b""])
def test_half_a_line_is_cut_off_and_the_log_goes_on(tmp_path, half):
    path = tmp_path / "log.jsonl"
    log = TrainingLog(path, step=0)
    for step in (1, 2, 3):
        log.append(line(step))
    with path.open("ab") as opened:
        opened.write(half)
    log = TrainingLog(path, step=3)
    log.append(line(4))
    assert steps_in(path) == [1, 2, 3, 4]
    assert log.training_s == 2.0


def test_steps_after_the_checkpoint_are_made_again_and_count_once(tmp_path):
    log = TrainingLog(tmp_path / "log.jsonl", step=0)
    for step in (1, 2, 3):
        log.append(line(step, heldout={"nats/text": float(step)}))
    log = TrainingLog(tmp_path / "log.jsonl", step=2)
    assert log.newest_heldout == {"nats/text": 2.0}
    log.append(line(3))
    assert steps_in(tmp_path / "log.jsonl") == [1, 2, 3]
    assert log.training_s == 1.5 and log.newest_heldout == {"nats/text": 2.0}


def test_a_new_log_is_empty(tmp_path):
    log = TrainingLog(tmp_path / "run" / "log.jsonl", step=0)
    assert (log.training_s, log.newest_heldout) == (0, {})
