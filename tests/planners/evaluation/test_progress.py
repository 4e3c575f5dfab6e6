"""Progress: bars appear with their part, tables mark oracles, Ctrl-C is one sentence."""

import io
import math
from dataclasses import replace

import pytest
from rich.console import Console

from planners.evaluation.metrics import Interval
from planners.evaluation.progress import print_summary, progress_bars, resumable
from planners.evaluation.summary import summarise
from tests.planners.evaluation.test_report import RUN, drive_rows, plan_rows


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=160, force_terminal=True)


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_bar_appears_when_its_part_begins(console: Console) -> None:
    with progress_bars(console) as add_bar:
        first, _ = add_bar("first part"), add_bar("second part")
        first(2, 3)
    assert "first part" in printed(console) and "2/3" in printed(console)
    assert "second part" not in printed(console)


def test_tables_have_every_method_and_mark_oracles(console: Console) -> None:
    print_summary(console, summarise(plan_rows(), drive_rows(), RUN))
    for name in ("world_model", "prior_mean", "oracle_cost (oracle)", "shortest_path (oracle)", "gap closed"):
        assert name in printed(console)


def test_names_are_whole_in_a_narrow_terminal_and_what_is_no_number_is_a_word() -> None:
    console = Console(file=io.StringIO(), width=80)
    summary = summarise(plan_rows(), drive_rows(), RUN)
    result = summary.open_loop["seen_levels"]
    gap = Interval(mean=math.nan, low=-math.inf, high=math.inf, n=3)
    open_loop = {"seen_levels": replace(result, gap_closed=gap)}
    print_summary(console, replace(summary, open_loop=open_loop))
    assert "gap closed: undefined (95%: unbounded to unbounded)" in printed(console)
    assert "shortest_path (oracle)" in printed(console)


def test_ctrl_c_is_one_sentence(console: Console) -> None:
    with pytest.raises(SystemExit, match="130"), resumable(console):
        raise KeyboardInterrupt
    assert "the same command goes on" in printed(console)
