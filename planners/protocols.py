"""Protocols: what planners need of a world model, a simulator and an expert, whoever provides them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, UInt8
from torch import Tensor

Observation = Mapping[str, np.ndarray]
"""What an agent sees: `image` and `goal`, each uint8[H, W, 3]."""

Info = Mapping[str, Any]
"""What an environment tells about the truth: poses, collisions, distances. Only experts may read it."""

STOP = np.array([0.0, 0.0, 0.0, 1.0], dtype=np.float32)
"""The action that ends an episode; copy it."""


@runtime_checkable
class WorldModel(Protocol):
    """Imagines where actions written as text lead."""

    def encode(self, frames: UInt8[Tensor, "batch height width 3"]) -> Float[Tensor, "batch token channel"]:
        """Return the latents of frames, to be compared with those of rollouts."""
        ...

    def encode_context(self, frames: UInt8[Tensor, "problem frame height width 3"]) -> Any:
        """Return what rollouts of each problem share, oldest frame first; opaque to planners."""
        ...

    def extend_context(self, context: Any, frames: UInt8[Tensor, "problem height width 3"]) -> Any:
        """Return a context followed by one more frame of each problem, the goal's."""
        ...

    def action_nats(
        self, context: Any, actions: Sequence[Sequence[str]]
    ) -> Float[Tensor, "problem candidate"]:
        """Return how unlikely the text of each problem's candidates is after a context [nats]."""
        ...

    def rollout(
        self,
        context: Any,
        actions: Sequence[Sequence[Sequence[str]]],
        *,
        num_steps: int,
        generator: torch.Generator,
    ) -> Float[Tensor, "problem candidate step token channel"]:
        """Imagine the frame after each action; texts are nested as problem, candidate, step.

        `num_steps` are steps of the flow sampler. Candidates of a problem share their noise.
        """
        ...

    def decode(self, latents: Float[Tensor, "batch token channel"]) -> UInt8[Tensor, "batch height width 3"]:
        """Return frames to look at."""
        ...


@runtime_checkable
class ActionProposer(Protocol):
    """Writes actions that lead to a goal, without search."""

    def propose_actions(
        self,
        context: Any,
        *,
        num_proposals: int,
        duration_s: float,
        generators: Sequence[torch.Generator],
    ) -> Sequence[Sequence[str]]:
        """Return texts of actions of that duration, nested as problem and proposal.

        The context ends with the goal (`WorldModel.extend_context`); each problem consumes its generator.
        """
        ...


@runtime_checkable
class Captioner(Protocol):
    """Tells how well words describe what latents show."""

    def caption_nats(
        self, latents: Float[Tensor, "batch token channel"], texts: Sequence[str]
    ) -> Float[Tensor, " batch"]:
        """Return how unlikely the caption of each frame is [nats]; the frames may be imagined."""
        ...


@runtime_checkable
class DifferentiableModel(Protocol):
    """Tells how the cost of what actions lead to changes with their numbers."""

    def cost_gradients(
        self,
        context: Any,
        actions: Sequence[Sequence[Sequence[str]]],
        cost: Callable[[Float[Tensor, "problem candidate token channel"]], Tensor],
        *,
        num_steps: int,
        generator: torch.Generator,
    ) -> tuple[Float[Tensor, "problem candidate"], Float[Tensor, "problem candidate step 4"]]:
        """Return the costs of candidates' last latents, and their gradients by (dx, dy, dyaw, dt)."""
        ...


@runtime_checkable
class Drive(Protocol):
    """What driving a candidate showed."""

    @property
    def frame(self) -> UInt8[np.ndarray, "height width 3"]:
        """The view at the end."""
        ...

    @property
    def poses(self) -> Float64[np.ndarray, "step 3"]:
        """The absolute pose after each step [m, m, rad]."""
        ...


@runtime_checkable
class Simulator(Protocol):
    """The true world, which can be set to any pose and driven from there, walls included."""

    def drive(
        self, start_pose: Float64[np.ndarray, " 3"], displacements: Float64[np.ndarray, "step 3"]
    ) -> Drive:
        """Start at rest at a pose, try each displacement in turn, and show where that led."""
        ...


@runtime_checkable
class Agent(Protocol):
    """Acts in one episode; made anew for the next."""

    def act(self, observation: Observation, info: Info) -> Float32[np.ndarray, " 4"]:
        """Return (dx [m], dy [m], dyaw [rad], stop); above 0.5 stops."""
        ...
