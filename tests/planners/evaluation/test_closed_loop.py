"""Closed loop: shards are a fixed cut, the follower succeeds, and a broken level is rows with its error."""

from dataclasses import replace

import numpy as np
import pytest

from planners.calibrate import CalibrationConfig
from planners.candidates import Parameterisation, fit_prior
from planners.evaluation import closed_loop
from planners.evaluation.closed_loop import (
    ClosedLoopConfig,
    ClosedLoopTask,
    evaluate_shard,
    make_provenance,
    make_tasks,
)
from planners.prior import TrainingPrior

CONFIG = ClosedLoopConfig(
    checkpoint=None, seen_levels=["map02"], unseen_levels=["map01"], num_episodes=2, num_shown=0
)


@pytest.fixture
def tasks() -> dict[str, ClosedLoopTask]:
    rng = np.random.default_rng(0)
    steps = np.array([0.25, 0.0, 0.0]) + rng.normal(0, [0.05, 0.01, 0.05], (20, 3))
    prior = fit_prior([steps], parameterisation=Parameterisation.arc, horizon=8, dt_s=9 / 35)
    return make_tasks(
        CONFIG, make_provenance(CONFIG), TrainingPrior(prior=prior, spacing_m=0.25), stop_cost=0.0
    )


def test_the_follower_succeeds_and_every_agent_has_a_row(tasks: dict[str, ClosedLoopTask]) -> None:
    rows = evaluate_shard(tasks["unseen_levels-map01-1"])
    assert [row.agent for row in rows] == ["random", "straight_ahead", "shortest_path"]
    assert all(row.error is None for row in rows), rows
    assert rows[-1].success == 1.0 and rows[-1].spl == pytest.approx(1.0, abs=0.2)
    assert 2.0 <= rows[0].geodesic_m <= 4.0
    assert len({row.start_pose for row in rows}) == 1, "all drive the same episode"
    for row in rows:
        assert len(row.poses) == row.num_steps + 1 == len(row.actions) + 1


def test_an_episode_does_not_depend_on_its_shard(tasks: dict[str, ClosedLoopTask]) -> None:
    alone, first = evaluate_shard(tasks["unseen_levels-map01-1"]), tasks["unseen_levels-map01-0"]
    together = evaluate_shard(replace(first, shard=replace(first.shard, numbers=(0, 1))))
    assert [replace(row, seconds_per_decision=0.0) for row in together[3:]] == [
        replace(row, seconds_per_decision=0.0) for row in alone
    ]


def test_a_level_that_fails_is_counted(
    tasks: dict[str, ClosedLoopTask], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*args: object) -> None:
        raise ValueError("no room")

    monkeypatch.setattr(closed_loop, "draw_episode", no_room)
    rows = evaluate_shard(tasks["seen_levels-map02-0"])
    assert [row.error for row in rows] == ["ValueError: no room"] * 3
    assert {row.episode_id for row in rows} == {"seen_levels/map02/0"}


def test_what_gives_no_episodes_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown level"):
        replace(CONFIG, seen_levels=["map77"])
    with pytest.raises(ValueError, match="at least 1"):
        replace(CONFIG, num_episodes=0)
    with pytest.raises(ValueError, match="both name map02"):
        replace(CONFIG, unseen_levels=["map02"])
    with pytest.raises(ValueError, match=r"calibration\.levels names map05"):
        replace(CONFIG, unseen_levels=["map05"], calibration=CalibrationConfig(levels=["map05"]))
    with pytest.raises(ValueError, match=r"seed and calibration\.seed are both 5"):
        replace(CONFIG, seed=5, calibration=CalibrationConfig(seed=5))
