import itertools

import numpy as np
import pytest
import torch

from data_tools.command_text import parse_command
from data_tools.pose import compose
from planners.command_search import (
    CommandBeam,
    CommandBeamConfig,
    CommandCem,
    CommandCemConfig,
    CommandPlan,
    CommandPlanner,
)
from planners.commands import CommandGrammar, CommandSpace, by_meaning
from planners.constraints import parse_constraints
from planners.evaluate import pose_evaluate
from planners.plan import Planner
from tests.planners.quadratic import generators
from tests.planners.test_commands import make_prior

GRAMMAR = CommandGrammar(lengths_cm=[50, 100, 200], turns_deg=[15, 30, 60], max_parts=3)
ANSWERS = ["turn left 60 degrees, then go forward 2 metres, then turn right 30 degrees", "go forward 1 metre"]
GOALS = np.stack([compose(np.stack(parse_command(text))) for text in ANSWERS])
PRIOR = make_prior(horizon=9)


def _beam(**changes):
    return CommandPlanner(CommandBeam(CommandBeamConfig(grammar=GRAMMAR, **changes)))


def _cem(**changes):
    budget = {"num_candidates": 150, "num_elites": 12, "num_iterations": 6} | changes
    return CommandPlanner(CommandCem(CommandCemConfig(grammar=GRAMMAR, **budget)))


PLANNERS = pytest.mark.parametrize("planner", [_beam(beam_width=9), _cem()], ids=["beam", "cem"])


@PLANNERS
def test_searches_over_commands_are_planners(planner):
    assert isinstance(planner, Planner)


@PLANNERS
def test_the_command_that_leads_to_the_goal_is_found(planner):
    plan = planner.plan(pose_evaluate(GOALS), PRIOR, generators=generators(0, 1))
    assert isinstance(plan, CommandPlan)
    ends = [compose(np.stack(parse_command(text))) for text in plan.texts]
    np.testing.assert_allclose(ends, GOALS, atol=1e-6)
    np.testing.assert_allclose(compose(plan.actions[..., :3].numpy()), GOALS, atol=3e-3)
    assert plan.texts[0] == ANSWERS[0]
    torch.testing.assert_close(plan.cost, pose_evaluate(GOALS)(plan.actions[:, None])[:, 0])


@PLANNERS
def test_a_problem_alone_equals_the_same_problem_in_a_batch(planner):
    together = planner.plan(pose_evaluate(GOALS), PRIOR, generators=generators(4, 5))
    alone = planner.plan(pose_evaluate(GOALS[1:]), PRIOR, generators=generators(5))
    assert together.texts[1:] == alone.texts
    torch.testing.assert_close(together.actions[1:], alone.actions, rtol=0, atol=0)
    torch.testing.assert_close(together.iterations[-1].costs[1:], alone.iterations[-1].costs, rtol=0, atol=0)


def test_a_beam_as_wide_as_the_grammar_finds_what_trying_all_finds():
    grammar = CommandGrammar(lengths_cm=[50, 100], turns_deg=[30], max_parts=2)
    goals = np.array([[0.7, 0.6, 0.9], [-1.0, 0.2, 0.3], [1.4, -0.3, -0.2]])
    space = CommandSpace(grammar, PRIOR)
    parts = range(len(space.words))
    everything = [command for length in range(3) for command in itertools.product(parts, repeat=length)]
    costs = pose_evaluate(goals)(space.batch([everything] * 3).actions)
    plan = CommandPlanner(CommandBeam(CommandBeamConfig(grammar=grammar, beam_width=4))).plan(
        pose_evaluate(goals), PRIOR, generators=generators(0, 0, 0)
    )
    assert sum(each.costs.shape[1] for each in plan.iterations) == len(everything) == 1 + 4 + 16
    torch.testing.assert_close(plan.cost, costs.min(dim=1).values, rtol=0, atol=0)
    for own, text in zip(costs, plan.texts, strict=True):
        assert text in [space.text(everything[index]) for index in (own == own.min()).nonzero()[:, 0]]


def test_a_beam_evaluates_no_more_than_its_width_allows():
    plan = _beam(beam_width=2, first_width=2).plan(pose_evaluate(GOALS), PRIOR, generators=generators(0, 0))
    assert [each.costs.shape[1] for each in plan.iterations] == [1, 9, 18, 18]


def test_the_beam_keeps_the_best_that_end_with_each_verb():
    """Goals far ahead: moving on costs less than any turn, and yet each kind of turn is gone on from."""
    far = np.array([[20.0, 0.0, 0.0]])
    plan = _beam(beam_width=3, first_width=3).plan(pose_evaluate(far), PRIOR, generators=generators(0))
    motions = plan.iterations[2].parameters[0, ::9, :3]  # the beam: what each nine commands begin with
    assert [motion.argmax().item() if motion.max() > 0 else None for motion in motions] == [0, 2, None]
    torch.testing.assert_close(motions[0], torch.tensor([2.0, 0.0, 0.0], dtype=torch.float64))
    assert motions[2][2] == pytest.approx(-np.pi / 12)


