"""Open loop: plan to goal frames of held-out recordings.

`python -m planners.evaluation.open_loop checkpoint=nano out=FOLDER num_problems=200` records on levels of the
embedded simulator; with `data=FOLDER` problems are cut from the trajectories of a data set.
"""

import functools
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
from data_tools.randomness import numpy_generator_for
from envs.doom_engine import STEP_S, DoomEngine
from envs.level_recorder import LevelRecorder, RecordConfig
from envs.levels import TEST_LEVELS, TRAIN_LEVELS, check_level
from envs.walls import wall_lines
from planners.calibrate import cached_model, checkpoint_hash
from planners.evaluate import answer_imagination
from planners.evaluation.answers import (
    Answer,
    Encoder,
    PlanCost,
    SearchConfig,
    Tools,
    answer_problems,
    describe,
    failed_row,
    methods_of,
    row_of,
)
from planners.evaluation.evidence import imagined_frames, plan_evidence
from planners.evaluation.problems import PlanningProblem, ProblemShape, cut_problems
from planners.evaluation.progress import progress_bars, resumable
from planners.evaluation.published import OurProtocol, published_planning
from planners.evaluation.recorded import RecordedConfig, RecordedSet, open_recorded
from planners.evaluation.recorded_loop import RecordedRun, run_recorded, split_of
from planners.evaluation.records import OpenLoopRow, Provenance
from planners.evaluation.results import publish
from planners.evaluation.score_table import score_tables
from planners.evaluation.shards import OnProgress, ShardStore, run_shards, worker_session
from planners.evaluation.side_by_side import planning_tables
from planners.evaluation.splits import Shard, check_evaluation, cut_into_shards, provenance_of
from planners.evaluation.summary import Loop, Run
from planners.evaluation.tables import write_tables
from planners.evaluation.training_levels import check_levels
from planners.prior import PriorConfig, TrainingPrior, training_prior
from planners.search import chosen_config
from worldmodel.model_folder import resolve
from worldmodel.representation.open import load_representation
from worldmodel.training_record import read_record


