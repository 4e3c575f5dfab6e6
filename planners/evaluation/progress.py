"""Progress: the bar of a long run, and its tables, on the terminal."""

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table as RichTable

from planners.evaluation.explanations import with_bounds
from planners.evaluation.metrics import Interval
from planners.evaluation.shards import OnProgress
from planners.evaluation.summary import CLOSED_LOOP_METRICS, ORACLES, Summary, Table

SHOWN_OPEN_LOOP = ("ate_m", "rpe_m", "ate_spacing", "final_position_m", "final_yaw_rad")


@contextlib.contextmanager
def progress_bars(console: Console) -> Iterator[Callable[[str], OnProgress]]:
    """Give a function that adds a bar to the terminal; a bar appears when its part of the run begins."""
    columns = (TextColumn("{task.description:<20}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:

        def add(title: str) -> OnProgress:
            bar = progress.add_task(title, total=None, start=False, visible=False)

            def on_progress(num_done: int, num_all: int) -> None:
                progress.start_task(bar)
                progress.update(bar, completed=num_done, total=num_all, visible=True)

            return on_progress

        yield add


@contextlib.contextmanager
def resumable(console: Console) -> Iterator[None]:
    """Turn Ctrl-C into one sentence and exit status 130."""
    try:
        yield
    except KeyboardInterrupt:
        console.print("\nStopped. What is finished is kept: the same command goes on from here.")
        raise SystemExit(130) from None


def print_summary(console: Console, summary: Summary) -> None:
    """Print the tables: means, and 95% intervals in brackets."""
    for split, result in summary.open_loop.items():
        counted = f"{result.num_problems} problems, {result.num_failed} failed"
        title = f"Open loop, {split.replace('_', ' ')}: {counted}"
        console.print(_table(title, result.table, SHOWN_OPEN_LOOP))
        if result.gap_closed is not None:
            console.print(f"gap closed: {with_bounds(result.gap_closed)}\n")
    for split, driven in summary.closed_loop.items():
        counted = f"{driven.num_episodes} episodes, {driven.num_failed} failed"
        title = f"Closed loop, {split.replace('_', ' ')}: {counted}"
        console.print(_table(title, driven.table, CLOSED_LOOP_METRICS))


def _table(title: str, table: Table, metrics: tuple[str, ...]) -> RichTable:
    shown = RichTable(title=title, title_justify="left")
    shown.add_column("", no_wrap=True)
    for metric in metrics:
        shown.add_column(metric, justify="right")
    for name, intervals in table.items():
        cells = [_cell(intervals[metric]) for metric in metrics]
        shown.add_row(f"{name} (oracle)" if name in ORACLES else name, *cells)
    return shown


def _cell(interval: Interval) -> str:
    return f"{interval.mean:.2f} [{interval.low:.2f}, {interval.high:.2f}]" if interval.n else "none"
