"""Gradient refinement finds minima that a search misses, and never answers worse than it was given."""

from dataclasses import replace

import pytest
import torch

from planners.candidates import Parameterisation, to_actions
from planners.constraints import parse_constraints
from planners.drawing import obeys
from planners.evaluate import ImaginationConfig, Mode, latent_goal, world_model_evaluate
from planners.gradient import GradientConfig, chained, model_gradient, refine_by_gradient
from planners.protocols import DifferentiableModel
from planners.random_shooting import RandomShooting, RandomShootingConfig
from tests.planners.quadratic import generators, make_prior, make_targets, quadratic
from worldmodel.action_gradients import ActionGradients
from worldmodel.model_folder import load_model

CONFIG = GradientConfig(num_starts=3, num_updates=12, step_size=0.3)


def searched(evaluate, prior, *, num_problems: int = 3):
    search = RandomShooting(RandomShootingConfig(num_candidates=20))
    return search.plan(evaluate, prior, generators=generators(*range(num_problems)))


def quadratic_gradient(targets: torch.Tensor, prior):
    goals = to_actions(targets, prior)[:, None]  # problem 1 step action
    return lambda candidates: 2 * (candidates - goals)[..., :3]


@pytest.mark.parametrize("parameterisation", list(Parameterisation))
def test_the_minimum_is_approached_and_cost_is_never_worse(parameterisation):
    prior = make_prior(parameterisation)
    targets = make_targets(prior, 3)
    evaluate = quadratic(targets, prior)
    plan = searched(evaluate, prior)
    refined = refine_by_gradient(plan, evaluate, quadratic_gradient(targets, prior), prior, CONFIG)
    assert (refined.cost < 0.3 * plan.cost).all()
    assert torch.equal(refined.actions, to_actions(refined.parameters, prior))
    assert torch.equal(refined.cost, evaluate(refined.actions[:, None])[:, 0])
    assert len(refined.iterations) == 1 + 1 + CONFIG.num_updates
    assert refined.iterations[-1].costs.shape == (3, 1 + CONFIG.num_starts)


def test_a_wrong_gradient_answers_the_plan_itself():
    prior = make_prior()
    targets = make_targets(prior, 3)
    evaluate = quadratic(targets, prior)
    plan, downhill = searched(evaluate, prior), quadratic_gradient(targets, prior)
    uphill = refine_by_gradient(plan, evaluate, lambda candidates: -downhill(candidates), prior, CONFIG)
    assert torch.equal(uphill.actions, plan.actions) and torch.equal(uphill.cost, plan.cost)


def test_bounds_and_constraints_hold():
    prior = replace(make_prior(), constraints=parse_constraints("no left turn"))
    evaluate = lambda candidates: -candidates[..., 2].sum(dim=-1) - candidates[..., 0].sum(dim=-1)  # noqa: E731
    slope = lambda candidates: -torch.ones_like(candidates[..., :3])  # noqa: E731
    plan = searched(evaluate, prior)
    config = replace(CONFIG, num_updates=30, step_size=1.0)
    refined = refine_by_gradient(plan, evaluate, slope, prior, config)
    assert obeys(refined.parameters, prior).all() and (refined.actions[..., :2] <= 0.6).all()
    assert (refined.cost <= plan.cost).all()


def test_a_strong_prior_pulls_to_its_mean():
    prior = make_prior()
    evaluate = quadratic(make_targets(prior, 3), prior, scale=1e-3)
    plan = searched(evaluate, prior)
    still = lambda candidates: torch.zeros_like(candidates[..., :3])  # noqa: E731
    refined = refine_by_gradient(plan, evaluate, still, prior, replace(CONFIG, prior_weight=100.0))
    off = [(each.parameters - prior.mean).norm(dim=1) for each in (refined, plan)]
    assert (off[0] <= off[1]).all() and (off[0] < off[1]).any()


@pytest.mark.parametrize("parameterisation", list(Parameterisation))
def test_chained_is_the_derivative_of_the_steps(parameterisation):
    prior = make_prior(parameterisation)
    parameters = make_targets(prior, 2)[:, None]  # problem 1 parameter
    by_steps = torch.randn(2, 1, 5, 3, generator=generators(4)[0], dtype=torch.float64)
    found = chained(by_steps, parameters, prior)
    for number in range(len(prior.mean)):
        moved = torch.zeros_like(parameters)
        moved[..., number] = 1.0
        rise = to_actions(parameters + moved, prior) - to_actions(parameters - moved, prior)
        slope = (rise[..., :3] / 2 * by_steps).sum(dim=(-1, -2))
        torch.testing.assert_close(found[..., number], slope, atol=0.01, rtol=0)


