"""Estimates: means over seeds, and differences between arms of the same seeds, with intervals."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from worldmodel.ablation.rows import Row

CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over `n` seeds and its 95% interval by Student's t; a single seed has none."""

    mean: float
    half_width: float | None
    n: int

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of zero."""
        return self.half_width is not None and abs(self.mean) > self.half_width


@dataclass(frozen=True)
class ArmEstimates:
    """What is known of one arm, by measure: its values, and their differences to the first arm's."""

    arm: str
    rows: Sequence[Row]
    values: Mapping[str, Estimate]
    differences: Mapping[str, Estimate]
    """Paired by seed; empty for the first arm."""


def estimate(values: Sequence[float]) -> Estimate:
    """Return mean and interval of values that are independent of each other."""
    n = len(values)
    if n < 1:
        raise ValueError("needed at least one value, got none")
    mean = float(np.mean(values))
    if n == 1:
        return Estimate(mean=mean, half_width=None, n=1)
    error = float(np.std(values, ddof=1)) / math.sqrt(n)
    return Estimate(mean=mean, half_width=float(student.ppf((1 + CONFIDENCE) / 2, n - 1)) * error, n=n)


def estimates_of(rows: Sequence[Row], *, arms: Sequence[str], measures: Sequence[str]) -> list[ArmEstimates]:
    """Return what rows say of the arms that have any, in this order, each held against the first of them.

    ValueError if there are none, if a run has two rows, or if rows were made of different data.
    """
    check_rows(rows)
    by_arm = {arm: [row for row in rows if row.arm == arm] for arm in arms}
    with_rows = [arm for arm in arms if by_arm[arm]]
    if not with_rows:
        raise ValueError(f"needed rows of some of the arms {list(arms)}, got none of them")
    first = by_arm[with_rows[0]]
    found = []
    for arm, own in by_arm.items():
        values = {
            name: estimate(given)
            for name in measures
            if (given := [row.measure[name] for row in own if name in row.measure])
        }
        differences = {
            name: estimate(given)
            for name in measures
            if arm != with_rows[0] and (given := _differences(own, first, name))
        }
        if own:
            found.append(ArmEstimates(arm, own, values, differences))
    return found


def _differences(own: Sequence[Row], first: Sequence[Row], name: str) -> list[float]:
    reference = {row.seed: row.measure[name] for row in first if name in row.measure}
    return [
        row.measure[name] - reference[row.seed]
        for row in own
        if name in row.measure and row.seed in reference
    ]


def check_rows(rows: Sequence[Row]) -> None:
    """Raise ValueError unless rows can stand in one table."""
    if not rows:
        raise ValueError("needed rows to make a table of, got none; run the table first")
    for name in ("table", "data", "heldout"):
        if len(found := {getattr(row, name) for row in rows}) > 1:
            raise ValueError(
                f"the rows of a table must have one `{name}`, these have {sorted(found)}; keep the rows of "
                "each in a folder of their own"
            )
    runs = [(row.arm, row.seed) for row in rows]
    if len(set(runs)) < len(runs):
        twice = sorted({run for run in runs if runs.count(run) > 1})
        raise ValueError(f"these runs have more than one row: {twice}; keep one of each")
