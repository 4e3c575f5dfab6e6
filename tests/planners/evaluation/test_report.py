"""Report: one page, nothing beside it, names escaped, every number of the summary in it."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from planners.evaluation.records import ClosedLoopRow, DriveEvidence, OpenLoopRow, PlanEvidence
from planners.evaluation.report import write_report
from planners.evaluation.summary import Loop, Run, Summary, summarise
from planners.evaluation.videos import decode_png, encode_png
from tests.planners.evaluation.rows import PROVENANCE, closed_loop_row, open_loop_row

SHARED = replace(PROVENANCE, checkpoint="<nano>")
RUN = Run(
    loops={Loop.open_loop: SHARED, Loop.closed_loop: replace(SHARED, config_hash="b" * 64, seed=9)},
    config={"name": "<script>alert(1)</script>"},
    commit="abc",
    timing={Loop.open_loop: 1.5},
)
METHODS = ("world_model", "stand_still", "prior_mean", "oracle_cost", "oracle_simulator")


def png(level: int) -> bytes:
    return encode_png(np.full((5, 7, 3), level, dtype=np.uint8))


def plan_rows() -> list[OpenLoopRow]:
    rng = np.random.default_rng(0)
    evidence = PlanEvidence(
        goal=png(200),
        observed=png(10),
        simulated=tuple(png(20 * step) for step in range(1, 9)),
        is_recorded=False,
        driven=tuple((1.0 + 0.2 * step, 2.0, 0.5) for step in range(1, 9)),
        imagined=tuple(png(15 * step) for step in range(1, 9)),
        candidates=(
            (tuple(float(value) for value in range(6)), tuple(float(value) for value in range(4, 10))),
        )
        * 3,
        candidate_costs=((0.5, 0.25), (0.25, 0.125), (0.125, 0.0625)),
        walls=((0.0, 0.0, 2.0, 2.0),),
    )
    rows = [
        open_loop_row(
            f"<em>{number}",
            split=split,
            trajectory=f"{split}{number}",
            method=method,
            ate_m=float(rng.uniform(0.1, 0.2) + (method not in ("oracle_cost", "oracle_simulator"))),
        )
        for split in ("seen_levels", "unseen_levels")
        for number in range(5)
        for method in METHODS
    ]
    return [replace(rows[0], evidence=evidence), *rows[1:]]


def drive_rows() -> list[ClosedLoopRow]:
    evidence = DriveEvidence(
        goal=png(100),
        observed=(png(1), png(2), png(3)),
        imagined=(),
        considered=(((0.0, 0.0, 1.0, 1.0),),),
        walls=(),
    )
    rows = [
        closed_loop_row(f"e{number}", agent=agent, success=float(number % 2))
        for number in range(4)
        for agent in ("world_model", "random", "shortest_path")
    ]
    return [replace(rows[0], evidence=evidence), *rows[1:]]


def summary() -> Summary:
    return summarise(plan_rows(), drive_rows(), RUN)


def test_page_holds_everything_itself(tmp_path: Path) -> None:
    write_report(summary(), plan_rows(), drive_rows(), tmp_path / "index.html")
    page = (tmp_path / "index.html").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]
    assert page.count("data:video/mp4;base64,") == 2 == page.count("<video")
    assert not re.search(r'(?:src|href)="(?!data:)', page), "nothing is loaded from elsewhere"


def test_names_and_configuration_are_escaped(tmp_path: Path) -> None:
    write_report(summary(), plan_rows(), drive_rows(), tmp_path / "index.html")
    page = (tmp_path / "index.html").read_text()
    assert "&lt;em&gt;0" in page and "<em>0" not in page
    assert "alert(1)" in page and "<script>alert" not in page
    assert "&lt;nano&gt;" in page


def test_every_mean_of_the_summary_is_in_the_page(tmp_path: Path) -> None:
    write_report(summary(), plan_rows(), drive_rows(), tmp_path / "index.html")
    page = (tmp_path / "index.html").read_text()
    for result in summary().open_loop.values():
        for name, metrics in result.table.items():
            assert name.replace("_", " ") in page
            assert f"<td>{metrics['ate_m'].mean:.2f}<small>{metrics['ate_m'].low:.2f} to" in page


def test_a_run_without_model_and_without_drives_has_a_page(tmp_path: Path) -> None:
    rows = [replace(row, evidence=None) for row in plan_rows() if row.method != "world_model"]
    run = replace(RUN, loops={Loop.open_loop: replace(SHARED, checkpoint=None, checkpoint_hash=None)})
    write_report(summarise(rows, [], run), rows, [], tmp_path / "index.html")
    page = (tmp_path / "index.html").read_text()
    assert "No world model took part" in page and "Closed loop:" not in page


def test_frames_survive_png() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (3, 5, 3), dtype=np.uint8)
    np.testing.assert_array_equal(decode_png(encode_png(frame)), frame)
