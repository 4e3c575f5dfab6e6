"""Few steps: do one or two steps of the sampler rank candidates, and plan, as many do?

`python -m planners.evaluation.few_steps checkpoint=nano students=[FOLDER] out=FOLDER num_problems=100`

For every problem, and every one of `noise_seeds`, each arm (a checkpoint and a number of steps) imagines the
same candidates from the same noise. Measured is the rank correlation of its costs with those of the long
sampler of `checkpoint`, and the error of the plan that the evaluated search finds with it.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import hydra
import numpy as np
import torch
from jaxtyping import Float
from omegaconf import DictConfig
from rich.console import Console
from scipy.stats import rankdata

from data_tools import config as configuration
from data_tools.randomness import generator_for
from planners.calibrate import cached_model, checkpoint_hash
from planners.candidates import to_actions
from planners.drawing import draw_parameters
from planners.evaluate import imagine
from planners.evaluation.answers import Answer, SearchConfig, describe, model_goal, plan_in_imagination
from planners.evaluation.few_steps_table import Arm, FewStepsRow, tables, write_markdown
from planners.evaluation.metrics import path_errors
from planners.evaluation.open_loop import (
    OpenLoopConfig,
    OpenLoopTask,
    prepare_tasks,
    record_problems,
    shard_store,
)
from planners.evaluation.problems import PlanningProblem
from planners.evaluation.progress import progress_bars, resumable
from planners.evaluation.records import Provenance, to_table
from planners.evaluation.shards import OnProgress, run_shards, worker_session, write_table
from planners.evaluation.splits import provenance_of


@dataclass(frozen=True, kw_only=True)
class FewStepsConfig(OpenLoopConfig):
    """What is compared, on the problems of the open-loop evaluation.

    Attributes:
        students: Checkpoints that are meant to do in few steps what `checkpoint` does in many.
        steps: Sampler steps of the arms, for `checkpoint` and for every student.
        reference_steps: Steps of `checkpoint` that the arms are compared with.
        num_ranked: Candidates of a problem that are ranked, drawn from the prior.
        noise_seeds: Noises that all arms imagine from, one after the other (`ImaginationConfig.noise_seed`);
            empty is the one that the search is configured with.
    """

    out: str = "outputs/few_steps"
    checkpoint: str | None = "nano"
    students: list[str] = field(default_factory=list)
    steps: list[int] = field(default_factory=lambda: [1, 2])
    reference_steps: int = 25
    num_ranked: int = 64
    noise_seeds: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.checkpoint is None:
            raise ValueError("few steps of a model are compared with many of it: give checkpoint=NAME")
        if self.num_ranked < 3 or self.reference_steps < 1 or min(self.steps, default=0) < 1:
            raise ValueError(
                "needed num_ranked of at least 3, reference_steps and each of `steps` of at least 1; got "
                f"{self.num_ranked}, {self.reference_steps} and {self.steps}"
            )

        if len(set(arms := self.arms())) < len(arms):
            raise ValueError(f"needed arms that differ, got students={self.students} and steps={self.steps}")

        if len(set(self.noise_seeds)) < len(self.noise_seeds):
            raise ValueError(f"needed noise_seeds that differ, got {self.noise_seeds}")

    def searches(self) -> list[SearchConfig]:
        """Return the search with every noise."""
        search = self.search
        return [
            replace(search, imagination=replace(search.imagination, noise_seed=seed))
            for seed in self.noise_seeds or [search.imagination.noise_seed]
        ]

    def arms(self) -> list[Arm]:
        """Return the reference, then every checkpoint with every number of steps."""
        assert self.checkpoint is not None
        own = [
            Arm(name, steps)
            for name in (self.checkpoint, *self.students)
            for steps in self.steps
            if (name, steps) != (self.checkpoint, self.reference_steps)
        ]
        return [Arm(self.checkpoint, self.reference_steps), *own]


def evaluate_shard(task: OpenLoopTask) -> Sequence[FewStepsRow]:
    """Record a shard's trajectories, cut its problems, and let every arm rank and plan."""
    config = task.config
    assert isinstance(config, FewStepsConfig)
    problems = record_problems(task)
    size = config.search.micro_batch
    return [
        row
        for start in range(0, len(problems), size)
        for search in config.searches()
        for row in _rows_of(problems[start : start + size], task, config, search)
    ]


