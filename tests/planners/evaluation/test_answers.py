"""Answers: a perfect model plans as the simulator does; rows do not depend on the batch; errors are rows."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from data_tools.pose import displacement_between
from planners.candidates import Parameterisation, Prior, fit_prior
from planners.cem import Answer as CemAnswer
from planners.cem import CemConfig
from planners.evaluate import ImaginationConfig, Mode
from planners.evaluation.answers import Answer, PlanCost, SearchConfig, Tools, answer_problems, row_of
from planners.evaluation.evidence import imagined_frames, plan_evidence
from planners.evaluation.problems import PlanningProblem
from planners.evaluation.summary import Method
from planners.evaluation.videos import decode_png
from planners.search import SearchMethod
from tests.envs.grid_room import WALLS, GridRoom
from tests.planners.evaluation.fakes import HORIZON, PerfectModel, room_problems, room_trajectory
from tests.planners.evaluation.rows import PROVENANCE

CEM = CemConfig(num_candidates=16, num_elites=3, num_iterations=3, answer=CemAnswer.best)
CONFIG = SearchConfig(cem=CEM, imagination=ImaginationConfig(mode=Mode.steps), model_cost=PlanCost.pixel)


def room_prior(room: GridRoom) -> Prior:
    poses = room_trajectory(room, num_frames=20).poses
    assert poses is not None
    steps = displacement_between(poses[:-1], poses[1:])
    noisy = steps + np.random.default_rng(0).normal(0, [0.05, 0.02, 0.1], steps.shape)
    return fit_prior([noisy], parameterisation=Parameterisation.arc, horizon=HORIZON, dt_s=0.25)


@pytest.fixture
def room() -> GridRoom:
    return GridRoom(frame_height=12, frame_width=16)


@pytest.fixture
def problems(room: GridRoom) -> list[PlanningProblem]:
    return room_problems(room)


@pytest.fixture
def tools(room: GridRoom, problems: list[PlanningProblem]) -> Tools:
    model = PerfectModel(room, [problem.start_pose for problem in problems])
    return Tools(simulator=room, world_model=model, encoder=None, prior=room_prior(room), spacing_m=0.2)


def plan_texts(found: object) -> tuple[str, ...]:
    assert isinstance(found, Answer), found
    return tuple(str(row) for row in found.actions.tolist())


def test_a_perfect_model_plans_what_the_simulator_plans(
    tools: Tools, problems: list[PlanningProblem]
) -> None:
    for found in answer_problems(problems, tools, CONFIG, seed=1):
        assert plan_texts(found[Method.world_model]) == plan_texts(found[Method.oracle_simulator])


@pytest.mark.parametrize("method", list(SearchMethod))
def test_every_search_plans_on_the_model_and_on_the_simulator(
    tools: Tools, problems: list[PlanningProblem], method: SearchMethod
) -> None:
    config = replace(CONFIG, method=method, constraints=["no left turn", "stay within 0.6 m/s"])
    found = answer_problems(problems[:1], tools, config, seed=1)[0]
    planned = found[Method.world_model]
    assert isinstance(planned, Answer) and planned.plan is not None
    assert plan_texts(planned) == plan_texts(found[Method.oracle_simulator])
    assert len(planned.plan.iterations) == (1 if method is SearchMethod.random_shooting else 3)
    assert (planned.actions[:, 2] <= 0).all()
    assert (planned.actions[:, :2].norm(dim=1) <= 0.6 * 0.25).all()


def test_a_constraint_that_is_not_understood_stops_the_configuration() -> None:
    with pytest.raises(ValueError, match=r"'no loops' is not a constraint; understood are"):
        SearchConfig(constraints=["no loops"])


def test_every_method_answers_in_the_order_of_the_table(
    tools: Tools, problems: list[PlanningProblem]
) -> None:
    found = answer_problems(problems, tools, CONFIG, seed=1)[0]
    assert list(found) == list(Method)
    without = answer_problems(problems, replace(tools, world_model=None), CONFIG, seed=1)[0]
    assert list(without) == list(Method)[1:]


def test_the_oracle_is_near_and_the_oracle_cost_is_among_the_candidates(
    tools: Tools, problems: list[PlanningProblem]
) -> None:
    found = answer_problems(problems, tools, CONFIG, seed=1)[0]
    errors = {method: row_of(problems[0], method.name, each, PROVENANCE) for method, each in found.items()}
    best = errors[Method.oracle_cost].final_position_m
    still = errors[Method.stand_still].final_position_m
    assert best is not None and still is not None
    assert best < 0.1
    assert still > 0.5
    planned = found[Method.world_model]
    assert isinstance(planned, Answer) and planned.plan is not None
    considered = torch.cat([each.candidates[0] for each in planned.plan.iterations])
    chosen = found[Method.oracle_cost]
    assert isinstance(chosen, Answer)
    assert (considered == chosen.actions).flatten(1).all(1).any()


def test_answers_do_not_depend_on_the_micro_batch(tools: Tools, problems: list[PlanningProblem]) -> None:
    together = answer_problems(problems, tools, replace(CONFIG, micro_batch=2), seed=1)
    alone = answer_problems(problems, tools, replace(CONFIG, micro_batch=1), seed=1)
    for one, other in zip(together, alone, strict=True):
        for method in Method:
            assert plan_texts(one[method]) == plan_texts(other[method])


def test_an_error_is_the_row_of_its_method_and_of_those_that_need_it(
    room: GridRoom, tools: Tools, problems: list[PlanningProblem]
) -> None:
    lost = replace(tools, world_model=PerfectModel(room, []))
    found = answer_problems(problems, lost, CONFIG, seed=1)[0]
    rows = {method: row_of(problems[0], method.name, each, PROVENANCE) for method, each in found.items()}
    assert (rows[Method.world_model].error or "").startswith("KeyError")
    assert rows[Method.oracle_cost].error is not None
    assert rows[Method.oracle_simulator].error is None and rows[Method.oracle_simulator].ate_m is not None


def test_a_latent_cost_of_the_simulator_needs_an_encoder(
    tools: Tools, problems: list[PlanningProblem]
) -> None:
    config = replace(CONFIG, simulator_cost=PlanCost.latent)
    found = answer_problems(problems, tools, config, seed=1)[0][Method.oracle_simulator]
    assert isinstance(found, ValueError) and "representation=FOLDER" in str(found)


def test_evidence_is_what_driving_the_plan_shows(
    room: GridRoom, tools: Tools, problems: list[PlanningProblem]
) -> None:
    problem = problems[1]
    answer = answer_problems(problems, tools, CONFIG, seed=1)[1][Method.world_model]
    assert isinstance(answer, Answer) and tools.world_model is not None
    frames = imagined_frames(
        tools.world_model,
        problem,
        answer.actions,
        step_s=0.25,
        config=CONFIG.imagination,
        generator=torch.Generator(),
    )
    evidence = plan_evidence(problem, answer, simulator=room, walls=WALLS, imagined=frames)
    driven = room.drive(problem.start_pose, answer.actions[:, :3].numpy())
    np.testing.assert_array_equal(decode_png(evidence.simulated[-1]), driven.frame)
    np.testing.assert_array_equal(decode_png(evidence.imagined[-1]), driven.frame)
    assert len(evidence.candidates) == CEM.num_iterations
    assert len(evidence.candidates[0][0]) == 2 * (HORIZON + 1)
    np.testing.assert_allclose(evidence.candidates[0][0][:2], problem.start_pose[:2], atol=1e-3)
