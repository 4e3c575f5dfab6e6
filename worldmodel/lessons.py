"""Lessons: what a teacher's long sampler makes of noise, for a student to do in a step or two.

A lesson is a batch of contexts, actions and noise, and for each the latents to which the teacher's sampler
carries that noise. It is a function of its number, made once and kept on disk. No recording tells the end
points: actions may be those of other places, as in a search.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from data_tools.action_documents import action_texts
from data_tools.anchors import Anchors, context_images
from data_tools.documents import Branch, Document, FrameKey, Image, Kind, Text
from data_tools.randomness import generator_for, numpy_generator_for, planning_noise
from data_tools.trajectory import Trajectory
from worldmodel.documents import LatentSource, PackedBatch, Packer
from worldmodel.flow import FlowConfig
from worldmodel.predictor import WorldModel
from worldmodel.tensor_file import read_tensors, write_tensors


@dataclass(frozen=True, kw_only=True)
class LessonConfig:
    """What is taught, and how well the teacher samples it."""

    num_rows: int = 14
    """Contexts of a lesson, one a row."""
    num_candidates: int = 7
    """Actions of each context."""
    true_share: float = 0.3
    """Share of actions that were driven from their context; the others were driven elsewhere."""
    min_context: int = 1
    max_context: int = 4
    min_horizon: int = 1
    max_horizon: int = 16
    """Shortest and longest action [frames]; a student learns best what it is asked: a plan's horizon."""
    teacher_steps: int = 25
    noise_seeds: list[int] = field(default_factory=list)
    """Noises that lessons are of, in turn, shared by all candidates: those from which a planner imagines with
    one of these as its `noise_seed`. Empty: every candidate of every lesson has its own."""

    def __post_init__(self) -> None:
        smallest = min(self.num_rows, self.num_candidates, self.min_context, self.min_horizon)
        if min(smallest, self.teacher_steps) < 1 or not 0 <= self.true_share <= 1:
            raise ValueError(
                "num_rows, num_candidates, min_context, min_horizon and teacher_steps must be at least 1, "
                f"true_share in [0, 1]; got {self}"
            )
        if self.min_context > self.max_context or self.min_horizon > self.max_horizon:
            raise ValueError(f"needed min_context <= max_context and min_horizon <= max_horizon; got {self}")


@dataclass(frozen=True)
class Lesson:
    """A packed batch whose targets are the teacher's end points, and the noise that each came from.

    Times of targets are 0; latents and noise are those of `PackedBatch.latents`.
    """

    batch: PackedBatch
    noise: Float[Tensor, "row token generated"]


