"""Imagined frames against true ones, in pixels of one size: what every representation can be held to.

A problem is a held-out context, the frames that truly followed, and the actions that led to them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from data_tools.action_documents import action_texts
from data_tools.randomness import generator_for, numpy_generator_for
from data_tools.trajectory import Trajectory
from worldmodel.ablation.measures import MeasureConfig
from worldmodel.predictor import WorldModel
from worldmodel.representation.resize import resize_frames

LEVELS = 255.0


@dataclass(frozen=True)
class Problems:
    """Contexts, what followed each after every horizon, the frame next to it, and the actions as text."""

    contexts: UInt8[Tensor, "problem frame height width 3"]
    followed: UInt8[Tensor, "problem horizon height width 3"]
    next: UInt8[Tensor, "problem height width 3"]
    actions: list[list[str]]
    """Of each problem one for each horizon."""
    drives: list[int]
    """The number of the drive that each was cut from; there are two at least."""

    @property
    def shuffled(self) -> list[list[str]]:
        """Actions of the nearest problem before that is of another drive: horizon by horizon of as long."""
        count, found = len(self.drives), []
        for problem, drive in enumerate(self.drives):
            earlier = range(problem - 1, problem - count, -1)
            found.append(next(self.actions[each] for each in earlier if self.drives[each] != drive))
        return found


def cut_problems(trajectories: Sequence[Trajectory], measure: MeasureConfig, *, seed: int) -> Problems:
    """Cut problems from trajectories with poses, none twice; ValueError if fewer than two are long enough."""
    first, last = measure.num_context - 1, max(measure.horizons)
    anchors = [
        (index, frame)
        for index, trajectory in enumerate(trajectories)
        if trajectory.poses is not None
        for frame in range(first, trajectory.num_frames - last)
    ]
    count = min(measure.num_problems, len(anchors))
    order = numpy_generator_for(seed, "ablation/problems").permutation(len(anchors))[:count].tolist()
    drives = [anchors[number][0] for number in order]
    if len(set(drives)) < 2:
        raise ValueError(
            f"needed {count} places in at least two of {len(trajectories)} held-out trajectories with "
            f"{first} frames before and {last} after them, found some in {len(set(drives))}; name more data, "
            "raise measure.num_problems, or lower measure.num_context or measure.horizons"
        )
    contexts, followed, following, actions = [], [], [], []
    for index, frame in (anchors[number] for number in order):
        trajectory = trajectories[index]
        ends = [frame + horizon for horizon in measure.horizons]
        contexts.append(_frames(trajectory, range(frame - first, frame + 1)))
        followed.append(_frames(trajectory, ends))
        following.append(_frames(trajectory, [frame + 1])[0])
        actions.append(action_texts(trajectory, [frame] * len(ends), ends))
    return Problems(torch.stack(contexts), torch.stack(followed), torch.stack(following), actions, drives)


def _frames(trajectory: Trajectory, numbers: Sequence[int]) -> UInt8[Tensor, "frame height width 3"]:
    return torch.from_numpy(np.stack([np.asarray(trajectory.frames[number]) for number in numbers]))


def measure_actions(
    model: WorldModel, problems: Problems, measure: MeasureConfig, *, seed: int
) -> dict[str, float]:
    """Imagine the frames after true and after shuffled actions, and compare them with what followed.

    `image/psnr_db`, of one-step drafts, and `image/psnr_sampled_db` are means over frames [dB];
    `image/error_of_copy` is the drafts' squared error over that of the last context frame (below 1 is better
    than to copy), `image/shuffled` that of drafts after another problem's action over that after the true one
    (1: actions are not heeded); `latent/...` are the same of latents.
    `image/psnr_copy_db` and `image/psnr_reconstruction_db` belong to the representation and the data: the
    copied last frame, and the true frame through encoder and decoder, which no imagined frame can be hoped
    to surpass.
    """
    num_problems, num_horizons = problems.followed.shape[:2]
    context = model.encode_context(problems.contexts)
    candidates = [
        [[text] for text in (*true, *other)]
        for true, other in zip(problems.actions, problems.shuffled, strict=True)
    ]
    generator = generator_for(seed, "ablation/rollout")
    drafts = model.rollout(context, candidates, num_steps=1, generator=generator)[:, :, 0]
    true_texts = [own[:num_horizons] for own in candidates]
    sampled = model.rollout(
        context, true_texts, num_steps=measure.num_steps, generator=generator_for(seed, "ablation/rollout")
    )[:, :, 0]
    followed = problems.followed.flatten(0, 1)
    latents = model.encode(followed)
    last = model.encode(problems.contexts[:, -1]).repeat_interleave(num_horizons, dim=0)
    draft, shuffled = (part.flatten(0, 1) for part in drafts.split(num_horizons, dim=1))
    size = measure.image_size
    truth = resize_frames(followed, image_size=size)
    copied = resize_frames(problems.contexts[:, -1], image_size=size).repeat_interleave(num_horizons, dim=0)
    squares = {
        "draft": _squares(_shown(model, draft, size), truth),
        "shuffled": _squares(_shown(model, shuffled, size), truth),
        "sampled": _squares(_shown(model, sampled.flatten(0, 1), size), truth),
        "copy": _squares(copied, truth),
        "reconstruction": _squares(_shown(model, latents, size), truth),
    }
    assert len(truth) == num_problems * num_horizons
    off = {name: (each - latents).square().mean() for name, each in
           {"draft": draft, "shuffled": shuffled, "copy": last}.items()}  # fmt: skip
    return {
        "image/psnr_db": psnr_db(squares["draft"]),
        "image/psnr_sampled_db": psnr_db(squares["sampled"]),
        "image/psnr_copy_db": psnr_db(squares["copy"]),
        "image/psnr_reconstruction_db": psnr_db(squares["reconstruction"]),
        "image/error_of_copy": (squares["draft"].mean() / squares["copy"].mean()).item(),
        "image/shuffled": (squares["shuffled"].mean() / squares["draft"].mean()).item(),
        "latent/error_of_copy": (off["draft"] / off["copy"]).item(),
        "latent/shuffled": (off["shuffled"] / off["draft"]).item(),
    }


def measure_next_frame(
    model: WorldModel, problems: Problems, measure: MeasureConfig, *, seed: int
) -> dict[str, float]:
    """Imagine the frame next to each context without an action, as in a video, by drafts of one step.

    `next/psnr_db` and `next/error_of_copy` are as in `measure_actions`.
    """
    context = model.encode_context(problems.contexts)
    # Guidance 0 is what follows from the context alone; the text is read and left out.
    texts = [[own[:1]] for own in problems.actions]
    generator = generator_for(seed, "ablation/rollout")
    imagined = model.rollout(context, texts, num_steps=1, generator=generator, guidance=0.0)[:, 0, 0]
    truth = resize_frames(problems.next, image_size=measure.image_size)
    copied = resize_frames(problems.contexts[:, -1], image_size=measure.image_size)
    squares = _squares(_shown(model, imagined, measure.image_size), truth)
    return {
        "next/psnr_db": psnr_db(squares),
        "next/error_of_copy": (squares.mean() / _squares(copied, truth).mean()).item(),
    }


def psnr_db(squares: Float[Tensor, " frame"]) -> float:
    """Return the mean over frames of the peak signal-to-noise ratio; squared errors in grey levels."""
    return (10 * torch.log10(LEVELS**2 / squares.clamp(min=1e-3))).mean().item()


def _squares(
    made: UInt8[Tensor, "frame height width 3"], true: UInt8[Tensor, "frame height width 3"]
) -> Float[Tensor, " frame"]:
    return (made.float() - true.float()).square().mean(dim=(1, 2, 3))


def _shown(
    model: WorldModel, latents: Float[Tensor, "frame token channel"], image_size: int
) -> UInt8[Tensor, "frame {image_size} {image_size} 3"]:
    parts = [model.decode(part).cpu() for part in latents.split(64)]
    return resize_frames(torch.cat(parts), image_size=image_size)
