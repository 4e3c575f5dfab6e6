"""Answers: every method's plan for planning problems, and the rows made of them."""

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from data_tools.action_text import format_actions
from data_tools.pose import compose
from data_tools.randomness import generator_for
from planners.baselines import (
    constant_velocity,
    prior_mean,
    random_candidate,
    stand_still,
    straight_ahead,
)
from planners.candidates import Prior
from planners.cem import CemConfig
from planners.constraints import parse_constraints
from planners.costs import Distance
from planners.evaluate import (
    FrameGoal,
    ImaginationConfig,
    LatentGoal,
    decoded_goal,
    encoded_goal,
    latent_goal,
    pixel_goal,
    pose_evaluate,
    simulator_evaluate,
    world_model_evaluate,
)
from planners.evaluation.metrics import path_errors
from planners.evaluation.problems import PlanningProblem
from planners.evaluation.records import OpenLoopRow, Provenance
from planners.evaluation.summary import Method
from planners.icem import IcemConfig
from planners.mppi import MppiConfig
from planners.plan import Plan
from planners.protocols import Simulator, WorldModel
from planners.random_shooting import RandomShootingConfig
from planners.search import SearchMethod, make_planner

Given = TypeVar("Given")


class PlanCost(Enum):
    """What compares an outcome with the goal."""

    pixel = "pixel"
    """Frames, by multi-scale mean absolute difference; a model's latents are decoded first."""

    latent = "latent"
    """Latents of a visual representation."""


@runtime_checkable
class Encoder(Protocol):
    """The part of a world model, or of a visual representation, that a latent cost needs."""

    def encode(self, frames: UInt8[Tensor, "batch height width 3"]) -> Float[Tensor, "batch token channel"]:
        """Return the latents of frames."""
        ...


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """How problems are planned: one search for the world model and for the oracle simulator."""

    method: SearchMethod = SearchMethod.cem
    """Which of the searches is used; the others' configurations are then idle."""
    cem: CemConfig = field(default_factory=CemConfig)
    icem: IcemConfig = field(default_factory=IcemConfig)
    mppi: MppiConfig = field(default_factory=MppiConfig)
    random_shooting: RandomShootingConfig = field(default_factory=RandomShootingConfig)
    constraints: list[str] = field(default_factory=list)
    """What plans may not do, as `planners.constraints.GRAMMAR` has it; they hold for searches alone."""
    imagination: ImaginationConfig = field(default_factory=ImaginationConfig)
    model_cost: PlanCost = PlanCost.latent
    """Cost of the planner on the world model."""
    simulator_cost: PlanCost = PlanCost.pixel
    """Cost of the planner on the true simulator."""
    distance: Distance = Distance.squared
    """How latents are compared, where they are."""
    micro_batch: int = 3
    """Problems that the world model plans together; sums may round by it, so it is recorded."""

    def __post_init__(self) -> None:
        """Refuse a batch of nothing, and constraints that are not understood."""
        parse_constraints("; ".join(self.constraints))
        if self.micro_batch < 1:
            raise ValueError(f"micro_batch must be at least 1; got {self.micro_batch}")

    def constrained(self, prior: Prior) -> Prior:
        """Return the prior under the constraints of this search."""
        return replace(prior, constraints=parse_constraints("; ".join(self.constraints)))


@dataclass(frozen=True, kw_only=True)
class Tools:
    """What problems of one level, or of one data set, are solved with."""

    simulator: Simulator | None
    """None where only recordings are there; nothing is then searched on the true world."""
    world_model: WorldModel | None
    encoder: Encoder | None
    """What the oracle simulator's latent cost encodes with; None if that cost is on pixels."""
    prior: Prior
    spacing_m: float

    @property
    def planner(self) -> Method:
        """The method whose search the report shows, and whose candidates the oracle cost chooses from."""
        return Method.oracle_simulator if self.world_model is None else Method.world_model


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One method's plan for one problem."""

    actions: Float[Tensor, "step 4"]
    seconds: float
    plan: Plan | None = None
    """The search, for this problem alone; None if there was none."""


Found = Answer | Exception
"""An answer, or why there is none."""


