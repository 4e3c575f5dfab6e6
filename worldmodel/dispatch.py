"""Dispatch: tokens to the rows of grouped matrix products, and sums of rows back to tokens.

Each is the other's transpose, so that neither direction scatters: `index_add`, which autograd would use,
takes longer on a CPU, and on a GPU adds in another order each time.
"""

from dataclasses import dataclass
from typing import no_type_check

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Int32
from torch import Tensor


@dataclass(frozen=True)
class Places:
    """Where the copies of each token lie among rows sorted by expert: a token has one row for each choice.

    `token_of` says whose copy a row is, `rows_of` which rows are a token's copies, `choice_of` which of the
    flattened choices a row stands for; `ends` is where each expert's rows end, as grouped products want it.
    """

    token_of: Int[Tensor, " row"]
    rows_of: Int[Tensor, "token choice"]
    choice_of: Int[Tensor, " row"]
    ends: Int32[Tensor, " expert"]

    @classmethod
    def of(cls, experts: Int[Tensor, "token choice"], *, num_experts: int) -> "Places":
        """Sort the choices of all tokens by expert; those of one expert keep the order of the tokens."""
        flat = experts.flatten()
        # The sort must be stable: the rows of an expert, and so the order of its sums, are to be repeatable.
        sorted_experts, choice_of = flat.sort(stable=True)
        rows_of = torch.empty_like(choice_of)
        rows_of.scatter_(0, choice_of, torch.arange(len(flat), device=flat.device))
        every = torch.arange(num_experts, device=flat.device)
        # Not `bincount`, whose result has a size that depends on data: on a GPU it would wait for it.
        ends = torch.searchsorted(sorted_experts, every, right=True, out_int32=True)
        return cls(choice_of // experts.shape[1], rows_of.view_as(experts), choice_of, ends)

    @property
    def counts(self) -> Float[Tensor, " expert"]:
        """How many rows each expert has, in float32: exact up to 2^24 of them."""
        return self.ends.diff(prepend=self.ends.new_zeros(1)).float()


@no_type_check  # checked methods of a Function cannot be compiled
class _Spread(torch.autograd.Function):
    """rows[r] = tokens[token_of[r]]."""

    @staticmethod
    def forward(tokens: Tensor, token_of: Tensor, rows_of: Tensor) -> Tensor:
        return tokens.index_select(0, token_of)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    def backward(ctx, *gradients):
        _, rows_of = ctx.saved_tensors
        return F.embedding_bag(rows_of, gradients[0].contiguous(), mode="sum"), None, None


@no_type_check
class _Gather(torch.autograd.Function):
    """tokens[t] = sum over c of rows[rows_of[t, c]]."""

    @staticmethod
    def forward(rows: Tensor, token_of: Tensor, rows_of: Tensor) -> Tensor:
        return F.embedding_bag(rows_of, rows, mode="sum")

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    def backward(ctx, *gradients):
        token_of, _ = ctx.saved_tensors
        return gradients[0].contiguous().index_select(0, token_of), None, None


def spread(
    tokens: Float[Tensor, "token width"], token_of: Int[Tensor, " row"], rows_of: Int[Tensor, "token choice"]
) -> Float[Tensor, "row width"]:
    """Return a copy of its token for each row."""
    return _Spread.apply(tokens, token_of, rows_of)  # pyright: ignore[reportReturnType]


def gather(
    rows: Float[Tensor, "row width"], token_of: Int[Tensor, " row"], rows_of: Int[Tensor, "token choice"]
) -> Float[Tensor, "token width"]:
    """Return for each token the sum of its rows, added up in float32."""
    return _Gather.apply(rows, token_of, rows_of)  # pyright: ignore[reportReturnType]
