"""Router: which experts a token goes to, how much each weighs, and how their load is kept even."""

from enum import Enum

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn


class Balancing(Enum):
    """What keeps the experts' load even."""

    loss = "loss"  # an auxiliary loss (arXiv 2101.03961); the paper's way
    bias = "bias"  # a bias for each expert on its choice alone, without a gradient (arXiv 2408.15664)


class Router(nn.Module):
    """Scores each expert for each token by a linear layer, and chooses the best.

    All of it is computed in float32: bfloat16 keeps 8 significant bits, so close scores tie and the choice of
    expert would be arbitrary.
    """

    selection_bias: Tensor

    def __init__(self, width: int, num_experts: int, *, top_k: int, balancing: Balancing) -> None:
        super().__init__()
        self.top_k = top_k
        self.weight = nn.Parameter(torch.empty(num_experts, width))
        self.balancing = balancing
        if balancing is Balancing.bias:
            self.register_buffer("selection_bias", torch.zeros(num_experts))

    def reset(self) -> None:
        """Make all biases zero."""
        if self.balancing is Balancing.bias:
            self.selection_bias.zero_()

    def forward(
        self, tokens: Float[Tensor, "token width"]
    ) -> tuple[Float[Tensor, "token expert"], Float[Tensor, "token choice"], Int[Tensor, "token choice"]]:
        """Return all scores, and the weights and indices of each token's experts."""
        scores = F.linear(tokens.float(), self.weight.float())
        match self.balancing:
            case Balancing.loss:
                return scores, *top_experts(scores, top_k=self.top_k)
            case Balancing.bias:
                return scores, *biased_experts(scores, self.selection_bias, top_k=self.top_k)

    @torch.no_grad()
    def rebalance(self, counts: Float[Tensor, " expert"], *, rate: float) -> None:
        """Move the bias of each expert (if there are biases) by `rate` against its excess of load in a batch.

        Source: arXiv 2408.15664, algorithm 1. Counts must be those of the whole batch, added up over ranks
        and parts: then all ranks keep equal biases.
        """
        if self.balancing is Balancing.bias:
            self.selection_bias += rate * torch.sign(counts.mean() - counts)


def top_experts(
    scores: Float[Tensor, "token expert"], *, top_k: int
) -> tuple[Float[Tensor, "token {top_k}"], Int[Tensor, "token {top_k}"]]:
    """Return the weights (summing to 1) and the indices of each token's best experts, best first."""
    values, indices = scores.topk(top_k, dim=-1)
    return values.softmax(dim=-1), indices


def biased_experts(
    scores: Float[Tensor, "token expert"], bias: Float[Tensor, " expert"], *, top_k: int
) -> tuple[Float[Tensor, "token {top_k}"], Int[Tensor, "token {top_k}"]]:
    """Return what `top_experts` does, for the experts that are best after a bias on their choice.

    The bias is added to sigmoid(score), which lies in (0, 1) whatever the number of experts, as in the paper
    that the rate is taken from; weights are those of the scores themselves.
    """
    _, indices = (scores.detach().sigmoid() + bias).topk(top_k, dim=-1)
    return scores.gather(-1, indices).softmax(dim=-1), indices


def load_of(
    scores: Float[Tensor, "token expert"], counts: Float[Tensor, " expert"]
) -> Float[Tensor, "2 expert"]:
    """Return the load of a layer: the number of tokens each expert got, and its sum of probabilities.

    Both are sums over tokens: those of the parts of a batch add up to those of the whole. Only the
    probabilities carry a gradient.
    """
    return torch.stack((counts, scores.softmax(dim=-1).sum(dim=0)))


def load_balance_loss(
    probabilities: Float[Tensor, "*layer expert"], counts: Float[Tensor, "*layer expert"], *, top_k: int
) -> Float[Tensor, ""]:
    """Return the sum over layers of num_experts * sum_e f_e p_e.

    f_e is the share of the batch's assignments that expert e received (`counts`), p_e its mean probability
    there. A layer gives 1 for a uniform router, and num_experts for one that uses one expert. With the counts
    of a whole batch and the `probabilities` of a part of it this is the part's summand: the loss is linear in
    them, so that values and gradients of parts add up. Source: arXiv 2101.03961, eq. 4.
    """
    assigned = counts.sum(dim=-1, keepdim=True)
    means = probabilities * top_k / assigned
    return counts.shape[-1] * (counts / assigned * means).sum()