def answer_problems(
    problems: Sequence[PlanningProblem], tools: Tools, config: SearchConfig, *, seed: int
) -> list[Mapping[Method, Found]]:
    """Return every method's answer to each problem of one level, the one that the simulator shows.

    Candidates are drawn from a stream of the problem's own name, the same for the world model and the oracle
    simulator. An error of a method is its answer; those that need that answer fail with it.
    """
    answers: list[Mapping[Method, Found]] = []
    for start in range(0, len(problems), config.micro_batch):
        batch = problems[start : start + config.micro_batch]
        searched = (
            {}
            if tools.world_model is None
            else plan_in_imagination(batch, tools.world_model, tools.prior, config, seed=seed)
        )
        for problem in batch:
            found: dict[Method, Found] = {}
            if tools.world_model is not None:
                found[Method.world_model] = searched[problem.problem_id]
            found |= _blind(problem, tools, seed)
            oracle = (
                None
                if tools.simulator is None
                else _attempt(functools.partial(_simulated, tools.simulator, tools, config, seed), problem)
            )
            searched_best = found.get(Method.world_model, oracle)
            if searched_best is not None:  # else nothing has searched: baselines alone
                found[Method.oracle_cost] = _attempt(
                    lambda given: _best_candidate(*given), (problem, searched_best)
                )
            if oracle is not None:
                found[Method.oracle_simulator] = oracle
            answers.append(found)
    return answers


def row_of(problem: PlanningProblem, method: str, found: Found, provenance: Provenance) -> OpenLoopRow:
    """Return the row of one answer; errors are those of the path that its text describes, walls aside."""
    empty = failed_row(problem.problem_id, method, "", provenance, split=problem.split, level=problem.level)
    known = {
        "trajectory": problem.trajectory,
        "frame": problem.frame,
        "start_pose": tuple(problem.start_pose.tolist()),
        "true_poses": tuple(tuple(pose) for pose in problem.true_poses.tolist()),
        "goal_s": problem.goal_s,
        "spacing_m": problem.spacing_m,
    }
    if isinstance(found, Exception):
        return replace(empty, **known, error=describe(found))
    actions = found.actions.numpy().astype(np.float64)
    errors = path_errors(actions[:, :3], problem.true_displacements(), spacing_m=problem.spacing_m)
    costs = () if found.plan is None else tuple(each.costs.min().item() for each in found.plan.iterations)
    return replace(
        empty,
        **known,
        error=None,
        ate_m=errors.ate_m,
        rpe_m=errors.rpe_m,
        ate_spacing=errors.ate_spacing,
        rpe_spacing=errors.rpe_spacing,
        final_position_m=errors.final_position_m,
        final_yaw_rad=errors.final_yaw_rad,
        cost=None if found.plan is None else found.plan.cost.item(),
        iteration_costs=costs,
        plan=tuple(format_actions(actions)),
        seconds=found.seconds,
    )


def methods_of(*, has_model: bool, has_simulator: bool) -> list[Method]:
    """Return the methods that answer problems, in the order of the table."""
    lacking = set() if has_model else {Method.world_model}
    lacking |= set() if has_simulator else {Method.oracle_simulator}
    lacking |= set() if has_model or has_simulator else {Method.oracle_cost}
    return [method for method in Method if method not in lacking]


def failed_row(
    problem_id: str, method: str, error: str, provenance: Provenance, *, split: str, level: str
) -> OpenLoopRow:
    """Return the row of a problem that could not be posed."""
    return OpenLoopRow(
        provenance=provenance,
        problem_id=problem_id,
        split=split,
        level=level,
        trajectory="",
        frame=0,
        method=method,
        error=error,
        ate_m=None,
        rpe_m=None,
        ate_spacing=None,
        rpe_spacing=None,
        final_position_m=None,
        final_yaw_rad=None,
        cost=None,
        iteration_costs=(),
        plan=(),
        start_pose=(),
        true_poses=(),
        goal_s=0.0,
        spacing_m=0.0,
        seconds=0.0,
        evidence=None,
    )


def describe(error: Exception) -> str:
    """Return an error as a row keeps it."""
    return f"{type(error).__name__}: {error}"


def _attempt(solve: Callable[[Given], Answer], given: Given) -> Found:
    """Answer, or return the error: a bad problem must not end an evaluation, and must show in its rows."""
    try:
        return solve(given)
    except Exception as error:
        return error


def _blind(problem: PlanningProblem, tools: Tools, seed: int) -> dict[Method, Found]:
    """Answer without looking."""
    prior, own = _prior_of([problem], tools.prior), generator_for(seed, f"random/{problem.problem_id}")
    plans = {
        Method.stand_still: stand_still(prior, num_problems=1),
        Method.prior_mean: prior_mean(prior, num_problems=1),
        Method.straight_ahead: straight_ahead(prior, step_m=tools.spacing_m, num_problems=1),
        Method.constant_velocity: constant_velocity(prior, problem.last_step[None]),
        Method.random_candidate: random_candidate(prior, generators=[own]),
    }
    return {method: Answer(actions=actions[0], seconds=0.0) for method, actions in plans.items()}


