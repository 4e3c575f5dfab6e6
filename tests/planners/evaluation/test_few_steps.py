"""Few steps: what is compared, what is refused, and a shard of a real level."""

from dataclasses import replace

import numpy as np
import pytest

from planners.candidates import Parameterisation, fit_prior
from planners.cem import CemConfig
from planners.evaluation.answers import SearchConfig
from planners.evaluation.few_steps import (
    FewStepsConfig,
    evaluate_shard,
    make_provenance,
    rank_correlation,
)
from planners.evaluation.few_steps_table import Arm
from planners.evaluation.open_loop import make_tasks
from planners.evaluation.problems import ProblemShape
from planners.prior import TrainingPrior

CONFIG = FewStepsConfig(
    checkpoint="nano",
    steps=[1, 3],
    noise_seeds=[4, 9],
    reference_steps=3,
    num_ranked=40,
    seen_levels=["map02"],
    unseen_levels=[],
    num_problems=2,
    trajectories_per_shard=2,
    trajectory_frames=14,
    problem=ProblemShape(num_context=2),
    search=SearchConfig(cem=CemConfig(num_candidates=3, num_elites=1, num_iterations=1)),
)


def test_arms_are_the_reference_and_all_others_once():
    arms = replace(CONFIG, students=["student"]).arms()
    assert arms == [Arm("nano", 3), Arm("nano", 1), Arm("student", 1), Arm("student", 3)]


def test_rank_correlation_shares_the_ranks_of_ties():
    costs = np.array([0.1, 0.7, 0.3, 0.9])
    assert rank_correlation(costs, np.exp(costs)) == pytest.approx(1)
    assert rank_correlation(costs, -costs) == pytest.approx(-1)
    # Ranks 1 2 3 4 and 1.5 1.5 3.5 3.5: 2 / sqrt(5).
    assert rank_correlation(np.arange(4.0), np.array([0.0, 0.0, 1.0, 1.0])) == pytest.approx(2 / 5**0.5)


def test_a_shard_ranks_and_plans_with_every_arm():
    steps = np.array([0.25, 0.0, 0.0]) + np.random.default_rng(0).normal(0, [0.05, 0.01, 0.05], (20, 3))
    prior = fit_prior([steps], parameterisation=Parameterisation.arc, horizon=8, dt_s=9 / 35)
    fitted = TrainingPrior(prior=prior, spacing_m=0.25)
    (task,) = make_tasks(CONFIG, make_provenance(CONFIG), fitted).values()
    rows = evaluate_shard(task)
    expected = [(seed, steps, name) for seed in (4, 9) for steps in (3, 1) for name in ("0/0", "1/0")]
    assert [(row.noise_seed, row.num_steps, row.problem_id[-3:]) for row in rows] == expected
    assert [row.spearman for row in rows if row.num_steps == 3] == pytest.approx([1] * 4)
    others = [row for row in rows if row.num_steps == 1]
    assert all(-1 <= row.spearman < 1 and row.ate_m > 0 for row in others)
    assert len({row.spearman for row in others}) == 4  # another noise, another ranking


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"checkpoint": None}, "give checkpoint=NAME"),
        ({"num_ranked": 2}, "num_ranked of at least 3"),
        ({"steps": [0]}, "of at least 1"),
        ({"steps": []}, "of at least 1"),
        ({"steps": [1, 1]}, "arms that differ"),
        ({"students": ["nano"]}, "arms that differ"),
        ({"noise_seeds": [4, 4]}, "noise_seeds that differ"),
    ],
)
def test_what_compares_nothing_is_refused(changes, match):
    with pytest.raises(ValueError, match=match):
        replace(CONFIG, **changes)
