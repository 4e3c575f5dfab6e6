"""The few-steps table says what its rows say, paired by problem."""

from dataclasses import replace

import pytest

from planners.evaluation.few_steps_table import Arm, FewStepsRow, tables, write_markdown
from tests.planners.evaluation.rows import PROVENANCE


def row(problem: int, num_steps: int, *, spearman: float, ate_m: float, noise_seed: int = 0) -> FewStepsRow:
    return FewStepsRow(
        provenance=PROVENANCE,
        problem_id=f"seen_levels/map01/{problem}/0",
        split="seen_levels",
        level="map01",
        trajectory=f"map01-{problem}",
        checkpoint="runs/nano/model",
        num_steps=num_steps,
        noise_seed=noise_seed,
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
    assert "seen levels: 6 problems, one noise, against 25 steps of nano" in text
    assert (
        "| nano | 1 | 0.500 [0.500, 0.500] | 0.500 to 0.500 |" in text
        and "| 0.250 [0.250, 0.250] | 0.25 |" in text
    )


def test_noises_are_averaged_and_told_apart(tmp_path):
    reference = Arm("nano", 25)
    rows = [
        row(problem, steps, spearman=spearman, ate_m=0.1 * problem + ate_m, noise_seed=seed)
        for problem in range(4)
        for steps, seed, spearman, ate_m in (
            (25, 3, 1.0, 0.0),
            (25, 8, 1.0, 1.0),
            (1, 8, 0.9, 1.1),
            (1, 3, 0.7, 0.1),
        )
    ]
    rows = [replace(each, checkpoint="nano") for each in rows]
    one = tables(rows, reference=reference)["seen_levels"][Arm("nano", 1)]
    # Each noise is compared with the reference's plan from the same noise.
    assert (one.ate_difference_m.low, one.ate_difference_m.high) == pytest.approx((0.1, 0.1))
    assert one.num_problems == 4 and one.spearman.mean == pytest.approx(0.8)
    assert one.spearman_of_noise == pytest.approx({3: 0.7, 8: 0.9})
    write_markdown({"seen_levels": {reference: one}}, tmp_path / "table.md")
    text = (tmp_path / "table.md").read_text()
    assert "4 problems, 2 noises" in text and "| 0.700 to 0.900 |" in text
