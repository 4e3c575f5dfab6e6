"""Rank: a world model chooses among trajectories that another policy proposed.

`python -m planners.evaluation.rank checkpoint=nano data=FOLDER proposals=FILE out=FOLDER`

Proposals are tables as `planners.evaluation.planned_paths` reads them, in which those from one frame differ
in the column `method`. A problem starts where proposals start, in a trajectory that is held out, and its goal
is the frame after their last step. Beside the model's choice stand a blind one and the best there is.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import hydra
import numpy as np
import torch
from jaxtyping import Float64
from omegaconf import DictConfig
from rich.console import Console

from data_tools import config as configuration
from data_tools.evaluation_index import EvaluationIndex, IndexKind, Window
from data_tools.pose import compose
from data_tools.randomness import numpy_generator_for
from data_tools.whole_file import write_text
from planners.calibrate import cached_model
from planners.evaluate import pose_evaluate, world_model_evaluate
from planners.evaluation.answers import Answer, Found, describe, failed_row, model_goal, row_of
from planners.evaluation.metrics import mean_interval
from planners.evaluation.open_loop import OpenLoopConfig, recorded_run
from planners.evaluation.planned_paths import PathReport, Units, read_paths
from planners.evaluation.problems import PlanningProblem
from planners.evaluation.progress import progress_bars, resumable
from planners.evaluation.recorded import (
    RecordedSet,
    RecordedShard,
    cut_into_shards,
    fit_recorded_prior,
    open_recorded,
    problem_id,
    read_problem,
)
from planners.evaluation.recorded_loop import RecordedRun
from planners.evaluation.records import OpenLoopRow, hash_of, to_table
from planners.evaluation.shards import OnProgress, ShardStore, run_shards, worker_session, write_table
from planners.evaluation.summary import Method
from planners.plan import Evaluate
from planners.prior import TrainingPrior
from planners.ranking import rank

RANKED = "ranked"
"""The model's choice, by the cost that the search plans with."""
RANDOM_PROPOSAL = "random_proposal"
"""A proposal that was drawn without looking: what the policy does by itself."""
ORACLE = Method.oracle_cost.name
"""The proposal whose end is nearest to the goal in truth."""
METHODS = (RANKED, RANDOM_PROPOSAL, ORACLE)
NUM_NAMED = 5
"""Proposals without a problem that the terminal names."""


@dataclass(frozen=True, kw_only=True)
class RankConfig(OpenLoopConfig):
    """What is ranked; of `search`, `imagination`, `model_cost`, `distance` and `constraints` count.

    Attributes:
        proposals: A table of planned paths, or a folder of such.
        units: Of its lengths; spacing is that of the training trajectories.
        temperature: 0 takes the best, above 0 a mean that favours the good (`planners.ranking.rank`).
    """

    out: str = "outputs/rank"
    proposals: str | None = None
    units: Units = Units.metres
    temperature: float = 0.0
    num_problems: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.checkpoint is None or self.data is None or self.proposals is None:
            raise ValueError(
                "a model ranks proposals in recordings: needed checkpoint=NAME, data=FOLDER and "
                "proposals=FILE; "
                f"got {self.checkpoint}, {self.data} and {self.proposals}"
            )
        if self.temperature < 0:
            raise ValueError(f"temperature must not be negative; got {self.temperature}")


@dataclass(frozen=True, kw_only=True, eq=False)
class RankTask:
    """A shard of problems, and what was proposed for each."""

    run: RecordedRun
    fitted: TrainingPrior
    shard: RecordedShard
    proposals: tuple[Float64[np.ndarray, "candidate step 3"], ...]
    temperature: float


Proposals = Mapping[Window, Float64[np.ndarray, "_candidate _step 3"]]
"""What was proposed from each frame, by name of the proposal."""


