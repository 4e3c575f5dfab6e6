"""Counting: a world model that counts how often its network is asked."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from planners.protocols import WorldModel


class CountingModel:
    """A world model that answers as another one does, and counts evaluations.

    An evaluation is one pass of the network over one frame of one candidate: problems x candidates x frames x
    sampler steps of a rollout, and one for each text whose likelihood is asked. What a problem costs once,
    whatever the candidates (its context), and finished frames that are read as history, are not counted.
    """

    def __init__(self, world_model: WorldModel) -> None:
        self._world_model = world_model
        self.num_evaluations = 0

    def encode(self, frames: UInt8[Tensor, "batch height width 3"]) -> Float[Tensor, "batch token channel"]:
        """Return the latents of frames."""
        return self._world_model.encode(frames)

    def encode_context(self, frames: UInt8[Tensor, "problem frame height width 3"]) -> Any:
        """Return what rollouts of each problem share."""
        return self._world_model.encode_context(frames)

    def extend_context(self, context: Any, frames: UInt8[Tensor, "problem height width 3"]) -> Any:
        """Return a context followed by the goal's frame."""
        return self._world_model.extend_context(context, frames)

    def action_nats(
        self, context: Any, actions: Sequence[Sequence[str]]
    ) -> Float[Tensor, "problem candidate"]:
        """Return how unlikely the text of each problem's candidates is [nats]; counts one for each."""
        nats = self._world_model.action_nats(context, actions)
        self.num_evaluations += nats.numel()
        return nats

    def rollout(
        self,
        context: Any,
        actions: Sequence[Sequence[Sequence[str]]],
        *,
        num_steps: int,
        generator: torch.Generator,
    ) -> Float[Tensor, "problem candidate step token channel"]:
        """Imagine the frame after each action; counts every frame as often as the sampler steps."""
        latents = self._world_model.rollout(context, actions, num_steps=num_steps, generator=generator)
        self.num_evaluations += latents.shape[:3].numel() * num_steps
        return latents

    def decode(self, latents: Float[Tensor, "batch token channel"]) -> UInt8[Tensor, "batch height width 3"]:
        """Return frames to look at."""
        return self._world_model.decode(latents)
