"""Faithfulness: do imagined frames show the motion that was commanded?

The motion in a frame is read by the same model as inverse dynamics: the median of the action texts that it
expects between a context and that frame. It errs by itself, so it reads true frames too, and these through
encoder and decoder; what it errs more on imagined frames is the imagination's. A mirrored command from the
same noise shows whether the side of a turn is heeded at all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from einops import repeat
from jaxtyping import Float64, UInt8
from torch import Tensor

from data_tools.action_text import format_actions, parse_actions
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
"""Texts that are weighed together: each token's likelihoods of a whole vocabulary are held for all."""

Reach = tuple[float, float, float]
"""How far |dx|, |dy| [m] and |dyaw| [rad] are looked for."""


@dataclass(frozen=True, kw_only=True)
class FaithfulnessShape:
    """What is commanded."""

    horizons_s: list[float] = field(default_factory=lambda: [1.0, 2.0])

    def __post_init__(self) -> None:
        if min(self.horizons_s, default=0.0) <= 0 or len(set(self.horizons_s)) < len(self.horizons_s):
            raise ValueError(f"needed positive faithfulness.horizons_s that differ; got {self.horizons_s}")


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
    return [_row(question, horizon_s, reaches[horizon_s], world_model) for horizon_s in shape.horizons_s]


def recover_motions(
    world_model: WorldModel, context: Any, *, num_problems: int, reach: Reach
) -> Float64[np.ndarray, "problem 3"]:
    """Return the motion that leads from each context to the goal it ends with, as the model reads it.

    Of dx the median of what the model expects, then of dy after that dx, then of dyaw after both. A text that
    breaks off within a number is as likely as all numbers that go on so, which gives the distribution in
    steps of a tenth, then of a hundredth about the median. The most likely whole text would be a wrong
    reading: 0.000, which robots that stand have exactly, outweighs any one of the thousandths of a motion.

    Args:
        world_model: Whose likelihood of action texts is taken.
        context: Contexts that end with a goal (`extend_context`).
        num_problems: Of the context.
        reach: What is farther than these is not looked for.

    Returns:
        dx, dy [m], dyaw [rad].
    """
    heads = ["action: "] * num_problems
    found = np.zeros((num_problems, 3))
    for axis, name in enumerate(("dx", "dy", "dyaw")):
        heads = [f"{head}{name}=" for head in heads]
        coarse = _tenths(reach[axis])
        shares = _shares(world_model, context, heads, [coarse] * num_problems)
        medians = [_quantile(own, 0.5) for own in shares]
        fine = [_hundredths(coarse.texts[cell]) for cell, _ in medians]
        shares = _shares(world_model, context, heads, fine)
        for problem, ((_, inside), cells, own) in enumerate(zip(medians, fine, shares, strict=True)):
            cell, rest = _quantile(own, inside)
            low, high = cells.edges[cell : cell + 2]
            found[problem, axis] = round(low + rest * (high - low), 3) + 0.0  # no -0.0
        heads = [f"{head}{value:+.3f}, " for head, value in zip(heads, found[:, axis].tolist(), strict=True)]
    return found


@dataclass(frozen=True)
class _Cells:
    """Neighbouring parts of a line of numbers, each by the text that its numbers begin with."""

    texts: list[str]
    edges: Float64[np.ndarray, " edge"]


def _tenths(reach: float) -> _Cells:
    """Cut [-reach, reach] into tenths, rounded up to whole ones."""
    count = int(np.ceil(reach * 10 - 1e-9))
    sizes = [f"{number / 10:.1f}" for number in range(count)]
    texts = [f"-{size}" for size in reversed(sizes)] + [f"+{size}" for size in sizes]
    return _Cells(texts, np.arange(-count, count + 1) / 10)


def _hundredths(tenth: str) -> _Cells:
    """Cut a tenth into hundredths, from low to high."""
    edges = abs(float(tenth)) + np.arange(11) / 100
    texts = [f"{tenth}{digit}" for digit in range(10)]
    return _Cells(texts[::-1], -edges[::-1]) if tenth.startswith("-") else _Cells(texts, edges)


def _shares(
    world_model: WorldModel, context: Any, heads: Sequence[str], cells: Sequence[_Cells]
) -> Float64[np.ndarray, "problem cell"]:
    """Return how likely each problem's cells are after its head, of all cells together."""
    texts = [[head + text for text in own.texts] for head, own in zip(heads, cells, strict=True)]
    nats = [
        world_model.action_nats(context, [own[start : start + AT_ONCE] for own in texts])
        for start in range(0, len(texts[0]), AT_ONCE)
    ]
    return torch.softmax(-torch.cat(nats, dim=1).double(), dim=1).numpy(force=True)


def _quantile(shares: Float64[np.ndarray, " cell"], wanted: float) -> tuple[int, float]:
    """Return the cell in which a quantile lies, and how far into it, in [0, 1]."""
    ends = shares.cumsum()
    cell = int(np.searchsorted(ends, wanted * ends[-1]).clip(0, len(shares) - 1))
    before = ends[cell] - shares[cell]
    inside = (wanted * ends[-1] - before) / shares[cell] if shares[cell] > 0 else 0.5
    return cell, float(np.clip(inside, 0.0, 1.0))


def _row(question: Question, horizon_s: float, reach: Reach, world_model: WorldModel) -> FaithfulnessRow:
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
    read = _read_motions(world_model, frames, goals, reach)
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
) -> Float64[np.ndarray, "goal 3"]:
    contexts = world_model.encode_context(repeat(frames, "... -> goal ...", goal=len(goals)))
    ended = world_model.extend_context(contexts, goals)
    return recover_motions(world_model, ended, num_problems=len(goals), reach=reach)


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
