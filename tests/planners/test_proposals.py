from collections.abc import Sequence

import numpy as np
import pytest
import torch

from data_tools.action_text import format_actions, parse_actions
from data_tools.pose import compose, displacement_between, move
from planners.candidates import Parameterisation, fit_prior
from planners.cem import Cem, CemConfig
from planners.command_search import CommandBeam, CommandBeamConfig
from planners.commands import CommandGrammar, CommandReading, command_evaluate
from planners.constraints import parse_constraints
from planners.evaluate import (
    ImaginationConfig,
    Mode,
    latent_goal,
    pose_evaluate,
    world_model_evaluate,
)
from planners.goals import text_goal
from planners.plan import Planner
from planners.proposals import ProposedFirst, proposed_parameters
from planners.protocols import ActionProposer, Captioner
from planners.ranking import best_of
from tests.planners.quadratic import generators
from tests.planners.test_commands import make_prior
from tests.planners.toy_world import ToyModel, frame_of

STARTS = np.array([[0.5, -1.0, 0.3], [-2.0, 1.0, -2.8]])
GOALS = np.array([[1.6, 0.4, 0.5], [1.2, -0.6, -0.9]])  # displacements


class ToyProposer:
    """Knows where the goal is up to some noise; the first proposal of all is exact if there is none."""

    def __init__(self, noise: float) -> None:
        self.noise = noise

    def propose_actions(
        self, context, *, num_proposals: int, duration_s: float, generators: Sequence[torch.Generator]
    ) -> list[list[str]]:
        texts = []
        for poses, generator in zip(context, generators, strict=True):
            action = np.append(displacement_between(poses[0], poses[1]), duration_s)
            noise = torch.randn(num_proposals, 4, generator=generator, dtype=torch.float64).numpy()
            texts.append(format_actions(action + self.noise * noise * [1, 1, 1, 0]))
        return texts


def _frames(poses):
    return torch.from_numpy(np.stack([frame_of(pose) for pose in poses]))


def _proposed(prior, *, noise, num_proposals=7, problems=slice(None)):
    model, starts = ToyModel(), STARTS[problems]
    goals = _frames([move(start, goal) for start, goal in zip(starts, GOALS[problems], strict=True)])
    return proposed_parameters(
        ToyProposer(noise),
        model,
        model.encode_context(_frames(starts)[:, None]),
        goals,
        prior,
        num_proposals=num_proposals,
        generators=generators(3, 4)[problems],
    )


def _prior(parameterisation, **changes):
    rng = np.random.default_rng(0)
    steps = [rng.normal([0.2, 0, 0], [0.1, 0.05, 0.1], (40, 3)) for _ in range(3)]
    prior = fit_prior(steps, parameterisation=parameterisation, horizon=6, dt_s=0.25, num_points=2)
    return prior if not changes else type(prior)(**(vars(prior) | changes))


@pytest.mark.parametrize("parameterisation", list(Parameterisation))
def test_proposals_become_candidates_that_end_where_they_do(parameterisation):
    prior = _prior(parameterisation)
    plan = best_of(_proposed(prior, noise=0.0), pose_evaluate(GOALS), prior)
    assert plan.iterations[0].candidates.shape == (2, 7, 6, 4)
    np.testing.assert_allclose(compose(plan.actions[..., :3].numpy()), GOALS, atol=0.01)


def test_proposals_obey_bounds_and_constraints():
    prior = _prior(Parameterisation.steps, constraints=parse_constraints("no left turn; forward only"))
    parameters = _proposed(prior, noise=1.0, num_proposals=30)
    motions = parameters.unflatten(2, (6, 3))  # step number
    assert (motions[..., 0] >= 0).all() and (motions[..., 2] <= 0).all()
    assert (motions.abs() <= torch.tensor([0.6, 0.6, 1.0])).all()
    assert len(torch.unique(parameters[0], dim=0)) == 30


def test_ranking_returns_the_cheapest_proposal():
    prior = _prior(Parameterisation.arc)
    proposals = _proposed(prior, noise=0.2)
    plan = best_of(proposals, pose_evaluate(GOALS), prior)
    costs = plan.iterations[0].costs
    torch.testing.assert_close(plan.cost, costs.min(dim=1).values, rtol=0, atol=0)
    for problem, best in enumerate(costs.argmin(dim=1).tolist()):
        torch.testing.assert_close(plan.parameters[problem], proposals[problem, best], rtol=0, atol=0)


def test_a_problem_alone_is_proposed_the_same():
    prior = _prior(Parameterisation.arc)
    together, alone = _proposed(prior, noise=0.2), _proposed(prior, noise=0.2, problems=slice(1, 2))
    torch.testing.assert_close(together[1:], alone, rtol=0, atol=0)


