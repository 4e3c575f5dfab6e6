"""Draft and refine: planning error against evaluations of the network and wall time.

`python -m planners.evaluation.draft_refine checkpoint=nano out=FOLDER num_problems=30`

Every arm (how many candidates, imagined how, and which of them once more) plans the same problems. NWM's own
setting is one: 120 candidates imagined step by step with 25 sampler steps, best five, three plans averaged.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import hydra
import numpy as np
from jaxtyping import Float64
from omegaconf import DictConfig
from rich.console import Console

from data_tools import config as configuration
from data_tools.action_text import round_actions
from planners.calibrate import cached_model
from planners.evaluate import Mode
from planners.evaluation.answers import Answer, SearchConfig, describe, plan_in_imagination
from planners.evaluation.counting import CountingModel
from planners.evaluation.draft_refine_table import DraftRefineRow, draw, tables, write_markdown
from planners.evaluation.metrics import path_errors
from planners.evaluation.open_loop import (
    OpenLoopConfig,
    OpenLoopTask,
    make_provenance,
    prepare_tasks,
    record_problems,
    shard_store,
)
from planners.evaluation.problems import PlanningProblem
from planners.evaluation.progress import progress_bars, resumable
from planners.evaluation.records import to_table
from planners.evaluation.shards import OnProgress, run_shards, worker_session, write_table
from planners.search import SearchMethod


@dataclass(frozen=True, kw_only=True)
class ArmConfig:
    """One way to spend evaluations in the cross-entropy method; None is what `search` is configured with."""

    name: str
    num_candidates: int
    num_iterations: int = 1
    num_elites: int = 8
    mode: Mode = Mode.jump
    num_steps: int = 1
    """Sampler steps of the draft: of all candidates."""
    refine_top: int = 0
    refine_steps: int = 4
    num_repeats: int = 1
    """Plans from other candidates and another noise, whose actions are averaged: NWM's repeats."""
    prior_weight: float | None = None
    inverse_weight: float | None = None

    def __post_init__(self) -> None:
        if self.num_repeats < 1 or not self.name or "|" in self.name:
            raise ValueError(
                "an arm needs a name without | and num_repeats of at least 1; got "
                f"{self.name!r} and {self.num_repeats}"
            )

    def search_of(self, search: SearchConfig) -> SearchConfig:
        """Return the search with this arm's budget; what the budget does not say stays."""
        cem, imagination = search.cem, search.imagination
        return replace(
            search,
            method=SearchMethod.cem,
            cem=replace(
                cem,
                num_candidates=self.num_candidates,
                num_iterations=self.num_iterations,
                num_elites=self.num_elites,
                refine_top=self.refine_top,
                prior_weight=cem.prior_weight if self.prior_weight is None else self.prior_weight,
            ),
            imagination=replace(
                imagination,
                mode=self.mode,
                num_steps=self.num_steps,
                refine_steps=self.refine_steps,
                inverse_weight=(
                    imagination.inverse_weight if self.inverse_weight is None else self.inverse_weight
                ),
            ),
        )


def default_arms() -> list[ArmConfig]:
    """Return nano's shipped search, drafts with and without refinement, and NWM's setting."""
    nwm = ArmConfig(
        name="NWM: 120 x 1, 25 steps, 3 repeats",
        num_candidates=120,
        num_elites=5,
        mode=Mode.steps,
        num_steps=25,
        num_repeats=3,
        prior_weight=0.0,
        inverse_weight=0.0,
    )
    return [
        ArmConfig(name="shipped: 32 x 2 jumps, 1 step", num_candidates=32, num_iterations=2),
        ArmConfig(
            name="32 x 2 jumps, 1 step, 8 refined in 4",
            num_candidates=32,
            num_iterations=2,
            refine_top=8,
        ),
        ArmConfig(name="120 x 1 jumps, 1 step", num_candidates=120),
        ArmConfig(name="120 x 1 jumps, 25 steps", num_candidates=120, num_steps=25),
        ArmConfig(name="120 x 1 step by step, 1 step", num_candidates=120, mode=Mode.steps),
        nwm,
    ]


@dataclass(frozen=True, kw_only=True)
class DraftRefineConfig(OpenLoopConfig):
    """What is compared, on the problems of the open-loop evaluation.

    Attributes:
        arms: The budgets; names differ. What they do not say is that of `search`.
    """

    out: str = "outputs/draft_refine"
    arms: list[ArmConfig] = field(default_factory=default_arms)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.checkpoint is None or self.data is not None:
            raise ValueError(
                "budgets of a model are compared on recordings of levels: give checkpoint=NAME and no data; "
                f"got {self.checkpoint} and {self.data}"
            )
        names = [arm.name for arm in self.arms]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"needed at least one arm, and names that differ; got {names}")
        for arm in self.arms:
            arm.search_of(self.search)  # refuses budgets that cannot work


