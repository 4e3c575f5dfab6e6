"""Results: rows can be read back from what a run leaves, and every failure is named."""

import io
import json
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
from rich.console import Console

from planners.evaluation.overview import draw_overview
from planners.evaluation.records import ClosedLoopRow, OpenLoopRow, from_table
from planners.evaluation.results import publish
from planners.evaluation.summary import summarise
from tests.planners.evaluation.test_report import RUN, drive_rows, plan_rows


def test_a_run_leaves_rows_summary_and_page(tmp_path: Path) -> None:
    text = io.StringIO()
    rows = [replace(row, evidence=None) for row in plan_rows()]
    rows[7] = replace(rows[7], ate_m=None, error="ValueError: no room [here]")
    drives = [replace(row, evidence=None) for row in drive_rows()]
    publish(Console(file=text, width=200), tmp_path, RUN, open_rows=rows, closed_rows=drives)
    assert from_table(pq.read_table(tmp_path / "open_loop.parquet"), OpenLoopRow) == rows
    assert from_table(pq.read_table(tmp_path / "closed_loop.parquet"), ClosedLoopRow) == drives
    written = json.loads((tmp_path / "summary.json").read_text())
    assert written["open_loop"]["seen_levels"]["num_failed"] == 1
    assert written["hashes"]["checkpoint"] == "d" * 64
    assert "no room [here]" in text.getvalue() and "index.html" in text.getvalue()


def test_overview_needs_a_plan_to_show(tmp_path: Path) -> None:
    summary = summarise(plan_rows(), [], RUN)
    assert draw_overview(summary, plan_rows(), tmp_path / "overview.png")
    assert (tmp_path / "overview.png").read_bytes().startswith(b"\x89PNG")
    plain = [replace(row, evidence=None) for row in plan_rows()]
    assert not draw_overview(summary, plain, tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