def test_a_search_that_begins_with_proposals_is_no_worse_than_them_and_starts_from_the_best():
    prior, evaluate = _prior(Parameterisation.arc), pose_evaluate(GOALS)
    proposals = _proposed(prior, noise=0.1)
    ranked = best_of(proposals, evaluate, prior)
    config = CemConfig(num_candidates=12, num_elites=2, num_iterations=3, std_floor=0.02, warm_spread=0.1)
    planner = ProposedFirst(Cem(config), proposals)
    assert isinstance(planner, Planner)
    plan = planner.plan(evaluate, prior, generators=generators(0, 1))
    assert [each.costs.shape[1] for each in plan.iterations] == [7, 12, 12, 12]
    torch.testing.assert_close(plan.iterations[1].parameters[:, -1], ranked.parameters, rtol=0, atol=0)
    assert (plan.cost < ranked.cost).all()
    torch.testing.assert_close(plan.cost, evaluate(plan.actions[:, None])[:, 0], rtol=0, atol=0)


def test_a_search_that_finds_nothing_better_answers_the_best_proposal():
    prior = _prior(Parameterisation.arc)
    evaluate = pose_evaluate(GOALS)
    proposals = _proposed(prior, noise=0.0)
    poor = Cem(CemConfig(num_candidates=3, num_elites=3, num_iterations=1, warm_share=0.0))
    plan = ProposedFirst(poor, proposals).plan(evaluate, prior, generators=generators(0, 1))
    torch.testing.assert_close(plan.parameters, proposals[:, 0], rtol=0, atol=0)


def test_answer_and_proposal_are_judged_by_the_finer_evaluation():
    prior = _prior(Parameterisation.arc)
    finer = pose_evaluate(np.zeros((2, 3)))  # would rather stay
    proposals = torch.cat([_proposed(prior, noise=0.0), torch.zeros(2, 1, 3, dtype=torch.float64)], dim=1)
    planner = ProposedFirst(Cem(CemConfig(num_candidates=8, num_elites=2, num_iterations=1)), proposals)
    plan = planner.plan(pose_evaluate(GOALS), prior, generators=generators(0, 1), refine=finer)
    torch.testing.assert_close(plan.cost, finer(plan.actions[:, None])[:, 0], rtol=0, atol=0)


def test_a_warm_start_does_not_bring_in_what_is_forbidden():
    prior = _prior(Parameterisation.arc, constraints=parse_constraints("no left turn"))
    planner = ProposedFirst(
        Cem(CemConfig(num_candidates=8, num_elites=2, num_iterations=1)),
        torch.zeros(2, 1, 3, dtype=torch.float64),
    )
    forbidden = torch.tensor([[0.2, 0.0, 0.3]] * 2, dtype=torch.float64)
    plan = planner.plan(pose_evaluate(GOALS), prior, generators=generators(0, 1), warm_start=forbidden)
    assert (plan.actions[..., 2] <= 0).all()


def test_proposals_are_those_of_as_many_problems():
    prior = _prior(Parameterisation.arc)
    planner = ProposedFirst(Cem(CemConfig()), _proposed(prior, noise=0.0))
    with pytest.raises(ValueError, match="each of 3 problems, got those of 2"):
        planner.plan(pose_evaluate(GOALS), prior, generators=generators(0, 1, 2))


def test_the_model_that_ships_proposes_listens_and_reads_goals_in_words():
    """Real weights: proposals are actions, ranked by imagination; commands are imagined both ways."""
    from worldmodel.action_proposals import ActionProposer as Proposer
    from worldmodel.generation import Generator
    from worldmodel.model_folder import load_model

    model = load_model("nano")
    draw = torch.Generator().manual_seed(0)
    frames = torch.randint(256, (2, 2, 32, 32, 3), dtype=torch.uint8, generator=draw)
    goals = torch.randint(256, (2, 32, 32, 3), dtype=torch.uint8, generator=draw)
    context, prior = model.encode_context(frames), make_prior(horizon=5)
    proposer, captioner = Proposer(model), Generator(model)
    assert isinstance(proposer, ActionProposer) and isinstance(captioner, Captioner)
    texts = proposer.propose_actions(
        model.extend_context(context, goals), num_proposals=4, duration_s=1.25, generators=generators(0, 1)
    )
    ends = np.stack([parse_actions(own) for own in texts])
    # It has learned how far one gets, and does not write what it never read.
    assert np.abs(ends[..., :2]).max() < 12 and (ends[..., 3] == 1.25).all()
    proposals = proposed_parameters(
        proposer, model, context, goals, prior, num_proposals=4, generators=generators(0, 1)
    )
    config, goal = ImaginationConfig(mode=Mode.jump), latent_goal(model.encode(goals))
    evaluate = world_model_evaluate(
        model, context, goal, goal_frames=goals, step_s=0.25, config=config, generator=draw
    )
    ranked = best_of(proposals, evaluate, prior)
    assert (ranked.cost <= ranked.iterations[0].costs.mean(dim=1)).all()
    beam = CommandBeam(
        CommandBeamConfig(grammar=CommandGrammar(lengths_cm=[50], turns_deg=[30], max_parts=2), beam_width=1)
    )
    plans = [
        beam.search(
            command_evaluate(
                model, context, aim, reading=reading, step_s=0.25, config=config, generator=draw
            ),
            prior,
            generators=generators(0, 1),
        )
        for reading, aim in (
            (CommandReading.meaning, goal),
            (CommandReading.wording, goal),
            (CommandReading.wording, text_goal(captioner, ["a door", "a wall"])),
        )
    ]
    costs = torch.stack([plan.cost for plan in plans])
    assert costs.isfinite().all() and len(torch.unique(costs)) == costs.numel()
