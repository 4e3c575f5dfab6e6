"""PerfectModel: a world model of GridRoom that is never wrong, and problems in GridRoom."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from data_tools.action_text import parse_actions
from data_tools.trajectory import Trajectory
from planners.evaluation.problems import PlanningProblem, ProblemShape, cut_problems
from tests.envs.grid_room import LEVEL, GridRoom

HORIZON = 3


class PerfectModel:
    """Latents are the frame as one token; a context is the pose, known by its last frame.

    With `follows_room` a context is the pose of the room's running episode, whatever the frames.
    """

    def __init__(self, room: GridRoom, poses: Sequence[np.ndarray], *, follows_room: bool = False) -> None:
        self._room = room
        self._follows_room = follows_room
        self._size = room.frame_at(np.zeros(3) + 1.0).shape
        self._pose_of = {room.frame_at(pose).tobytes(): pose for pose in poses}
        self.num_imagined = 0

    def encode(self, frames: UInt8[Tensor, "batch height width 3"]) -> Float[Tensor, "batch token channel"]:
        return frames.flatten(1)[:, None].float() / 127.5 - 1  # batch 1 channel

    def encode_context(self, frames: UInt8[Tensor, "problem frame height width 3"]) -> list[np.ndarray]:
        if self._follows_room:
            return [self._room._pose]
        return [self._pose_of[each.numpy().tobytes()] for each in frames[:, -1]]

    def extend_context(self, context: list[np.ndarray], frames: Tensor) -> list[np.ndarray]:
        return context

    def action_nats(self, context: list[np.ndarray], actions: Sequence[Sequence[str]]) -> Tensor:
        return torch.zeros(len(actions), len(actions[0]))

    def rollout(
        self,
        context: list[np.ndarray],
        actions: Sequence[Sequence[Sequence[str]]],
        *,
        num_steps: int,
        generator: torch.Generator,
    ) -> Float[Tensor, "problem candidate step token channel"]:
        problems = []
        for pose, candidates in zip(context, actions, strict=True):
            self.num_imagined += len(candidates)
            problems.append(torch.stack([self._frames(pose, texts) for texts in candidates]))
        return torch.stack(problems)

    def decode(self, latents: Float[Tensor, "batch token channel"]) -> UInt8[Tensor, "batch height width 3"]:
        return ((latents + 1) * 127.5).round().to(torch.uint8)[:, 0].unflatten(1, self._size)

    def _frames(self, pose: np.ndarray, texts: Sequence[str]) -> Tensor:
        displacements = parse_actions(list(texts))[:, :3]
        drives = [self._room.drive(pose, displacements[: end + 1]) for end in range(len(texts))]
        return self.encode(torch.from_numpy(np.stack([drive.frame for drive in drives])))


def room_trajectory(room: GridRoom, *, num_frames: int = 8, name: str = "walk") -> Trajectory:
    """Return a walk on a wide arc in the free middle of the left room."""
    poses = [np.array([1.2, 2.2, 0.1])]
    for _ in range(num_frames - 1):
        poses.append(room.drive(poses[-1], np.array([[0.2, 0.01, 0.08]])).poses[0])
    return Trajectory(
        name=name,
        place=LEVEL,
        frames=[room.frame_at(pose) for pose in poses],
        poses=np.stack(poses),
        times_s=np.arange(num_frames) * 0.25,
    )


def room_problems(room: GridRoom, *, num_problems: int = 2) -> list[PlanningProblem]:
    """Return problems of three steps each."""
    return cut_problems(
        room_trajectory(room),
        ProblemShape(num_problems=num_problems, num_context=2, horizon=HORIZON),
        split="seen_levels",
        name="seen_levels/two_rooms/0",
        spacing_m=0.2,
        rng=np.random.default_rng(3),
    )
