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
