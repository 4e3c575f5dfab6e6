from collections.abc import Sequence

import numpy as np
import pytest
import torch

from planners.command_search import CommandBeam, CommandBeamConfig, CommandPlanner
from planners.goals import point_goal, pose_goal, text_goal, weighted
from planners.protocols import Captioner
from tests.planners.quadratic import generators
from tests.planners.test_commands import make_prior


class LetterCounter:
    """Captions fit latents whose mean is the text's length."""

    def caption_nats(self, latents: torch.Tensor, texts: Sequence[str]) -> torch.Tensor:
        return (latents.mean(dim=(1, 2)) - torch.tensor([float(len(text)) for text in texts])).abs()


def _candidates(*motions):
    actions = torch.zeros(1, len(motions), 2, 4, dtype=torch.float64)
    actions[0, :, 0, :3] = torch.tensor(motions, dtype=torch.float64)
    return actions


def test_a_text_goal_asks_each_problem_about_its_own_text():
    assert isinstance(LetterCounter(), Captioner)
    latents = torch.tensor([[1.0, 4.0, 9.0], [1.0, 4.0, 9.0]])[..., None, None].expand(2, 3, 5, 7)
    costs = text_goal(LetterCounter(), ["a", "door"])(latents)
    torch.testing.assert_close(costs, torch.tensor([[0.0, 3.0, 8.0], [3.0, 0.0, 5.0]]))


def test_a_text_goal_needs_one_text_a_problem():
    with pytest.raises(ValueError, match="needed a text for each of 2 problems, got 1"):
        text_goal(LetterCounter(), ["a"])(torch.zeros(2, 3, 5, 7))
    with pytest.raises(ValueError, match="none empty; got"):
        text_goal(LetterCounter(), ["a door", " "])


def test_a_point_goal_leaves_the_heading_open():
    costs = point_goal(np.array([[3.0, 4.0]]))(_candidates([0, 0, 1.0], [3, 4, -2.0], [3, 3, 0.0]))
    torch.testing.assert_close(costs, torch.tensor([[5.0, 0.0, 1.0]], dtype=torch.float64))


def test_a_pose_goal_weighs_the_turn_the_short_way():
    costs = pose_goal(np.array([[1.0, 0.0, 3.0]]), yaw_m=2.0)(_candidates([1, 0, -3.0], [0, 0, 3.0]))
    expected = torch.tensor([[2 * (2 * np.pi - 6), 1.0]], dtype=torch.float64)
    torch.testing.assert_close(costs, expected)


def test_a_pose_goal_refuses_what_is_no_pose():
    with pytest.raises(ValueError, match="needed finite poses"):
        pose_goal(np.array([[np.nan, 0.0, 0.0]]), yaw_m=0.5)
    with pytest.raises(ValueError, match=r"yaw_m >= 0; got .* and -1\.0"):
        pose_goal(np.zeros((1, 3)), yaw_m=-1.0)


def test_weighted_costs_add_up():
    candidates = _candidates([0, 0, 1.0], [3, 4, -2.0])
    point = point_goal(np.array([[3.0, 4.0]]))
    both = weighted([(2.0, point), (0.5, lambda given: given[..., 2].sum(dim=2))])(candidates)
    torch.testing.assert_close(both, torch.tensor([[10.5, -1.0]], dtype=torch.float64))
    with pytest.raises(ValueError, match="at least one cost"):
        weighted([])


def test_a_command_is_found_that_leads_to_a_point():
    goal = np.array([[1.0, 1.0]])
    plan = CommandPlanner(CommandBeam(CommandBeamConfig())).plan(
        point_goal(goal), make_prior(horizon=8), generators=generators(0)
    )
    assert plan.cost.item() < 0.1
    assert "turn left" in plan.texts[0]