def plan_in_imagination(
    batch: Sequence[PlanningProblem],
    world_model: WorldModel,
    prior: Prior,
    config: SearchConfig,
    *,
    seed: int,
) -> dict[str, Found]:
    """Plan a batch on a world model, by the problems' names; an error is that of all its problems."""
    started = time.perf_counter()
    names = [problem.problem_id for problem in batch]
    try:
        context = world_model.encode_context(
            torch.from_numpy(np.stack([problem.context for problem in batch]))
        )
        goals = torch.from_numpy(np.stack([problem.goal for problem in batch]))
        goal_latents = world_model.encode(goals)
        evaluate_by = functools.partial(
            world_model_evaluate,
            world_model,
            context,
            model_goal(world_model, goals, goal_latents, config),
            goal_frames=goals,
            step_s=prior.dt_s,
            generator=config.imagination.noise(seed),
        )
        plan = make_planner(config).plan(
            evaluate_by(config=config.imagination),
            config.constrained(_prior_of(batch, prior)),
            generators=_streams(names, seed),
            refine=evaluate_by(config=config.imagination.refined()),
        )
    except Exception as error:  # as in _attempt
        return dict.fromkeys(names, error)
    seconds = (time.perf_counter() - started) / len(batch)
    own_plans = [_own(plan, index) for index in range(len(batch))]
    return {
        name: Answer(actions=own.actions[0], seconds=seconds, plan=own)
        for name, own in zip(names, own_plans, strict=True)
    }


def model_goal(
    world_model: WorldModel,
    goals: UInt8[Tensor, "problem height width 3"],
    goal_latents: Float[Tensor, "problem token channel"],
    config: SearchConfig,
) -> LatentGoal:
    """Return the cost of imagined latents, as the search on the world model is configured to take it."""
    match config.model_cost:
        case PlanCost.pixel:
            return decoded_goal(world_model, goals)
        case PlanCost.latent:
            return latent_goal(goal_latents, distance=config.distance)


def _prior_of(problems: Sequence[PlanningProblem], prior: Prior) -> Prior:
    """Return the prior given each problem's last step, if it was fitted with odometry."""
    return prior.after(np.stack([problem.last_step for problem in problems]))


def _simulated(
    simulator: Simulator, tools: Tools, config: SearchConfig, seed: int, problem: PlanningProblem
) -> Answer:
    """Plan one problem on the true simulator."""
    started = time.perf_counter()
    evaluate = simulator_evaluate(
        simulator, problem.start_pose[None], _simulator_goal(problem, tools, config)
    )
    plan = make_planner(config).plan(
        evaluate,
        config.constrained(_prior_of([problem], tools.prior)),
        generators=_streams([problem.problem_id], seed),
    )
    return Answer(actions=plan.actions[0], seconds=time.perf_counter() - started, plan=plan)


def _simulator_goal(problem: PlanningProblem, tools: Tools, config: SearchConfig) -> FrameGoal:
    goal = torch.from_numpy(problem.goal[None])
    match config.simulator_cost:
        case PlanCost.pixel:
            return pixel_goal(goal)
        case PlanCost.latent:
            if tools.encoder is None:
                raise ValueError(
                    "simulator_cost=latent needs something that encodes frames; "
                    "give checkpoint=NAME or representation=FOLDER"
                )
            return encoded_goal(tools.encoder.encode, goal, distance=config.distance)


def _streams(names: Sequence[str], seed: int) -> list[torch.Generator]:
    return [generator_for(seed, f"planner/{name}") for name in names]


def _best_candidate(problem: PlanningProblem, planned: Found) -> Answer:
    """Choose by true final pose among all candidates that a search considered."""
    if isinstance(planned, Exception) or planned.plan is None:
        raise ValueError("the planner whose candidates the oracle cost chooses from gave no plan")
    candidates = torch.cat([each.candidates for each in planned.plan.iterations], dim=1)
    costs = pose_evaluate(compose(problem.true_displacements())[None])(candidates)
    return Answer(actions=candidates[0, int(costs[0].argmin())], seconds=0.0)


def _own(plan: Plan, index: int) -> Plan:
    """Return one problem's part of a plan."""
    own = slice(index, index + 1)
    return Plan(
        actions=plan.actions[own],
        parameters=plan.parameters[own],
        cost=plan.cost[own],
        iterations=tuple(
            type(each)(
                candidates=each.candidates[own],
                parameters=each.parameters[own],
                costs=each.costs[own],
                mean=each.mean[own],
                std=each.std[own],
            )
            for each in plan.iterations
        ),
    )
