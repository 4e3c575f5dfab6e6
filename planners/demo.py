"""Demo: open loop, closed loop and their page in one command (`make demo`)."""

import time
from dataclasses import dataclass, field
from pathlib import Path

import hydra
from omegaconf import DictConfig
from rich.console import Console

from data_tools import config as configuration
from data_tools.provenance import current_commit
from planners.evaluation import closed_loop, open_loop
from planners.evaluation.closed_loop import ClosedLoopConfig, run_closed_loop
from planners.evaluation.open_loop import OpenLoopConfig, run_open_loop
from planners.evaluation.overview import draw_overview
from planners.evaluation.progress import progress_bars, resumable
from planners.evaluation.results import publish
from planners.evaluation.shards import worker_session
from planners.evaluation.summary import Loop, Run


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """What the demo runs; its YAML gives both parts the same folder, checkpoint and workers.

    Attributes:
        out: Folder of the results.
        checkpoint: A shipped model's name or a folder; null leaves the model out.
        workers: Ray workers; 0 computes in this process.
        open_loop: One plan to each goal frame of held-out recordings.
        closed_loop: Episodes that are driven.
    """

    out: str = "outputs/demo"
    checkpoint: str | None = "nano"
    workers: int = 2
    open_loop: OpenLoopConfig = field(default_factory=OpenLoopConfig)
    closed_loop: ClosedLoopConfig = field(default_factory=ClosedLoopConfig)


def run_demo(config: DemoConfig, console: Console) -> None:
    """Evaluate both loops, print the tables, and write rows, summary, page and picture."""
    out, timing = Path(config.out), dict[Loop, float]()
    started = time.perf_counter()
    with resumable(console), worker_session(config.workers), progress_bars(console) as add_bar:
        bars = [add_bar(title) for title in ("training prior", "open loop", "closed loop")]
        open_rows = run_open_loop(config.open_loop, on_prior=bars[0], on_progress=bars[1])
        timing[Loop.open_loop] = time.perf_counter() - started
        closed_rows = run_closed_loop(config.closed_loop, on_progress=bars[2])
        timing[Loop.closed_loop] = time.perf_counter() - started - timing[Loop.open_loop]
    run = Run(
        loops={
            Loop.open_loop: open_loop.make_provenance(config.open_loop),
            Loop.closed_loop: closed_loop.make_provenance(config.closed_loop),
        },
        config=configuration.to_dict(config),
        timing=timing,
        commit=current_commit(),
    )
    summary = publish(console, out, run, open_rows=open_rows, closed_rows=closed_rows)
    if draw_overview(summary, open_rows, out / "overview.png"):
        console.print(f"Picture: {(out / 'overview.png').resolve().as_uri()}", soft_wrap=True)
    console.print(f"Took {time.perf_counter() - started:.0f} s.")


@hydra.main(version_base=None, config_path="conf", config_name="demo")
def main(node: DictConfig) -> None:
    """Run the demo."""
    run_demo(configuration.to_object(node, DemoConfig), Console())


configuration.store("demo_schema", DemoConfig)

if __name__ == "__main__":
    main()
