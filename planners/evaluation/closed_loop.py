"""Closed loop: drive to goal images (`python -m planners.evaluation.closed_loop checkpoint=nano`)."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import hydra
import numpy as np
from omegaconf import DictConfig
from rich.console import Console

from data_tools import config as configuration
from data_tools.provenance import current_commit
from data_tools.randomness import generator_for, numpy_generator_for
from envs.doom import DoomNav
from envs.doom_engine import STEP_S
from envs.episodes import Episode, EpisodeConfig, generate_episodes
from envs.follower import ShortestPathFollower
from envs.geodesic import DistanceField
from envs.level_geometry import home_m, walkable_map
from envs.level_recorder import RecordConfig
from envs.levels import TEST_LEVELS, TRAIN_LEVELS, check_level
from envs.measures import measure
from envs.walls import wall_lines
from planners.agent import PlanningAgent, PlanningConfig
from planners.calibrate import CalibrationConfig, cached_model, checkpoint_hash, stop_cost
from planners.evaluation.answers import describe
from planners.evaluation.drives import Drive, Sketch, drive_episode, tuples
from planners.evaluation.progress import progress_bars, resumable
from planners.evaluation.records import ClosedLoopRow, Provenance
from planners.evaluation.results import publish
from planners.evaluation.shards import OnProgress, ShardStore, run_shards, worker_session
from planners.evaluation.splits import Shard, check_apart, check_evaluation, cut_into_shards, provenance_of
from planners.evaluation.summary import AgentName, Loop, Run
from planners.evaluation.training_levels import check_levels
from planners.prior import PriorConfig, TrainingPrior, training_prior
from planners.protocols import Agent
from planners.simple_agents import ExpertAgent, RandomAgent, StraightAheadAgent

MAX_DRAWS = 20
"""Episodes tried for one that the simulator can start."""


@dataclass(frozen=True, kw_only=True)
class ClosedLoopConfig:
    """What is evaluated; a split's rows are a function of all but `out`, `workers` and `num_episodes`.

    Attributes:
        out: Folder of the results.
        checkpoint: A shipped model's name or a folder; null leaves the model out.
        seed: Of the episodes; not that of any training data, of the prior or of the calibration.
        num_shown: Episodes a split that the report shows.
        workers: Ray workers; 0 computes in this process.
        seen_levels: Levels of the model's training data.
        unseen_levels: Levels that no training frame came from.
        prior: What the prior is fitted on.
        num_episodes: Episodes a split, rounded up to whole shards.
        episodes_per_shard: Episodes of one level in a shard.
        horizon: Steps that an agent looks ahead.
        random_hold_steps: Steps that the random agent holds a motion.
        stop_cost: At which the planning agent stops; null calibrates it on training levels.
        agent: How the planning agent plans; its stop_cost is replaced.
        calibration: What the stop cost is calibrated on.
        episode: Distances, headings, limits.
        record: How the robot drives in the prior's trajectories, and the size of frames.
    """

    out: str = "outputs/closed_loop"
    checkpoint: str | None = "nano"
    seed: int = 3_000_017
    num_episodes: int = 10
    episodes_per_shard: int = 1
    num_shown: int = 2
    workers: int = 2
    seen_levels: list[str] = field(default_factory=lambda: list(TRAIN_LEVELS[::4]))
    unseen_levels: list[str] = field(default_factory=lambda: list(TEST_LEVELS))
    horizon: int = 8
    random_hold_steps: int = 8
    stop_cost: float | None = None
    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)
    agent: PlanningConfig = field(default_factory=lambda: PlanningConfig(stop_cost=0.0))
    episode: EpisodeConfig = field(default_factory=EpisodeConfig)
    prior: PriorConfig = field(default_factory=PriorConfig)
    record: RecordConfig = field(default_factory=RecordConfig)

    def __post_init__(self) -> None:
        """Refuse levels and numbers that give no episodes."""
        check_evaluation(self)
        check_apart(self, "calibration", levels=self.calibration.levels, seed=self.calibration.seed)
        for level in (*self.seen_levels, *self.unseen_levels):
            check_level(level)
        if min(self.num_episodes, self.episodes_per_shard) < 1:
            raise ValueError(
                "num_episodes and episodes_per_shard must be at least 1; got "
                f"{self.num_episodes} and {self.episodes_per_shard}"
            )

    @property
    def num_shards(self) -> int:
        """Shards of a split."""
        return -(-self.num_episodes // self.episodes_per_shard)

    @property
    def goal_distance_m(self) -> float:
        """Mean distance of a goal, over training episodes as over these: they are drawn alike."""
        return (self.episode.min_geodesic_m + self.episode.max_geodesic_m) / 2

    @property
    def agents(self) -> list[AgentName]:
        """Who drives."""
        return [
            name for name in AgentName if self.checkpoint is not None or name is not AgentName.world_model
        ]


@dataclass(frozen=True, kw_only=True)
class ClosedLoopTask:
    """A shard's episodes, driven by every agent."""

    config: ClosedLoopConfig
    provenance: Provenance
    fitted: TrainingPrior
    shard: Shard
    stop_cost: float


