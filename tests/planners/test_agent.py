from collections.abc import Mapping

import numpy as np
import pytest
import torch

from data_tools.pose import displacement_between, move
from planners.agent import Choice, PlanningAgent, PlanningConfig, calibrated_stop_cost
from planners.candidates import Parameterisation, Prior
from planners.cem import CemConfig
from planners.protocols import Agent
from tests.planners.toy_world import ToyModel, frame_of

GOAL = np.array([2.5, 1.0, 0.6])


class _Secret(Mapping):
    """Info that must not be read."""

    def __getitem__(self, key):
        raise AssertionError(f"a planning agent read info[{key!r}]")

    def __iter__(self):
        raise AssertionError("a planning agent listed info")

    def __len__(self):  # the type checker asks
        return 0


def _prior() -> Prior:
    return Prior(
        mean=torch.tensor([0.2, 0.0, 0.0], dtype=torch.float64),
        covariance=torch.diag(torch.tensor([0.02, 0.005, 0.03], dtype=torch.float64)),
        parameterisation=Parameterisation.arc,
        horizon=8,
        dt_s=9 / 35,
    )


def _agent(model=None, seed=0, **changes) -> PlanningAgent:
    config = PlanningConfig(
        cem=CemConfig(num_candidates=48, num_elites=6, num_iterations=4), **{"stop_cost": 0.05, **changes}
    )
    return PlanningAgent(model or ToyModel(), _prior(), config, generator=torch.Generator().manual_seed(seed))


def _drive(agent, *, pose=(0.0, 0.0, 0.0), goal=GOAL, max_steps=40, is_free=True):
    """Return the poses and choices of an episode on the empty plane (or of one tied down)."""
    poses, choices = [np.array(pose)], []
    for _ in range(max_steps):
        action = agent.act({"image": frame_of(poses[-1]), "goal": frame_of(goal)}, _Secret())
        choices.append(agent.last.choice)
        if action[3] > 0.5:
            break
        displacement = action[:3].astype(np.float64) * np.array([is_free, is_free, 1])
        poses.append(move(poses[-1], displacement))
    return np.array(poses), choices


def test_drives_to_the_goal_and_stops_there_without_reading_info():
    agent = _agent()
    assert isinstance(agent, Agent)
    poses, choices = _drive(agent)
    off = displacement_between(poses[-1], GOAL)
    assert np.hypot(*off[:2]) < 0.4
    assert choices[-1] is Choice.arrived


def test_plans_every_execute_steps():
    _, choices = _drive(_agent(execute_steps=3, stop_cost=0.0), max_steps=7, goal=np.array([7.0, 0.0, 0.0]))
    plan, follow = Choice.plan, Choice.follow
    assert choices == [plan, follow, follow, plan, follow, follow, plan]


def test_stops_at_once_at_the_goal():
    model = ToyModel()
    _, choices = _drive(_agent(model), pose=tuple(GOAL))
    assert choices == [Choice.arrived]
    assert model.asked == []


def test_gives_up_after_small_plans_in_a_row():
    # The goal is here but never looks quite like it: every plan is to stay.
    agent = _agent(stop_cost=0.0, min_travel_m=0.5, min_turn_rad=0.5, execute_steps=2)
    _, choices = _drive(agent, pose=tuple(GOAL))
    assert choices == [Choice.plan, Choice.follow, Choice.gave_up]


def test_turns_to_one_side_when_stuck_and_plans_again():
    agent = _agent(stuck_cost=0.01, recovery_steps=3, recovery_turn_rad=0.3, execute_steps=2)
    poses, choices = _drive(agent, max_steps=2 + 3 + 1, is_free=False, goal=np.array([6.0, 0.0, 0.0]))
    expected = [Choice.plan, Choice.follow, Choice.recover, Choice.recover, Choice.recover, Choice.plan]
    assert choices[:1] + choices[2:] == expected[:1] + expected[2:]
    turns = np.diff(poses[2:6, 2])
    np.testing.assert_allclose(np.abs(turns), 0.3, atol=1e-6)
    assert len(set(np.sign(turns))) == 1


def test_equal_seeds_drive_the_same_way():
    first, second, other = (_drive(_agent(seed=seed))[0] for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


def test_actions_are_what_the_text_says_within_the_bounds():
    agent = _agent()
    action = agent.act({"image": frame_of(np.zeros(3)), "goal": frame_of(GOAL)}, _Secret())
    assert action.dtype == np.float32
    np.testing.assert_array_equal(action, np.round(action.astype(np.float64), 3).astype(np.float32))
    assert (np.abs(action[:3]) <= np.array([0.6, 0.6, 1.0], dtype=np.float32)).all()


def test_the_imagined_end_is_where_the_plan_leads():
    agent = _agent()
    assert agent.imagined_end() is None
    agent.act({"image": frame_of(np.zeros(3)), "goal": frame_of(GOAL)}, _Secret())
    end = agent.imagined_end()
    expected = ToyModel().encode(torch.from_numpy(end)[None])
    goal = ToyModel().encode(torch.from_numpy(frame_of(GOAL))[None])
    torch.testing.assert_close(expected, goal, atol=0.2, rtol=0)


def test_an_agent_that_never_acts_is_refused():
    with pytest.raises(ValueError, match="must be at least 1; got"):
        PlanningConfig(stop_cost=1.0, execute_steps=0)


def test_the_stop_cost_separates_near_from_far():
    costs = np.array([0.1, 0.2, 0.3, 0.8, 0.9])
    distances = np.array([0.2, 0.9, 0.5, 1.5, 3.0])
    assert calibrated_stop_cost(costs, distances) == pytest.approx(0.55)


def test_near_and_far_count_equally_however_many():
    rng = np.random.default_rng(0)
    near, far = rng.normal(1.0, 0.5, 20_000), rng.normal(2.0, 0.5, 200)
    costs = np.concatenate([near, far])
    distances = np.concatenate([np.zeros(20_000), np.full(200, 2.0)])
    assert calibrated_stop_cost(costs, distances) == pytest.approx(1.5, abs=0.15)


def test_calibration_needs_both_kinds():
    with pytest.raises(ValueError, match=r"within 1.0 m of their goals and views outside; 3 of 3"):
        calibrated_stop_cost(np.ones(3), np.zeros(3))
