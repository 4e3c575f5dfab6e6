"""Feed-forward layers: shared, one for each modality, and a mixture of experts."""

from dataclasses import dataclass
from enum import Enum

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from worldmodel.dispatch import Places, filling, gather, spread
from worldmodel.router import Balancing, Router, load_of

GROUPED_MULTIPLE = 8
"""Both sizes of a grouped product's matrices are multiples of it: 16 bytes of bfloat16."""


class FeedForwardKind(Enum):
    """Which feed-forward layer a block has."""

    shared = "shared"
    per_modality = "per_modality"
    experts = "experts"


class SharedExperts(Enum):
    """Which experts work for tokens without being chosen."""

    none = "none"
    one = "one"  # for all tokens
    per_modality = "per_modality"  # one for text, one for images


@dataclass(frozen=True, kw_only=True)
class ExpertsConfig:
    """A mixture of experts: routed ones, and shared ones beside them.

    Source: arXiv 2603.03276, Table 2: one text and one vision expert always on, then top-15 of 254 routed, is
    the best; without shared experts top-16 of 256.
    """

    num_experts: int = 16
    """Routed experts; the paper's counts hold the shared ones too."""
    top_k: int = 3
    """Routed experts that a token goes to."""
    expert_hidden: int = 128
    shared: SharedExperts = SharedExperts.per_modality
    shared_hidden: int = 128
    balancing: Balancing = Balancing.loss
    balance_weight: float = 0.01
    """Weight of the load-balance loss; the paper's value is unknown, this is Switch's (arXiv 2101.03961)."""
    bias_rate: float = 0.001
    """By how much `Balancing.bias` moves a bias each step (arXiv 2408.15664)."""

    def __post_init__(self) -> None:
        if not 1 <= self.top_k <= self.num_experts:
            raise ValueError(f"need 1 <= top_k <= num_experts, got {self.top_k} and {self.num_experts}")
        if self.expert_hidden < 1 or self.expert_hidden % GROUPED_MULTIPLE:
            raise ValueError(
                f"expert_hidden must be a multiple of {GROUPED_MULTIPLE}, got {self.expert_hidden}: grouped "
                "products in bfloat16 need rows of whole 16 bytes. Choose another granularity or width."
            )
        if self.shared is not SharedExperts.none and self.shared_hidden < 1:
            raise ValueError(
                f"shared_hidden must be at least 1, got {self.shared_hidden}; use shared=none for none"
            )
        if not (self.balance_weight >= 0 and self.bias_rate >= 0):
            raise ValueError(
                f"balance_weight and bias_rate must be at least 0, got {self.balance_weight} and "
                f"{self.bias_rate}"
            )

    @classmethod
    def of_granularity(
        cls,
        granularity: int,
        *,
        width: int,
        num_experts: int | None = None,
        shared: SharedExperts = SharedExperts.per_modality,
        balancing: Balancing = Balancing.loss,
    ) -> "ExpertsConfig":
        """Cut feed-forward layers of hidden size 4 * width into `granularity` experts each.

        All experts, shared ones too, have 4 * width / granularity units, and `granularity` of them work for
        each token, whatever the settings: models so made have equal active parameters, but for the router.
        `num_experts` is the number of all; None is 16 layers' worth. Source: arXiv 2603.03276 (16 experts of
        8192 at granularity 1, 256 of 512 at 16, 1024 of 128 at 64).
        """
        if granularity < 1 or 4 * width % granularity:
            raise ValueError(f"granularity must divide 4 * width = {4 * width}, got {granularity}")
        num_experts = 16 * granularity if num_experts is None else num_experts
        match shared:
            case SharedExperts.none:
                num_on, num_shared = 0, 0
            case SharedExperts.one:
                num_on, num_shared = 1, 1
            case SharedExperts.per_modality:
                num_on, num_shared = 1, 2
        if granularity == num_on:
            raise ValueError(
                "at granularity 1 a token has one expert, so that a shared one leaves none to choose; "
                "use shared=none"
            )
        return cls(
            num_experts=num_experts - num_shared,
            top_k=granularity - num_on,
            expert_hidden=4 * width // granularity,
            shared=shared,
            shared_hidden=4 * width // granularity,
            balancing=balancing,
        )

    @property
    def num_shared(self) -> int:
        """How many experts are shared."""
        match self.shared:
            case SharedExperts.none:
                return 0
            case SharedExperts.one:
                return 1
            case SharedExperts.per_modality:
                return 2


