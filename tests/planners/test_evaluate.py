import numpy as np
import pytest
import torch

from data_tools.action_text import format_actions
from data_tools.pose import compose, move
from planners.baselines import prior_mean
from planners.candidates import Parameterisation, Prior, to_actions
from planners.cem import Answer, Cem, CemConfig
from planners.costs import pixel_cost
from planners.evaluate import (
    YAW_M,
    ImaginationConfig,
    Mode,
    action_texts,
    answer_imagination,
    decoded_goal,
    encoded_goal,
    latent_goal,
    pixel_goal,
    pose_evaluate,
    simulator_evaluate,
    whole_jumps,
    world_model_evaluate,
)
from planners.protocols import Simulator, WorldModel
from tests.envs.grid_room import GridRoom
from tests.planners.toy_world import ToyModel, frame_of

STARTS = np.array([[0.5, -1.0, 0.3], [-2.0, 1.0, -2.8]])
GOALS = np.array([[2.0, 0.4, 0.5], [1.2, -0.6, -0.9]])  # displacements


def _prior(horizon: int = 8) -> Prior:
    return Prior(
        mean=torch.tensor([0.2, 0.0, 0.0], dtype=torch.float64),
        covariance=torch.diag(torch.tensor([0.01, 0.005, 0.02], dtype=torch.float64)),
        parameterisation=Parameterisation.arc,
        horizon=horizon,
        dt_s=9 / 35,
    )


def _frames(poses):
    return torch.from_numpy(np.stack([frame_of(pose) for pose in poses]))


def _evaluate(model, config, goal=None):
    goals = _frames([move(start, goal) for start, goal in zip(STARTS, GOALS, strict=True)])
    return world_model_evaluate(
        model,
        model.encode_context(_frames(STARTS)[:, None]),
        goal(goals) if goal else latent_goal(model.encode(goals)),
        goal_frames=goals,
        step_s=9 / 35,
        config=config,
        generator=torch.Generator().manual_seed(0),
    )


def _candidates(num_samples, seed=0):
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(2, num_samples, 3, generator=generator, dtype=torch.float64)
    return to_actions(_prior().mean + 0.1 * noise, _prior())


def test_toys_are_what_planners_ask_for():
    assert isinstance(ToyModel(), WorldModel)
    assert isinstance(GridRoom(), Simulator)


@pytest.mark.parametrize("mode", list(Mode))
def test_a_perfect_model_plans_to_the_goal(mode):
    cem = Cem(CemConfig(num_candidates=64, num_elites=6, num_iterations=6, std_floor=0.02))
    evaluate = _evaluate(ToyModel(), ImaginationConfig(mode=mode))
    plan = cem.plan(evaluate, _prior(), generators=[torch.Generator().manual_seed(seed) for seed in (0, 1)])
    np.testing.assert_allclose(compose(plan.actions[..., :3].numpy()), GOALS, atol=0.05)


def test_a_jump_costs_what_its_steps_cost():
    candidates = _candidates(5)
    model = ToyModel()
    steps, jump = (
        _evaluate(model, ImaginationConfig(mode=mode))(candidates) for mode in (Mode.steps, Mode.jump)
    )
    torch.testing.assert_close(steps, jump, atol=5e-3, rtol=5e-3)
    assert model.asked == [(2, 5, 8, 1), (2, 5, 1, 1)]
    assert steps.dtype == torch.float64


@pytest.mark.parametrize("inverse_weight", [0.0, 0.3])
def test_a_candidate_costs_the_same_in_every_call_whatever_is_beside_it(inverse_weight):
    evaluate = _evaluate(ToyModel(noise=0.5), ImaginationConfig(inverse_weight=inverse_weight))
    together, alone = evaluate(_candidates(5)), evaluate(_candidates(5)[:, 2:3])
    torch.testing.assert_close(together[:, 2:3], alone, rtol=0, atol=0)


def test_the_best_of_a_search_are_imagined_again_and_the_plan_is_chosen_among_them():
    model = ToyModel(noise=0.3)
    config = ImaginationConfig(num_steps=1, refine_steps=1000)
    cem = CemConfig(num_candidates=12, num_elites=1, num_iterations=2, refine_top=5, answer=Answer.best)
    plan = Cem(cem).plan(
        _evaluate(model, config),
        _prior(),
        generators=[torch.Generator().manual_seed(seed) for seed in (0, 1)],
        refine=_evaluate(model, config.refined()),
    )
    assert model.asked == [(2, 12, 1, 1), (2, 12, 1, 1), (2, 5, 1, 1000)]
    drafts = torch.cat([each.costs for each in plan.iterations], dim=1)
    drawn = torch.cat([each.candidates for each in plan.iterations], dim=1)
    exact = _evaluate(ToyModel(), ImaginationConfig())(drawn)
    among = exact.gather(1, drafts.argsort(dim=1)[:, :5])
    torch.testing.assert_close(plan.cost, among.min(dim=1).values, atol=5e-3, rtol=5e-3)
    assert answer_imagination(config, cem).num_steps == 1000
    assert answer_imagination(config, CemConfig()).num_steps == 1


