"""Recorded loop: the open-loop evaluation on the trajectories of a data set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from data_tools.fingerprint import fingerprint
from data_tools.trajectory import Trajectory, read_trajectory
from planners.calibrate import cached_model
from planners.evaluate import answer_imagination
from planners.evaluation.answers import (
    Answer,
    SearchConfig,
    Tools,
    answer_problems,
    describe,
    failed_row,
    methods_of,
    row_of,
)
from planners.evaluation.evidence import imagined_frames, recorded_evidence
from planners.evaluation.problems import PlanningProblem
from planners.evaluation.recorded import (
    RecordedConfig,
    RecordedSet,
    RecordedShard,
    cut_into_shards,
    fit_recorded_prior,
    navigation_index,
    problem_id,
    read_problem,
)
from planners.evaluation.records import OpenLoopRow, Provenance
from planners.evaluation.shards import OnProgress, ShardStore, run_shards
from planners.evaluation.summary import Split, goal_split
from planners.prior import TrainingPrior
from planners.search import chosen_config


@runtime_checkable
class Trained(Protocol):
    """What the record of a model says of its training."""

    @property
    def places(self) -> Sequence[str]:
        """Where its recordings are from."""
        ...

    @property
    def trajectories(self) -> Mapping[str, Sequence[str]]:
        """Fingerprints of those of each place; a place that is missing does not say which were its."""
        ...


@dataclass(frozen=True, kw_only=True)
class RecordedRun:
    """One evaluation on a data set."""

    out: Path
    folder: Path
    checkpoint: str | None
    split: Split
    provenance: Provenance
    recorded: RecordedConfig
    search: SearchConfig
    seed: int
    num_context: int
    num_problems: int
    """Of each goal distance."""
    num_shown: int
    workers: int


@dataclass(frozen=True, kw_only=True)
class RecordedTask:
    """A shard of recorded problems, and what they are solved with."""

    run: RecordedRun
    fitted: TrainingPrior
    shard: RecordedShard
    num_shown: int
    """Of its problems, how many the report shows."""


def split_of(checkpoint: str | None, recorded: RecordedSet, record: Trained | None) -> Split:
    """Return whether a model has seen the places of a data set.

    ValueError if it was trained on a trajectory that problems are cut from, or may have been: its record
    names the place and no trajectories.
    """
    if record is None:
        return Split.no_model
    known = {each for those in record.trajectories.values() for each in those}
    trained = [each.name for each in recorded.held_out if fingerprint([each]) in known]
    if trained:
        raise ValueError(
            f"{checkpoint} was trained on {trained[0]} and {len(trained) - 1} more of the trajectories that "
            "problems are cut from; hold them out of training, or change recorded.split_seed, "
            "held_out_fraction or test_names to those that were"
        )
    places = {each.place for each in (*recorded.train, *recorded.held_out)} & set(record.places)
    if unknown := sorted(places - record.trajectories.keys()):
        raise ValueError(
            f"{checkpoint} was trained on recordings of {', '.join(unknown)}, and its record does not "
            "say on which; evaluate it on the levels (without data=), or on another data set"
        )
    return Split.held_out if places else Split.zero_shot


def make_recorded_tasks(run: RecordedRun, recorded: RecordedSet) -> dict[str, RecordedTask]:
    """Cut the evaluation into shards of problems whose goals lie equally far ahead."""
    config, tasks = run.recorded, {}
    for goal_s in config.goals_s:
        index = navigation_index(
            recorded, config, goal_s=goal_s, num_problems=run.num_problems, num_context=run.num_context
        )
        name = run.split.name if len(config.goals_s) == 1 else goal_split(run.split, goal_s)
        for horizon in sorted({window.max_offset for window in index.windows}):
            same = tuple(window for window in index.windows if window.max_offset == horizon)
            fitted = fit_recorded_prior(recorded, config, horizon=horizon)
            shards = cut_into_shards(
                replace(index, windows=same), split=name, folder=run.folder, config=config
            )
            for number, shard in enumerate(shards):
                shown = int(number < run.num_shown)
                task = RecordedTask(run=run, fitted=fitted, shard=shard, num_shown=shown)
                tasks[f"{shard.name}-{horizon}"] = task
    return tasks


def evaluate_recorded(task: RecordedTask) -> Sequence[OpenLoopRow]:
    """Cut a shard's problems from their trajectories, and let every method answer them.

    A problem whose frames cannot be read fails alone.
    """
    run, fitted = task.run, task.fitted
    methods = methods_of(has_model=run.checkpoint is not None, has_simulator=False)
    problems: list[PlanningProblem] = []
    rows: list[OpenLoopRow] = []
    for window in task.shard.windows:
        try:
            problem = read_problem(
                window, task.shard, num_context=run.num_context, spacing_m=fitted.spacing_m
            )
        except (OSError, ValueError) as error:
            name, split = problem_id(window), task.shard.split
            rows += [
                failed_row(name, method.name, describe(error), run.provenance, split=split, level="")
                for method in methods
            ]
        else:
            problems.append(problem)
    tools = Tools(
        simulator=None,
        world_model=None if run.checkpoint is None else cached_model(run.checkpoint),
        encoder=None,
        prior=fitted.prior,
        spacing_m=fitted.spacing_m,
    )
    answers = answer_problems(problems, tools, run.search, seed=run.seed)
    for number, (problem, found) in enumerate(zip(problems, answers, strict=True)):
        own = {method: row_of(problem, method.name, each, run.provenance) for method, each in found.items()}
        answer = found.get(tools.planner)
        if number < task.num_shown and isinstance(answer, Answer):
            evidence = recorded_evidence(
                problem,
                answer,
                recorded=_frames_to_goal(problem, task.shard),
                imagined=_imagined(problem, answer, tools, task),
            )
            own[tools.planner] = replace(own[tools.planner], evidence=evidence)
        rows += own.values()
    return rows


def run_recorded(
    run: RecordedRun, recorded: RecordedSet, *, on_progress: OnProgress | None = None
) -> list[OpenLoopRow]:
    """Return the rows of an evaluation on a data set, computing what its folder lacks."""
    return run_shards(
        evaluate_recorded,
        make_recorded_tasks(run, recorded),
        row_type=OpenLoopRow,
        store=ShardStore(folder=run.out / "shards", config_hash=run.provenance.config_hash),
        num_workers=run.workers,
        has_failed=lambda row: row.error is not None,
        on_progress=on_progress,
    )


def _imagined(problem: PlanningProblem, answer: Answer, tools: Tools, task: RecordedTask) -> list[np.ndarray]:
    if tools.world_model is None:
        return []
    search = task.run.search
    return imagined_frames(
        tools.world_model,
        problem,
        answer.actions,
        step_s=task.fitted.prior.dt_s,
        config=answer_imagination(search.imagination, chosen_config(search)),
        generator=search.imagination.noise(task.run.seed),
    )


def _frames_to_goal(problem: PlanningProblem, shard: RecordedShard) -> list[np.ndarray]:
    trajectory: Trajectory = read_trajectory(Path(shard.folder) / problem.trajectory, period_s=shard.period_s)
    last = problem.frame + len(problem.true_poses)
    return [trajectory.frames[index] for index in range(problem.frame + 1, last + 1)]
