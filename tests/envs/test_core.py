"""Simulators take different cores, give them back when they end, and clients keep theirs."""

import os
import subprocess
import sys
import tempfile

import pytest

from envs import core
from envs.core import Core


@pytest.fixture(autouse=True)
def nobody_else(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_each_has_a_core_of_its_own_while_there_are_any():
    numbers = sorted(os.sched_getaffinity(0))
    taken = [Core() for _ in numbers]
    assert [each.number for each in taken] == numbers
    assert Core().number is None
    taken[0].give_back()
    taken[0].give_back()
    again = Core()
    assert again.number == numbers[0]
    for each in (again, *taken):
        each.give_back()


def test_a_thread_and_what_it_starts_are_bound_only_meanwhile():
    before = os.sched_getaffinity(0)
    own = Core()
    with own.joined(), own.joined():
        told = f"import os; print(sorted(os.sched_getaffinity(0)) == [{own.number}])"
        assert subprocess.check_output([sys.executable, "-c", told], text=True) == "True\n"
    assert os.sched_getaffinity(0) == before
    own.give_back()
    with own.joined():
        assert os.sched_getaffinity(0) == before, "without a core nothing is bound"


def test_a_killed_holder_gives_its_core_back(tmp_path):
    first = min(os.sched_getaffinity(0))
    code = f"from {core.__name__} import Core; own = Core(); print(own.number, flush=True); input()"
    pipe, environment = subprocess.PIPE, {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdin=pipe, stdout=pipe, text=True
    ) as holder:
        assert holder.stdout is not None
        assert int(holder.stdout.readline()) == first
        other = Core()
        assert other.number != first
        other.give_back()
        holder.kill()
    own = Core()
    assert own.number == first
    own.give_back()
