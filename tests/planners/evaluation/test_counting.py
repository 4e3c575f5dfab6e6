"""Counting changes no answer and counts every frame that is sampled."""

import numpy as np
import torch

from planners.evaluation.counting import CountingModel
from planners.protocols import WorldModel
from tests.planners.toy_world import ToyModel, frame_of

TEXT = "action: dx=+0.250, dy=+0.000, dyaw=+0.125, dt=0.25"
FRAMES = torch.from_numpy(np.stack([frame_of(np.array([0.5 * number, 0.0, 0.0])) for number in range(2)]))


def test_evaluations_are_candidates_times_frames_times_steps():
    toy = ToyModel()
    model = CountingModel(toy)
    assert isinstance(model, WorldModel)
    context = model.encode_context(FRAMES[:, None])
    actions = [[[TEXT] * 5 for _ in range(3)] for _ in range(2)]  # 2 problems, 3 candidates, 5 frames
    latents = model.rollout(context, actions, num_steps=7, generator=torch.Generator())
    assert model.num_evaluations == 2 * 3 * 5 * 7
    assert torch.equal(latents, toy.rollout(context, actions, num_steps=7, generator=torch.Generator()))
    with_goal = model.extend_context(context, FRAMES)
    motions = [[TEXT.removesuffix(", dt=0.25")] * 3] * 2
    assert torch.equal(model.action_nats(with_goal, motions), toy.action_nats(with_goal, motions))
    assert model.num_evaluations == 210 + 2 * 3
    assert torch.equal(model.encode(FRAMES), toy.encode(FRAMES))
    assert torch.equal(model.decode(model.encode(FRAMES)), FRAMES)
    assert model.num_evaluations == 216, "contexts, goals and pictures are not candidates"
