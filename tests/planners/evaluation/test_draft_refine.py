"""Draft and refine: what an arm plans with, what it costs, what is refused, and a shard of a real level."""

from dataclasses import replace

import numpy as np
import pytest

from planners.candidates import Parameterisation, fit_prior
from planners.cem import CemConfig
from planners.evaluate import ImaginationConfig, Mode
from planners.evaluation.answers import SearchConfig
from planners.evaluation.draft_refine import (
    ArmConfig,
    DraftRefineConfig,
    default_arms,
    evaluate_shard,
    mean_actions,
    other_noise,
)
from planners.evaluation.open_loop import make_provenance, make_tasks
from planners.evaluation.problems import ProblemShape
from planners.prior import TrainingPrior

DRAFT = ArmConfig(name="draft", num_candidates=3, num_iterations=2, num_elites=1)
CONFIG = DraftRefineConfig(
    checkpoint="nano",
    arms=[
        DRAFT,
        replace(DRAFT, name="refined", refine_top=2, refine_steps=3),
        replace(DRAFT, name="steps", mode=Mode.steps, num_steps=2, num_repeats=2, inverse_weight=0.0),
    ],
    seen_levels=["map02"],
    unseen_levels=[],
    num_problems=2,
    trajectories_per_shard=2,
    trajectory_frames=14,
    problem=ProblemShape(num_context=2),
    search=SearchConfig(imagination=ImaginationConfig(inverse_weight=0.05)),
)


def test_every_arm_plans_the_same_problems_and_is_counted_exactly():
    steps = np.array([0.25, 0.0, 0.0]) + np.random.default_rng(0).normal(0, [0.05, 0.01, 0.05], (20, 3))
    prior = fit_prior([steps], parameterisation=Parameterisation.arc, horizon=8, dt_s=9 / 35)
    fitted = TrainingPrior(prior=prior, spacing_m=0.25)
    (task,) = make_tasks(CONFIG, make_provenance(CONFIG), fitted).values()
    rows = evaluate_shard(task)
    expected = [(arm, name) for arm in ("draft", "refined", "steps") for name in ("0/0", "1/0")]
    assert [(row.arm, row.problem_id[-3:]) for row in rows] == expected
    counted = {row.arm: row.num_evaluations for row in rows}
    # Each candidate is a frame and a text; the mean of the elites is evaluated once more.
    assert counted["draft"] == (3 * 2 + 1) * 2
    assert counted["refined"] == 3 * 2 * 2 + (2 + 1) * (3 + 1)
    assert counted["steps"] == 2 * (3 * 2 + 1) * 8 * 2  # repeats, candidates, frames, sampler steps; no texts
    assert all(row.ate_m > 0 and row.plan_s > 0 for row in rows)


def test_an_arm_changes_the_budget_and_nothing_else():
    search = SearchConfig(cem=CemConfig(prior_weight=0.1), imagination=ImaginationConfig(inverse_weight=0.05))
    own = replace(DRAFT, refine_top=2, num_steps=5).search_of(search)
    assert (own.cem.prior_weight, own.imagination.inverse_weight) == (0.1, 0.05)
    assert (own.cem.num_candidates, own.cem.refine_top, own.imagination.num_steps) == (3, 2, 5)
    nwm = default_arms()[-1].search_of(search)
    assert (nwm.cem.prior_weight, nwm.imagination.inverse_weight) == (0, 0)
    assert (nwm.cem.num_candidates, nwm.cem.num_iterations, nwm.cem.num_elites) == (120, 1, 5)
    assert (nwm.imagination.mode, nwm.imagination.num_steps) == (Mode.steps, 25)


def test_repeats_imagine_from_other_noises():
    search = SearchConfig()
    assert other_noise(search, 2) == search  # follows the seed, which differs
    fixed = replace(search, imagination=ImaginationConfig(noise_seed=7))
    assert [other_noise(fixed, repeat).imagination.noise_seed for repeat in range(3)] == [7, 8, 9]


def test_repeats_are_averaged_and_written():
    plans = [np.array([[0.1, 0.0, -0.2, 0.26]] * 2), np.array([[0.4, 0.3, 0.1, 0.26]] * 2)]
    plans.append(np.array([[0.5, 0.0, 0.0, 0.26]] * 2))
    np.testing.assert_array_equal(mean_actions(plans), [[0.333, 0.1, -0.033, 0.26]] * 2)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"checkpoint": None}, "give checkpoint=NAME and no data"),
        ({"data": "folder"}, "give checkpoint=NAME and no data"),
        ({"arms": []}, "at least one arm"),
        ({"arms": [DRAFT, DRAFT]}, "names that differ"),
        ({"arms": [replace(DRAFT, num_elites=9)]}, "need 1 <= num_elites <= num_candidates; got 9 and 3"),
    ],
)
def test_what_compares_nothing_is_refused(changes, match):
    with pytest.raises(ValueError, match=match):
        replace(CONFIG, **changes)


def test_an_arm_without_a_plan_is_refused():
    with pytest.raises(ValueError, match="num_repeats of at least 1; got 'draft' and 0"):
        replace(DRAFT, num_repeats=0)
