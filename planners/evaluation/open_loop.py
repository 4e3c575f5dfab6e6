"""Open loop: plan to goal frames of held-out recordings.

`python -m planners.evaluation.open_loop checkpoint=nano out=FOLDER num_problems=200`
"""

import functools
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import hydra
import numpy as np
from jaxtyping import Float
from omegaconf import DictConfig
from rich.console import Console

from data_tools import config as configuration
from data_tools.provenance import installed_versions
from data_tools.randomness import generator_for, numpy_generator_for
from envs.clearance import HEAD_ROOM_M, STEP_UP_M, Sector
from envs.doom_engine import STEP_S, DoomEngine
from envs.level_geometry import read_geometry
from envs.level_recorder import LevelRecorder, RecordConfig
from envs.levels import TEST_LEVELS, TRAIN_LEVELS, check_level
from planners.calibrate import cached_model, checkpoint_hash
from planners.evaluation.answers import (
    Answer,
    Encoder,
    PlanCost,
    SearchConfig,
    Tools,
    answer_problems,
    describe,
    failed_row,
    row_of,
)
from planners.evaluation.evidence import imagined_frames, plan_evidence
from planners.evaluation.problems import PlanningProblem, ProblemShape, cut_problems
from planners.evaluation.progress import progress_bars, resumable
from planners.evaluation.records import OpenLoopRow, Provenance, hash_of
from planners.evaluation.results import publish, run_of
from planners.evaluation.shards import OnProgress, ShardStore, run_shards, worker_session
from planners.evaluation.summary import Method, Split
from planners.evaluation.training_levels import check_levels
from planners.prior import PriorConfig, TrainingPrior, training_prior
from worldmodel.representation.rae import RaeRepresentation


@dataclass(frozen=True, kw_only=True)
class OpenLoopConfig:
    """What is evaluated; a split's rows are a function of all but `out`, `workers` and `num_problems`.

    Attributes:
        out: Folder of the results.
        checkpoint: A shipped model's name or a folder; null leaves the model out.
        representation: Folder of a visual representation, for `plan_cost=latent` without a checkpoint.
        seed: Training data and prior use others.
        num_problems: Problems a split, rounded up to whole shards.
        problems_per_shard: Trajectories of a shard times problems of each.
        num_shown: Problems a split whose plans the report shows.
        workers: Ray workers; 0 computes in this process.
        seen_levels: Levels of the model's training data.
        unseen_levels: Levels that no training frame came from.
        trajectory_frames: Frames of each held-out trajectory.
        problem: What is cut from a trajectory.
        search: Budget and costs.
        prior: What the prior is fitted on.
        record: How the robot drives in held-out and prior trajectories.
    """

    out: str = "outputs/open_loop"
    checkpoint: str | None = "nano"
    representation: str | None = None
    seed: int = 2_000_003
    num_problems: int = 30
    trajectories_per_shard: int = 3
    num_shown: int = 2
    workers: int = 2
    seen_levels: list[str] = field(default_factory=lambda: list(TRAIN_LEVELS[::4]))
    unseen_levels: list[str] = field(default_factory=lambda: list(TEST_LEVELS))
    trajectory_frames: int = 40
    problem: ProblemShape = field(default_factory=ProblemShape)
    search: SearchConfig = field(default_factory=SearchConfig)
    prior: PriorConfig = field(default_factory=PriorConfig)
    record: RecordConfig = field(default_factory=RecordConfig)

    def __post_init__(self) -> None:
        """Refuse levels and numbers that give no problems, before anything is recorded."""
        for level in (*self.seen_levels, *self.unseen_levels):
            check_level(level)
        if set(self.seen_levels) & set(self.unseen_levels):
            raise ValueError(
                f"levels are seen or unseen; both name {set(self.seen_levels) & set(self.unseen_levels)}"
            )
        if min(self.num_problems, self.trajectories_per_shard) < 1 or min(self.workers, self.num_shown) < 0:
            raise ValueError(
                "need num_problems and trajectories_per_shard of at least 1, "
                "workers and num_shown of at least 0; got "
                f"{self.num_problems}, {self.trajectories_per_shard}, {self.workers} and {self.num_shown}"
            )
        if self.trajectory_frames < self.problem.least_frames:
            raise ValueError(
                f"trajectory_frames must be at least {self.problem.least_frames} for these problems; "
                f"got {self.trajectory_frames}"
            )
        if (
            self.search.plan_cost is PlanCost.latent
            and self.checkpoint is None
            and self.representation is None
        ):
            raise ValueError("search.plan_cost=latent needs checkpoint=NAME or representation=FOLDER")

    @property
    def problems_per_shard(self) -> int:
        """Problems of a whole shard."""
        return self.trajectories_per_shard * self.problem.num_problems

    def levels(self, split: Split) -> list[str]:
        """Return the levels of a split."""
        match split:
            case Split.seen_levels:
                return self.seen_levels
            case Split.unseen_levels:
                return self.unseen_levels