def grouped(report: PathReport, recorded: RecordedSet, *, num_context: int) -> tuple[Proposals, list[str]]:
    """Return the proposals of each problem, and why others have none; ValueError if no problem is left."""
    num_frames = {each.name: each.num_frames for each in recorded.held_out}
    found: dict[Window, dict[str, Float64[np.ndarray, "_step 3"]]] = {}
    skipped = [f"{fault.where}: {fault.detail}" for fault in report.faults]
    for path in report.paths:
        first, last = path.frame - num_context + 1, path.frame + path.num_steps
        window = Window(
            trajectory=path.trajectory,
            frame=path.frame,
            min_offset=path.num_steps,
            max_offset=path.num_steps,
        )
        where = f"{path.method} from frame {path.frame} of {path.trajectory}"
        if path.trajectory not in num_frames:
            skipped.append(f"{where}: no held-out trajectory is called so")
        elif first < 0 or last >= num_frames[path.trajectory]:
            skipped.append(
                f"{where}: needs frames {first} to {last}, there are {num_frames[path.trajectory]}"
            )
        else:
            found.setdefault(window, {})[path.method] = path.displacements
    if not found:
        raise ValueError(
            f"none of {len(report.paths)} proposals starts in a held-out trajectory with {num_context} "
            f"frames of context and its goal inside; {len(skipped)} were left out: "
            f"{'; '.join(skipped[:NUM_NAMED])}"
        )
    proposals = {window: np.stack([own[name] for name in sorted(own)]) for window, own in found.items()}
    return proposals, skipped


def make_tasks(config: RankConfig, recorded: RecordedSet) -> tuple[dict[str, RankTask], list[str]]:
    """Return the shards by name, and why proposals were left out; at most `num_problems` a horizon."""
    assert config.proposals is not None
    spacing_m = fit_recorded_prior(recorded, config.recorded, horizon=2).spacing_m
    report = read_paths(Path(config.proposals), method="proposal", units=config.units, spacing_m=spacing_m)
    proposals, skipped = grouped(report, recorded, num_context=config.problem.num_context)
    run = recorded_run(config, recorded)
    content = {str(window): own.tolist() for window, own in proposals.items()}
    config_hash = hash_of({"run": run.provenance.config_hash, "proposals": content})
    run = replace(run, provenance=replace(run.provenance, config_hash=config_hash))
    tasks = {}
    for horizon in sorted({window.max_offset for window in proposals}):
        same = tuple(window for window in proposals if window.max_offset == horizon)[: config.num_problems]
        index = EvaluationIndex(kind=IndexKind.navigation, windows=same)
        fitted = fit_recorded_prior(recorded, config.recorded, horizon=horizon)
        for shard in cut_into_shards(index, split=run.split.name, folder=run.folder, config=config.recorded):
            tasks[f"{shard.name}-{horizon}"] = RankTask(
                run=run,
                fitted=fitted,
                shard=shard,
                proposals=tuple(proposals[window] for window in shard.windows),
                temperature=config.temperature,
            )
    return tasks, skipped


def evaluate_shard(task: RankTask) -> Sequence[OpenLoopRow]:
    """Choose among the proposals of each problem; a problem that fails does so alone."""
    run, rows = task.run, []
    for window, proposals in zip(task.shard.windows, task.proposals, strict=True):
        try:
            problem = read_problem(
                window, task.shard, num_context=run.num_context, spacing_m=task.fitted.spacing_m
            )
            found = _choices(problem, proposals, task)
        except (OSError, ValueError) as error:
            name, split = problem_id(window), task.shard.split
            rows += [
                failed_row(name, method, describe(error), run.provenance, split=split, level="")
                for method in METHODS
            ]
            continue
        rows += [row_of(problem, method, each, run.provenance) for method, each in found.items()]
    return rows


def _choices(
    problem: PlanningProblem, proposals: Float64[np.ndarray, "candidate step 3"], task: RankTask
) -> dict[str, Found]:
    started = time.perf_counter()
    search, prior = task.run.search, task.fitted.prior
    candidates = torch.from_numpy(proposals)[None]
    plan = rank(
        candidates, _model_evaluate(problem, task), search.constrained(prior), temperature=task.temperature
    )
    seconds = time.perf_counter() - started
    drawn = numpy_generator_for(task.run.seed, f"random/{problem.problem_id}").integers(len(proposals))
    goals = compose(problem.true_displacements())[None]
    blind = rank(candidates[:, [int(drawn)]], pose_evaluate(goals), prior)
    oracle = rank(candidates, pose_evaluate(goals), prior)
    return {
        RANKED: Answer(actions=plan.actions[0], seconds=seconds, plan=plan),
        RANDOM_PROPOSAL: Answer(actions=blind.actions[0], seconds=0.0),
        ORACLE: Answer(actions=oracle.actions[0], seconds=0.0),
    }


