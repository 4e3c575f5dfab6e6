"""The few-steps table says what its rows say, paired by problem."""

import pytest

from planners.evaluation.few_steps_table import Arm, FewStepsRow, tables, write_markdown
from tests.planners.evaluation.rows import PROVENANCE


def row(problem: int, num_steps: int, *, spearman: float, ate_m: float) -> FewStepsRow:
    return FewStepsRow(
        provenance=PROVENANCE,
        problem_id=f"seen_levels/map01/{problem}/0",
        split="seen_levels",
        level="map01",
        trajectory=f"map01-{problem}",
        checkpoint="runs/nano/model",
        num_steps=num_steps,
        spearman=spearman,
        ate_m=ate_m,
        rpe_m=ate_m / 5,
        imagination_s=0.25 * num_steps,
        plan_s=1.0,
    )


def test_differences_are_taken_problem_by_problem(tmp_path):
    reference = Arm("runs/nano/model", 25)
    rows = [row(problem, 25, spearman=1.0, ate_m=0.1 * problem) for problem in range(6)]
    # In another order, and each problem worse by the same: the difference has no spread.
    rows += [row(problem, 1, spearman=0.5, ate_m=0.1 * problem + 0.25) for problem in reversed(range(6))]
    found = tables(rows, reference=reference)
    one = found["seen_levels"][Arm("runs/nano/model", 1)]
    assert (one.ate_difference_m.low, one.ate_difference_m.high) == pytest.approx((0.25, 0.25))
    assert one.ate_m.high - one.ate_m.low > 0.1 and one.spearman.mean == 0.5
    assert one.imagination_s == 0.25
    write_markdown(found, tmp_path / "table.md")
    text = (tmp_path / "table.md").read_text()
    assert "seen levels: 6 problems, against 25 steps of nano" in text
    assert "| nano | 1 | 0.500 [0.500, 0.500] |" in text and "| 0.250 [0.250, 0.250] | 0.25 |" in text
