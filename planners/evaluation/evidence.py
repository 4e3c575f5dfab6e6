"""Evidence: what the report shows of a plan, computed once more for a few problems."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Float64, UInt8
from torch import Tensor

from planners.candidates import to_jumps
from planners.evaluate import ImaginationConfig, Mode, action_texts
from planners.evaluation.answers import Answer
from planners.evaluation.problems import PlanningProblem, path_from
from planners.evaluation.records import PlanEvidence
from planners.evaluation.videos import encode_png
from planners.protocols import Simulator, WorldModel

MAX_CANDIDATES = 64
"""Paths of an iteration that a map shows."""
NEAR_M = 8.0
"""Walls farther from the start are not kept."""
POSITION_DECIMALS = 3


def plan_evidence(
    problem: PlanningProblem,
    answer: Answer,
    *,
    simulator: Simulator,
    walls: Float[np.ndarray, "line 4"],
    imagined: Sequence[UInt8[np.ndarray, "height width 3"]],
) -> PlanEvidence:
    """Drive an answer in the simulator, and keep that beside what was imagined and considered."""
    displacements = answer.actions[:, :3].numpy().astype(np.float64)
    drives = [
        simulator.drive(problem.start_pose, displacements[: count + 1]) for count in range(len(displacements))
    ]
    empty = _evidence(problem, answer, imagined)
    return replace(
        empty,
        simulated=tuple(encode_png(drive.frame) for drive in drives),
        is_recorded=False,
        driven=tuple(tuple(pose) for pose in drives[-1].poses.tolist()),
        walls=near_walls(walls, problem.start_pose),
    )


def recorded_evidence(
    problem: PlanningProblem,
    answer: Answer,
    *,
    recorded: Sequence[UInt8[np.ndarray, "_ _ 3"]],
    imagined: Sequence[UInt8[np.ndarray, "height width 3"]],
) -> PlanEvidence:
    """Keep what was imagined and considered beside the recording's frames on the way to the goal."""
    displacements = answer.actions[:, :3].numpy().astype(np.float64)
    return replace(
        _evidence(problem, answer, imagined),
        simulated=tuple(encode_png(frame) for frame in recorded),
        driven=tuple(tuple(pose) for pose in path_from(problem.start_pose, displacements).tolist()),
    )


def _evidence(
    problem: PlanningProblem, answer: Answer, imagined: Sequence[UInt8[np.ndarray, "height width 3"]]
) -> PlanEvidence:
    """Return what needs neither simulator nor recording."""
    assert answer.plan is not None
    iterations = answer.plan.iterations
    return PlanEvidence(
        goal=encode_png(problem.goal),
        observed=encode_png(problem.context[-1]),
        simulated=(),
        is_recorded=True,
        driven=(),
        imagined=tuple(encode_png(frame) for frame in imagined),
        candidates=tuple(
            considered_paths(problem.start_pose, each.candidates[0, :MAX_CANDIDATES]) for each in iterations
        ),
        candidate_costs=tuple(tuple(each.costs[0].tolist()) for each in iterations),
        walls=(),
    )


def imagined_frames(
    world_model: WorldModel,
    problem: PlanningProblem,
    actions: Float[Tensor, "step 4"],
    *,
    step_s: float,
    config: ImaginationConfig,
    generator: torch.Generator,
) -> list[UInt8[np.ndarray, "height width 3"]]:
    """Return what the model expects after each step of a plan, in the mode that the plan was made in.

    For jumps, that is one jump to each step; so the last frame is the one that the plan was chosen by.
    """
    context = world_model.encode_context(torch.from_numpy(problem.context[None]))
    match config.mode:
        case Mode.steps:
            latents = world_model.rollout(
                context, action_texts(actions[None, None]), num_steps=config.num_steps, generator=generator
            )[0, 0]
        case Mode.jump:
            jumps = torch.stack([to_jumps(actions[: end + 1], dt_s=step_s) for end in range(len(actions))])
            texts = action_texts(rearrange(jumps, "sample action -> 1 sample 1 action"))
            latents = world_model.rollout(context, texts, num_steps=config.num_steps, generator=generator)[
                0, :, 0
            ]
    return list(world_model.decode(latents).numpy(force=True))


def considered_paths(
    start_pose: Float64[np.ndarray, " 3"], candidates: Float[Tensor, "sample step 4"]
) -> tuple[tuple[float, ...], ...]:
    """Return where candidates lead: x, y at the start and after each step, flattened, world frame [m]."""
    poses = path_from(start_pose, candidates[..., :3].numpy(force=True).astype(np.float64))
    starts = np.broadcast_to(start_pose, (len(poses), 1, 3))
    positions = np.concatenate([starts, poses], axis=1)[..., :2].round(POSITION_DECIMALS)
    return tuple(tuple(path) for path in rearrange(positions, "sample step xy -> sample (step xy)").tolist())


def near_walls(
    walls: Float[np.ndarray, "line 4"], pose: Float64[np.ndarray, " 3"], *, near_m: float = NEAR_M
) -> tuple[tuple[float, ...], ...]:
    """Return the walls that come near a pose by their bounding boxes."""
    x, y = walls[:, 0::2] - pose[0], walls[:, 1::2] - pose[1]
    is_near = (x.min(1) <= near_m) & (x.max(1) >= -near_m) & (y.min(1) <= near_m) & (y.max(1) >= -near_m)
    return tuple(tuple(line) for line in walls[is_near].round(POSITION_DECIMALS).tolist())
