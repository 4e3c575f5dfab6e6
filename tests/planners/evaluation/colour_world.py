"""Colour world: frames of one colour that says the pose, and models that imagine and read such frames."""

import math
import re
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor

from data_tools.action_text import parse_actions
from data_tools.pose import displacement_between, move
from data_tools.trajectory import Trajectory

LEVELS_PER_UNIT, MIDDLE = 40.0, 128.0
"""A level of colour is 2.5 cm, or 0.025 rad."""
SIGMA = 0.03
NUMBER = re.compile(r"[+-][0-9]+\.[0-9]+")
SIDE_PX = 5
"""Of decoded frames; recorded ones are 4 x 6."""


def colours(poses: np.ndarray) -> np.ndarray:
    return np.clip(MIDDLE + LEVELS_PER_UNIT * poses, 0, 255)


def drive(
    motion: Sequence[float] = (0.1, 0.02, 0.1),
    *,
    num_frames: int = 16,
    name: str = "drive",
    broken: Sequence[int] = (),
) -> Trajectory:
    """Return a recording at four frames a second that moves alike at each step, from the pose (0, 0, 0)."""
    poses = np.zeros((num_frames, 3))
    for frame in range(1, num_frames):
        poses[frame] = move(poses[frame - 1], np.array(motion))
    pixels = np.broadcast_to(colours(poses).round().astype(np.uint8)[:, None, None], (num_frames, 4, 6, 3))
    return Trajectory(
        name=name,
        place="yard",
        frames=BrokenFrames(pixels, broken),
        poses=poses,
        times_s=np.arange(num_frames) * 0.25,
    )


class BrokenFrames:
    """Frames of which some do not decode."""

    def __init__(self, pixels: np.ndarray, broken: Sequence[int]) -> None:
        self._pixels, self._broken = pixels, set(broken)

    def __len__(self) -> int:
        return len(self._pixels)

    def __getitem__(self, index: int, /) -> np.ndarray:
        if index in self._broken:
            raise ValueError(f"{index}.jpg is not a readable JPEG or PNG")
        return self._pixels[index]


class ColourModel:
    """Imagines the colour of the pose that an action leads to, with noise of some levels.

    `heed` scales the turn that is imagined: 1 is right, 0 heeds nothing but the way, -1 turns the other way.
    """

    def __init__(self, *, noise: float = 0.0, heed: float = 1.0, still: float = 0.0) -> None:
        self.noise, self.heed, self.still = noise, heed, still
        self.told: list[list[list[str]]] = []

    def encode(self, frames: Tensor) -> Tensor:
        return frames.float().mean(dim=(1, 2))[:, None]  # batch 1 rgb

    def encode_context(self, frames: Tensor) -> list[np.ndarray]:
        return [self._pose(each[-1]) for each in frames]

    def extend_context(self, context: list[np.ndarray], frames: Tensor) -> list[np.ndarray]:
        return [
            displacement_between(start, self._pose(goal)) for start, goal in zip(context, frames, strict=True)
        ]

    def action_nats(self, context: list[np.ndarray], actions: Sequence[Sequence[str]]) -> Tensor:
        """Return how unlikely texts are that break off within a number: it may go on in any way.

        Numbers are normal about the true motion with a deviation of SIGMA, but for a share `still` of the
        likelihood, which 0.000 has alone.
        """
        return torch.tensor(
            [
                [self._nats(text, motion) for text in own]
                for motion, own in zip(context, actions, strict=True)
            ],
            dtype=torch.float32,
        )

    def _nats(self, text: str, motion: np.ndarray) -> float:
        *_, last = NUMBER.findall(text)
        axis = text.count("=") - 1
        near, far = abs(float(last)), abs(float(last)) + 10.0 ** -len(last.split(".")[1])
        low, high = (-far, -near) if last.startswith("-") else (near, far)
        spread = NormalDist(float(motion[axis]), SIGMA)
        is_zero = last.startswith("+0.0") and near == 0
        share = (1 - self.still) * (spread.cdf(high) - spread.cdf(low)) + self.still * is_zero
        return -math.log(max(share, 1e-30))

    def rollout(
        self,
        context: list[np.ndarray],
        actions: Sequence[Sequence[Sequence[str]]],
        *,
        num_steps: int,
        generator: torch.Generator,
    ) -> Tensor:
        self.told += [[list(texts) for texts in own] for own in actions]
        latents = torch.tensor(
            np.array(
                [
                    [self._path(pose, texts) for texts in own]
                    for pose, own in zip(context, actions, strict=True)
                ]
            ),
            dtype=torch.float32,
        )
        drawn = torch.randn(latents.shape[2:], generator=generator)  # one noise for all candidates
        return (latents + self.noise * drawn)[:, :, :, None]

    def decode(self, latents: Tensor) -> Tensor:
        levels = latents.clamp(0, 255).round().to(torch.uint8)  # batch 1 rgb
        return levels[:, :, None].expand(-1, SIDE_PX, SIDE_PX, -1)

    def _path(self, pose: np.ndarray, texts: Sequence[str]) -> list[np.ndarray]:
        found = []
        for motion in parse_actions(list(texts))[:, :3] * np.array([1.0, abs(self.heed), self.heed]):
            pose = move(pose, motion)
            found.append(colours(pose))
        return found

    def _pose(self, frame: Tensor) -> np.ndarray:
        return (frame.double().mean(dim=(0, 1)).numpy() - MIDDLE) / LEVELS_PER_UNIT
