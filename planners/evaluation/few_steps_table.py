"""Few-steps table: rank correlation and planning error against steps, with intervals, from rows alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_tools.randomness import numpy_generator_for
from data_tools.whole_file import write_text
from planners.evaluation.metrics import Interval, mean_interval
from planners.evaluation.records import Provenance


class Arm(NamedTuple):
    """What imagines: a checkpoint, and the steps of its sampler."""

    checkpoint: str
    num_steps: int


@dataclass(frozen=True, kw_only=True)
class FewStepsRow:
    """One arm on one planning problem."""

    provenance: Provenance
    problem_id: str
    split: str
    level: str
    trajectory: str
    checkpoint: str
    num_steps: int
    noise_seed: int
    """Of the noise that every candidate was imagined from."""
    spearman: float
    """Rank correlation of the candidates' costs with those of the reference arm."""
    ate_m: float
    """Of the plan that the search finds with this arm."""
    rpe_m: float
    imagination_s: float
    """Wall time of imagining the ranked candidates of this problem [s]."""
    plan_s: float


@dataclass(frozen=True, kw_only=True)
class ArmResult:
    """What the table says of one arm in one split."""

    spearman: Interval
    spearman_of_noise: Mapping[int, float]
    """The mean over problems for each noise."""
    num_problems: int
    ate_m: Interval
    ate_difference_m: Interval
    """To the reference arm, on the same problems."""
    imagination_s: float
    """Median over problems [s]."""


def tables(rows: Sequence[FewStepsRow], *, reference: Arm) -> Mapping[str, Mapping[Arm, ArmResult]]:
    """Return each split's results, arms in the order of the rows."""
    splits = dict.fromkeys(row.split for row in rows)
    return {split: _table([row for row in rows if row.split == split], reference) for split in splits}


def _table(rows: Sequence[FewStepsRow], reference: Arm) -> Mapping[Arm, ArmResult]:
    arms = dict.fromkeys(Arm(row.checkpoint, row.num_steps) for row in rows)
    own = {
        arm: sorted(
            (row for row in rows if (row.checkpoint, row.num_steps) == arm),
            key=lambda row: (row.problem_id, row.noise_seed),
        )
        for arm in arms
    }
    trajectories = [row.trajectory for row in own[reference]]
    base = np.array([row.ate_m for row in own[reference]])

    def interval(values: Sequence[float] | np.ndarray) -> Interval:
        rng = numpy_generator_for(0, "few_steps/bootstrap")
        return mean_interval(np.asarray(values, dtype=np.float64), trajectories, rng=rng)

    return {
        arm: ArmResult(
            spearman=interval([row.spearman for row in found]),
            spearman_of_noise=_means_of_noise(found),
            num_problems=len({row.problem_id for row in found}),
            ate_m=interval([row.ate_m for row in found]),
            ate_difference_m=interval(np.array([row.ate_m for row in found]) - base),
            imagination_s=float(np.median([row.imagination_s for row in found])),
        )
        for arm, found in own.items()
    }


def _means_of_noise(rows: Sequence[FewStepsRow]) -> Mapping[int, float]:
    seeds = sorted({row.noise_seed for row in rows})
    return {seed: float(np.mean([row.spearman for row in rows if row.noise_seed == seed])) for seed in seeds}


def write_markdown(found: Mapping[str, Mapping[Arm, ArmResult]], path: Path) -> None:
    """Write the tables as Markdown; the first arm of each is the one that the others are compared with."""
    lines = []
    for split, results in found.items():
        first = next(iter(results))
        num_problems, num_noises = results[first].num_problems, len(results[first].spearman_of_noise)
        lines += [
            f"### {split.replace('_', ' ')}: {num_problems} problems, {_noises(num_noises)}, against "
            f"{first.num_steps} steps of {_label(first.checkpoint)}",
            "",
            "| checkpoint | steps | Spearman of costs | of each noise | ATE [m] | less the reference [m] |"
            " s a problem |",
            "| --- | --- | --- | --- | --- | --- | --- |",
        ]
        for arm, result in results.items():
            of_noise = result.spearman_of_noise.values()
            cells = (
                _label(arm.checkpoint),
                str(arm.num_steps),
                _cell(result.spearman),
                f"{min(of_noise):.3f} to {max(of_noise):.3f}",
                *(_cell(each) for each in (result.ate_m, result.ate_difference_m)),
                f"{result.imagination_s:.2f}",
            )
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    write_text(path, "\n".join(lines))


def _noises(count: int) -> str:
    return "one noise" if count == 1 else f"{count} noises"


def _label(checkpoint: str) -> str:
    """Return what a checkpoint is called: a run's folder, if it is the model of one."""
    path = Path(checkpoint)
    return path.parent.name if path.name == "model" and path.parent.name else path.name


def _cell(interval: Interval) -> str:
    return f"{interval.mean:.3f} [{interval.low:.3f}, {interval.high:.3f}]"
