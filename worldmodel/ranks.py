"""Ranks: the processes of one run, each with a share of every batch.

`torchrun --nproc-per-node 2 -m worldmodel.pretrain ... num_threads=1`. All ranks draw the same batch and the
same noise, each computes some of its rows, and gradients are added up: losses and checkpoints are those of
one process up to rounding, and a run may go on with another number of ranks. Only the first rank writes,
unless the state is shared out (sharding.py).
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

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

    def any(self, is_so: bool) -> bool:
        """Return whether something is so on any rank; all must ask."""
        return self.add(torch.tensor(float(is_so))).item() > 0

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


class LostRanks(RuntimeError):
    """Another process of the run died, or did not answer in time."""


@contextmanager
def joined(*, timeout_s: float = 1800.0) -> Iterator[Ranks]:
    """Join the processes that `torchrun` started; without it there is one.

    LostRanks if one of them does not answer for `timeout_s`, or has died. So it is with gloo; NCCL, on GPUs,
    ends the process instead, with a message of its own, and checkpoints serve as after any end.
    """
    if "WORLD_SIZE" not in os.environ:
        yield Ranks()
        return
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, timeout=timedelta(seconds=timeout_s))
    with noticing_lost_ranks(timeout_s=timeout_s) as ranks:
        yield ranks
    dist.destroy_process_group()


@contextmanager
def noticing_lost_ranks(*, timeout_s: float) -> Iterator[Ranks]:
    """Give the ranks of the process group there is; its backends' errors become `LostRanks`."""
    ranks = Ranks(rank=dist.get_rank(), count=dist.get_world_size())
    try:
        yield ranks
    except RuntimeError as error:
        words = str(error)
        if not (isinstance(error, dist.DistError) or any(name in words.lower() for name in _BACKENDS)):
            raise
        # The group is not left: that would wait for those who are gone.
        raise LostRanks(
            f"rank {ranks.rank} needed an answer of all {ranks.count} ranks within {timeout_s:g} s, and one "
            f"is gone or stuck ({_first_sentence(words)}). This run ends; the same command goes on from the "
            "last checkpoint"
        ) from error


def _first_sentence(words: str) -> str:
    return words.strip().splitlines()[0].split(". ", maxsplit=1)[0]


_BACKENDS = ("gloo", "nccl", "connection closed by peer", "connection reset by peer")
"""Words of the errors of process groups; gloo's are RuntimeErrors of no class of their own."""
