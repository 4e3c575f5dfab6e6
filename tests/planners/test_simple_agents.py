import numpy as np
import pytest
import torch

from planners.candidates import Parameterisation, Prior
from planners.protocols import Agent
from planners.simple_agents import Expert, ExpertAgent, RandomAgent, StraightAheadAgent


def _prior() -> Prior:
    return Prior(
        mean=torch.tensor([0.2, 0.0, 0.0], dtype=torch.float64),
        covariance=torch.diag(torch.tensor([0.02, 0.005, 0.03], dtype=torch.float64)),
        parameterisation=Parameterisation.arc,
        horizon=8,
        dt_s=9 / 35,
    )


def _random(**changes) -> RandomAgent:
    settings = {"hold_steps": 5, "stop_probability": 0.0, **changes}
    return RandomAgent(_prior(), generator=torch.Generator().manual_seed(0), **settings)


def test_random_motions_are_held_and_then_change():
    agent = _random()
    actions = np.array([agent.act({}, {}) for _ in range(15)])
    for start in (0, 5, 10):
        assert (actions[start : start + 5] == actions[start]).all()
    assert len({tuple(action) for action in actions}) == 3
    assert (actions[:, 3] == 0).all()


def test_random_agents_stop_as_often_as_asked():
    lengths = []
    for seed in range(300):
        agent = RandomAgent(
            _prior(), hold_steps=5, stop_probability=0.1, generator=torch.Generator().manual_seed(seed)
        )
        lengths.append(next(step for step in range(1000) if agent.act({}, {})[3] > 0.5))
    assert np.mean(lengths) == pytest.approx(9, rel=0.15)


def test_straight_ahead_stops_after_the_goal_distance():
    agent = StraightAheadAgent(_prior(), step_m=0.25, goal_distance_m=3.1)
    actions = [agent.act({}, {}) for _ in range(13)]
    assert [float(action[3]) for action in actions] == [0.0] * 12 + [1.0]
    assert sum(action[0] for action in actions) == pytest.approx(3.0)


def test_a_speed_beyond_the_bounds_is_cut_and_the_distance_kept():
    agent = StraightAheadAgent(_prior(), step_m=2.0, goal_distance_m=3.0)
    actions = [agent.act({}, {}) for _ in range(6)]
    assert actions[0][0] == np.float32(0.6)
    assert [float(action[3]) for action in actions] == [0.0] * 5 + [1.0]


def test_standing_still_is_not_straight_ahead():
    with pytest.raises(ValueError, match=r"a positive step and a distance; got 0\.0"):
        StraightAheadAgent(_prior(), step_m=0.0, goal_distance_m=3.0)


def test_an_expert_is_told_the_true_pose():
    class Echo:
        def act(self, pose):
            return np.append(pose, 0.0).astype(np.float32)

    assert isinstance(Echo(), Expert)
    agent = ExpertAgent(Echo())
    assert isinstance(agent, Agent)
    assert agent.act({}, {"pose": np.array([1.0, 2.0, 0.5])}).tolist() == [1.0, 2.0, 0.5, 0.0]
