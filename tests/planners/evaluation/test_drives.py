"""Drives: what happened is what the room says, and evidence has a frame a step."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from data_tools.action_text import parse_actions
from envs.episodes import Episode
from envs.follower import ShortestPathFollower
from planners.agent import PlanningAgent, PlanningConfig
from planners.candidates import Parameterisation, fit_prior
from planners.cem import CemConfig
from planners.evaluate import ImaginationConfig, Mode
from planners.evaluation.drives import Drive, Sketch, drive_episode
from planners.protocols import STOP, Agent, Info, Observation
from planners.simple_agents import ExpertAgent
from tests.envs.grid_room import LEVEL, WALLS, GridRoom
from tests.planners.evaluation.fakes import PerfectModel

EPISODE = Episode(
    episode_id="room-0",
    level=LEVEL,
    start_pose=(1.2, 2.0, 0.0),
    goal_pose=(3.2, 3.0, 0.4),
    geodesic_m=2.24,
    max_steps=11,
    seed=1,
)


class Forward:
    """Walks straight on and never stops."""

    def act(self, observation: Observation, info: Info) -> np.ndarray:
        return np.array([0.4, 0.0, 0.0, 0.0], dtype=np.float32)


class Stopper:
    """Stops at once."""

    def act(self, observation: Observation, info: Info) -> np.ndarray:
        return STOP.copy()


@pytest.fixture
def room() -> GridRoom:
    return GridRoom(frame_height=6, frame_width=8)


def drive(room: GridRoom, agent: Agent, sketch: Sketch | None = None, *, episode: Episode = EPISODE) -> Drive:
    return drive_episode(room, agent, options={"episode": episode}, seed=1, step_s=0.25, sketch=sketch)


def test_the_follower_arrives_and_stops(room: GridRoom) -> None:
    field = room.walkable.distance_field(np.array(EPISODE.goal_pose[:2]))
    driven = drive(room, ExpertAgent(ShortestPathFollower(field=field)))
    assert driven.stopped and driven.distances_m[-1] < 1.0
    assert len(driven.poses) == len(driven.distances_m) == len(driven.collided) + 1


def test_an_agent_that_never_stops_is_stopped_by_the_limit_and_the_wall(room: GridRoom) -> None:
    driven = drive(room, Forward())
    assert not driven.stopped and len(driven.actions) == EPISODE.max_steps
    assert driven.collided[-1] and not driven.collided[0]
    np.testing.assert_allclose(parse_actions(driven.actions)[0], [0.4, 0.0, 0.0, 0.25], atol=1e-6)


def test_a_stop_is_no_step(room: GridRoom) -> None:
    driven = drive(room, Stopper())
    assert driven.stopped and len(driven.poses) == 1 and driven.actions == ()
    assert driven.seconds_per_decision >= 0.0


def planning_agent(room: GridRoom) -> PlanningAgent:
    noise = np.random.default_rng(0).normal(0, [0.05, 0.02, 0.15], (20, 3))
    prior = fit_prior(
        [np.array([0.25, 0.0, 0.0]) + noise],
        parameterisation=Parameterisation.arc,
        horizon=4,
        dt_s=0.25,
    )
    config = PlanningConfig(
        stop_cost=1e-9,
        execute_steps=2,
        cem=CemConfig(num_candidates=6, num_elites=2, num_iterations=2),
        imagination=ImaginationConfig(mode=Mode.steps),
    )
    model = PerfectModel(room, [], follows_room=True)
    return PlanningAgent(model, prior, config, generator=torch.Generator().manual_seed(0))


def test_evidence_of_a_planning_agent_has_an_expectation_a_step(room: GridRoom) -> None:
    sketch = Sketch(walls=WALLS)
    driven = drive(room, planning_agent(room), sketch, episode=replace(EPISODE, max_steps=5))
    evidence = sketch.evidence(driven.poses[0])
    assert len(evidence.observed) == len(driven.poses) == len(evidence.imagined)
    assert len(evidence.considered) == 3, "it plans at steps 0, 2 and 4"
    for paths, pose in zip(evidence.considered, driven.poses[::2], strict=False):
        np.testing.assert_allclose(paths[0][:2], pose[:2], atol=1e-3)


def test_a_sketch_changes_nothing(room: GridRoom) -> None:
    short = replace(EPISODE, max_steps=5)
    plain = drive(room, planning_agent(room), episode=short)
    sketched = drive(room, planning_agent(room), Sketch(walls=WALLS), episode=short)
    assert plain.actions == sketched.actions
