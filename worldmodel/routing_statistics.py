"""Routing statistics: how specialised, evenly used and steady over noise the experts of a model are."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from worldmodel.routing_counts import RoutingCounts

MOSTLY = 0.75
"""An expert is one of a modality if at least this part of its tokens is from there (see `preferences`)."""


@dataclass(frozen=True, kw_only=True)
class RoutingStatistics:
    """What the routing of a model looks like, a number a layer; None where there were no such tokens.

    Published of arXiv 2603.03276 (13.5 B parameters, granularity 16): more text than image experts, most of
    them in early layers; `time_variation` about 0.15; `correlation` at least 0.90.
    """

    num_tokens: dict[str, int]
    """Tokens by group: text, understanding, generation."""
    text_experts: list[float]
    """Share of the experts that are mostly text."""
    image_experts: list[float]
    """Share of the experts that are mostly image."""
    entropy: list[float]
    """Entropy of the load over experts, over that of an even load: 1 is even, 0 is all on one."""
    largest_load: list[float]
    """Load of the busiest expert over the mean."""
    idle_experts: list[float]
    """Share of the experts with less than a tenth of the mean load."""
    time_variation: list[float | None]
    """Coefficient of variation of an expert's share of predicted tokens over ten bins of flow time; the mean
    over experts, weighed by how many of those tokens they get."""
    correlation: list[float | None]
    """Pearson correlation over experts of their shares of understanding and of generation tokens."""


def statistics_of(found: RoutingCounts, *, top_k: int) -> RoutingStatistics:
    """Reduce counts to statistics; ValueError if text or images are missing."""
    groups = {
        "text": found.text,
        "understanding": found.understanding,
        "generation": found.generation.sum(dim=1),
    }
    num_tokens = {name: int(counts[0].sum()) // top_k for name, counts in groups.items()}
    if not num_tokens["text"] or num_tokens["understanding"] + num_tokens["generation"] == 0:
        raise ValueError(f"needed text and image tokens, got {num_tokens}; give data of both")
    preference = preferences(found)
    load = (found.text + found.image).double()
    relative = load / load.mean(dim=1, keepdim=True)
    shares = load / load.sum(dim=1, keepdim=True)
    entropy = torch.special.entr(shares).sum(dim=1) / torch.log(torch.tensor(max(2, load.shape[1])))
    return RoutingStatistics(
        num_tokens=num_tokens,
        text_experts=(preference <= 1 - MOSTLY).double().mean(dim=1).tolist(),
        image_experts=(preference >= MOSTLY).double().mean(dim=1).tolist(),
        entropy=entropy.tolist(),
        largest_load=relative.amax(dim=1).tolist(),
        idle_experts=(relative < 0.1).double().mean(dim=1).tolist(),
        time_variation=[_time_variation(layer) for layer in found.generation],
        correlation=[
            _correlation(*pair) for pair in zip(found.understanding, found.generation.sum(dim=1), strict=True)
        ],
    )


def shares_of(counts: Int[Tensor, "*layer expert"]) -> Float[Tensor, "*layer expert"]:
    """Return each expert's share of a group's tokens; 0 if there are none."""
    return counts.double() / counts.sum(dim=-1, keepdim=True).clamp_min(1)


def preferences(found: RoutingCounts) -> Float[Tensor, "layer expert"]:
    """Return which part of an expert's load is images, if there were as many image as text tokens.

    0 is text alone, 1 images alone; an expert without tokens has 0.5.
    """
    text, image = shares_of(found.text), shares_of(found.image)
    both = text + image
    return torch.where(both > 0, image / both.clamp_min(1e-30), 0.5)


def _time_variation(counts: Int[Tensor, "bin expert"]) -> float | None:
    filled = counts[counts.sum(dim=1) > 0]
    if len(filled) < 2:
        return None
    shares = shares_of(filled)
    means = shares.mean(dim=0)
    deviations = shares.std(dim=0, unbiased=False)
    # Weighed by the mean, each expert's deviation over its mean leaves its deviation.
    return (deviations.sum() / means.sum()).item()


def _correlation(one: Int[Tensor, " expert"], other: Int[Tensor, " expert"]) -> float | None:
    if not (one.sum() and other.sum()):
        return None
    both = torch.stack((shares_of(one), shares_of(other)))
    both = both - both.mean(dim=1, keepdim=True)
    lengths = both.norm(dim=1)
    return ((both[0] * both[1]).sum() / lengths.prod()).item() if lengths.prod() > 0 else None
