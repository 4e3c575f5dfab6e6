"""Feed-forward layers: shared, one for each modality, and a mixture of experts."""

from dataclasses import dataclass
from enum import Enum

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn


class FeedForwardKind(Enum):
    """Which feed-forward layer a block has."""

    shared = "shared"
    per_modality = "per_modality"
    experts = "experts"


@dataclass(frozen=True, kw_only=True)
class ExpertsConfig:
    """A mixture of experts with one shared expert for each modality.

    Source: arXiv 2603.03276, Table 2: one text and one vision expert always on, then top-15 of 256 routed.
    """

    num_experts: int = 16
    top_k: int = 3
    expert_hidden: int = 128
    shared_hidden: int = 128
    balance_weight: float = 0.01
    """Weight of the load-balance loss; the paper's value is unknown, this is Switch's (arXiv 2101.03961)."""

    def __post_init__(self) -> None:
        if not 1 <= self.top_k <= self.num_experts:
            raise ValueError(f"need 1 <= top_k <= num_experts, got {self.top_k} and {self.num_experts}")


@dataclass(frozen=True)
class Modalities:
    """Where the text and the image tokens of a flattened batch lie; computed once, used in every block."""

    text: Int[Tensor, " text_token"]
    image: Int[Tensor, " image_token"]

    @classmethod
    def of(cls, is_image: Bool[Tensor, " *batch"]) -> "Modalities":
        """Index the tokens of a batch, flattened in row-major order."""
        flat = is_image.flatten()
        return cls(text=torch.nonzero(~flat)[:, 0], image=torch.nonzero(flat)[:, 0])


class Linear(nn.Linear):
    """A linear layer without bias that computes in the dtype of its input, whatever its parameters' dtype."""

    def __init__(self, num_inputs: int, num_outputs: int) -> None:
        super().__init__(num_inputs, num_outputs, bias=False)

    def forward(self, input: Float[Tensor, "*batch num_inputs"]) -> Float[Tensor, "*batch num_outputs"]:
        """Multiply by the weight."""
        return F.linear(input, self.weight.to(input.dtype))


class SwiGlu(nn.Module):
    """W_out (silu(W_gate x) * W_in x) (arXiv 2002.05202)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate_and_input = Linear(width, 2 * hidden)
        self.output = Linear(hidden, width)

    def forward(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        """Apply the layer to each token."""
        gate, value = self.gate_and_input(x).chunk(2, dim=-1)
        return self.output(F.silu(gate) * value)


class PerModality(nn.Module):
    """One SwiGLU for text and one for images."""

    def __init__(self, width: int, *, text_hidden: int, image_hidden: int) -> None:
        super().__init__()
        self.text = SwiGlu(width, text_hidden)
        self.image = SwiGlu(width, image_hidden)

    def forward(
        self, tokens: Float[Tensor, "token width"], modalities: Modalities
    ) -> Float[Tensor, "token width"]:
        """Apply each modality's layer to its tokens, and only to them."""
        output = torch.empty_like(tokens)
        output = output.index_copy(0, modalities.text, self.text(tokens[modalities.text]))
        return output.index_copy(0, modalities.image, self.image(tokens[modalities.image]))


def top_experts(
    scores: Float[Tensor, "token expert"], *, top_k: int
) -> tuple[Float[Tensor, "token {top_k}"], Int[Tensor, "token {top_k}"]]:
    """Return the weights (summing to 1) and the indices of each token's best experts, best first."""
    values, indices = scores.topk(top_k, dim=-1)
    return values.softmax(dim=-1), indices


def load_balance_loss(
    scores: Float[Tensor, "token expert"], indices: Int[Tensor, "token top_k"]
) -> Float[Tensor, ""]:
    """Return num_experts * sum_e f_e p_e: 1 for a uniform router, num_experts for one that uses one expert.

    f_e is the share of assignments expert e received, p_e its mean probability. Source: arXiv 2101.03961,
    eq. 4.
    """
    num_experts = scores.shape[-1]
    counts = torch.bincount(indices.flatten(), minlength=num_experts)
    shares = counts.float() / indices.numel()
    return num_experts * (shares * scores.softmax(dim=-1).mean(dim=0)).sum()


class Experts(nn.Module):
    """Routed experts computed by grouped matrix products, beside one shared expert for each modality.

    No token is dropped. The router works in float32: bfloat16 keeps 8 significant bits, so close scores tie
    and the choice of expert would be arbitrary.
    """

    def __init__(self, width: int, config: ExpertsConfig) -> None:
        super().__init__()
        self.config = config
        self.router = Linear(width, config.num_experts)
        self.gate_and_input = nn.Parameter(torch.empty(config.num_experts, width, 2 * config.expert_hidden))
        self.output = nn.Parameter(torch.empty(config.num_experts, config.expert_hidden, width))
        self.shared = PerModality(width, text_hidden=config.shared_hidden, image_hidden=config.shared_hidden)

    def forward(
        self, tokens: Float[Tensor, "token width"], modalities: Modalities
    ) -> tuple[Float[Tensor, "token width"], Float[Tensor, ""]]:
        """Return the mixed output of each token's experts and the weighted load-balance loss."""
        scores = self.router(tokens.float())
        weights, indices = top_experts(scores, top_k=self.config.top_k)
        order = indices.flatten().argsort(stable=True)
        token_of = order // self.config.top_k
        counts = torch.bincount(indices.flatten(), minlength=self.config.num_experts)
        routed = self._grouped(tokens[token_of], counts.cumsum(dim=0).int())
        routed = routed * weights.flatten()[order, None].to(routed.dtype)
        mixed = torch.zeros_like(tokens).index_add(0, token_of, routed)
        balance = self.config.balance_weight * load_balance_loss(scores, indices)
        return mixed + self.shared(tokens, modalities), balance

    def _grouped(
        self, sorted_tokens: Float[Tensor, "assigned width"], ends: Int[Tensor, " expert"]
    ) -> Float[Tensor, "assigned width"]:
        dtype = sorted_tokens.dtype
        hidden = F.grouped_mm(sorted_tokens, self.gate_and_input.to(dtype), offs=ends)
        gate, value = hidden.chunk(2, dim=-1)
        return F.grouped_mm(F.silu(gate) * value, self.output.to(dtype), offs=ends)
