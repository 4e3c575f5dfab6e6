"""Judges: programs that answer JSON lines."""

import json
import sys

import pytest

from tests.worldmodel.evaluation.fakes import judge_program
from worldmodel.evaluation.judge import judged, parse_answers

REQUESTS = [{"id": "a", "n": 2}, {"id": "b", "n": 5}]


def test_every_request_is_answered_by_the_program(tmp_path):
    command = judge_program(tmp_path, "return {'twice': 2 * request['n']}")
    found = judged(REQUESTS, tmp_path, command=command, timeout_s=60.0)
    assert found is not None and {name: each["twice"] for name, each in found.items()} == {"a": 4, "b": 10}
    again = judged(REQUESTS, tmp_path, command=None, timeout_s=60.0)
    assert again == found


def test_without_judge_and_answers_there_is_nothing_but_the_requests(tmp_path):
    assert judged(REQUESTS, tmp_path, command=None, timeout_s=60.0) is None
    lines = (tmp_path / "requests.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == REQUESTS


def test_answers_to_other_requests_are_refused(tmp_path):
    judged(REQUESTS, tmp_path, command=judge_program(tmp_path, "return {}"), timeout_s=60.0)
    with pytest.raises(ValueError, match="other requests"):
        judged([{"id": "a", "n": 3}, {"id": "b", "n": 5}], tmp_path, command=None, timeout_s=60.0)


def test_nothing_of_a_command_is_read_by_a_shell(tmp_path):
    with pytest.raises(FileNotFoundError, match="no program"):
        judged(REQUESTS, tmp_path, command=["echo hello; true"], timeout_s=60.0)


@pytest.mark.parametrize(("command", "error"), [([], ValueError), (["./data.txt"], FileNotFoundError)])
def test_a_command_that_cannot_be_started_is_refused_before_anything_is_written(
    tmp_path, monkeypatch, command, error
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.txt").write_text("no program")
    with pytest.raises(error, match=r"judge=\[PROGRAM"):
        judged(REQUESTS, tmp_path, command=command, timeout_s=60.0)
    assert not (tmp_path / "requests.jsonl").exists()


def test_kept_answers_do_not_pass_for_those_to_requests_whose_judge_failed(tmp_path, capfd):
    judged(REQUESTS, tmp_path, command=judge_program(tmp_path, "return {'said': 'old'}"), timeout_s=60.0)
    others = [{**each, "sha256": "other"} for each in REQUESTS]
    with pytest.raises(RuntimeError, match="status 1"):
        judged(others, tmp_path, command=judge_program(tmp_path, "return 1 / 0"), timeout_s=60.0)
    assert judged(others, tmp_path, command=None, timeout_s=60.0) is None


DIES_AT_B = "import os; log = open('asked', 'a'); log.write(request['id']); log.close(); " + (
    "os.path.exists('healthy') or request['id'] != 'b' or sys.exit(3); return {'n': request['n']}"
)


def test_a_judge_that_died_is_asked_the_rest_alone(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    requests = [{"id": name, "n": number} for number, name in enumerate("abc")]
    command = judge_program(tmp_path, DIES_AT_B)
    with pytest.raises(RuntimeError, match="status 3"):
        judged(requests, tmp_path, command=command, timeout_s=60.0)
    with (tmp_path / "answers.partial.jsonl").open("a") as partial:
        partial.write('{"id": "b", "n"')  # cut short
    (tmp_path / "healthy").touch()
    found = judged(requests, tmp_path, command=command, timeout_s=60.0)
    assert found == {name: {"id": name, "n": number} for number, name in enumerate("abc")}
    assert (tmp_path / "asked").read_text() == "abbc"
    assert judged(requests, tmp_path, command=command, timeout_s=60.0) == found
    assert (tmp_path / "asked").read_text() == "abbc"
    assert judged(requests, tmp_path, command=[*command, "other"], timeout_s=60.0) == found
    assert (tmp_path / "asked").read_text() == "abbcabc"


def test_a_judge_that_is_late_loses_no_answer_and_leaves_no_process(tmp_path, capfd):
    body = "import time; time.sleep(60 * (request['id'] == 'b')); return {}"
    script = tmp_path / "judge.sh"  # one that starts another
    script.write_text(f"#!/bin/sh\n{' '.join(judge_program(tmp_path, body))}\necho\n")
    script.chmod(0o755)
    with pytest.raises(TimeoutError, match="judge_timeout_s"):
        judged(REQUESTS, tmp_path, command=[str(script)], timeout_s=5.0)
    assert (tmp_path / "answers.partial.jsonl").read_text() == '{"id": "a"}\n'


def test_more_than_a_pipe_holds_is_asked_and_answered(tmp_path):
    requests = [{"id": str(number), "text": "x" * 1000} for number in range(300)]
    command = judge_program(tmp_path, "return {'text': request['text']}")
    found = judged(requests, tmp_path, command=command, timeout_s=60.0)
    assert found is not None and len(found) == 300


@pytest.mark.parametrize("body", ["print('loading'); return {}", "return {'id': 'z'}"])
def test_lines_that_do_not_fit_are_refused_and_not_kept(tmp_path, body):
    with pytest.raises(ValueError, match=r"standard error|never asked"):
        judged(REQUESTS, tmp_path, command=judge_program(tmp_path, body), timeout_s=60.0)
    assert (tmp_path / "answers.partial.jsonl").read_text() == ""


@pytest.mark.parametrize(
    ("body", "error", "match"),
    [
        ("return 1 / 0", RuntimeError, "status 1"),
        ("import time; time.sleep(60)", TimeoutError, "judge_timeout_s"),
    ],
)
def test_a_judge_that_fails_is_named(tmp_path, body, error, match, capfd):
    with pytest.raises(error, match=match):
        judged(REQUESTS, tmp_path, command=judge_program(tmp_path, body), timeout_s=3.0)
    assert not (tmp_path / "answers.jsonl").exists()


def test_separators_inside_a_text_end_no_line():
    text = '{"id": "a", "answer": "one\u2028two\u0085three"}\n{"id": "b"}\n'
    assert parse_answers(text, REQUESTS, origin="x")["a"]["answer"] == "one\u2028two\u0085three"


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ('{"id": "a"}\n', "1 have none"),
        ('{"id": "a"}\n{"id": "a"}\n', "twice"),
        ("loading weights\n", "line 1"),
        ('{"id": "a"}\n{"id": "b"}\n{"id": "c"}\n', "never asked"),
    ],
)
def test_answers_that_do_not_fit_are_refused(text, match):
    with pytest.raises(ValueError, match=match):
        parse_answers(text, REQUESTS, origin=sys.executable)
