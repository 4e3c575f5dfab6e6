"""ToyWorld: an empty plane whose frames spell the pose, and a world model that knows it perfectly."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Float64, UInt8
from torch import Tensor

from data_tools.action_text import parse_actions
from data_tools.pose import integrate, move

RANGE = np.array([16.0, 16.0, 2 * np.pi])


def frame_of(pose: Float64[np.ndarray, " 3"]) -> UInt8[np.ndarray, "2 1 3"]:
    """Write x, y in [-8, 8) m and yaw in [-pi, pi), 16 bits each: high bytes above, low bytes below."""
    code = np.round((pose / RANGE + 0.5) * 65536).astype(np.int64) % 65536
    return np.stack([code // 256, code % 256])[:, None].astype(np.uint8)


def poses_of(frames: UInt8[Tensor, "batch 2 1 3"]) -> Float64[np.ndarray, "batch 3"]:
    """Read the poses that frames spell."""
    bytes_ = frames.numpy().astype(np.float64)
    return ((bytes_[:, 0, 0] * 256 + bytes_[:, 1, 0]) / 65536 - 0.5) * RANGE


class ToyModel:
    """Imagines exactly; latents are 4 equal tokens (x, y, cos yaw, sin yaw). Counts what it was asked."""

    def __init__(self, noise: float = 0.0) -> None:
        self.noise = noise
        self.asked: list[tuple[int, int, int, int]] = []  # problems, candidates, texts, sampler steps

    def encode(self, frames: UInt8[Tensor, "batch 2 1 3"]) -> Float[Tensor, "batch 4 4"]:
        return _latents(poses_of(frames))

    def encode_context(
        self, frames: UInt8[Tensor, "problem frame 2 1 3"]
    ) -> Float64[np.ndarray, "problem 3"]:
        return poses_of(frames[:, -1])

    def extend_context(
        self, context: Float64[np.ndarray, "problem 3"], frames: UInt8[Tensor, "problem 2 1 3"]
    ) -> Float64[np.ndarray, "problem 2 3"]:
        return np.stack([context, poses_of(frames)], axis=1)

    def action_nats(
        self, context: Float64[np.ndarray, "problem 2 3"], actions: Sequence[Sequence[str]]
    ) -> Float[Tensor, "problem candidate"]:
        """Squared distance [m^2] from where an action, given without its time, ends to the goal."""
        steps = np.stack([parse_actions([f"{text}, dt=0.00" for text in own])[:, :3] for own in actions])
        starts = np.ascontiguousarray(np.broadcast_to(context[:, :1], steps.shape))
        off = move(starts, steps) - context[:, 1:]
        return torch.from_numpy((off[..., :2] ** 2).sum(axis=-1)).float()

    def rollout(
        self,
        context: Float64[np.ndarray, "problem 3"],
        actions: Sequence[Sequence[Sequence[str]]],
        *,
        num_steps: int,
        generator: torch.Generator,
    ) -> Float[Tensor, "problem candidate step 4 4"]:
        shape = (len(actions), len(actions[0]), len(actions[0][0]))
        self.asked.append((*shape, num_steps))
        texts = [text for problem in actions for candidate in problem for text in candidate]
        steps = parse_actions(texts)[:, :3].reshape(*shape, 3)
        starts = np.broadcast_to(context[:, None, None], steps.shape)
        poses = move(np.ascontiguousarray(starts), integrate(steps))
        latents = _latents(poses.reshape(-1, 3)).reshape(*shape, 4, 4)
        return latents + self.noise / num_steps * torch.randn(latents.shape[2:], generator=generator)

    def decode(self, latents: Float[Tensor, "batch 4 4"]) -> UInt8[Tensor, "batch 2 1 3"]:
        x, y, cosine, sine = latents[:, 0].double().numpy().T
        poses = np.stack([x, y, np.arctan2(sine, cosine)], axis=-1)
        return torch.from_numpy(np.stack([frame_of(pose) for pose in poses]))


def _latents(poses: Float64[np.ndarray, "batch 3"]) -> Float[Tensor, "batch 4 4"]:
    token = np.stack([poses[:, 0], poses[:, 1], np.cos(poses[:, 2]), np.sin(poses[:, 2])], axis=-1)
    return torch.from_numpy(np.repeat(token[:, None], 4, axis=1)).float()