@dataclass(frozen=True, kw_only=True)
class OpenLoopConfig:
    """What is evaluated; a split's rows are a function of all but `out`, `workers` and `num_problems`.

    Attributes:
        out: Folder of the results.
        checkpoint: A shipped model's name or a folder; null leaves the model out.
        seed: Of the held-out recordings; not that of any training data, of the prior or of the calibration.
        num_shown: Problems a split that the report shows.
        workers: Ray workers; 0 computes in this process.
        seen_levels: Levels of the model's training data.
        unseen_levels: Levels that no training frame came from.
        prior: What the prior is fitted on.
        representation: Folder of a visual representation; `search.simulator_cost=latent` needs it where there
            is no checkpoint.
        data: Folder of trajectories to evaluate on instead of levels; the levels, `prior` and `record` then
            say nothing.
        recorded: Which of its trajectories are for what, and which problems are cut.
        num_problems: Problems a split, rounded up to whole shards; of a data set, of each goal distance.
        trajectories_per_shard: Trajectories of a shard; each gives `problem.num_problems`.
        trajectory_frames: Frames of each held-out trajectory.
        problem: What is cut from a trajectory.
        search: Budget and costs.
        record: How the robot drives in held-out and prior trajectories.
    """

    out: str = "outputs/open_loop"
    checkpoint: str | None = "nano"
    representation: str | None = None
    seed: int = 2_000_003
    data: str | None = None
    recorded: RecordedConfig = field(default_factory=RecordedConfig)
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
        check_evaluation(self)
        for level in (*self.seen_levels, *self.unseen_levels):
            check_level(level)
        if min(self.num_problems, self.trajectories_per_shard) < 1:
            raise ValueError(
                "num_problems and trajectories_per_shard must be at least 1; got "
                f"{self.num_problems} and {self.trajectories_per_shard}"
            )
        if self.trajectory_frames < self.problem.least_frames:
            raise ValueError(
                f"trajectory_frames must be at least {self.problem.least_frames} for these problems; "
                f"got {self.trajectory_frames}"
            )
        if (
            self.search.simulator_cost is PlanCost.latent
            and self.checkpoint is None
            and self.representation is None
        ):
            raise ValueError("search.simulator_cost=latent needs checkpoint=NAME or representation=FOLDER")

    @property
    def num_shards(self) -> int:
        """Shards of a split."""
        return -(-self.num_problems // (self.trajectories_per_shard * self.problem.num_problems))


@dataclass(frozen=True, kw_only=True)
class OpenLoopTask:
    """A shard's trajectories, and what their problems are solved with."""

    config: OpenLoopConfig
    provenance: Provenance
    fitted: TrainingPrior
    shard: Shard

    def is_shown(self, problem_id: str) -> bool:
        """Whether the report shows this problem: the first of a shard that is shown."""
        first = self.shard.item_name(self.shard.numbers[0])
        return self.shard.is_shown and problem_id == f"{first}/0"


def make_tasks(
    config: OpenLoopConfig, provenance: Provenance, fitted: TrainingPrior
) -> dict[str, OpenLoopTask]:
    """Cut the evaluation into shards of some trajectories of one level each."""
    shards = cut_into_shards(
        config, num_shards=config.num_shards, items_per_shard=config.trajectories_per_shard
    )
    return {
        shard.name: OpenLoopTask(config=config, provenance=provenance, fitted=fitted, shard=shard)
        for shard in shards
    }


def evaluate_shard(task: OpenLoopTask) -> Sequence[OpenLoopRow]:
    """Record a shard's trajectories, cut its problems, and let every method answer them."""
    config, provenance = task.config, task.provenance
    world_model = None if config.checkpoint is None else cached_model(config.checkpoint)
    try:
        problems = record_problems(task)
        walls = wall_lines(task.shard.level)
        with DoomEngine(
            task.shard.level, frame_height=config.record.frame_height, frame_width=config.record.frame_width
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
                own = {
                    method: row_of(problem, method.name, each, provenance) for method, each in found.items()
                }
                answer = found[tools.planner]
                if task.is_shown(problem.problem_id) and isinstance(answer, Answer):
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
    with LevelRecorder(task.shard.level, record) as recorder:
        for index in task.shard.numbers:
            name = task.shard.item_name(index)
            problems += cut_problems(
                recorder.record(index, seed=config.seed).trajectory,
                config.problem,
                split=task.shard.split.name,
                name=name,
                spacing_m=task.fitted.spacing_m,
                rng=numpy_generator_for(config.seed, f"problems/{name}"),
            )
    return problems


def prepare_tasks(
    config: OpenLoopConfig,
    provenance: Provenance,
    *,
    checkpoints: Sequence[str | None],
    on_prior: OnProgress | None,
) -> dict[str, OpenLoopTask]:
    """Return the shards of an evaluation by name, with the prior that all of them plan from.

    ValueError if a level is not what it is said to be to one of the checkpoints.
    """
    for checkpoint in checkpoints:
        check_levels(
            checkpoint,
            seen={"seen_levels": config.seen_levels, "prior.levels": config.prior.levels},
            unseen=config.unseen_levels,
        )
    fitted = training_prior(
        config.prior,
        config.record,
        horizon=config.problem.horizon,
        folder=shard_store(config, provenance).folder,
        num_workers=config.workers,
        on_progress=on_prior,
    )
    return make_tasks(config, provenance, fitted)


def shard_store(config: OpenLoopConfig, provenance: Provenance) -> ShardStore:
    """Return where the rows of finished shards lie."""
    return ShardStore(folder=Path(config.out) / "shards", config_hash=provenance.config_hash)


def run_open_loop(
    config: OpenLoopConfig, *, on_prior: OnProgress | None = None, on_progress: OnProgress | None = None
) -> list[OpenLoopRow]:
    """Return the rows of an evaluation, computing what its folder lacks."""
    provenance = make_provenance(config)
    tasks = prepare_tasks(config, provenance, checkpoints=[config.checkpoint], on_prior=on_prior)
    return run_shards(
        evaluate_shard,
        tasks,
        row_type=OpenLoopRow,
        store=shard_store(config, provenance),
        num_workers=config.workers,
        has_failed=lambda row: row.error is not None,
        on_progress=on_progress,
    )


def make_provenance(config: OpenLoopConfig) -> Provenance:
    """Return what all rows of a run share."""
    return provenance_of(
        config,
        checkpoint_hash=checkpoint_hash(config.checkpoint),
        ignored={"num_problems"},
        micro_batch=config.search.micro_batch,
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
        config=answer_imagination(config.search.imagination, chosen_config(config.search)),
        generator=config.search.imagination.noise(config.seed),
    )


def _encoder(config: OpenLoopConfig) -> Encoder | None:
    match config.search.simulator_cost:
        case PlanCost.pixel:
            return None
        case PlanCost.latent if config.representation is not None:
            return _cached_representation(config.representation)
        case PlanCost.latent:
            assert config.checkpoint is not None
            return cached_model(config.checkpoint)


@functools.cache
def _cached_representation(folder: str) -> Encoder:
    return load_representation(folder)


def _failed_rows(task: OpenLoopTask, error: Exception) -> list[OpenLoopRow]:
    methods = methods_of(has_model=task.config.checkpoint is not None, has_simulator=True)
    return [
        failed_row(
            f"{task.shard.item_name(index)}/{number}",
            method.name,
            describe(error),
            task.provenance,
            split=task.shard.split.name,
            level=task.shard.level,
        )
        for index in task.shard.numbers
        for number in range(task.config.problem.num_problems)
        for method in methods
    ]


def recorded_run(config: OpenLoopConfig, recorded: RecordedSet) -> RecordedRun:
    """Return the evaluation on a data set; where the set lies is no part of its rows, what it holds is.

    ValueError if the model was, or may have been, trained on what problems are cut from.
    """
    assert config.data is not None
    provenance = provenance_of(
        config,
        checkpoint_hash=checkpoint_hash(config.checkpoint),
        ignored={"num_problems", "data"},
        micro_batch=config.search.micro_batch,
        data=recorded.fingerprint,
    )
    record = None if config.checkpoint is None else read_record(resolve(config.checkpoint))
    return RecordedRun(
        out=Path(config.out),
        folder=Path(config.data),
        checkpoint=config.checkpoint,
        split=split_of(config.checkpoint, recorded, record),
        provenance=provenance,
        recorded=config.recorded,
        search=config.search,
        seed=config.seed,
        num_context=config.problem.num_context,
        num_problems=config.num_problems,
        num_shown=config.num_shown,
        workers=config.workers,
    )


@hydra.main(version_base=None, config_path="../conf", config_name="open_loop")
def main(node: DictConfig) -> None:
    """Evaluate, print the tables, and write rows, summary and page."""
    config = configuration.to_object(node, OpenLoopConfig)
    console = Console()
    started = time.perf_counter()
    with resumable(console), worker_session(config.workers), progress_bars(console) as add_bar:
        if config.data is None:
            rows = run_open_loop(config, on_prior=add_bar("training prior"), on_progress=add_bar("open loop"))
            provenance = make_provenance(config)
        else:
            recorded = open_recorded(Path(config.data), config.recorded)
            run_of = recorded_run(config, recorded)
            provenance = run_of.provenance
            rows = run_recorded(run_of, recorded, on_progress=add_bar("open loop"))
    run = Run(
        loops={Loop.open_loop: provenance},
        config=configuration.to_dict(config),
        timing={Loop.open_loop: time.perf_counter() - started},
        commit=current_commit(),
    )
    publish(console, Path(config.out), run, open_rows=rows, closed_rows=[])
    if any(row.true_poses for row in rows):
        write_beside_published(config, rows)


def write_beside_published(config: OpenLoopConfig, rows: Sequence[OpenLoopRow]) -> None:
    """Write `planning.md`, `.csv` and `.html`: our rows, by goal distance, and the published ones."""
    is_nwm = config.data is not None and (config.recorded.index or "").endswith(".pkl")
    ours = OurProtocol(
        data_set="DoomNav" if config.data is None else config.recorded.data_set or Path(config.data).name,
        spacing_m=next(row.spacing_m for row in rows if row.true_poses),
        num_context=config.problem.num_context,
        windows="NWM's 100 windows" if is_nwm else None,
    )
    tables = planning_tables(score_tables(rows, seed=config.seed), published_planning(), ours)
    lead = f"{config.checkpoint or 'no model'} on {ours.data_set}, spacing {ours.spacing_m:.4g} m."
    write_tables(tables, Path(config.out), stem="planning", lead=lead)


configuration.store("open_loop_schema", OpenLoopConfig)

if __name__ == "__main__":
    # Ray's workers find classes by import; those of `__main__` would be others than ours.
    from planners.evaluation import open_loop  # noqa: PLW0406

    open_loop.main()