def make_tasks(
    config: ClosedLoopConfig, provenance: Provenance, fitted: TrainingPrior, *, stop_cost: float
) -> dict[str, ClosedLoopTask]:
    """Cut the evaluation into shards of some episodes of one level each."""
    shards = cut_into_shards(config, num_shards=config.num_shards, items_per_shard=config.episodes_per_shard)
    return {
        shard.name: ClosedLoopTask(
            config=config, provenance=provenance, fitted=fitted, shard=shard, stop_cost=stop_cost
        )
        for shard in shards
    }


def evaluate_shard(task: ClosedLoopTask) -> Sequence[ClosedLoopRow]:
    """Draw a shard's episodes and let every agent drive each."""
    config = task.config
    env = None
    rows: list[ClosedLoopRow] = []
    try:
        env = DoomNav(
            levels=[task.shard.level],
            frame_height=config.record.frame_height,
            frame_width=config.record.frame_width,
        )
        for number in task.shard.numbers:
            episode = draw_episode(task, env, number)
            rows += [evaluate_episode(task, env, number, episode, agent) for agent in config.agents]
    except Exception as error:  # a level that does not start, or without such episodes: counted as failed
        known = {row.episode_id for row in rows}
        rows += [
            _failed_row(task, number, agent, error)
            for number in task.shard.numbers
            for agent in config.agents
            if task.shard.item_name(number) not in known
        ]
    finally:
        if env is not None:
            env.close()
    return rows


def draw_episode(task: ClosedLoopTask, env: DoomNav, number: int) -> Episode:
    """Draw an episode that the simulator can start, from the episode's own stream.

    A place inside a decoration that the map does not know is drawn again; that depends on the level alone,
    not on any agent.
    """
    rng = numpy_generator_for(task.config.seed, f"episodes/{task.shard.item_name(number)}")
    walkable = walkable_map(task.shard.level)
    near_m = home_m(task.shard.level)
    refused: ValueError | None = None
    for _ in range(MAX_DRAWS):
        (episode,) = generate_episodes(
            walkable, task.config.episode, level=task.shard.level, num_episodes=1, rng=rng, near_m=near_m
        )
        try:
            env.reset(seed=episode.seed, options={"episode": episode})
        except ValueError as error:
            refused = error
            continue
        return episode
    raise ValueError(f"{task.shard.level} has no room at {MAX_DRAWS} drawn starts or goals") from refused


def evaluate_episode(
    task: ClosedLoopTask, env: DoomNav, number: int, episode: Episode, name: AgentName
) -> ClosedLoopRow:
    """Let one agent drive one episode; an error becomes its row."""
    start_pose = np.array(episode.start_pose)
    is_shown = task.shard.is_shown and number == task.shard.numbers[0] and name is task.config.agents[0]
    try:
        sketch = Sketch(walls=wall_lines(task.shard.level)) if is_shown else None
        field_m = walkable_map(task.shard.level).distance_field(np.array(episode.goal_pose[:2]))
        drive = drive_episode(
            env,
            make_agent(task, number, name, field_m),
            options={"episode": episode},
            seed=episode.seed,
            step_s=STEP_S,
            sketch=sketch,
        )
    except Exception as error:
        return _with_episode(_failed_row(task, number, name, error), episode)
    row = _measured(_with_episode(_failed_row(task, number, name, None), episode), drive, episode)
    return row if sketch is None else replace(row, evidence=sketch.evidence(start_pose))


def make_agent(task: ClosedLoopTask, number: int, name: AgentName, field_m: DistanceField) -> Agent:
    """Return a new agent for one episode; its random stream is named after both."""
    config, fitted = task.config, task.fitted
    generator = generator_for(config.seed, f"agent/{name.name}/{task.shard.item_name(number)}")
    match name:
        case AgentName.world_model:
            assert config.checkpoint is not None
            return PlanningAgent(
                cached_model(config.checkpoint),
                fitted.prior,
                replace(config.agent, stop_cost=task.stop_cost),
                generator=generator,
            )
        case AgentName.random:
            return RandomAgent(
                fitted.prior,
                hold_steps=config.random_hold_steps,
                stop_probability=fitted.spacing_m / config.goal_distance_m,
                generator=generator,
            )
        case AgentName.straight_ahead:
            return StraightAheadAgent(
                fitted.prior, step_m=fitted.spacing_m, goal_distance_m=config.goal_distance_m
            )
        case AgentName.shortest_path:
            return ExpertAgent(ShortestPathFollower(field=field_m))