class PlaneModel:
    """Latents are one token: where the last action, or all of them, end if nothing turns."""

    def cost_gradients(self, context, actions, cost, *, num_steps, generator):
        from data_tools.action_text import parse_actions

        flat = [text for own in actions for candidate in own for text in candidate]
        shape = (len(actions), len(actions[0]), len(actions[0][0]), 4)
        values = torch.from_numpy(parse_actions(flat)).view(shape).requires_grad_()
        costs = cost(values.sum(dim=2)[:, :, None])  # problem candidate 1 4
        return costs.detach(), torch.autograd.grad(costs.sum(), values)[0]


def test_a_jumps_gradient_reaches_each_step():
    """By finite differences of the pose that the steps compose to."""
    from data_tools.pose import compose

    model = PlaneModel()
    assert isinstance(model, DifferentiableModel)
    weights = torch.tensor([1.0, -2.0, 0.5, 0.0], dtype=torch.float64)
    gradient = model_gradient(
        model,
        None,
        lambda latents: (latents * weights).sum(dim=(-1, -2)),
        step_s=0.25,
        mode=Mode.jump,
        num_steps=1,
        generator=torch.Generator(),
    )
    prior = make_prior()
    candidates = to_actions(make_targets(prior, 2)[:, None], prior)
    found = gradient(candidates)
    for step, number in ((0, 0), (1, 2), (4, 1), (4, 2)):
        ends = []
        for sign in (1, -1):
            moved = candidates[..., :3].clone()
            moved[:, :, step, number] += sign * 1e-5
            ends.append((torch.from_numpy(compose(moved.numpy())) * weights[:3]).sum(dim=-1))
        torch.testing.assert_close(found[:, :, step, number], (ends[0] - ends[1]) / 2e-5, atol=1e-6, rtol=0)


def test_a_real_models_plan_gets_no_worse():
    model = load_model("nano")
    frames = torch.randint(0, 256, (1, 3, 32, 32, 3), dtype=torch.uint8, generator=generators(2)[0])
    context = model.encode_context(frames[:, :2])
    goal = latent_goal(model.encode(frames[:, 2]).clone())
    imagination = ImaginationConfig(num_steps=2)
    prior = make_prior(Parameterisation.arc)
    evaluate = world_model_evaluate(
        model,
        context,
        goal,
        goal_frames=frames[:, 2],
        step_s=0.25,
        config=imagination,
        generator=generators(1)[0],
    )
    gradient = model_gradient(
        ActionGradients(model),
        context,
        goal,
        step_s=0.25,
        mode=imagination.mode,
        num_steps=imagination.num_steps,
        generator=generators(1)[0],
    )
    plan = searched(evaluate, prior, num_problems=1)
    refined = refine_by_gradient(plan, evaluate, gradient, prior, replace(CONFIG, num_updates=4))
    assert refined.cost <= plan.cost
    assert gradient(plan.actions[:, None]).abs().max() > 0


def test_settings_that_refine_nothing_are_refused():
    with pytest.raises(ValueError, match="num_starts and num_updates must be at least 1"):
        GradientConfig(num_updates=0)
    with pytest.raises(ValueError, match=r"betas must lie in \[0, 1\); got \(1.0, 0.9\)"):
        GradientConfig(betas=(1.0, 0.9))


def test_each_problem_is_pulled_to_its_own_prior():
    """Together it is what each problem gets alone, also with other numbers of starts than of problems."""
    prior = make_prior()
    means = prior.mean + torch.tensor([[0.1], [-0.1], [0.3]], dtype=prior.mean.dtype)
    own, targets = replace(prior, mean=means), make_targets(prior, 3)
    config = replace(CONFIG, num_starts=2, prior_weight=0.7)
    plan = searched(quadratic(targets, prior), own)
    together = refine_by_gradient(
        plan, quadratic(targets, prior), quadratic_gradient(targets, prior), own, config
    )
    for index in range(3):
        one = slice(index, index + 1)
        alone = refine_by_gradient(
            replace(
                plan,
                actions=plan.actions[one],
                parameters=plan.parameters[one],
                cost=plan.cost[one],
                iterations=tuple(
                    type(each)(**{name: value[one] for name, value in vars(each).items()})
                    for each in plan.iterations
                ),
            ),
            quadratic(targets[one], prior),
            quadratic_gradient(targets[one], prior),
            replace(own, mean=means[one]),
            config,
        )
        torch.testing.assert_close(together.parameters[index], alone.parameters[0], rtol=0, atol=1e-9)
