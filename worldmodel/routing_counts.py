"""Routing counts: which experts the tokens of a batch go to, by layer, by kind of token and by noise."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor, nn

from worldmodel.documents import PackedBatch
from worldmodel.router import Router

NUM_BINS = 10
"""Of the flow time, from noise (0) to data (1)."""
TEXT, UNDERSTANDING, GENERATION = 0, 1, 2
"""Groups of tokens; the bins of generation follow one another."""
NUM_GROUPS = GENERATION + NUM_BINS


@dataclass(frozen=True)
class RoutingCounts:
    """How often tokens of each group were sent to each routed expert.

    Understanding is the tokens of clean frames that are only context, generation those of noised frames that
    are predicted, by their flow time.
    """

    counts: Int[Tensor, "layer group expert"]

    @property
    def text(self) -> Int[Tensor, "layer expert"]:
        """Of text tokens."""
        return self.counts[:, TEXT]

    @property
    def image(self) -> Int[Tensor, "layer expert"]:
        """Of all image tokens."""
        return self.counts[:, UNDERSTANDING:].sum(dim=1)

    @property
    def understanding(self) -> Int[Tensor, "layer expert"]:
        """Of tokens of clean context."""
        return self.counts[:, UNDERSTANDING]

    @property
    def generation(self) -> Int[Tensor, "layer bin expert"]:
        """Of tokens that are predicted, by flow time."""
        return self.counts[:, GENERATION:]

    def __add__(self, other: "RoutingCounts") -> "RoutingCounts":
        """Return the counts of both."""
        return RoutingCounts(self.counts + other.counts)


def groups_of(batch: PackedBatch) -> Int[Tensor, "row token"]:
    """Return the group of each token; -1 for padding."""
    bins = (batch.times * NUM_BINS).long().clamp(0, NUM_BINS - 1)
    of_image = torch.where(batch.is_flow_target, GENERATION + bins, UNDERSTANDING)
    groups = torch.where(batch.is_image, of_image, TEXT)
    return torch.where(batch.kind >= 0, groups, -1)


@contextmanager
def recorded(model: nn.Module, groups: Int[Tensor, "*batch token"]) -> Iterator[list[RoutingCounts]]:
    """Count where the tokens of every forward pass go while the block runs; they appear in the given list.

    It listens at the routers: outside the block nothing is counted and nothing costs. ValueError for a model
    without experts. A compiled model does not call its listeners; give it as it was before.
    """
    routers = [module for module in model.modules() if isinstance(module, Router)]
    if not routers:
        raise ValueError(
            "needed a model with experts, got one without; train one with model.feedforward=experts"
        )
    flat, found = groups.flatten(), []
    layers: list[Tensor] = []

    def listen(router: nn.Module, inputs: object, output: tuple[Tensor, Tensor, Tensor]) -> None:
        scores, _, experts = output
        layers.append(_count(flat, experts, num_experts=scores.shape[1]))
        if len(layers) == len(routers):
            found.append(RoutingCounts(torch.stack(layers)))
            layers.clear()

    handles = [router.register_forward_hook(listen) for router in routers]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _count(
    groups: Int[Tensor, " token"], experts: Int[Tensor, "token choice"], *, num_experts: int
) -> Int[Tensor, "group expert"]:
    counted = groups >= 0
    cells = groups[counted, None] * num_experts + experts[counted]
    counts = torch.bincount(cells.flatten(), minlength=NUM_GROUPS * num_experts)
    return counts.view(NUM_GROUPS, num_experts)  # cells are group-major