def make_provenance(config: ClosedLoopConfig) -> Provenance:
    """Return what all rows of a run share."""
    return provenance_of(
        config,
        checkpoint_hash=checkpoint_hash(config.checkpoint),
        ignored={"num_episodes"},
        micro_batch=1,
    )


def run_closed_loop(
    config: ClosedLoopConfig, *, on_prior: OnProgress | None = None, on_progress: OnProgress | None = None
) -> list[ClosedLoopRow]:
    """Return the rows of an evaluation, computing what its folder lacks."""
    check_levels(
        config.checkpoint,
        seen={
            "seen_levels": config.seen_levels,
            "prior.levels": config.prior.levels,
            "calibration.levels": config.calibration.levels,
        },
        unseen=config.unseen_levels,
    )
    shards = Path(config.out) / "shards"
    provenance = make_provenance(config)
    fitted = training_prior(
        config.prior,
        config.record,
        horizon=config.horizon,
        folder=shards,
        num_workers=config.workers,
        on_progress=on_prior,
    )
    cost = config.stop_cost or 0.0
    if config.checkpoint is not None and config.stop_cost is None:
        cost = stop_cost(
            config.calibration,
            config.record,
            checkpoint=config.checkpoint,
            distance=config.agent.distance,
            folder=shards,
            num_workers=config.workers,
        )
    return run_shards(
        evaluate_shard,
        make_tasks(config, provenance, fitted, stop_cost=cost),
        row_type=ClosedLoopRow,
        store=ShardStore(folder=shards, config_hash=provenance.config_hash),
        num_workers=config.workers,
        has_failed=lambda row: row.error is not None,
        on_progress=on_progress,
    )


def _measured(row: ClosedLoopRow, drive: Drive, episode: Episode) -> ClosedLoopRow:
    measures = measure(
        poses=drive.poses,
        distances_m=drive.distances_m,
        collided=drive.collided,
        stopped=drive.stopped,
        geodesic_m=episode.geodesic_m,
    )
    final_m = measures.final_distance_m
    return replace(
        row,
        success=float(measures.success),
        reached=float(measures.reached),
        spl=measures.spl,
        # Off a ledge there may be no way back: then there is no distance either.
        final_distance_m=final_m if np.isfinite(final_m) else None,
        collisions=float(measures.collisions),
        seconds_per_decision=drive.seconds_per_decision,
        num_steps=measures.num_steps,
        poses=tuples(drive.poses),
        actions=drive.actions,
    )


def _failed_row(
    task: ClosedLoopTask, number: int, agent: AgentName, error: Exception | None
) -> ClosedLoopRow:
    return ClosedLoopRow(
        provenance=task.provenance,
        episode_id=task.shard.item_name(number),
        split=task.shard.split.name,
        level=task.shard.level,
        agent=agent.name,
        error=None if error is None else describe(error),
        success=None,
        reached=None,
        spl=None,
        final_distance_m=None,
        collisions=None,
        seconds_per_decision=None,
        geodesic_m=0.0,
        num_steps=0,
        start_pose=(),
        goal_pose=(),
        poses=(),
        actions=(),
        evidence=None,
    )


def _with_episode(row: ClosedLoopRow, episode: Episode) -> ClosedLoopRow:
    return replace(
        row, geodesic_m=episode.geodesic_m, start_pose=episode.start_pose, goal_pose=episode.goal_pose
    )


@hydra.main(version_base=None, config_path="../conf", config_name="closed_loop")
def main(node: DictConfig) -> None:
    """Evaluate, print the tables, and write rows, summary and page."""
    config = configuration.to_object(node, ClosedLoopConfig)
    console = Console()
    started = time.perf_counter()
    with resumable(console), worker_session(config.workers), progress_bars(console) as add_bar:
        rows = run_closed_loop(config, on_prior=add_bar("training prior"), on_progress=add_bar("closed loop"))
    run = Run(
        loops={Loop.closed_loop: make_provenance(config)},
        config=configuration.to_dict(config),
        timing={Loop.closed_loop: time.perf_counter() - started},
        commit=current_commit(),
    )
    publish(console, Path(config.out), run, open_rows=[], closed_rows=rows)


configuration.store("closed_loop_schema", ClosedLoopConfig)

if __name__ == "__main__":
    # Ray's workers find classes by import; those of `__main__` would be others than ours.
    from planners.evaluation import closed_loop  # noqa: PLW0406

    closed_loop.main()