@dataclass(frozen=True)
class Modalities:
    """Where the text and the image tokens of a flattened batch lie; computed once, used in every block.

    `place_of` says where each token lies among all, text before images.
    """

    text: Int[Tensor, " text_token"]
    image: Int[Tensor, " image_token"]
    place_of: Int[Tensor, " token"]

    @property
    def order(self) -> Int[Tensor, " token"]:
        """The tokens, text before images: the inverse of `place_of`."""
        return torch.cat((self.text, self.image))

    @classmethod
    def of(cls, is_image: Bool[Tensor, " *batch"]) -> "Modalities":
        """Index the tokens of a batch, flattened in row-major order."""
        flat = is_image.flatten()
        text, image = torch.nonzero(~flat)[:, 0], torch.nonzero(flat)[:, 0]
        order = torch.cat((text, image))
        place_of = torch.empty_like(order).scatter_(0, order, torch.arange(len(flat), device=flat.device))
        return cls(text, image, place_of)


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
        order, place_of = modalities.order, modalities.place_of
        sorted_tokens = spread(tokens, order, place_of[:, None])
        text, image = sorted_tokens.split((len(modalities.text), len(modalities.image)))
        return gather(torch.cat((self.text(text), self.image(image))), order, place_of[:, None])


class Experts(nn.Module):
    """Routed experts computed by grouped matrix products, beside shared ones. No token is dropped."""

    def __init__(self, width: int, config: ExpertsConfig) -> None:
        super().__init__()
        if width % GROUPED_MULTIPLE:
            raise ValueError(
                f"the width of a model with experts must be a multiple of {GROUPED_MULTIPLE}, got {width}: "
                "grouped products in bfloat16 need rows of whole 16 bytes"
            )
        self.config = config
        self.router = Router(width, config.num_experts, top_k=config.top_k, balancing=config.balancing)
        self.gate_and_input = nn.Parameter(torch.empty(config.num_experts, width, 2 * config.expert_hidden))
        self.output = nn.Parameter(torch.empty(config.num_experts, config.expert_hidden, width))
        self.shared: SwiGlu | PerModality | None
        match config.shared:
            case SharedExperts.none:
                self.shared = None
            case SharedExperts.one:
                self.shared = SwiGlu(width, config.shared_hidden)
            case SharedExperts.per_modality:
                hidden = config.shared_hidden
                self.shared = PerModality(width, text_hidden=hidden, image_hidden=hidden)

    def forward(
        self, tokens: Float[Tensor, "token width"], modalities: Modalities
    ) -> tuple[Float[Tensor, "token width"], Float[Tensor, "2 expert"]]:
        """Return the mixed output of each token's experts and the load of the routed ones (`load_of`)."""
        scores, weights, indices = self.router(tokens)
        num_experts = self.config.num_experts
        multiple = filling(indices.numel(), num_experts, tokens)
        places = Places.of(indices, num_experts=num_experts, multiple=multiple)
        # Spread as tokens are, their gradients come back by a gather too.
        weight_of = spread(weights.reshape(-1, 1), places.choice_of, places.rows_of.reshape(-1, 1))
        rows = spread(tokens, places.token_of, places.rows_of)
        mixed = gather(self._grouped(rows, weight_of, places.ends), places.token_of, places.rows_of)
        load = load_of(scores, places.counts)
        match self.shared:
            case None:
                return mixed, load
            case SwiGlu():
                return mixed + self.shared(tokens), load
            case PerModality():
                return mixed + self.shared(tokens, modalities), load

    def _grouped(
        self,
        rows: Float[Tensor, "row width"],
        weights: Float[Tensor, "row 1"],
        ends: Int[Tensor, " expert"],
    ) -> Float[Tensor, "row width"]:
        dtype = rows.dtype
        hidden = F.grouped_mm(rows, self.gate_and_input.to(dtype), offs=ends)
        gate, value = hidden.chunk(2, dim=-1)
        # Weighing what goes into the output matrix weighs what comes out, and is cheaper for small experts.
        weighed = F.silu(gate) * value * weights.to(dtype)
        return F.grouped_mm(weighed, self.output.to(dtype), offs=ends)