def test_a_decoded_goal_is_the_pixel_cost_of_the_imagined_frames():
    model, candidates = ToyModel(), _candidates(5)
    costs = _evaluate(model, ImaginationConfig(), goal=lambda goals: decoded_goal(model, goals))(candidates)
    goals = _frames([move(start, goal) for start, goal in zip(STARTS, GOALS, strict=True)])
    for problem, start in enumerate(STARTS):
        steps = whole_jumps(candidates, step_s=9 / 35)[problem, :, 0, :3].numpy().round(3)
        ends = _frames(move(np.broadcast_to(start, (5, 3)), steps))
        expected = pixel_cost(ends, goals[problem].expand_as(ends))
        # A toy frame spells poses in bytes: rounding once more can change the low ones.
        torch.testing.assert_close(costs[problem].float(), expected.float(), atol=0.02, rtol=0.02)


def test_texts_are_nested_as_problem_candidate_step():
    actions = _candidates(3)[:, :, :2]
    texts = action_texts(actions)
    assert [len(texts), len(texts[0]), len(texts[0][0])] == [2, 3, 2]
    assert texts[1][2][0] == format_actions(actions[1, 2, :1].numpy())[0]


def test_the_true_pose_costs_nothing_and_others_their_distance():
    steps = np.array([[0.3, 0.0, 0.1], [0.3, 0.0, 0.0]])
    candidates = torch.from_numpy(np.concatenate([steps, np.full((2, 1), 0.25)], axis=1))[None, None]
    final = compose(steps)
    for change, cost in [((0, 0, 0), 0.0), ((0.3, 0.4, 0), 0.5), ((0, 0, 0.2), 0.2 * YAW_M)]:
        goal = (final + np.array(change))[None]
        assert pose_evaluate(goal)(candidates).item() == pytest.approx(cost)


def test_the_oracle_simulator_beats_the_prior_mean():
    room = GridRoom()
    starts = np.array([[1.5, 1.5, 0.4], [1.0, 3.0, 0.0]])
    steps = np.array([[0.26, 0.0, 0.08], [0.15, 0.0, -0.12]])
    goals = torch.from_numpy(
        np.stack([room.drive(s, np.tile(d, (8, 1))).frame for s, d in zip(starts, steps, strict=True)])
    )
    cem = Cem(CemConfig(num_candidates=48, num_elites=6, num_iterations=5))
    generators = [torch.Generator().manual_seed(seed) for seed in (0, 1)]
    plan = cem.plan(simulator_evaluate(room, starts, pixel_goal(goals)), _prior(), generators=generators)
    truth = compose(np.tile(steps[:, None], (1, 8, 1)))
    off = np.linalg.norm(compose(plan.actions[..., :3].numpy())[:, :2] - truth[:, :2], axis=1)
    mean = compose(prior_mean(_prior(), num_problems=2)[..., :3].numpy())
    assert (off < 0.5 * np.linalg.norm(mean[:, :2] - truth[:, :2], axis=1)).all()


def test_the_oracle_simulator_stops_at_walls():
    room = GridRoom()
    start = np.array([[6.5, 4.5, 0.0]])
    candidates = to_actions(torch.tensor([[[0.6, 0.0, 0.0], [0.1, 0.0, 0.0]]], dtype=torch.float64), _prior())
    ends = [room.drive(start[0], each[:, :3].numpy()) for each in candidates[0]]
    assert ends[0].collided.any() and not ends[1].collided.any()
    goal = torch.from_numpy(room.frame_at(np.array([7.0, 4.0, 0.2]))[None])
    costs = simulator_evaluate(room, start, pixel_goal(goal))(candidates)
    expected = [pixel_cost(torch.from_numpy(end.frame), goal[0]) for end in ends]
    torch.testing.assert_close(costs[0], torch.stack(expected))


def test_an_encoded_goal_is_the_latent_cost_of_the_true_frames():
    model = ToyModel()
    frames = _frames([move(start, goal) for start, goal in zip(STARTS, GOALS, strict=True)])
    cost = encoded_goal(model.encode, frames)
    views = torch.stack([frames, _frames(STARTS)], dim=1)  # problem sample ...
    expected = latent_goal(model.encode(frames))(
        torch.stack([model.encode(frames), model.encode(_frames(STARTS))], 1)
    )
    torch.testing.assert_close(cost(views), expected)
    assert (cost(views)[:, 0] == 0).all()


def test_imagining_nothing_is_refused():
    with pytest.raises(ValueError, match=r"not negative; got 0, 4 and 0\.0"):
        ImaginationConfig(num_steps=0)


def test_the_likelihood_of_the_text_counts_by_its_weight():
    model, candidates = ToyModel(), _candidates(5)
    plain, weighed = (
        _evaluate(model, ImaginationConfig(inverse_weight=weight))(candidates) for weight in (0.0, 0.3)
    )
    goals = np.stack([move(start, goal) for start, goal in zip(STARTS, GOALS, strict=True)])
    for problem, start in enumerate(STARTS):
        ends = move(np.broadcast_to(start, (5, 3)), compose(candidates[problem, :, :, :3].numpy()))
        expected = 0.3 * ((ends - goals[problem])[:, :2] ** 2).sum(axis=-1)
        # The text of a jump has three decimals, a toy frame 16 bits a number.
        np.testing.assert_allclose((weighed - plain)[problem].numpy(), expected, atol=2e-3)


def test_a_negative_weight_of_the_likelihood_is_refused():
    with pytest.raises(ValueError, match="inverse_weight"):
        ImaginationConfig(inverse_weight=-1.0)
