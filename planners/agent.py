"""PlanningAgent: drives to a goal image, from images alone. A new episode takes a new agent."""

import functools
from collections import deque
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, UInt8
from torch import Tensor

from data_tools.pose import compose
from planners.candidates import Prior, shifted, to_moves
from planners.cem import CemConfig
from planners.constraints import parse_constraints
from planners.costs import Distance, latent_cost
from planners.evaluate import (
    ImaginationConfig,
    answer_imagination,
    imagine,
    latent_goal,
    world_model_evaluate,
)
from planners.icem import IcemConfig
from planners.mppi import MppiConfig
from planners.plan import Plan
from planners.protocols import STOP, Info, Observation, WorldModel
from planners.random_shooting import RandomShootingConfig
from planners.search import SearchMethod, chosen_config, make_planner


@dataclass(frozen=True, kw_only=True)
class PlanningConfig:
    """How a planning agent looks ahead, acts and stops. Costs are in the latents' units: calibrate them."""

    method: SearchMethod = SearchMethod.cem
    """Which of the searches is used; the others' configurations are then idle."""
    cem: CemConfig = field(default_factory=CemConfig)
    icem: IcemConfig = field(default_factory=IcemConfig)
    mppi: MppiConfig = field(default_factory=MppiConfig)
    random_shooting: RandomShootingConfig = field(default_factory=RandomShootingConfig)
    constraints: list[str] = field(default_factory=list)
    """What plans may not do, as `planners.constraints.GRAMMAR` has it; they hold for searches alone."""
    imagination: ImaginationConfig = field(default_factory=ImaginationConfig)
    distance: Distance = Distance.squared
    num_context: int = 4
    """Most recent frames that the model sees; fewer in the first steps."""
    execute_steps: int = 4
    """Steps of a plan that are driven before the next plan."""
    stop_cost: float
    """The agent has arrived when the view costs less than this; `calibrated_stop_cost` finds it."""
    min_travel_m: float = 0.1
    min_turn_rad: float = 0.1
    """A plan that moves and turns less than these is small."""
    small_plans_to_stop: int = 2
    """Small plans in a row after which the agent stops: nothing that it imagines gets it nearer."""
    stuck_cost: float = 0.0
    """The agent is stuck when the view changed by less over steps that should have moved it; 0 never."""
    stuck_travel_m: float = 0.3
    """How far it should have moved for that judgement."""
    recovery_steps: int = 4
    recovery_turn_rad: float = 0.4
    """When stuck it turns this much a step, to a random side, before it plans again."""

    def __post_init__(self) -> None:
        """Refuse an agent that never acts, and constraints that are not understood."""
        parse_constraints("; ".join(self.constraints))
        counts = (self.num_context, self.execute_steps, self.small_plans_to_stop, self.recovery_steps)
        if min(counts) < 1:
            raise ValueError(
                "num_context, execute_steps, small_plans_to_stop and recovery_steps must be at least 1; "
                f"got {counts}"
            )


class Choice(Enum):
    """Why an agent did what it did."""

    plan = "plan"
    """It planned, and took the first step of the plan."""
    follow = "follow"
    """It took the next step of that plan."""
    recover = "recover"
    """It was stuck, and turns."""
    arrived = "arrived"
    """It stopped: the view is the goal's."""
    gave_up = "gave_up"
    """It stopped: no plan promised to get nearer."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What a planning agent did in a step, for reports.

    `view_cost` is the cost of staying; `plan` the plan that is being followed, if any.
    """

    choice: Choice
    view_cost: float
    plan: Plan | None


@dataclass(frozen=True)
class _Followed:
    """A plan, and what it was made from."""

    plan: Plan
    context: Any
    noise: torch.Generator
    start: Float[Tensor, "1 token channel"]


