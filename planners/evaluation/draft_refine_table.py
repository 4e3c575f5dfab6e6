"""Draft-and-refine table: planning error against what a plan costs, with intervals, from rows alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_tools.randomness import numpy_generator_for
from data_tools.whole_file import whole_file, write_text
from planners.evaluation.metrics import Interval, mean_interval
from planners.evaluation.records import Provenance


@dataclass(frozen=True, kw_only=True)
class DraftRefineRow:
    """One arm on one planning problem."""

    provenance: Provenance
    problem_id: str
    split: str
    level: str
    trajectory: str
    arm: str
    ate_m: float
    rpe_m: float
    num_evaluations: float
    """Of the network for this plan, all repeats (`planners.evaluation.counting`); the share of one problem
    where several are planned together."""
    plan_s: float
    """Wall time of all repeats, the context's included [s]."""


@dataclass(frozen=True, kw_only=True)
class ArmResult:
    """What the table says of one arm in one split."""

    num_problems: int
    ate_m: Interval
    ate_difference_m: Interval
    """To the arm with the most evaluations, on the same problems."""
    num_evaluations: float
    """Mean over problems; they are equal where batches are equally large."""
    plan_s: float
    """Median over problems [s]."""


Results = Mapping[str, Mapping[str, ArmResult]]
"""split -> arm -> result, arms in the order of the rows"""


def tables(rows: Sequence[DraftRefineRow]) -> Results:
    """Return each split's results; ValueError if the arms planned different problems."""
    splits = dict.fromkeys(row.split for row in rows)
    return {split: _table([row for row in rows if row.split == split]) for split in splits}


def _table(rows: Sequence[DraftRefineRow]) -> Mapping[str, ArmResult]:
    own = {
        arm: sorted((row for row in rows if row.arm == arm), key=lambda row: row.problem_id)
        for arm in dict.fromkeys(row.arm for row in rows)
    }
    problems = {arm: [row.problem_id for row in found] for arm, found in own.items()}
    first = next(iter(problems))
    if different := [arm for arm, found in problems.items() if found != problems[first]]:
        raise ValueError(
            f"needed the same problems of every arm; {different[0]} has {len(problems[different[0]])} and "
            f"{first} has {len(problems[first])}, or others. Run the same command again"
        )
    trajectories = [row.trajectory for row in own[first]]
    evaluations = {arm: float(np.mean([row.num_evaluations for row in found])) for arm, found in own.items()}
    base = np.array([row.ate_m for row in own[most_expensive(evaluations)]])

    def interval(values: np.ndarray) -> Interval:
        return mean_interval(values, trajectories, rng=numpy_generator_for(0, "draft_refine/bootstrap"))

    return {
        arm: ArmResult(
            num_problems=len(found),
            ate_m=interval(np.array([row.ate_m for row in found])),
            ate_difference_m=interval(np.array([row.ate_m for row in found]) - base),
            num_evaluations=evaluations[arm],
            plan_s=float(np.median([row.plan_s for row in found])),
        )
        for arm, found in own.items()
    }


def most_expensive(evaluations: Mapping[str, float]) -> str:
    """Return the arm with the most evaluations."""
    return max(evaluations, key=lambda arm: evaluations[arm])


def write_markdown(found: Results, path: Path) -> None:
    """Write the tables as Markdown; how many times cheaper an arm is than the most expensive stands last."""
    lines = []
    for split, results in found.items():
        reference = most_expensive({arm: result.num_evaluations for arm, result in results.items()})
        dearest = results[reference]
        lines += [
            f"### {split.replace('_', ' ')}: {dearest.num_problems} problems, against {reference}",
            "",
            "| arm | ATE [m] | less the most expensive [m] | evaluations | s a plan | fewer evaluations |"
            " less time |",
            "| --- | --- | --- | --- | --- | --- | --- |",
        ]
        for arm, result in results.items():
            cells = (
                arm,
                _cell(result.ate_m),
                _cell(result.ate_difference_m),
                f"{result.num_evaluations:.0f}",
                f"{result.plan_s:.3f}",
                f"{dearest.num_evaluations / result.num_evaluations:.0f} x",
                f"{dearest.plan_s / result.plan_s:.0f} x",
            )
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    write_text(path, "\n".join(lines))


def draw(found: Results, path: Path) -> None:
    """Write a picture as PNG: evaluations of a plan, logarithmic, against ATE with its interval."""
    import matplotlib as mpl  # noqa: PLC0415 (only this command draws)

    mpl.use("Agg")
    import matplotlib.pyplot as plt  # noqa: PLC0415

    with mpl.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure, axes = plt.subplots(
            1, len(found), figsize=(6 * len(found), 4.5), dpi=110, layout="constrained", squeeze=False
        )
        for panel, (split, results) in zip(axes[0], found.items(), strict=True):
            for arm, result in results.items():
                ate = result.ate_m
                below, above = max(0.0, ate.mean - ate.low), max(0.0, ate.high - ate.mean)
                panel.errorbar(
                    result.num_evaluations, ate.mean, yerr=[[below], [above]], fmt="o", capsize=3, label=arm
                )
            panel.set(
                title=split.replace("_", " "),
                xscale="log",
                xlabel="evaluations of the network a plan",
                ylabel="ATE [m]",
            )
            panel.legend(fontsize=7)
        with whole_file(path) as temporary:
            figure.savefig(temporary, format="png")
        plt.close(figure)


def _cell(interval: Interval) -> str:
    return f"{interval.mean:.3f} [{interval.low:.3f}, {interval.high:.3f}]"
