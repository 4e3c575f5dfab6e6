"""Evaluate: the function from candidates to costs, made from a world model, a simulator or the true pose."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import numpy as np
import torch
from einops import rearrange, repeat
from jaxtyping import Float, Float64, UInt8
from torch import Tensor

from data_tools.action_text import format_actions, without_time
from data_tools.pose import compose, displacement_between
from data_tools.randomness import planning_noise
from planners.candidates import to_jumps
from planners.costs import Distance, latent_cost, pixel_cost
from planners.plan import Evaluate, Refining
from planners.protocols import Simulator, WorldModel

LatentGoal = Callable[[Float[Tensor, "problem sample token channel"]], Float[Tensor, "problem sample"]]
"""The cost of last latents, with each problem's goal inside."""

FrameGoal = Callable[[UInt8[Tensor, "problem sample height width 3"]], Float[Tensor, "problem sample"]]
"""The cost of last frames, with each problem's goal inside."""

YAW_M = 0.5
"""What a radian of heading counts in metres when a final pose is scored."""


class Mode(Enum):
    """How a candidate is imagined."""

    jump = "jump"
    """One action for the whole horizon, one frame."""

    steps = "steps"
    """One action and one frame a step, each seen by the next."""


@dataclass(frozen=True, kw_only=True)
class ImaginationConfig:
    """How a world model imagines candidates, and how well."""

    mode: Mode = Mode.jump
    num_steps: int = 1
    """Sampler steps for every candidate; one step of x-prediction is the conditional mean, a draft."""
    refine_steps: int = 4
    """Sampler steps of the candidates that are imagined again (`refine_top` of each search)."""
    noise_seed: int | None = None
    """Imagine every plan from the noise of this seed: one fixed scenario of what actions do not tell, as in
    PEGASUS (arXiv 1301.3878), for which a model may have been distilled (`LessonConfig.noise_seeds`). None:
    from the noise of the run, or of the decision."""
    inverse_weight: float = 0.0
    """What a nat of a candidate's text counts, given context and goal, beside the distance: the same model
    read as inverse dynamics, which tells where distances of frames that show other things do not. A
    candidate is weighed as one action over the whole horizon. 0 leaves it out."""

    def __post_init__(self) -> None:
        """Refuse what imagines nothing."""
        if min(self.num_steps, self.refine_steps) < 1 or self.inverse_weight < 0:
            raise ValueError(
                "num_steps and refine_steps must be at least 1 and inverse_weight not negative; got "
                f"{self.num_steps}, {self.refine_steps} and {self.inverse_weight}"
            )

    def noise(self, seed: int) -> torch.Generator:
        """Return what draws the noise; `seed` is that of the run, or of the decision."""
        return planning_noise(seed if self.noise_seed is None else self.noise_seed)

    def refined(self) -> "ImaginationConfig":
        """Return how the candidates that a search refines are imagined."""
        return replace(self, num_steps=self.refine_steps)


def answer_imagination(config: ImaginationConfig, search: Refining) -> ImaginationConfig:
    """Return how the candidates are imagined among which a plan is chosen in the end."""
    return config.refined() if search.refine_top else config


def latent_goal(
    goals: Float[Tensor, "problem token channel"], *, distance: Distance = Distance.squared
) -> LatentGoal:
    """Compare latents with the goals' latents."""

    def cost(latents: Float[Tensor, "problem sample token channel"]) -> Float[Tensor, "problem sample"]:
        expanded = repeat(goals.to(latents), "problem ... -> problem sample ...", sample=latents.shape[1])
        return latent_cost(latents, expanded, distance=distance)

    return cost


def decoded_goal(world_model: WorldModel, goals: UInt8[Tensor, "problem height width 3"]) -> LatentGoal:
    """Compare the frames that latents decode to with the goal frames."""
    compare = pixel_goal(goals)

    def cost(latents: Float[Tensor, "problem sample token channel"]) -> Float[Tensor, "problem sample"]:
        frames = world_model.decode(latents.flatten(0, 1))
        return compare(rearrange(frames, "(problem sample) ... -> problem sample ...", problem=len(goals)))

    return cost


def pixel_goal(goals: UInt8[Tensor, "problem height width 3"]) -> FrameGoal:
    """Compare frames with the goal frames."""

    def cost(frames: UInt8[Tensor, "problem sample height width 3"]) -> Float[Tensor, "problem sample"]:
        expanded = repeat(
            goals.to(frames.device), "problem ... -> problem sample ...", sample=frames.shape[1]
        )
        return pixel_cost(frames, expanded)

    return cost


def encoded_goal(
    encode: Callable[[UInt8[Tensor, "batch height width 3"]], Float[Tensor, "batch token channel"]],
    goals: UInt8[Tensor, "problem height width 3"],
    *,
    distance: Distance = Distance.squared,
) -> FrameGoal:
    """Compare frames with the goal frames by their latents: the model's cost on the true world."""
    compare = latent_goal(encode(goals), distance=distance)

    def cost(frames: UInt8[Tensor, "problem sample height width 3"]) -> Float[Tensor, "problem sample"]:
        latents = encode(frames.flatten(0, 1))
        return compare(rearrange(latents, "(problem sample) ... -> problem sample ...", problem=len(goals)))

    return cost


