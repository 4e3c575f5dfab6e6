"""Simple agents: what a planning agent is measured against in closed loop."""

from collections import deque
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float32, Float64

from planners.candidates import Prior, steady, to_actions, to_moves
from planners.protocols import STOP, Info, Observation


class RandomAgent:
    """Holds a random motion for a while, then another, and stops at some moment.

    Args:
        prior: What motions are drawn from: those of the training trajectories.
        hold_steps: Steps that a motion is held.
        stop_probability: Chance to stop in each step; one in the mean number of steps to a training goal
            gives it the right length on average.
        generator: Random stream; consumed.
    """

    def __init__(
        self, prior: Prior, *, hold_steps: int, stop_probability: float, generator: torch.Generator
    ) -> None:
        self._prior = prior
        self._hold_steps = hold_steps
        self._stop_probability = stop_probability
        self._generator = generator
        self._queue: deque[Float32[np.ndarray, " 4"]] = deque()

    def act(self, observation: Observation, info: Info) -> Float32[np.ndarray, " 4"]:
        """Go on as before, or draw anew."""
        if torch.rand((), generator=self._generator).item() < self._stop_probability:
            return STOP.copy()
        if not self._queue:
            prior = self._prior
            noise = torch.randn(prior.num_numbers, generator=self._generator, dtype=prior.mean.dtype)
            drawn = prior.bounds.clamp(prior.mean + torch.linalg.cholesky(prior.covariance) @ noise)
            (move,) = to_moves(to_actions(drawn, prior)[:1])
            self._queue.extend(move.copy() for _ in range(self._hold_steps))
        return self._queue.popleft()


class StraightAheadAgent:
    """Walks straight on and stops after the mean distance of training goals: the best blind guess.

    Args:
        prior: Gives the bounds and the rounding.
        step_m: Length of a step: the mean of the training trajectories.
        goal_distance_m: Where it stops: the mean geodesic distance of training episodes' goals.
    """

    def __init__(self, prior: Prior, *, step_m: float, goal_distance_m: float) -> None:
        if not (step_m > 0 and goal_distance_m >= 0):
            raise ValueError(f"needed a positive step and a distance; got {step_m} and {goal_distance_m} m")
        step = prior.bounds.clamp(steady([step_m, 0.0, 0.0], prior))
        (self._step,) = to_moves(to_actions(step, prior)[:1])
        self._steps_left = round(goal_distance_m / float(step[0]))

    def act(self, observation: Observation, info: Info) -> Float32[np.ndarray, " 4"]:
        """Take another step, or stop."""
        self._steps_left -= 1
        return STOP.copy() if self._steps_left < 0 else self._step.copy()


@runtime_checkable
class Expert(Protocol):
    """Knows the map, and says what to do at a pose."""

    def act(self, pose: Float64[np.ndarray, " 3"]) -> Float32[np.ndarray, " 4"]:
        """Return (dx [m], dy [m], dyaw [rad], stop) at a pose [m, m, rad]."""
        ...


class ExpertAgent:
    """Does what an expert says, such as the follower of shortest paths; the upper bound of every table.

    Args:
        expert: Is told the true pose from `info`, which no other agent may read.
    """

    def __init__(self, expert: Expert) -> None:
        self._expert = expert

    def act(self, observation: Observation, info: Info) -> Float32[np.ndarray, " 4"]:
        """Pass the question on."""
        return self._expert.act(info["pose"])
