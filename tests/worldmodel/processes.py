"""Processes of one run for tests: started by hand and joined over a file.

They come from a server that has imported torch once."""

import multiprocessing
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
import torch.distributed as dist

from worldmodel.ranks import LostRanks, Ranks, noticing_lost_ranks

Work = Callable[[Ranks, Path], None]


def start_ranks(work: Work, folder: Path, *, count: int, timeout_s: float = 120.0) -> list[BaseProcess]:
    """Start `work` on `count` ranks; a module-level function, which leaves what it found in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.worldmodel.tiny_run", "tests.worldmodel.processes"])
    rendezvous = folder / f"rendezvous-{len(list(folder.glob('rendezvous-*')))}"
    started = []
    for rank in range(count):
        process = context.Process(
            target=_joined, args=(work, folder, rendezvous, rank, count, timeout_s), daemon=True
        )
        process.start()
        started.append(process)
    return started


def run_ranks(work: Work, folder: Path, *, count: int) -> None:
    """Run `work` on `count` ranks to its end."""
    started = start_ranks(work, folder, count=count)
    for process in started:
        process.join(timeout=300)
    problems = "\n".join(path.read_text() for path in sorted(folder.glob("error-*")))
    assert [process.exitcode for process in started] == [0] * count, problems


def _joined(work: Work, folder: Path, rendezvous: Path, rank: int, count: int, timeout_s: float) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{rendezvous}",
        rank=rank,
        world_size=count,
        timeout=timedelta(seconds=timeout_s),
    )
    try:
        with noticing_lost_ranks(timeout_s=timeout_s) as ranks:
            work(ranks, folder)
    except (LostRanks, FloatingPointError, OSError, ValueError) as error:
        (folder / f"error-{rank}").write_text(f"{type(error).__name__}: {error}")
        raise
    dist.destroy_process_group()