class PlanningAgent:
    """Drives to a goal image by planning in a world model, again and again: receding horizon.

    Each step, from images alone (poses in `info` are never read):

    1. stop if the view costs less than `stop_cost` (latent distance to the goal image);
    2. while a plan has steps left of `execute_steps`, take the next;
    3. if those steps should have moved it `stuck_travel_m` but the view changed by less than `stuck_cost`,
       turn for `recovery_steps`, to a random side;
    4. search a plan, warm-started with what is left of the last (an arc or a line goes on as it began), and
       take the first step; stop after `small_plans_to_stop` small plans in a row.

    Args:
        world_model: What imagines.
        prior: What candidates are drawn from; its horizon is how far the agent looks ahead.
        config: How it acts.
        generator: Random stream of candidates, noise and turns; consumed.
    """

    def __init__(
        self, world_model: WorldModel, prior: Prior, config: PlanningConfig, *, generator: torch.Generator
    ) -> None:
        self._world_model = world_model
        self._prior = replace(prior, constraints=parse_constraints("; ".join(config.constraints)))
        self._config = config
        self._generator = generator
        self._planner = make_planner(config)
        self._frames: deque[Tensor] = deque(maxlen=config.num_context)
        self._goal: tuple[np.ndarray, Float[Tensor, "1 token channel"]] | None = None
        self._queue: deque[Float32[np.ndarray, " 4"]] = deque()
        self._followed: _Followed | None = None
        self._num_small = 0
        self.last: Decision | None = None

    def act(self, observation: Observation, info: Info) -> Float32[np.ndarray, " 4"]:
        """Return the next action; `last` then tells how it came about."""
        frame = torch.from_numpy(observation["image"])
        self._frames.append(frame)
        view, goal = self._world_model.encode(frame[None]), self._goal_latents(observation["goal"])
        view_cost = latent_cost(view, goal, distance=self._config.distance).item()
        if view_cost < self._config.stop_cost:
            choice = Choice.arrived
        elif self._queue:
            choice = Choice.recover if self._followed is None else Choice.follow
        elif self._is_stuck(view):
            self._begin_recovery()
            choice = Choice.recover
        else:
            self._begin_plan(view, goal, torch.from_numpy(observation["goal"])[None])
            choice = Choice.gave_up if self._num_small >= self._config.small_plans_to_stop else Choice.plan
        plan = None if self._followed is None else self._followed.plan
        self.last = Decision(choice=choice, view_cost=view_cost, plan=plan)
        return STOP.copy() if choice in (Choice.arrived, Choice.gave_up) else self._queue.popleft()

    def imagined_end(self) -> UInt8[np.ndarray, "height width 3"] | None:
        """Return the frame that the agent expects at the end of the plan it follows; None without a plan.

        This imagines and decodes the plan once more: it is for people to look at, not for the agent.
        """
        followed = self._followed
        if followed is None:
            return None
        imagination = answer_imagination(self._config.imagination, chosen_config(self._config))
        latents = imagine(
            self._world_model,
            followed.context,
            followed.plan.actions[:, None],  # problem 1 step action
            step_s=self._prior.dt_s,
            mode=imagination.mode,
            num_steps=imagination.num_steps,
            generator=_copy(followed.noise),
        )
        return self._world_model.decode(latents[:, 0, -1])[0].numpy(force=True)

    def _warm_start(self) -> Float[Tensor, "1 parameter"] | None:
        if self._followed is None:
            return None
        return shifted(self._followed.plan.parameters, self._prior, num_steps=self._config.execute_steps)

    def _goal_latents(self, image: np.ndarray) -> Float[Tensor, "1 token channel"]:
        if self._goal is None or not np.array_equal(self._goal[0], image):
            self._goal = (image.copy(), self._world_model.encode(torch.from_numpy(image)[None]))
        return self._goal[1]

    def _is_stuck(self, view: Float[Tensor, "1 token channel"]) -> bool:
        if self._followed is None:
            return False
        driven = self._followed.plan.actions[0, : self._config.execute_steps, :3].numpy()
        if np.hypot(*compose(driven)[:2]) < self._config.stuck_travel_m:
            return False
        change = latent_cost(view, self._followed.start, distance=self._config.distance).item()
        return change < self._config.stuck_cost

    def _begin_recovery(self) -> None:
        """Queue the turns and forget the plan."""
        side = 1.0 if torch.rand((), generator=self._generator).item() < 0.5 else -1.0
        turn = np.array([0.0, 0.0, side * self._config.recovery_turn_rad, 0.0], dtype=np.float32)
        self._queue.extend(turn.copy() for _ in range(self._config.recovery_steps))
        self._followed = None

    def _begin_plan(
        self,
        view: Float[Tensor, "1 token channel"],
        goal: Float[Tensor, "1 token channel"],
        goal_frame: UInt8[Tensor, "1 height width 3"],
    ) -> None:
        """Plan from what was seen so far and queue the first steps."""
        config = self._config
        context = self._world_model.encode_context(torch.stack(list(self._frames))[None])
        noise = config.imagination.noise(int(torch.randint(2**62, (), generator=self._generator)))
        evaluate_by = functools.partial(
            world_model_evaluate,
            self._world_model,
            context,
            latent_goal(goal, distance=config.distance),
            goal_frames=goal_frame,
            step_s=self._prior.dt_s,
            generator=noise,
        )
        plan = self._planner.plan(
            evaluate_by(config=config.imagination),
            self._prior,
            generators=[self._generator],
            warm_start=self._warm_start(),
            refine=evaluate_by(config=config.imagination.refined()),
        )
        self._followed = _Followed(plan, context, noise, view)
        travel = compose(plan.actions[0, :, :3].numpy())
        is_small = np.hypot(*travel[:2]) < config.min_travel_m and abs(travel[2]) < config.min_turn_rad
        self._num_small = self._num_small + 1 if is_small else 0
        self._queue.extend(to_moves(plan.actions[0, : config.execute_steps]))


def calibrated_stop_cost(
    costs: Float64[np.ndarray, " view"], distances_m: Float64[np.ndarray, " view"], *, radius_m: float = 1.0
) -> float:
    """Return the cost below which a view should count as arrived, from views of training problems.

    The threshold maximises the share of views within the radius that it stops at, less the share of views
    outside that it stops at (Youden's index): the two kinds count equally, however many of each there are.

    Args:
        costs: Cost of each view against a goal.
        distances_m: Geodesic distance of each view's pose from that goal [m].
        radius_m: Where stopping is a success.

    Returns:
        A threshold half way between the two neighbouring costs.
    """
    is_near = distances_m <= radius_m
    if is_near.all() or not is_near.any():
        raise ValueError(
            f"calibration needs views within {radius_m} m of their goals and views outside; "
            f"{int(is_near.sum())} of {len(is_near)} are within"
        )
    order = np.argsort(costs, kind="stable")
    near, ranked = is_near[order], costs[order]
    index = np.cumsum(near) / near.sum() - np.cumsum(~near) / (~near).sum()
    index[:-1][ranked[:-1] == ranked[1:]] = -np.inf  # equal costs cannot be told apart
    last = int(np.argmax(index))
    following = ranked[last + 1] if last + 1 < len(ranked) else ranked[last] + 1.0
    return float((ranked[last] + following) / 2)


def _copy(generator: torch.Generator) -> torch.Generator:
    copied = torch.Generator(generator.device)
    copied.set_state(generator.get_state())
    return copied