def evaluate_shard(task: OpenLoopTask) -> Sequence[DraftRefineRow]:
    """Record a shard's trajectories, cut its problems, and let every arm plan them."""
    config = task.config
    assert isinstance(config, DraftRefineConfig)
    problems = record_problems(task)
    size = config.search.micro_batch
    return [
        row
        for start in range(0, len(problems), size)
        for arm in config.arms
        for row in _rows_of(problems[start : start + size], arm, task)
    ]


def _rows_of(
    batch: Sequence[PlanningProblem], arm: ArmConfig, task: OpenLoopTask
) -> Iterator[DraftRefineRow]:
    config = task.config
    assert config.checkpoint is not None
    model = CountingModel(cached_model(config.checkpoint))
    search = arm.search_of(config.search)
    repeats = [
        plan_in_imagination(
            batch, model, task.fitted.prior, other_noise(search, repeat), seed=config.seed + repeat
        )
        for repeat in range(arm.num_repeats)
    ]
    for problem in batch:
        answers: list[Answer] = []
        for repeat in repeats:
            answer = repeat[problem.problem_id]
            if not isinstance(answer, Answer):
                raise RuntimeError(f"{arm.name}: {problem.problem_id}: {describe(answer)}") from answer
            answers.append(answer)
        errors = path_errors(
            mean_actions([answer.actions.numpy().astype(np.float64) for answer in answers])[:, :3],
            problem.true_displacements(),
            spacing_m=problem.spacing_m,
        )
        yield DraftRefineRow(
            provenance=task.provenance,
            problem_id=problem.problem_id,
            split=problem.split,
            level=problem.level,
            trajectory=problem.trajectory,
            arm=arm.name,
            ate_m=errors.ate_m,
            rpe_m=errors.rpe_m,
            num_evaluations=model.num_evaluations / len(batch),
            plan_s=sum(answer.seconds for answer in answers),
        )


def other_noise(search: SearchConfig, repeat: int) -> SearchConfig:
    """Return the search with the noise of a repeat: a fixed one counts on, others follow the run's seed."""
    seed = search.imagination.noise_seed
    if seed is None:
        return search
    return replace(search, imagination=replace(search.imagination, noise_seed=seed + repeat))


def mean_actions(plans: Sequence[Float64[np.ndarray, "step 4"]]) -> Float64[np.ndarray, "step 4"]:
    """Return the mean of several plans' actions, number by number, as its text says it: NWM's."""
    return round_actions(np.mean(np.stack(plans), axis=0))


def run_draft_refine(
    config: DraftRefineConfig, *, on_prior: OnProgress | None = None, on_progress: OnProgress | None = None
) -> list[DraftRefineRow]:
    """Return the rows of a comparison, computing what its folder lacks."""
    provenance = make_provenance(config)
    return run_shards(
        evaluate_shard,
        prepare_tasks(config, provenance, checkpoints=[config.checkpoint], on_prior=on_prior),
        row_type=DraftRefineRow,
        store=shard_store(config, provenance),
        num_workers=config.workers,
        on_progress=on_progress,
    )


@hydra.main(version_base=None, config_path="../conf", config_name="draft_refine")
def main(node: DictConfig) -> None:
    """Compare, print the tables, and write rows, tables and the picture."""
    config = configuration.to_object(node, DraftRefineConfig)
    console = Console()
    with resumable(console), worker_session(config.workers), progress_bars(console) as add_bar:
        rows = run_draft_refine(
            config, on_prior=add_bar("training prior"), on_progress=add_bar("draft and refine")
        )
    out = Path(config.out)
    write_table(to_table(rows, DraftRefineRow), out / "draft_refine.parquet")
    found = tables(rows)
    write_markdown(found, out / "draft_refine.md")
    draw(found, out / "draft_refine.png")
    console.print((out / "draft_refine.md").read_text(encoding="utf-8"), markup=False)


configuration.store("draft_refine_schema", DraftRefineConfig)

if __name__ == "__main__":
    # Ray's workers find classes by import; those of `__main__` would be others than ours.
    from planners.evaluation import draft_refine  # noqa: PLW0406

    draft_refine.main()
