"""Faithfulness: do imagined frames show the motion that was commanded?

The motion in a frame is read by the same model as inverse dynamics: the most likely action text between a
context and that frame. It errs by itself, so it reads true frames too, and these through encoder and decoder;
what it errs more on imagined frames is the imagination's. A mirrored command from the same noise shows
whether the side of a turn is heeded at all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from einops import repeat
from jaxtyping import Float64, UInt8
from torch import Tensor

from data_tools.action_text import format_actions, parse_actions, round_actions, without_time
from data_tools.pose import displacement_between
from data_tools.trajectory import Trajectory
from planners.evaluation.frame_metrics import latent_squared, to_square
from planners.evaluation.prediction_measures import Question, read_context, read_frames
from planners.evaluation.prediction_rows import Status
from planners.evaluation.prediction_windows import frame_at, frames_ahead, motion_texts
from planners.evaluation.records import Provenance
from planners.protocols import WorldModel

MIRROR = np.array([1.0, -1.0, -1.0, 1.0])
"""Ahead stays, left becomes right."""
REACH_QUANTILE, REACH_MARGIN, LEAST_REACH = 0.99, 1.25, 0.05
"""Motions are looked for within this many times what this share of a data set's motions stays below, and at
least 5 cm and 0.05 rad to each side."""
AT_ONCE = 128
"""Candidates that are weighed together: each token's likelihoods of a whole vocabulary are held for all."""
REFINED = (5, 5, 5)
"""Candidates along dx, dy, dyaw when a search is refined."""

Reach = tuple[float, float, float]
"""How far |dx|, |dy| [m] and |dyaw| [rad] are looked for."""


@dataclass(frozen=True, kw_only=True)
class FaithfulnessShape:
    """What is commanded, and how finely motion is read."""

    horizons_s: list[float] = field(default_factory=lambda: [1.0, 2.0])
    grid: list[int] = field(default_factory=lambda: [9, 5, 9])
    """Candidates along dx, dy, dyaw of the first search, odd so that no motion is one of them."""
    num_refinements: int = 3
    """Searches about the best so far, each with half the distances."""

    def __post_init__(self) -> None:
        if not self.horizons_s or min(self.horizons_s) <= 0 or self.num_refinements < 1:
            raise ValueError(
                "needed positive faithfulness.horizons_s and num_refinements of at least 1; got "
                f"{self.horizons_s} and {self.num_refinements}"
            )
        if len(self.grid) != 3 or any(count < 3 or count % 2 == 0 for count in self.grid):
            raise ValueError(f"faithfulness.grid must be three odd numbers of at least 3; got {self.grid}")


@dataclass(frozen=True, kw_only=True)
class FaithfulnessRow:
    """One command after one window, and the motion that frames show; motions are dx, dy [m], dyaw [rad]."""

    provenance: Provenance
    window: str
    horizon_s: float
    status: str
    error: str | None
    trajectory: str
    frame: int
    elapsed_s: float | None
    commanded: tuple[float, ...]
    """What truly happened; empty where nothing was measured, as all motions here."""
    from_true: tuple[float, ...]
    """Read from the true frame: the error of the inverse model alone."""
    from_reconstruction: tuple[float, ...]
    """The same through the representation's encoder and decoder, as imagined frames come."""
    from_imagined: tuple[float, ...]
    from_mirrored: tuple[float, ...]
    """Read from the frame imagined for the mirrored command, from the same noise."""
    distance: float | None
    """Mean squared distance of the true frame's latents from those imagined for the command."""
    mirrored_distance: float | None
    """The same for the mirrored command."""


def reach_of(trajectories: Sequence[Trajectory], horizon_s: float) -> Reach:
    """Return within which motions over a horizon are looked for, from all motions of a data set.

    ValueError if there are none.
    """
    motions = []
    for trajectory in trajectories:
        ends = frames_ahead(trajectory, horizon_s)
        if trajectory.poses is not None:
            starts = np.flatnonzero(ends >= 0)
            motions.append(displacement_between(trajectory.poses[starts], trajectory.poses[ends[starts]]))
    found = np.concatenate(motions) if motions else np.zeros((0, 3))
    if not len(found):
        raise ValueError(f"no recording with poses is {horizon_s} s long; lower faithfulness.horizons_s")
    sides = np.maximum(REACH_MARGIN * np.quantile(np.abs(found), REACH_QUANTILE, axis=0), LEAST_REACH)
    return float(sides[0]), float(sides[1]), float(min(sides[2], np.pi))


def measure_faithfulness(
    question: Question, shape: FaithfulnessShape, reaches: Mapping[float, Reach], world_model: WorldModel
) -> list[FaithfulnessRow]:
    """Imagine the true motion and its mirror after a window, and read the motion back, a row a horizon.

    Args:
        question: The window; of its shape the context and the sampler's steps count.
        shape: What is commanded.
        reaches: Of each horizon.
        world_model: Imagines and reads.

    Returns:
        Rows; what cannot be measured is a row that says why.
    """
    return [_row(question, horizon_s, shape, reaches, world_model) for horizon_s in shape.horizons_s]