def _model_evaluate(problem: PlanningProblem, task: RankTask) -> Evaluate:
    assert task.run.checkpoint is not None
    model, search = cached_model(task.run.checkpoint), task.run.search
    goals = torch.from_numpy(problem.goal[None])
    return world_model_evaluate(
        model,
        model.encode_context(torch.from_numpy(problem.context[None])),
        model_goal(model, goals, model.encode(goals), search),
        goal_frames=goals,
        step_s=task.fitted.prior.dt_s,
        config=search.imagination,
        generator=search.imagination.noise(task.run.seed),
    )


def run_rank(
    config: RankConfig, *, on_progress: OnProgress | None = None
) -> tuple[list[OpenLoopRow], list[str]]:
    """Return the rows of all problems, computing what the folder lacks, and which proposals were left out."""
    assert config.data is not None
    tasks, skipped = make_tasks(config, open_recorded(Path(config.data), config.recorded))
    provenance = next(iter(tasks.values())).run.provenance
    rows = run_shards(
        evaluate_shard,
        tasks,
        row_type=OpenLoopRow,
        store=ShardStore(folder=Path(config.out) / "shards", config_hash=provenance.config_hash),
        num_workers=config.workers,
        has_failed=lambda row: row.error is not None,
        on_progress=on_progress,
    )
    return rows, skipped


def to_markdown(rows: Sequence[OpenLoopRow]) -> str:
    """Return the table of methods, with intervals over the problems that none failed."""
    failed = {row.problem_id for row in rows if row.error is not None}
    whole = [row for row in rows if row.problem_id not in failed]
    num_problems = len({row.problem_id for row in whole})
    lines = [
        f"### {num_problems} problems, {len(failed)} failed",
        "",
        "| method | ATE [m] | RPE [m] | end [m] |",
        "| --- | --- | --- | --- |",
    ]
    readers: tuple[Callable[[OpenLoopRow], float | None], ...] = (
        lambda row: row.ate_m,
        lambda row: row.rpe_m,
        lambda row: row.final_position_m,
    )
    for method in METHODS if whole else ():
        own = [row for row in whole if row.method == method]
        cells = [_cell(own, read) for read in readers]
        lines.append(f"| {method.replace('_', ' ')} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _cell(rows: Sequence[OpenLoopRow], read: Callable[[OpenLoopRow], float | None]) -> str:
    values = np.array([read(row) for row in rows], dtype=np.float64)
    rng = numpy_generator_for(rows[0].provenance.seed, "rank/bootstrap")
    found = mean_interval(values, [row.trajectory for row in rows], rng=rng)
    return f"{found.mean:.3f} [{found.low:.3f}, {found.high:.3f}]"


@hydra.main(version_base=None, config_path="../conf", config_name="rank")
def main(node: DictConfig) -> None:
    """Rank, print the table, and write rows and table."""
    config = configuration.to_object(node, RankConfig)
    console = Console()
    with resumable(console), worker_session(config.workers), progress_bars(console) as add_bar:
        rows, skipped = run_rank(config, on_progress=add_bar("rank"))
    out = Path(config.out)
    write_table(to_table(rows, OpenLoopRow), out / "ranked.parquet")
    write_text(out / "ranked.md", to_markdown(rows))
    console.print((out / "ranked.md").read_text(encoding="utf-8"), markup=False)
    if skipped:
        console.print(
            f"{len(skipped)} proposals have no problem:", *skipped[:NUM_NAMED], sep="\n  ", markup=False
        )
    for error in dict.fromkeys(row.error for row in rows if row.error is not None):
        console.print(f"failed: {error}", markup=False)


configuration.store("rank_schema", RankConfig)

if __name__ == "__main__":
    # Ray's workers find classes by import; those of `__main__` would be others than ours.
    from planners.evaluation import rank as command  # noqa: PLW0406

    command.main()
