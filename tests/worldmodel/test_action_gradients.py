"""Action gradients are those of the value features, and belong to what a rollout imagines."""

import pytest
import torch

from tests.worldmodel.conftest import IndexedRepresentation
from worldmodel.action_gradients import ActionGradients
from worldmodel.flow import Prediction
from worldmodel.predictor import WorldModel
from worldmodel.transfusion import ActionInput

TEXTS = [
    [
        [
            "action: dx=+0.335, dy=-0.020, dyaw=+0.120, dt=0.26",
            "action: dx=+0.100, dy=+0.000, dyaw=-0.500, dt=0.26",
        ],
        [
            "action: dx=+12.400, dy=-0.020, dyaw=+0.120, dt=10.00",
            "action: dx=-0.300, dy=+0.200, dyaw=+0.000, dt=2.06",
        ],
        [
            "action: dx=+0.250, dy=+0.010, dyaw=-0.300, dt=0.26",
            "action: dx=+0.250, dy=+0.010, dyaw=-0.300, dt=0.26",
        ],
    ]
]
FRAMES = torch.tensor([7, 3], dtype=torch.uint8)[None, :, None, None, None].expand(1, 2, 8, 8, 3)
STEPS = 2


@pytest.fixture(params=["per_modality", "experts"])
def world_model(request, make_model, tokenizer, latents):
    from worldmodel.feedforward import FeedForwardKind

    model = make_model(
        feedforward=FeedForwardKind(request.param),
        action_input=ActionInput.text_value,
        num_value_frequencies=5,
    )
    return WorldModel(model, tokenizer, IndexedRepresentation(latents), prediction=Prediction.latent)


def cost(latents: torch.Tensor) -> torch.Tensor:
    """Return how far latents are from 1/2."""
    return (latents - 0.5).square().sum(dim=(-1, -2))


def noise() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def test_costs_are_those_of_a_rollout(world_model):
    context = world_model.encode_context(FRAMES)
    costs, gradients = ActionGradients(world_model).cost_gradients(
        context, TEXTS, cost, num_steps=STEPS, generator=noise()
    )
    imagined = world_model.rollout(context, TEXTS, num_steps=STEPS, generator=noise())
    torch.testing.assert_close(costs, cost(imagined[:, :, -1]), rtol=1e-5, atol=1e-5)
    assert gradients.shape == (1, 3, 2, 4) and not costs.requires_grad


def test_gradients_are_finite_differences_of_the_value_features(world_model, monkeypatch):
    """The digits stay: only the values that stand beside them are moved."""
    context = world_model.encode_context(FRAMES)
    _, gradients = ActionGradients(world_model).cost_gradients(
        context, TEXTS, cost, num_steps=STEPS, generator=noise()
    )
    assert (gradients.abs() > 1e-6).any(dim=-1).all()
    encode_many = world_model.tokenizer.encode_many

    def cost_at(candidate: int, step: int, number: int, moved: float) -> float:
        shifts = {TEXTS[0][candidate][step]: moved}

        def moved_encode(texts):
            tokens = encode_many(texts)
            for text, own in zip(texts, tokens, strict=True):
                own.values.setflags(write=True)
                own.values[own.is_value.nonzero()[0][number]] += shifts.get(text, 0.0)
            return tokens

        with monkeypatch.context() as patch:
            patch.setattr(world_model.tokenizer, "encode_many", moved_encode)
            latents = world_model.rollout(context, TEXTS, num_steps=STEPS, generator=noise())
        return cost(latents[:, :, -1].double())[0, candidate].item()

    for candidate, step, number in ((0, 0, 0), (0, 1, 2), (1, 0, 1), (1, 1, 3)):
        difference = cost_at(candidate, step, number, 2e-3) - cost_at(candidate, step, number, -2e-3)
        found = gradients[0, candidate, step, number].item()
        assert found == pytest.approx(difference / 4e-3, rel=0.05, abs=2e-2 * gradients.abs().max().item())


def test_a_model_of_text_alone_and_a_command_are_refused(make_model, tokenizer, latents):
    representation = IndexedRepresentation(latents)
    text_alone = WorldModel(make_model(), tokenizer, representation, prediction=Prediction.latent)
    with pytest.raises(ValueError, match="needed action_input=text_value; this model has text"):
        ActionGradients(text_alone)
    model = make_model(action_input=ActionInput.text_value)
    world_model = WorldModel(model, tokenizer, representation, prediction=Prediction.latent)
    context = world_model.encode_context(FRAMES)
    with pytest.raises(ValueError, match="not an action: 'turn left'"):
        ActionGradients(world_model).cost_gradients(
            context, [[["turn left"]]], cost, num_steps=1, generator=noise()
        )