def _rows_of(
    batch: Sequence[PlanningProblem], task: OpenLoopTask, config: FewStepsConfig, search: SearchConfig
) -> Iterator[FewStepsRow]:
    noise_seed = search.imagination.noise_seed
    reference: np.ndarray | None = None
    for arm in config.arms():
        costs, seconds = candidate_costs(batch, arm, task, replace(config, search=search))
        reference = costs if reference is None else reference
        imagination = replace(search.imagination, num_steps=arm.num_steps, refine_steps=arm.num_steps)
        answers = plan_in_imagination(
            batch,
            cached_model(arm.checkpoint),
            task.fitted.prior,
            replace(search, imagination=imagination),
            seed=config.seed,
        )
        for index, problem in enumerate(batch):
            answer = answers[problem.problem_id]
            if not isinstance(answer, Answer):
                raise RuntimeError(f"{problem.problem_id}: {describe(answer)}") from answer
            errors = path_errors(
                answer.actions[:, :3].numpy().astype(np.float64),
                problem.true_displacements(),
                spacing_m=problem.spacing_m,
            )
            yield FewStepsRow(
                provenance=task.provenance,
                problem_id=problem.problem_id,
                split=problem.split,
                level=problem.level,
                trajectory=problem.trajectory,
                checkpoint=arm.checkpoint,
                num_steps=arm.num_steps,
                noise_seed=config.seed if noise_seed is None else noise_seed,
                spearman=rank_correlation(costs[index], reference[index]),
                ate_m=errors.ate_m,
                rpe_m=errors.rpe_m,
                imagination_s=seconds / len(batch),
                plan_s=answer.seconds,
            )


def rank_correlation(
    costs: Float[np.ndarray, " candidate"], reference: Float[np.ndarray, " candidate"]
) -> float:
    """Return Spearman's correlation of two sets of costs: Pearson's of their ranks, ties sharing theirs."""
    return float(np.corrcoef(rankdata(costs), rankdata(reference))[0, 1])


def candidate_costs(
    batch: Sequence[PlanningProblem], arm: Arm, task: OpenLoopTask, config: FewStepsConfig
) -> tuple[np.ndarray, float]:
    """Return the costs [problem, candidate] of candidates drawn from the prior, and the wall time [s]."""
    model, prior = cached_model(arm.checkpoint), task.fitted.prior
    names = [problem.problem_id for problem in batch]
    generators = [generator_for(config.seed, f"ranked/{name}") for name in names]
    candidates = to_actions(draw_parameters(prior, generators, config.num_ranked), prior)
    started = time.perf_counter()
    context = model.encode_context(torch.from_numpy(np.stack([problem.context for problem in batch])))
    goals = torch.from_numpy(np.stack([problem.goal for problem in batch]))
    latents = imagine(
        model,
        context,
        candidates,
        step_s=prior.dt_s,
        mode=config.search.imagination.mode,
        num_steps=arm.num_steps,
        generator=config.search.imagination.noise(config.seed),
    )
    costs = model_goal(model, goals, model.encode(goals), config.search)(latents[:, :, -1])
    return costs.numpy(), time.perf_counter() - started


def run_few_steps(
    config: FewStepsConfig, *, on_prior: OnProgress | None = None, on_progress: OnProgress | None = None
) -> list[FewStepsRow]:
    """Return the rows of a comparison, computing what its folder lacks."""
    provenance = make_provenance(config)
    checkpoints = [config.checkpoint, *config.students]
    tasks = prepare_tasks(config, provenance, checkpoints=checkpoints, on_prior=on_prior)
    return run_shards(
        evaluate_shard,
        tasks,
        row_type=FewStepsRow,
        store=shard_store(config, provenance),
        num_workers=config.workers,
        on_progress=on_progress,
    )


def make_provenance(config: FewStepsConfig) -> Provenance:
    """Return what all rows share; the hash of the checkpoint is that of all of them."""
    hashes = [checkpoint_hash(name) for name in (config.checkpoint, *config.students)]
    return provenance_of(
        config,
        checkpoint_hash="+".join(each for each in hashes if each is not None),
        ignored={"num_problems"},
        micro_batch=config.search.micro_batch,
    )


@hydra.main(version_base=None, config_path="../conf", config_name="few_steps")
def main(node: DictConfig) -> None:
    """Compare, print the tables, and write rows and tables."""
    config = configuration.to_object(node, FewStepsConfig)
    console = Console()
    with resumable(console), worker_session(config.workers), progress_bars(console) as add_bar:
        rows = run_few_steps(config, on_prior=add_bar("training prior"), on_progress=add_bar("few steps"))
    out = Path(config.out)
    write_table(to_table(rows, FewStepsRow), out / "few_steps.parquet")
    found = tables(rows, reference=config.arms()[0])
    write_markdown(found, out / "few_steps.md")
    console.print((out / "few_steps.md").read_text(encoding="utf-8"), markup=False)


configuration.store("few_steps_schema", FewStepsConfig)

if __name__ == "__main__":
    # Ray's workers find classes by import; those of `__main__` would be others than ours.
    from planners.evaluation import few_steps  # noqa: PLW0406

    few_steps.main()
