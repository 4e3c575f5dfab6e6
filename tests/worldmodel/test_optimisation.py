"""Laws of the schedule, the optimisers and the moving average."""

import pytest
import torch

from worldmodel.feedforward import FeedForwardKind
from worldmodel.optimisation import (
    MatrixOptimiser,
    OptimisationConfig,
    Optimisers,
    learning_rate,
    update_average,
)


def test_the_rate_warms_up_stays_and_cools_down_to_zero():
    config = OptimisationConfig(learning_rate=0.5, warmup_steps=10, cooldown_share=0.2)
    rates = [learning_rate(step, 100, config) for step in range(101)]
    assert rates[0] == pytest.approx(0.05)
    assert rates[9:81] == [0.5] * 72
    assert rates[90] == pytest.approx(0.25)
    assert rates[100] == 0


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"learning_rate": -1e-3}, "learning_rate"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"clip_norm": 0.0}, "clip_norm"),
        ({"weight_decay": -0.1}, "weight_decay"),
        ({"warmup_steps": -1}, "warmup_steps"),
        ({"cooldown_share": 1.5}, "cooldown_share"),
        ({"ema_decay": 1.5}, "ema_decay"),
        ({"beta2": 1.0}, "beta1 and beta2"),
    ],
)
def test_impossible_optimisers_are_refused(change, match):
    with pytest.raises(ValueError, match=match):
        OptimisationConfig(**change)


@pytest.mark.parametrize("matrices", list(MatrixOptimiser))
@pytest.mark.parametrize(
    "damage",
    [
        lambda tensors, name: tensors.pop(name),
        lambda tensors, name: tensors.update({f"{name}/more": torch.zeros(3)}),
        lambda tensors, name: tensors.update({name: torch.zeros(2, 2)}),
    ],
)
def test_the_state_of_other_optimisers_is_refused(make_model, matrices, damage):
    model = make_model()
    optimisers = Optimisers(model, OptimisationConfig(matrices=matrices))
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimisers.step(rate=1e-3)
    tensors = dict(optimisers.tensors())
    name = next(key for key in tensors if key.startswith("blocks.0.attention.output"))
    damage(tensors, name)
    with pytest.raises(ValueError, match=rf"another shape are {name}"):
        optimisers.restore(tensors)


@pytest.mark.parametrize("matrices", list(MatrixOptimiser))
def test_every_parameter_moves_and_the_state_comes_back(make_model, generator, matrices):
    config = OptimisationConfig(matrices=matrices)

    def stepped(num_steps, tensors=None):
        model = make_model()
        optimisers = Optimisers(model, config)
        if tensors is not None:
            model.load_state_dict(tensors[0])
            optimisers.restore(tensors[1])
        for _ in range(num_steps):
            for parameter in model.parameters():
                parameter.grad = torch.full_like(parameter, 0.1) + parameter.detach()
            optimisers.step(rate=1e-2)
        return model, optimisers

    before = {name: value.clone() for name, value in make_model().state_dict().items()}
    model, optimisers = stepped(2)
    assert all(not torch.equal(value, before[name]) for name, value in model.state_dict().items())
    state = {name: value.clone() for name, value in model.state_dict().items()}
    resumed, _ = stepped(3, (state, {name: value.clone() for name, value in optimisers.tensors().items()}))
    unbroken, _ = stepped(5)
    for name, value in unbroken.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_muon_takes_the_blocks_matrices_and_its_updates_are_orthogonal(make_model):
    config = OptimisationConfig(weight_decay=0.0)
    model = make_model()
    optimisers = Optimisers(model, config)
    name = "blocks.0.attention.output.weight"
    parameters = dict(model.named_parameters())
    before = parameters[name].detach().clone()
    generator = torch.Generator().manual_seed(4)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    optimisers.step(rate=1e-2)
    singular = torch.linalg.svdvals(parameters[name].detach() - before)
    # Newton-Schulz with Muon's coefficients brings singular values near one another, not to one value.
    assert singular.max() / singular.min() < 3
    assert f"{name}/momentum_buffer" in optimisers.tensors()
    assert "text_embedding.weight/exp_avg" in optimisers.tensors()


@pytest.mark.parametrize("expert_matrices", list(MatrixOptimiser))
def test_routed_experts_have_an_optimiser_of_their_own(make_model, expert_matrices):
    model = make_model(feedforward=FeedForwardKind.experts)
    optimisers = Optimisers(model, OptimisationConfig(expert_matrices=expert_matrices))
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimisers.step(rate=1e-3)
    key = "momentum_buffer" if expert_matrices is MatrixOptimiser.muon else "exp_avg"
    for name in ("gate_and_input", "output"):
        assert f"blocks.0.feedforward.{name}/{key}" in optimisers.tensors()
    assert "blocks.0.attention.output.weight/momentum_buffer" in optimisers.tensors()


def test_the_average_forgets_its_start_and_settles():
    average, current = [torch.zeros(3)], [torch.ones(3)]
    update_average(average, current, step=1, decay=0.99)
    torch.testing.assert_close(average[0], torch.full((3,), 1 - 1 / 11))
    for step in range(2, 2000):
        update_average(average, current, step=step, decay=0.99)
    torch.testing.assert_close(average[0], torch.ones(3))