@dataclass(frozen=True, kw_only=True)
class OpenLoopTask:
    """A shard: some trajectories of one level."""

    config: OpenLoopConfig
    provenance: Provenance
    fitted: TrainingPrior
    split: Split
    level: str
    indices: tuple[int, ...]
    """Trajectories of the level."""
    shown: frozenset[str]
    """Problems that the report shows."""

    def problem_name(self, index: int) -> str:
        """Return what the names of a trajectory's problems begin with."""
        return f"{self.split.name}/{self.level}/{index}"


def make_tasks(
    config: OpenLoopConfig, provenance: Provenance, fitted: TrainingPrior
) -> dict[str, OpenLoopTask]:
    """Cut the evaluation into shards: level after level, round and round, until there are enough problems."""
    tasks: dict[str, OpenLoopTask] = {}
    for split in Split:
        levels = config.levels(split)
        num_shards = -(-config.num_problems // config.problems_per_shard) if levels else 0
        for number in range(num_shards):
            turn, level = divmod(number, len(levels))
            first = turn * config.trajectories_per_shard
            task = OpenLoopTask(
                config=config,
                provenance=provenance,
                fitted=fitted,
                split=split,
                level=levels[level],
                indices=tuple(range(first, first + config.trajectories_per_shard)),
                shown=frozenset(),
            )
            if number < config.num_shown:
                task = replace(task, shown=frozenset({f"{task.problem_name(first)}/0"}))
            tasks[f"{split.name}-{task.level}-{first}"] = task
    # Shards of one level stand together, so that a worker's caches serve again.
    return dict(sorted(tasks.items(), key=lambda item: (item[1].split.name, item[1].level)))


def evaluate_shard(task: OpenLoopTask) -> Sequence[OpenLoopRow]:
    """Record a shard's trajectories, cut its problems, and let every method answer them."""
    config, provenance = task.config, task.provenance
    world_model = None if config.checkpoint is None else cached_model(config.checkpoint)
    try:
        problems = record_problems(task)
        walls = wall_lines(task.level)
        with DoomEngine(
            task.level, frame_height=config.record.frame_height, frame_width=config.record.frame_width
        ) as engine:
            tools = Tools(
                simulator=engine,
                world_model=world_model,
                encoder=_encoder(config),
                prior=task.fitted.prior,
                spacing_m=task.fitted.spacing_m,
            )
            answers = answer_problems(problems, tools, config.search, seed=config.seed)
            rows = []
            for problem, found in zip(problems, answers, strict=True):
                own = {method: row_of(problem, method, each, provenance) for method, each in found.items()}
                answer = found[tools.planner]
                if problem.problem_id in task.shown and isinstance(answer, Answer):
                    frames = _imagined(problem, answer, tools, config)
                    evidence = plan_evidence(problem, answer, simulator=engine, walls=walls, imagined=frames)
                    own[tools.planner] = replace(own[tools.planner], evidence=evidence)
                rows += own.values()
            return rows
    except Exception as error:  # a level that does not start, a full disk: its problems are counted as failed
        return _failed_rows(task, error)


def record_problems(task: OpenLoopTask) -> list[PlanningProblem]:
    """Record the shard's trajectories and cut its problems."""
    config = task.config
    record = replace(config.record, trajectory_frames=config.trajectory_frames, caption_share=0.0)
    problems: list[PlanningProblem] = []
    with LevelRecorder(task.level, record) as recorder:
        for index in task.indices:
            name = task.problem_name(index)
            problems += cut_problems(
                recorder.record(index, seed=config.seed).trajectory,
                config.problem,
                split=task.split.name,
                name=name,
                spacing_m=task.fitted.spacing_m,
                rng=numpy_generator_for(config.seed, f"problems/{name}"),
            )
    return problems


def wall_lines(level: str) -> Float[np.ndarray, "line 4"]:
    """Return what stops the player, for maps: walls, and steps too high or openings too low for him [m]."""
    geometry = read_geometry(level)
    walls = [geometry.barriers, *(sector.lines[sector.is_blocking] for sector in geometry.sectors)]
    beside: dict[tuple[float, ...], list[Sector]] = {}
    for sector in geometry.sectors:
        for line in sector.lines[~sector.is_blocking].tolist():
            beside.setdefault(tuple(line), []).append(sector)
    ledges = [line for line, sectors in beside.items() if _is_ledge(sectors)]
    lines = np.concatenate([*walls, np.array(ledges, dtype=np.float64).reshape(-1, 4)])
    return np.unique(lines, axis=0)  # a wall between two sectors stands in both


def _is_ledge(sectors: Sequence[Sector]) -> bool:
    floors = [sector.floor_m for sector in sectors]
    room_m = min(sector.ceiling_m for sector in sectors) - max(floors)
    return max(floors) - min(floors) > STEP_UP_M or room_m < HEAD_ROOM_M


def run_open_loop(
    config: OpenLoopConfig, *, on_prior: OnProgress | None = None, on_progress: OnProgress | None = None
) -> list[OpenLoopRow]:
    """Return the rows of an evaluation, computing what its folder lacks."""
    check_levels(config.checkpoint, seen=config.seen_levels, unseen=config.unseen_levels)
    shards = Path(config.out) / "shards"
    provenance = make_provenance(config)
    fitted = training_prior(
        config.prior,
        config.record,
        horizon=config.problem.horizon,
        folder=shards,
        num_workers=config.workers,
        on_progress=on_prior,
    )
    return run_shards(
        evaluate_shard,
        make_tasks(config, provenance, fitted),
        row_type=OpenLoopRow,
        store=ShardStore(folder=shards, config_hash=provenance.config_hash),
        num_workers=config.workers,
        on_progress=on_progress,
    )


def make_provenance(config: OpenLoopConfig) -> Provenance:
    """Return what all rows of a run share."""
    versions = json.dumps(installed_versions(), sort_keys=True)
    model_hash = checkpoint_hash(config.checkpoint)
    described = configuration.to_dict(replace(config, out="", workers=0, num_problems=1))
    return Provenance(
        config_hash=hash_of({"config": described, "checkpoint": model_hash, "versions": versions}),
        checkpoint=config.checkpoint,
        checkpoint_hash=model_hash,
        seed=config.seed,
        micro_batch=config.search.micro_batch,
        versions=versions,
    )


def _imagined(
    problem: PlanningProblem, answer: Answer, tools: Tools, config: OpenLoopConfig
) -> list[np.ndarray]:
    if tools.world_model is None:
        return []
    return imagined_frames(
        tools.world_model,
        problem,
        answer.actions,
        step_s=STEP_S,
        config=config.search.imagination,
        generator=generator_for(config.seed, "noise"),
    )


def _encoder(config: OpenLoopConfig) -> Encoder | None:
    match config.search.plan_cost:
        case PlanCost.pixel:
            return None
        case PlanCost.latent if config.representation is not None:
            return _cached_representation(config.representation)
        case PlanCost.latent:
            assert config.checkpoint is not None
            return cached_model(config.checkpoint)


@functools.cache
def _cached_representation(folder: str) -> Encoder:
    return RaeRepresentation.load(Path(folder))


def _failed_rows(task: OpenLoopTask, error: Exception) -> list[OpenLoopRow]:
    methods = [method for method in Method if task.config.checkpoint or method is not Method.world_model]
    return [
        failed_row(
            f"{task.problem_name(index)}/{number}",
            method,
            describe(error),
            task.provenance,
            split=task.split.name,
            level=task.level,
        )
        for index in task.indices
        for number in range(task.config.problem.num_problems)
        for method in methods
    ]


@hydra.main(version_base=None, config_path="../conf", config_name="open_loop")
def main(node: DictConfig) -> None:
    """Evaluate, print the tables, and write rows, summary and page."""
    config = configuration.to_object(node, OpenLoopConfig)
    console = Console()
    started = time.perf_counter()
    with resumable(console), worker_session(config.workers), progress_bars(console) as add_bar:
        rows = run_open_loop(config, on_prior=add_bar("training prior"), on_progress=add_bar("open loop"))
    run = run_of(
        make_provenance(config), configuration.to_dict(config), {"open_loop": time.perf_counter() - started}
    )
    publish(console, Path(config.out), run, open_rows=rows, closed_rows=[])


configuration.store("open_loop_schema", OpenLoopConfig)

if __name__ == "__main__":
    # Ray's workers find classes by import; those of `__main__` would be others than ours.
    from planners.evaluation import open_loop  # noqa: PLW0406

    open_loop.main()
