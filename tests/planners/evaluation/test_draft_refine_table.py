"""The draft-and-refine table says what its rows say, paired by problem, and the picture is one."""

import pytest

from planners.evaluation.draft_refine_table import DraftRefineRow, draw, tables, write_markdown
from tests.planners.evaluation.rows import PROVENANCE


def row(problem: int, arm: str, *, ate_m: float, num_evaluations: float, plan_s: float) -> DraftRefineRow:
    return DraftRefineRow(
        provenance=PROVENANCE,
        problem_id=f"seen_levels/map01/{problem}/0",
        split="seen_levels",
        level="map01",
        trajectory=f"map01-{problem}",
        arm=arm,
        ate_m=ate_m,
        rpe_m=ate_m / 5,
        num_evaluations=num_evaluations,
        plan_s=plan_s,
    )


def make_rows() -> list[DraftRefineRow]:
    """Return two arms in different orders; the cheap one is worse by the same everywhere."""
    cheap = [
        row(problem, "cheap", ate_m=0.1 * problem + 0.25, num_evaluations=65.0, plan_s=0.5)
        for problem in reversed(range(6))
    ]
    dear = [
        row(problem, "dear", ate_m=0.1 * problem, num_evaluations=650.0, plan_s=10.0) for problem in range(6)
    ]
    return cheap + dear


def test_arms_are_compared_with_the_most_expensive_problem_by_problem(tmp_path):
    found = tables(make_rows())
    cheap, dear = found["seen_levels"].values()
    assert (cheap.ate_difference_m.low, cheap.ate_difference_m.high) == pytest.approx((0.25, 0.25))
    assert (dear.ate_difference_m.low, dear.ate_difference_m.high) == (0, 0)
    assert dear.ate_m.mean == pytest.approx(0.25) and dear.ate_m.high - dear.ate_m.low > 0.1
    assert (cheap.num_problems, cheap.num_evaluations, cheap.plan_s) == (6, 65.0, 0.5)
    write_markdown(found, tmp_path / "table.md")
    text = (tmp_path / "table.md").read_text()
    assert "### seen levels: 6 problems, against dear" in text
    assert "| 0.250 [0.250, 0.250] | 65 | 0.500 | 10 x | 20 x |" in text
    assert "| 0.000 [0.000, 0.000] | 650 | 10.000 | 1 x | 1 x |" in text


def test_arms_with_other_problems_are_refused():
    with pytest.raises(ValueError, match="dear has 5 and cheap has 6"):
        tables(make_rows()[:-1])


def test_the_picture_is_drawn(tmp_path):
    draw(tables(make_rows()), tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
