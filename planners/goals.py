"""Goals: where to go in words, or as a place or pose seen from here, instead of by a frame."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from planners.evaluate import LatentGoal, pose_evaluate
from planners.plan import Evaluate
from planners.protocols import Captioner


def text_goal(captioner: Captioner, texts: Sequence[str]) -> LatentGoal:
    """Compare latents with each problem's goal in words: nats of the text as their caption.

    Nats of one text compare candidates of one problem; of another problem's text they say nothing. ValueError
    for an empty text, and when there is not one text a problem.
    """
    if isinstance(texts, str) or not texts or not all(text.strip() for text in texts):
        raise ValueError(f"needed a list of texts that describe goals, none empty; got {texts!r:.200}")

    def cost(latents: Float[Tensor, "problem sample token channel"]) -> Float[Tensor, "problem sample"]:
        num_problems, num_samples = latents.shape[:2]
        if num_problems != len(texts):
            raise ValueError(f"needed a text for each of {num_problems} problems, got {len(texts)}")
        repeated = [text for text in texts for _ in range(num_samples)]
        # problem sample token channel -> (problem sample) token channel, and back
        return captioner.caption_nats(latents.flatten(0, 1), repeated).view(num_problems, num_samples)

    return cost


def point_goal(points: Float64[np.ndarray, "problem 2"]) -> Evaluate:
    """Return the distance [m] of a candidate's end from each problem's point, ahead and left of the start."""
    return pose_goal(np.concatenate([points, np.zeros((len(points), 1))], axis=1), yaw_m=0.0)


def pose_goal(poses: Float64[np.ndarray, "problem 3"], *, yaw_m: float) -> Evaluate:
    """Return how far a candidate ends from a pose that is given relative to the start: no model is asked.

    The cost is `sqrt(distance^2 + (yaw_m * turn)^2)` [m], in free space: what stands in the way is left to
    what else is weighed (`weighted`).

    Args:
        poses: Each problem's goal (dx, dy, dyaw) [m, m, rad], in the robot frame of the start.
        yaw_m: What a radian of heading counts [m]; 0 leaves the heading open.

    Returns:
        The function from candidates to costs.

    Raises:
        ValueError: If a pose is not finite, or the weight is negative.
    """
    if not np.isfinite(poses).all() or yaw_m < 0:
        raise ValueError(f"needed finite poses and yaw_m >= 0; got {poses.tolist()} and {yaw_m}")
    return pose_evaluate(poses, yaw_m=yaw_m)


def weighted(costs: Sequence[tuple[float, Evaluate]]) -> Evaluate:
    """Return the sum of costs, each times its weight, such as a point's and a text's; ValueError for none."""
    if not costs:
        raise ValueError("needed at least one cost with its weight, got none")

    def evaluate(candidates: Float[Tensor, "problem sample step 4"]) -> Float[Tensor, "problem sample"]:
        total = torch.zeros(candidates.shape[:2], dtype=candidates.dtype, device=candidates.device)
        for weight, cost in costs:
            total = total + weight * cost(candidates).to(candidates)
        return total

    return evaluate
