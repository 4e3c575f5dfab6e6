"""Progress: the bar of a training run on the terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def step_progress(name: str, num_steps: int, *, start: int, shown: bool) -> Iterator[Callable[[str], None]]:
    """Show a bar from step `start` on; call what it gives after each step with a note on it."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, disable=not shown) as progress:
        task = progress.add_task(name, total=num_steps, completed=start, note="")

        def advance(note: str) -> None:
            progress.update(task, advance=1, note=note)

        yield advance
