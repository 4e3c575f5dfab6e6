"""Recorded loop: the open-loop evaluation on the trajectories of a data set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from data_tools.fingerprint import fingerprint
from data_tools.trajectory import Trajectory, read_trajectory
from planners.calibrate import cached_model, checkpoint_hash
from planners.evaluate import answer_imagination
from planners.evaluation.answers import (
    Answer,
    Tools,
    answer_problems,
    describe,
    failed_row,
    methods_of,
    row_of,
)
from planners.evaluation.evidence import imagined_frames, recorded_evidence
from planners.evaluation.open_loop_config import OpenLoopConfig
from planners.evaluation.problems import PlanningProblem
from planners.evaluation.recorded import (
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
from planners.evaluation.splits import provenance_of
from planners.evaluation.summary import Split, goal_split
from planners.prior import TrainingPrior
from worldmodel.model_folder import resolve
from worldmodel.training_record import read_record


@dataclass(frozen=True, kw_only=True)
class RecordedTask:
    """A shard of recorded problems, and what they are solved with."""

    config: OpenLoopConfig
    provenance: Provenance
    fitted: TrainingPrior
    shard: RecordedShard
    num_shown: int
    """Of its problems, how many the report shows."""


def split_of(checkpoint: str | None, recorded: RecordedSet) -> Split:
    """Return whether a model has seen the places of a data set.

    ValueError if it was trained on a trajectory that problems are cut from, or may have been: its record
    names the place and no trajectories.
    """
    if checkpoint is None:
        return Split.no_model
    record = read_record(resolve(checkpoint))
    known = set(record.trajectories or ())
    trained = [each.name for each in recorded.held_out if fingerprint([each]) in known]
    if trained:
        raise ValueError(
            f"{checkpoint} was trained on {trained[0]} and {len(trained) - 1} more of the trajectories that "
            "problems are cut from; hold them out of training, or change recorded.split_seed, "
            "held_out_fraction or test_names to those that were"
        )
    places = {each.place for each in (*recorded.train, *recorded.held_out)} & set(record.places)
    if places and record.trajectories is None:
        raise ValueError(
            f"{checkpoint} was trained on recordings of {', '.join(sorted(places))}, and its record does not "
            "say on which; evaluate it on the levels (without data=), or on another data set"
        )
    return Split.held_out if places else Split.zero_shot


def make_recorded_tasks(
    config: OpenLoopConfig, recorded: RecordedSet, provenance: Provenance
) -> dict[str, RecordedTask]:
    """Cut the evaluation into shards of problems whose goals lie equally far ahead."""
    assert config.data is not None
    split, tasks = split_of(config.checkpoint, recorded), {}
    for goal_s in config.recorded.goals_s:
        index = navigation_index(
            recorded,
            config.recorded,
            goal_s=goal_s,
            num_problems=config.num_problems,
            num_context=config.problem.num_context,
        )
        name = split.name if len(config.recorded.goals_s) == 1 else goal_split(split, goal_s)
        for horizon in sorted({window.max_offset for window in index.windows}):
            same = tuple(window for window in index.windows if window.max_offset == horizon)
            fitted = fit_recorded_prior(recorded, config.recorded, horizon=horizon)
            for number, shard in enumerate(
                cut_into_shards(
                    replace(index, windows=same),
                    split=name,
                    folder=Path(config.data),
                    config=config.recorded,
                )
            ):
                tasks[f"{shard.name}-{horizon}"] = RecordedTask(
                    config=config,
                    provenance=provenance,
                    fitted=fitted,
                    shard=shard,
                    num_shown=int(number < config.num_shown),
                )
    return tasks


def evaluate_recorded(task: RecordedTask) -> Sequence[OpenLoopRow]:
    """Cut a shard's problems from their trajectories, and let every method answer them.

    A problem whose frames cannot be read fails alone.
    """
    config = task.config
    problems: list[PlanningProblem] = []
    rows: list[OpenLoopRow] = []
    for window in task.shard.windows:
        try:
            problems.append(
                read_problem(
                    window,
                    task.shard,
                    num_context=config.problem.num_context,
                    spacing_m=task.fitted.spacing_m,
                )
            )
        except (OSError, ValueError) as error:
            rows += [
                failed_row(
                    problem_id(window, task.shard.split),
                    method,
                    describe(error),
                    task.provenance,
                    split=task.shard.split,
                    level="",
                )
                for method in methods_of(has_model=config.checkpoint is not None, has_simulator=False)
            ]
    tools = Tools(
        simulator=None,
        world_model=None if config.checkpoint is None else cached_model(config.checkpoint),
        encoder=None,
        prior=task.fitted.prior,
        spacing_m=task.fitted.spacing_m,
    )
    answers = answer_problems(problems, tools, config.search, seed=config.seed)
    for number, (problem, found) in enumerate(zip(problems, answers, strict=True)):
        own = {method: row_of(problem, method, each, task.provenance) for method, each in found.items()}
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
    config: OpenLoopConfig,
    recorded: RecordedSet,
    provenance: Provenance,
    *,
    on_progress: OnProgress | None = None,
) -> list[OpenLoopRow]:
    """Return the rows of an evaluation on a data set, computing what its folder lacks."""
    tasks: Mapping[str, RecordedTask] = make_recorded_tasks(config, recorded, provenance)
    return run_shards(
        evaluate_recorded,
        tasks,
        row_type=OpenLoopRow,
        store=ShardStore(folder=Path(config.out) / "shards", config_hash=provenance.config_hash),
        num_workers=config.workers,
        has_failed=lambda row: row.error is not None,
        on_progress=on_progress,
    )


def recorded_provenance(config: OpenLoopConfig, recorded: RecordedSet) -> Provenance:
    """Return what all rows of a run share; where the data set lies is no part of it, what it holds is."""
    return provenance_of(
        config,
        checkpoint_hash=checkpoint_hash(config.checkpoint),
        ignored={"num_problems", "data"},
        micro_batch=config.search.micro_batch,
        data=recorded.fingerprint,
    )


def _imagined(problem: PlanningProblem, answer: Answer, tools: Tools, task: RecordedTask) -> list[np.ndarray]:
    if tools.world_model is None:
        return []
    search = task.config.search
    return imagined_frames(
        tools.world_model,
        problem,
        answer.actions,
        step_s=task.fitted.prior.dt_s,
        config=answer_imagination(search.imagination, search.cem),
        generator=search.imagination.noise(task.config.seed),
    )


def _frames_to_goal(problem: PlanningProblem, shard: RecordedShard) -> list[np.ndarray]:
    trajectory: Trajectory = read_trajectory(Path(shard.folder) / problem.trajectory, period_s=shard.period_s)
    last = problem.frame + len(problem.true_poses)
    return [trajectory.frames[index] for index in range(problem.frame + 1, last + 1)]
