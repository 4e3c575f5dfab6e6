"""Documents of driving: forward (context, action, frame), inverse (context, goal, action) and instructed."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Int64

from data_tools.action_text import format_actions
from data_tools.anchors import Anchors, context_images
from data_tools.document_config import DocumentConfig
from data_tools.documents import Branch, Document, FrameKey, Image, Kind, Text
from data_tools.pose import displacement_between
from data_tools.trajectory import Trajectory


class ForwardBuilder:
    """Context frames, then branches of action text and the frame that it leads to.

    An action is the displacement from the last context frame to the branch's frame, walls and all, and the
    time between them. Most branches are jumps over distinct horizons; some go on from their own frame.
    """

    def __init__(self, trajectories: Sequence[Trajectory], config: DocumentConfig) -> None:
        self._trajectories, self._config = trajectories, config
        self._anchors = Anchors(trajectories, room=config.num_targets + config.max_context - 1)

    def build(self, *, rng: np.random.Generator) -> Document:
        """Make a document of num_targets + max_context frames; of fewer where its trajectory has no more."""
        config = self._config
        anchor = self._anchors.draw(rng=rng)
        context = context_images(anchor, int(rng.integers(1, config.max_context + 1)))
        trajectory = self._trajectories[anchor.trajectory]
        num_targets = config.num_targets + config.max_context - len(context)
        num_frames = trajectory.num_frames
        lengths = _branch_lengths(num_targets, config.chain_share, rng=rng)
        horizons = _draw_horizons(len(lengths), num_frames - 1 - anchor.frame, config, lowest=0, rng=rng)
        paths = [
            _continue(anchor.frame + horizon, length, num_frames - 1, config.near_horizon, rng=rng)
            for horizon, length in zip(horizons.tolist(), lengths, strict=False)
        ]
        starts = [start for path in paths for start in (anchor.frame, *path[:-1])]
        texts = iter(action_texts(trajectory, starts, [end for path in paths for end in path]))
        kept = iter((rng.random(len(starts)) >= config.condition_dropout).tolist())
        branches = []
        for path in paths:
            segments = []
            for frame in path:
                text, image = next(texts), Image(FrameKey(anchor.trajectory, frame), is_target=True)
                segments.append((Text(text, config.action_weight), image) if next(kept) else (image,))
            branch = Branch(segments[-1])
            for earlier in reversed(segments[:-1]):
                branch = Branch(earlier, (branch,))
            branches.append(branch)
        return Document(Kind.forward, context, tuple(branches))


class InverseBuilder:
    """Context frames, then branches of a goal frame and the action text that leads there."""

    def __init__(self, trajectories: Sequence[Trajectory], config: DocumentConfig) -> None:
        self._trajectories, self._config = trajectories, config
        self._anchors = Anchors(trajectories, room=config.num_goals)

    def build(self, *, rng: np.random.Generator) -> Document:
        """Make a document of up to `num_goals` goals at distinct horizons."""
        config = self._config
        anchor = self._anchors.draw(rng=rng)
        context = context_images(anchor, int(rng.integers(1, config.max_context + 1)))
        trajectory = self._trajectories[anchor.trajectory]
        left = trajectory.num_frames - 1 - anchor.frame
        horizons = _draw_horizons(config.num_goals, left, config, lowest=1, rng=rng)
        goals = (anchor.frame + horizons).tolist()
        texts = action_texts(trajectory, [anchor.frame] * len(goals), goals)
        branches = tuple(
            Branch((Image(FrameKey(anchor.trajectory, goal), is_target=False), Text(text, 1.0)))
            for goal, text in zip(goals, texts, strict=True)
        )
        return Document(Kind.inverse, context, branches)


class InstructedBuilder:
    """Context frames, then branches of a command in plain language, the action text it means, and the frame.

    Commands that begin at one frame are the branches of one document. The command is given.
    """

    def __init__(self, trajectories: Sequence[Trajectory], config: DocumentConfig, *, held_out: bool) -> None:
        self._trajectories, self._config = trajectories, config
        groups: dict[FrameKey, list[tuple[str, int]]] = {}
        for index, trajectory in enumerate(trajectories):
            for text in trajectory.texts if trajectory.poses is not None else ():
                # Instructions are the texts with an end.
                if text.end_frame is not None and text.held_out == held_out:
                    groups.setdefault(FrameKey(index, text.frame), []).append((text.text, text.end_frame))
        if not groups:
            raise ValueError(
                f"none of {len(trajectories)} trajectories has instructions with held_out={held_out}; "
                "record some, or give instructed documents no weight"
            )
        self._groups = list(groups.items())

    def build(self, *, rng: np.random.Generator) -> Document:
        """Make a document of up to `num_goals` commands."""
        config = self._config
        anchor, commands = self._groups[int(rng.integers(len(self._groups)))]
        context = context_images(anchor, int(rng.integers(1, config.max_context + 1)))
        chosen = [commands[index] for index in rng.permutation(len(commands))[: config.num_goals].tolist()]
        trajectory = self._trajectories[anchor.trajectory]
        ends = [end for _, end in chosen]
        texts = action_texts(trajectory, [anchor.frame] * len(ends), ends)
        branches = tuple(
            Branch(
                (
                    Text(command, 0.0),
                    Text(text, 1.0),
                    Image(FrameKey(anchor.trajectory, end), is_target=True),
                )
            )
            for (command, end), text in zip(chosen, texts, strict=True)
        )
        return Document(Kind.instructed, context, branches)


def action_texts(trajectory: Trajectory, starts: Sequence[int], ends: Sequence[int]) -> list[str]:
    """Return the action from each start frame to its end frame as text."""
    assert trajectory.poses is not None
    actions = np.empty((len(starts), 4), dtype=np.float64)
    start, end = np.array(starts, dtype=np.int64), np.array(ends, dtype=np.int64)
    actions[:, :3] = displacement_between(trajectory.poses[start], trajectory.poses[end])
    actions[:, 3] = trajectory.times_s[end] - trajectory.times_s[start]
    try:
        return format_actions(actions)
    except ValueError as error:
        raise ValueError(
            f"trajectory {trajectory.name!r}, from frames {list(starts)} to {list(ends)}: {error}"
        ) from error


def horizon_weights(config: DocumentConfig, *, lowest: int) -> Float64[np.ndarray, " horizon"]:
    """Return how likely each horizon from `lowest` to max_horizon is, not normalised."""
    horizons = np.arange(lowest, config.max_horizon + 1)
    return np.where(horizons == 0, 0.5, np.where(horizons <= config.near_horizon, 2.0, 1.0))


def _draw_horizons(
    count: int, longest: int, config: DocumentConfig, *, lowest: int, rng: np.random.Generator
) -> Int64[np.ndarray, " branch"]:
    """Draw distinct horizons up to `longest` by weight, in random order; fewer than `count` if need be."""
    weights = horizon_weights(config, lowest=lowest)
    # The earliest of exponential waiting times are a weighted draw without replacement.
    waits = rng.standard_exponential(len(weights)) / weights
    order = np.argsort(waits[: longest - lowest + 1], kind="stable")
    return order[:count].astype(np.int64) + lowest


def _branch_lengths(num_targets: int, chain_share: float, *, rng: np.random.Generator) -> list[int]:
    """Share out frames among branches: most get one, some a chain of two or three."""
    draws = rng.random(num_targets).tolist()
    lengths = []
    while (left := num_targets - sum(lengths)) > 0:
        draw = draws[len(lengths)]
        # Within the share that goes on, the lower half of the draws gives two steps, the upper three.
        wanted = 1 if draw >= chain_share else 2 if draw < chain_share / 2 else 3
        lengths.append(min(wanted, left))
    return lengths


def _continue(
    frame: int, length: int, last_frame: int, longest_step: int, *, rng: np.random.Generator
) -> list[int]:
    """Return the frames of a branch: `frame`, then steps of 1 to `longest_step` while there are frames."""
    path = [frame]
    while len(path) < length and path[-1] < last_frame:
        path.append(path[-1] + int(rng.integers(1, min(longest_step, last_frame - path[-1]) + 1)))
    return path
