"""Token choice: from logits to the next token, by a number that the caller draws."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class TextSampling:
    """How text is written."""

    temperature: float = 0.0
    """0 takes the likeliest token always."""
    top_p: float = 1.0
    """Only the likeliest tokens that together have this probability are drawn (arXiv 1904.09751)."""
    max_tokens: int = 64
    """Most tokens that are written in a row."""

    def __post_init__(self) -> None:
        if not (self.temperature >= 0 and 0 < self.top_p <= 1 and self.max_tokens >= 1):
            raise ValueError(
                f"needed temperature >= 0, 0 < top_p <= 1 and max_tokens >= 1; got {self.temperature}, "
                f"{self.top_p} and {self.max_tokens}"
            )


def choose_tokens(
    logits: Float[Tensor, "sequence vocabulary"],
    uniform: Float[Tensor, " sequence"],
    sampling: TextSampling,
) -> Int[Tensor, " sequence"]:
    """Return the token at the quantile `uniform`, in [0, 1), of each distribution, likeliest first.

    At temperature 0 that is the likeliest token, whatever the quantile.
    """
    if sampling.temperature == 0:
        return logits.argmax(dim=-1)
    sorted_logits, order = (logits / sampling.temperature).sort(dim=-1, descending=True, stable=True)
    probabilities = sorted_logits.softmax(dim=-1)
    # A token stays if those before it do not make up top_p: the first always does.
    before = probabilities.cumsum(dim=-1) - probabilities
    kept = torch.where(before < sampling.top_p, probabilities, 0.0)
    reached = kept.cumsum(dim=-1)
    chosen = (reached <= (uniform * reached[:, -1])[:, None]).sum(dim=-1)
    # Rounding may put the quantile past the end: then it is the last token that has any probability.
    chosen = torch.minimum(chosen, (kept > 0).sum(dim=-1) - 1)
    return order.gather(1, chosen[:, None])[:, 0]