@PLANNERS
def test_plans_obey_bounds_horizon_and_constraints(planner):
    prior = make_prior(horizon=4, constraints=parse_constraints("no left turn; no right turn"))
    plan = planner.plan(pose_evaluate(GOALS), prior, generators=generators(2, 3))
    drawn = torch.cat([each.candidates for each in plan.iterations], dim=1)
    assert drawn[..., 2].abs().max() == 0
    assert drawn[..., 0].abs().max() <= 0.6
    assert plan.texts[1] in (ANSWERS[1], "go forward 0.5 metres, then go forward 0.5 metres")


@PLANNERS
def test_staying_is_the_answer_where_the_goal_is_here(planner):
    plan = planner.plan(pose_evaluate(np.zeros((1, 3))), PRIOR, generators=generators(0))
    assert plan.texts == ("stay where you are",)
    assert plan.actions[..., :3].abs().max() == 0 and plan.cost == 0


@pytest.mark.parametrize(
    "planner",
    [_beam(beam_width=1), _cem(num_candidates=2, num_elites=1, num_iterations=1)],
    ids=["beam", "cem"],
)
def test_an_earlier_plan_is_considered(planner):
    earlier = _beam(beam_width=9).plan(pose_evaluate(GOALS), PRIOR, generators=generators(0, 0))
    plan = planner.plan(
        pose_evaluate(GOALS), PRIOR, generators=generators(0, 1), warm_start=earlier.parameters
    )
    assert plan.texts[0] == ANSWERS[0]
    assert (plan.iterations[0].costs[:, -1] == earlier.cost).all()


@pytest.mark.parametrize("planner", [_beam(refine_top=5), _cem(refine_top=5)], ids=["beam", "cem"])
def test_the_best_are_evaluated_again_and_the_plan_is_chosen_among_them(planner):
    sizes = []

    def finer(candidates):
        sizes.append(candidates.shape[1])
        return candidates[..., 2].sum(dim=2) + 5  # prefers the greatest turn right

    plan = planner.plan(pose_evaluate(GOALS), PRIOR, generators=generators(0, 1), refine=finer)
    assert sizes == [5]
    drafts, drawn, parameters = (
        torch.cat([getattr(each, name) for each in plan.iterations], dim=1)
        for name in ("costs", "candidates", "parameters")
    )
    for problem in range(2):
        ranked = drafts[problem].argsort(stable=True).tolist()
        # One command is one row of parameters; the last that is kept of equal rows costs the same.
        by_command = {tuple(parameters[problem, index].tolist()): index for index in reversed(ranked)}
        best = sorted(by_command.values(), key=ranked.index)[:5]
        expected = finer(drawn[problem, best][None]).min()
        assert plan.cost[problem] == expected


def test_a_search_can_be_told_costs_of_words():
    """What only the text tells: a cost that counts how often it says 60."""
    result = _beam().commands.search(
        lambda batch: torch.tensor([[-float(text.count("60")) for text in own] for own in batch.texts]),
        PRIOR,
        generators=generators(0, 1),
    )
    assert result.texts == (", then ".join(["turn left 60 degrees"] * 3),) * 2
    same = _beam().commands.search(by_meaning(pose_evaluate(GOALS)), PRIOR, generators=generators(0, 1))
    assert same.texts == _beam().plan(pose_evaluate(GOALS), PRIOR, generators=generators(0, 1)).texts


def test_the_cross_entropy_method_improves_on_its_first_draw():
    goals = np.repeat(GOALS[:1], 6, axis=0)
    plan = _cem(num_candidates=40, num_elites=6, num_iterations=6).plan(
        pose_evaluate(goals), PRIOR, generators=generators(*range(6))
    )
    means = [each.costs.mean().item() for each in plan.iterations]
    assert means[-1] < 0.6 * means[0]


def test_budgets_that_cannot_work_are_refused():
    with pytest.raises(ValueError, match="beam_width and first_width must be at least 1"):
        _beam(beam_width=0)
    with pytest.raises(ValueError, match=r"smoothing in \[0, 1\)"):
        _cem(smoothing=1.0)
    with pytest.raises(ValueError, match="need 1 <= num_elites <= num_candidates"):
        _cem(num_elites=151)


@PLANNERS
def test_costs_that_are_no_numbers_are_refused(planner):
    with pytest.raises(ValueError, match="evaluate must return finite costs"):
        planner.plan(lambda given: given[..., 0, 0] * float("nan"), PRIOR, generators=generators(0))
