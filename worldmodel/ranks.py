"""Ranks: the processes of one run, each with a share of every batch.

`torchrun --nproc-per-node 2 -m worldmodel.pretrain ... num_threads=1`. All ranks draw the same batch and the
same noise, each computes some of its rows, and gradients are added up: losses and checkpoints are those of
one process up to rounding, and a run may go on with another number of ranks. Only the first rank writes.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """Which process of how many this is; by default the only one."""

    rank: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.count:
            raise ValueError(f"rank must be in [0, {self.count}), got {self.rank}")

    @property
    def local(self) -> int:
        """The number of this process among those of its machine."""
        return int(os.environ.get("LOCAL_RANK", "0")) if self.count > 1 else 0

    @property
    def count_here(self) -> int:
        """How many of them share this machine."""
        return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if self.count > 1 else 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def shares(self, num_rows: int, *, at_once: int | None) -> list[slice]:
        """Return this rank's rows of a batch, at most `at_once` a slice; ValueError if it would have none."""
        if num_rows < self.count:
            raise ValueError(
                f"num_rows={num_rows} leaves some of {self.count} ranks without work; raise it or start fewer"
            )
        stride = self.count * (at_once or num_rows)
        return [
            slice(first, min(first + stride, num_rows), self.count)
            for first in range(self.rank, num_rows, stride)
        ]

    def add_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace every gradient by its sum over ranks; one that is missing here counts as zero."""
        if self.count == 1:
            return
        parameters = list(parameters)
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        for parameter, part in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
            parameter.grad = part.view_as(parameter)

    def add(self, values: Tensor) -> Tensor:
        """Return the sum of a tensor over ranks."""
        summed = values.detach().clone()
        if self.count > 1:
            dist.all_reduce(summed)
        return summed

    def wait(self) -> None:
        """Return when all ranks have come here."""
        if self.count > 1:
            dist.barrier()

    @contextmanager
    def first_goes_ahead(self) -> Iterator[None]:
        """Run a block on the first rank, then on all others: what it leaves on disk is made once."""
        if self.count > 1 and not self.is_first:
            dist.barrier()
        yield
        if self.count > 1 and self.is_first:
            dist.barrier()


@contextmanager
def joined() -> Iterator[Ranks]:
    """Join the processes that `torchrun` started; without it there is one."""
    if "WORLD_SIZE" not in os.environ:
        yield Ranks()
        return
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield Ranks(rank=dist.get_rank(), count=dist.get_world_size())
    finally:
        dist.destroy_process_group()