def recover_motions(
    world_model: WorldModel, context: Any, *, num_problems: int, reach: Reach, shape: FaithfulnessShape
) -> Float64[np.ndarray, "problem 3"]:
    """Return the motion that leads from each context to the goal it ends with, as the model reads it.

    First the most likely of a grid over the whole reach, then of ever finer ones about the best. What comes
    back is the mean of the last grid weighed by likelihood: its texts differ in digits that say little.

    Args:
        world_model: Whose likelihood of action texts is taken.
        context: Contexts that end with a goal (`extend_context`).
        num_problems: Of the context.
        reach: Half the sides of the box that is searched.
        shape: The grids.

    Returns:
        dx, dy [m], dyaw [rad].
    """
    limits = np.array(reach)
    best = np.zeros((num_problems, 3))
    offsets = _grid(shape.grid, limits)
    step = 2 * limits / (np.array(shape.grid) - 1)
    found = best
    for _ in range(1 + shape.num_refinements):
        candidates = np.clip(best[:, None] + offsets, -limits, limits)
        motions = round_actions(np.concatenate([candidates, np.ones_like(candidates[..., :1])], axis=-1))
        texts = [[without_time(text) for text in format_actions(own)] for own in motions]
        nats = torch.cat(
            [
                world_model.action_nats(context, [own[start : start + AT_ONCE] for own in texts])
                for start in range(0, len(offsets), AT_ONCE)
            ],
            dim=1,
        ).double()
        best = motions[np.arange(num_problems), nats.argmin(dim=1).numpy(), :3]
        weights = torch.softmax(-nats, dim=1).numpy()
        found = (weights[..., None] * motions[..., :3]).sum(axis=1)
        offsets, step = _grid(REFINED, step), step / 2
    return found


def _grid(counts: Sequence[int], sides: Float64[np.ndarray, " 3"]) -> Float64[np.ndarray, "candidate 3"]:
    """Return evenly spaced offsets from -side to side along each axis, all combinations."""
    axes = [np.linspace(-side, side, count) for side, count in zip(sides, counts, strict=True)]
    return np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")], axis=-1)


def _row(
    question: Question,
    horizon_s: float,
    shape: FaithfulnessShape,
    reaches: Mapping[float, Reach],
    world_model: WorldModel,
) -> FaithfulnessRow:
    window = question.window
    frame = frame_at(window, horizon_s)
    if frame is None:
        return _empty(question, horizon_s, Status.too_short, f"{window.trajectory.name} has no frame there")
    try:
        frames = read_context(window, question.shape.num_context)
        true = read_frames(window.trajectory, [frame])
        (commanded,) = parse_actions(motion_texts(window.trajectory, [window.frame, frame]))
    except (ValueError, OSError) as error:
        return _empty(question, horizon_s, Status.failed, str(error))
    texts = [[text] for text in format_actions(np.stack([commanded, commanded * MIRROR]))]
    generator = question.generator(f"faithfulness/{horizon_s:g}")
    context = world_model.encode_context(frames[None])
    imagined = world_model.rollout(context, [texts], num_steps=question.shape.num_steps, generator=generator)[
        0, :, 0
    ]
    latents = world_model.encode(true)
    distances = latent_squared(imagined, latents.expand_as(imagined)).tolist()
    shown = world_model.decode(torch.cat([latents.to(imagined), imagined])).cpu()
    goals = torch.cat([to_square(true, size_px=shown.shape[1]), shown])
    read = _read_motions(world_model, frames, goals, reaches[horizon_s], shape)
    seen, reconstructed, followed, mirrored = (tuple(motion) for motion in read.tolist())
    times_s = window.trajectory.times_s
    return FaithfulnessRow(
        provenance=question.provenance,
        window=window.name,
        horizon_s=horizon_s,
        status=Status.measured.name,
        error=None,
        trajectory=window.trajectory.name,
        frame=window.frame,
        elapsed_s=float(times_s[frame] - times_s[window.frame]),
        commanded=tuple(commanded[:3].tolist()),
        from_true=seen,
        from_reconstruction=reconstructed,
        from_imagined=followed,
        from_mirrored=mirrored,
        distance=distances[0],
        mirrored_distance=distances[1],
    )


def _read_motions(
    world_model: WorldModel,
    frames: UInt8[Tensor, "frame height width 3"],
    goals: UInt8[Tensor, "goal goal_height goal_width 3"],
    reach: Reach,
    shape: FaithfulnessShape,
) -> Float64[np.ndarray, "goal 3"]:
    contexts = world_model.encode_context(repeat(frames, "... -> goal ...", goal=len(goals)))
    ended = world_model.extend_context(contexts, goals)
    return recover_motions(world_model, ended, num_problems=len(goals), reach=reach, shape=shape)


def _empty(question: Question, horizon_s: float, status: Status, error: str) -> FaithfulnessRow:
    return FaithfulnessRow(
        provenance=question.provenance,
        window=question.window.name,
        horizon_s=horizon_s,
        status=status.name,
        error=error,
        trajectory=question.window.trajectory.name,
        frame=question.window.frame,
        elapsed_s=None,
        commanded=(),
        from_true=(),
        from_reconstruction=(),
        from_imagined=(),
        from_mirrored=(),
        distance=None,
        mirrored_distance=None,
    )