class Lessons:
    """The lessons of one teacher, seed and set of recordings, in a folder of their own.

    A folder that holds the lessons of another teacher must not be used: `folder` names what they depend on.
    """

    def __init__(
        self,
        teacher: WorldModel,
        trajectories: Sequence[Trajectory],
        latents: LatentSource,
        config: LessonConfig,
        *,
        tokens_per_row: int,
        seed: int,
        folder: Path,
    ) -> None:
        lengths = [each.num_frames for each in trajectories if each.poses is not None]
        if max(lengths, default=0) < config.max_context + config.max_horizon:
            raise ValueError(
                f"needed a recording of at least {config.max_context + config.max_horizon} frames with poses "
                f"to draw lessons from, the longest has {max(lengths, default=0)}; lower lessons.max_context "
                "or lessons.max_horizon, or name longer recordings"
            )
        self._teacher = WorldModel(
            teacher.transfusion,
            teacher.tokenizer,
            teacher.representation,
            prediction=teacher.prediction,
            dtype=teacher.dtype,
            sampling_shift=teacher.sampling_shift,
            is_noise_shared=bool(config.noise_seeds),
        )
        self._trajectories, self._latents = trajectories, latents
        self._config, self._tokens_per_row, self._seed = config, tokens_per_row, seed
        self._anchors = Anchors(trajectories, room=config.max_horizon)
        self.folder = folder

    def make(self, number: int) -> None:
        """Write the end points of a lesson, unless they are there."""
        path = self._path(number)
        if path.is_file():
            return
        contexts, texts = self._draw(number)
        frames = np.stack([[self._pixels(image.frame) for image in images] for images in contexts])
        ends = self._teacher.rollout(
            self._teacher.encode_context(torch.from_numpy(frames)),
            [[[text] for text in own] for own in texts],
            num_steps=self._config.teacher_steps,
            generator=self._noise_of(number),
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(path, {"ends": ends[:, :, 0].half()})

    def load(self, number: int) -> Lesson:
        """Return a lesson, after making what is missing of it."""
        self.make(number)
        ends = read_tensors(self._path(number))["ends"].float()
        shape = ends.shape[2:] if self._config.noise_seeds else ends.shape
        noise = torch.randn(shape, generator=self._noise_of(number)).expand(ends.shape)
        contexts, texts = self._draw(number)
        source = _LessonLatents(self._latents, len(self._trajectories), torch.cat((ends, noise), dim=-1))
        packer = Packer(
            self._teacher.tokenizer,
            source,
            FlowConfig(clean_context_share=1.0),
            num_rows=len(contexts),
            tokens_per_row=self._tokens_per_row,
            latents_per_frame=ends.shape[2],
        )
        rows = packer.empty()
        for row, (images, own) in enumerate(zip(contexts, texts, strict=True)):
            document = Document(Kind.forward, images, source.branches(row, own))
            has_room = rows.place(document, packer.length(document))
            assert has_room, "there are as many rows as documents"
        batch = packer.pack(rows, rng=numpy_generator_for(self._seed, "lessons/times", rank=number))
        num_generated = ends.shape[-1]
        latents, packed_noise = batch.latents[..., :-num_generated], batch.latents[..., -num_generated:]
        times = torch.where(batch.is_flow_target, 0.0, batch.times)
        taught = replace(batch, latents=latents.contiguous(), times=times)
        return Lesson(taught, packed_noise.contiguous())

    def _noise_of(self, number: int) -> torch.Generator:
        """Return what draws a lesson's noise: with `noise_seeds`, as for a planner that is given the seed."""
        seeds = self._config.noise_seeds
        if seeds:
            return planning_noise(seeds[number % len(seeds)])
        return generator_for(self._seed, "lessons/noise", rank=number)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06d}.safetensors"

    def _draw(self, number: int) -> tuple[list[tuple[Image, ...]], list[list[str]]]:
        """Choose the contexts of a lesson, of equally many frames each, and their actions."""
        config = self._config
        rng = numpy_generator_for(self._seed, "lessons", rank=number)
        num_frames = int(rng.integers(config.min_context, config.max_context + 1))
        contexts, texts = [], []
        while len(contexts) < config.num_rows:
            anchor = self._anchors.draw(rng=rng)
            images = context_images(anchor, num_frames)
            if len(images) < num_frames:
                continue
            is_true = rng.random(config.num_candidates) < config.true_share
            starts = [anchor if own else self._anchors.draw(rng=rng) for own in is_true.tolist()]
            contexts.append(images)
            texts.append([self._action(start, rng=rng) for start in starts])
        return contexts, texts

    def _action(self, start: FrameKey, *, rng: np.random.Generator) -> str:
        """Return the text of what was driven from a frame on, for up to `max_horizon` frames."""
        trajectory = self._trajectories[start.trajectory]
        longest = min(self._config.max_horizon, trajectory.num_frames - 1 - start.frame)
        shortest = min(self._config.min_horizon, longest)
        end = start.frame + int(rng.integers(shortest, longest + 1))
        (text,) = action_texts(trajectory, [start.frame], [end])
        return text

    def _pixels(self, key: FrameKey) -> np.ndarray:
        return self._trajectories[key.trajectory].frames[key.frame]


class _LessonLatents:
    """Latents and noise side by side: of the recordings' frames (without noise) and of a lesson's targets."""

    def __init__(
        self,
        recorded: LatentSource,
        num_trajectories: int,
        targets: Float[Tensor, "row candidate token both"],
    ) -> None:
        self._recorded, self._own = recorded, num_trajectories
        self._shape = targets.shape
        self._targets = rearrange(targets, "row candidate token both -> (row candidate) token both")

    @property
    def num_context_channels(self) -> int:
        """Channels that frames are looked at with, if those are others; targets have none."""
        return self._recorded.num_context_channels

    @property
    def num_channels(self) -> int:
        """Generated channels and those of noise together."""
        return self._targets.shape[-1]

    def branches(self, row: int, texts: Sequence[str]) -> tuple[Branch, ...]:
        """Return the branches of a row's document: an action and its target each."""
        first = row * self._shape[1]
        return tuple(
            Branch((Text(text, 0.0), Image(FrameKey(self._own, first + index), is_target=True)))
            for index, text in enumerate(texts)
        )

    def lookup(self, keys: Sequence[FrameKey]) -> Float[Tensor, "frame token channel"]:
        """Return what stands at each key; a recording's frames have no noise."""
        is_target = torch.tensor([key.trajectory == self._own for key in keys])
        found = torch.zeros(len(keys), self._shape[2], self.num_context_channels + self.num_channels)
        targets = self._targets[[key.frame for key in keys if key.trajectory == self._own]]
        found[is_target, :, self.num_context_channels :] = targets
        recorded = self._recorded.lookup([key for key in keys if key.trajectory != self._own])
        found[~is_target, :, : recorded.shape[-1]] = recorded
        return found
