"""Drive: one agent in one image-goal episode, and the row made of it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
from jaxtyping import Bool, Float, Float64

from data_tools.action_text import format_actions
from planners.agent import Choice, PlanningAgent
from planners.evaluation.evidence import considered_paths, near_walls
from planners.evaluation.records import DriveEvidence
from planners.evaluation.videos import encode_png
from planners.protocols import Agent, Info, Observation

STOP_THRESHOLD = 0.5
NEAR_M = 12.0
"""Walls farther from the start are not kept."""
MAX_CANDIDATES = 24
"""Paths of a decision that a map shows."""


@dataclass(frozen=True, kw_only=True)
class Drive:
    """What happened in an episode; the start counts as a pose, a stop as no step."""

    poses: Float64[np.ndarray, "frame 3"]
    distances_m: Float64[np.ndarray, " frame"]
    """Geodesic, to the goal; infinite where no way leads there."""
    collided: Bool[np.ndarray, " step"]
    actions: tuple[str, ...]
    stopped: bool
    seconds_per_decision: float


@dataclass
class Sketch:
    """What the report shows of a drive, gathered as it happens."""

    walls: Float[np.ndarray, "line 4"]
    goal: bytes = b""
    observed: list[bytes] = field(default_factory=list)
    imagined: list[bytes] = field(default_factory=list)
    considered: list[tuple[tuple[float, ...], ...]] = field(default_factory=list)
    _expected: bytes | None = None

    def start(self, observation: Observation) -> None:
        """Take the first view."""
        self.goal = encode_png(observation["goal"])
        self.observed.append(encode_png(observation["image"]))

    def decided(self, agent: Agent, pose: Float64[np.ndarray, " 3"]) -> None:
        """Take what a planning agent considered and expects; other agents have nothing to show."""
        if not isinstance(agent, PlanningAgent) or agent.last is None:
            return
        if agent.last.choice is Choice.plan and agent.last.plan is not None:
            candidates = agent.last.plan.iterations[-1].candidates[0, :MAX_CANDIDATES]
            self.considered.append(considered_paths(pose, candidates))
            frame = agent.imagined_end()
            self._expected = None if frame is None else encode_png(frame)

    def stepped(self, observation: Observation) -> None:
        """Take the view after a step, beside what was expected when the step was decided."""
        self.observed.append(encode_png(observation["image"]))
        if self._expected is not None:
            self.imagined.append(self._expected)

    def evidence(self, start_pose: Float64[np.ndarray, " 3"]) -> DriveEvidence:
        """Return what was gathered; imagined frames only if there is one for every step."""
        # The start's own panel shows the first expectation, so that all panels have as many frames.
        imagined = (*self.imagined[:1], *self.imagined)
        return DriveEvidence(
            goal=self.goal,
            observed=tuple(self.observed),
            imagined=imagined if len(imagined) == len(self.observed) else (),
            considered=tuple(self.considered),
            walls=near_walls(self.walls, start_pose, near_m=NEAR_M),
        )


def drive_episode(
    env: gymnasium.Env,
    agent: Agent,
    *,
    options: dict[str, Any],
    seed: int,
    step_s: float,
    sketch: Sketch | None = None,
) -> Drive:
    """Let an agent drive until it stops or the environment ends the episode.

    Args:
        env: Fulfils the environment contract: `info` tells pose, collision and geodesic distance.
        agent: New for this episode.
        options: Those of `env.reset`, which choose the episode.
        seed: That of `env.reset`.
        step_s: Time of one step, for the action text [s].
        sketch: Gathers what the report shows; what that costs is not counted as thinking.

    Returns:
        What happened.
    """
    observation, info = env.reset(seed=seed, options=options)
    poses, distances_m, collided = [info["pose"]], [info["distance_to_goal_m"]], []
    moves: list[np.ndarray] = []
    clock = _Clock()
    if sketch is not None:
        sketch.start(observation)
    stopped = ended = False
    while not (stopped or ended):
        action = clock.decide(agent, observation, info)
        stopped = bool(action[3] > STOP_THRESHOLD)
        if sketch is not None:
            sketch.decided(agent, info["pose"])
        observation, _, terminated, truncated, info = env.step(action)
        ended = terminated or truncated
        if stopped:
            continue
        moves.append(np.append(action[:3].astype(np.float64), step_s))
        poses.append(info["pose"])
        distances_m.append(info["distance_to_goal_m"])
        collided.append(info["collided"])
        if sketch is not None:
            sketch.stepped(observation)
    return Drive(
        poses=np.stack(poses),
        distances_m=np.array(distances_m, dtype=np.float64),
        collided=np.array(collided, dtype=bool),
        actions=tuple(format_actions(np.array(moves).reshape(-1, 4))),
        stopped=stopped,
        seconds_per_decision=clock.seconds_per_decision(),
    )


class _Clock:
    """Measures how long an agent thinks.

    A planning agent decides when it looks for a plan; the steps in which it follows one are part of that
    decision. Every other agent decides in every step.
    """

    def __init__(self) -> None:
        self._seconds = 0.0
        self._num_decisions = 0

    def decide(self, agent: Agent, observation: Observation, info: Info) -> np.ndarray:
        started = time.perf_counter()
        action = agent.act(observation, info)
        self._seconds += time.perf_counter() - started
        if not isinstance(agent, PlanningAgent) or not _is_following(agent):
            self._num_decisions += 1
        return action

    def seconds_per_decision(self) -> float:
        return self._seconds / max(self._num_decisions, 1)


def _is_following(agent: PlanningAgent) -> bool:
    return agent.last is not None and agent.last.choice in (Choice.follow, Choice.recover)


def tuples(rows: Sequence[Sequence[float]] | np.ndarray) -> tuple[tuple[float, ...], ...]:
    """Return rows of numbers as records keep them."""
    return tuple(tuple(float(value) for value in row) for row in rows)