def world_model_evaluate(
    world_model: WorldModel,
    context: Any,
    goal: LatentGoal,
    *,
    goal_frames: UInt8[Tensor, "problem height width 3"],
    step_s: float,
    config: ImaginationConfig,
    generator: torch.Generator,
) -> Evaluate:
    """Return the cost of candidates in a world model's imagination.

    Every call imagines with the same noise (the generator's state now), so that the result is a function:
    equal candidates cost the same in every iteration, whatever else is evaluated beside them. With
    `inverse_weight`, the likelihood of a candidate's text counts too.

    Args:
        world_model: What imagines.
        context: What `encode_context` made of the problems' context frames.
        goal: Compares the last latents with the goals.
        goal_frames: The goals themselves, for `inverse_weight`: a model may look at frames with other
            latents than it generates.
        step_s: True time of one step [s]; a jump's text states `horizon * step_s`.
        config: How to imagine.
        generator: Random stream of the noise; not consumed.

    Returns:
        The function from candidates to costs.
    """
    state = generator.get_state()

    @functools.cache
    def with_goal() -> Any:
        return world_model.extend_context(context, goal_frames)

    def imagined_costs(candidates: Float[Tensor, "problem sample step 4"]) -> Float[Tensor, "problem sample"]:
        noise = torch.Generator(generator.device)
        noise.set_state(state)
        latents = imagine(
            world_model,
            context,
            candidates,
            step_s=step_s,
            mode=config.mode,
            num_steps=config.num_steps,
            generator=noise,
        )
        return goal(latents[:, :, -1]).to(candidates)

    def inverse_costs(candidates: Float[Tensor, "problem sample step 4"]) -> Float[Tensor, "problem sample"]:
        texts = action_texts(whole_jumps(candidates, step_s=step_s))
        motions = [[without_time(text) for (text,) in own] for own in texts]
        nats = world_model.action_nats(with_goal(), motions)
        return config.inverse_weight * nats.to(candidates)

    def evaluate(candidates: Float[Tensor, "problem sample step 4"]) -> Float[Tensor, "problem sample"]:
        costs = imagined_costs(candidates)
        return costs + inverse_costs(candidates) if config.inverse_weight else costs

    return evaluate


def imagine(
    world_model: WorldModel,
    context: Any,
    candidates: Float[Tensor, "problem sample step 4"],
    *,
    step_s: float,
    mode: Mode,
    num_steps: int,
    generator: torch.Generator,
) -> Float[Tensor, "problem sample imagined token channel"]:
    """Imagine candidates, written as text: after each step, or once after the whole jump."""
    match mode:
        case Mode.steps:
            actions = candidates
        case Mode.jump:
            actions = whole_jumps(candidates, step_s=step_s)
    return world_model.rollout(context, action_texts(actions), num_steps=num_steps, generator=generator)


def whole_jumps(
    candidates: Float[Tensor, "problem sample step 4"], *, step_s: float
) -> Float[Tensor, "problem sample 1 4"]:
    """Return each candidate as one action over its whole horizon."""
    jumps = to_jumps(candidates, dt_s=step_s)
    return rearrange(jumps, "problem sample action -> problem sample 1 action")


def action_texts(actions: Float[Tensor, "problem sample step 4"]) -> list[list[list[str]]]:
    """Write actions as text, nested as problem, candidate, step."""
    num_samples, num_steps = actions.shape[1:3]
    texts = format_actions(actions.flatten(0, 2).numpy(force=True))
    sequences = [texts[start : start + num_steps] for start in range(0, len(texts), num_steps)]
    return [sequences[start : start + num_samples] for start in range(0, len(sequences), num_samples)]


def simulator_evaluate(
    simulator: Simulator, start_poses: Float64[np.ndarray, "problem 3"], goal: FrameGoal
) -> Evaluate:
    """Return the cost of candidates by driving each in the true world, walls included: the oracle simulator.

    The start poses are in the place that the simulator shows.
    """

    def evaluate(candidates: Float[Tensor, "problem sample step 4"]) -> Float[Tensor, "problem sample"]:
        displacements = candidates[..., :3].numpy(force=True).astype(np.float64)
        frames = [
            np.stack([simulator.drive(start, each).frame for each in own])
            for start, own in zip(start_poses, displacements, strict=True)
        ]
        return goal(torch.from_numpy(np.stack(frames)))

    return evaluate


def pose_evaluate(goals: Float64[np.ndarray, "problem 3"], *, yaw_m: float = YAW_M) -> Evaluate:
    """Return the distance of a candidate's final pose from the true one: the oracle cost.

    `goals` are the true displacements from each start [m, m, rad]. The cost is
    `sqrt(distance^2 + (yaw_m * turn)^2)` [m] in free space: what is left is what candidates and budget cost.
    """

    def evaluate(candidates: Float[Tensor, "problem sample step 4"]) -> Float[Tensor, "problem sample"]:
        final = compose(candidates[..., :3].numpy(force=True).astype(np.float64))
        off = displacement_between(np.broadcast_to(goals[:, None], final.shape), final)
        cost = np.sqrt((off[..., :2] ** 2).sum(axis=-1) + (yaw_m * off[..., 2]) ** 2)
        return torch.from_numpy(cost).to(candidates)

    return evaluate
