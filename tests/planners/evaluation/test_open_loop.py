"""Open loop: shards are a fixed cut, a broken level is rows with errors, a real level gives numbers."""

from dataclasses import replace

import numpy as np
import pytest

from planners.candidates import Parameterisation, fit_prior
from planners.cem import CemConfig
from planners.evaluation import open_loop
from planners.evaluation.answers import PlanCost, SearchConfig
from planners.evaluation.open_loop import (
    OpenLoopConfig,
    OpenLoopTask,
    evaluate_shard,
    make_provenance,
    make_tasks,
)
from planners.evaluation.problems import ProblemShape
from planners.evaluation.summary import Method
from planners.prior import PriorConfig, TrainingPrior

CONFIG = OpenLoopConfig(
    checkpoint=None,
    seen_levels=["map02", "map03"],
    unseen_levels=["map01"],
    num_problems=5,
    trajectories_per_shard=2,
    num_shown=1,
    trajectory_frames=14,
    problem=ProblemShape(num_context=2),
    search=SearchConfig(cem=CemConfig(num_candidates=3, num_elites=1, num_iterations=2)),
)


@pytest.fixture
def fitted() -> TrainingPrior:
    rng = np.random.default_rng(0)
    steps = np.array([0.25, 0.0, 0.0]) + rng.normal(0, [0.05, 0.01, 0.05], (20, 3))
    prior = fit_prior([steps], parameterisation=Parameterisation.arc, horizon=8, dt_s=9 / 35)
    return TrainingPrior(prior=prior, spacing_m=0.25)


def tasks_of(config: OpenLoopConfig, fitted: TrainingPrior) -> dict[str, OpenLoopTask]:
    return make_tasks(config, make_provenance(config), fitted)


def test_shards_go_round_the_levels(fitted: TrainingPrior) -> None:
    tasks = tasks_of(CONFIG, fitted)
    assert list(tasks) == [
        "seen_levels-map02-0",
        "seen_levels-map02-2",
        "seen_levels-map03-0",
        "unseen_levels-map01-0",
        "unseen_levels-map01-2",
        "unseen_levels-map01-4",
    ]
    assert tasks["seen_levels-map02-2"].shard.numbers == (2, 3)
    names = ("seen_levels/map02/0/0", "seen_levels/map02/1/0", "seen_levels/map02/2/0")
    shown = [name for task in tasks.values() for name in names if task.is_shown(name)]
    assert shown == ["seen_levels/map02/0/0"]


def test_more_problems_leave_the_first_as_they_are(fitted: TrainingPrior) -> None:
    few, many = (
        tasks_of(CONFIG, fitted),
        tasks_of(replace(CONFIG, num_problems=9, workers=0, out="x"), fitted),
    )
    assert few.keys() < many.keys()
    for name, task in few.items():
        assert many[name].provenance == task.provenance and many[name].shard == task.shard


def test_the_hash_sees_what_rows_depend_on() -> None:
    base = make_provenance(CONFIG).config_hash
    assert make_provenance(replace(CONFIG, workers=0, out="y", num_problems=99)).config_hash == base
    assert make_provenance(replace(CONFIG, seed=1)).config_hash != base
    assert make_provenance(replace(CONFIG, search=replace(CONFIG.search, micro_batch=2))).config_hash != base


def test_a_level_that_fails_is_counted(fitted: TrainingPrior, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(task: OpenLoopTask) -> list:
        raise ValueError("no room for the robot")

    monkeypatch.setattr(open_loop, "record_problems", no_room)
    rows = evaluate_shard(tasks_of(CONFIG, fitted)["seen_levels-map03-0"])
    assert len(rows) == 2 * 7, "two problems, all methods but the model"
    assert {row.error for row in rows} == {"ValueError: no room for the robot"}
    assert {row.problem_id for row in rows} == {"seen_levels/map03/0/0", "seen_levels/map03/1/0"}


def test_a_real_level_gives_numbers_twice_the_same(fitted: TrainingPrior) -> None:
    whole = tasks_of(CONFIG, fitted)["unseen_levels-map01-0"]
    task = replace(whole, shard=replace(whole.shard, numbers=(0,)))
    rows = evaluate_shard(task)
    assert [row.method for row in rows] == [method.name for method in Method][1:]
    assert all(row.error is None for row in rows), rows[0].error
    (shown,) = [row for row in rows if row.evidence is not None]
    assert shown.method == "oracle_simulator"
    again = evaluate_shard(task)
    assert [replace(row, seconds=0.0) for row in rows] == [replace(row, seconds=0.0) for row in again]


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"seen_levels": ["map99"]}, "unknown level 'map99'"),
        ({"seen_levels": ["map01"]}, "seen or unseen; both name map01"),
        ({"seen_levels": [], "unseen_levels": []}, "both empty"),
        ({"workers": -1}, "at least 0"),
        ({"seed": PriorConfig().seed}, "seed and prior.seed are both"),
        ({"prior": PriorConfig(levels=["map01"])}, "prior.levels names map01"),
        ({"num_problems": 0}, "at least 1"),
        ({"trajectory_frames": 9}, "at least 10"),
        ({"search": SearchConfig(simulator_cost=PlanCost.latent)}, "representation=FOLDER"),
    ],
)
def test_what_gives_no_problems_is_refused(changes: dict, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        replace(CONFIG, **changes)
