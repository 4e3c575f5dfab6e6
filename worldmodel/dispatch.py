"""Dispatch: tokens to the rows of grouped matrix products, and sums of rows back to tokens.

Each is the other's transpose, so that neither direction scatters: `index_add`, which autograd would use,
takes longer on a CPU, and on a GPU adds in another order each time.

Groups may be filled up with rows of zeros to a multiple of rows (`filling`): a bfloat16 product on a CPU is
planned anew for each size that it has not met, which takes half as long as the product itself.
"""

from dataclasses import dataclass
from typing import no_type_check

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Int32
from torch import Tensor

MOST_FILLED = 64
"""Largest multiple of rows that groups are filled up to."""
ROWS_A_FILLED = 32
"""Rows of a mean group for each row of the multiple: at most one of 32 rows is zeros."""


def filling(num_rows: int, num_groups: int, like: Tensor) -> int:
    """Return the multiple of rows that groups of a product of tensors like this one are filled up to."""
    if like.device.type != "cpu" or like.dtype != torch.bfloat16:
        return 1
    most = num_rows // (num_groups * ROWS_A_FILLED)
    return min(MOST_FILLED, 1 << (most.bit_length() - 1)) if most else 1


@dataclass(frozen=True)
class Places:
    """Where the copies of each token lie among rows sorted by expert: a token has one row for each choice.

    `token_of` says whose copy a row is, `rows_of` which rows are a token's copies, `choice_of` which of the
    flattened choices a row stands for; rows that fill up a group stand for none: theirs are the number of
    tokens and of choices. `ends` is where each expert's rows end, as grouped products want it, `counts` how
    many of them are copies, in float32: exact up to 2^24 of them.
    """

    token_of: Int[Tensor, " row"]
    rows_of: Int[Tensor, "token choice"]
    choice_of: Int[Tensor, " row"]
    ends: Int32[Tensor, " expert"]
    counts: Float[Tensor, " expert"]

    @classmethod
    def of(cls, experts: Int[Tensor, "token choice"], *, num_experts: int, multiple: int = 1) -> "Places":
        """Sort the choices of all tokens by expert; those of one expert keep the order of the tokens.

        Each group is filled up to a multiple of rows. How many rows there are in all depends on the number of
        choices alone, not on what they are: the last expert's group takes what is left.
        """
        flat = experts.flatten()
        # The sort must be stable: the rows of an expert, and so the order of its sums, are to be repeatable.
        sorted_experts, choice_of = flat.sort(stable=True)
        every = torch.arange(num_experts, device=flat.device)
        # Not `bincount`, whose result has a size that depends on data: on a GPU it would wait for it.
        ends = torch.searchsorted(sorted_experts, every, right=True)
        counts = ends.diff(prepend=ends.new_zeros(1))
        row_of = torch.arange(len(flat), device=flat.device)
        num_rows = len(flat)
        if multiple > 1:
            num_rows = -(-(num_rows + num_experts * (multiple - 1)) // multiple) * multiple
            filled_ends = ((counts + multiple - 1) // multiple * multiple).cumsum(0)
            starts_less = filled_ends.roll(1) - ends.roll(1)
            starts_less[0] = 0
            row_of = row_of + starts_less[sorted_experts]
            ends = torch.cat((filled_ends[:-1], filled_ends.new_full((1,), num_rows)))
        rows_of = torch.empty_like(choice_of).scatter_(0, choice_of, row_of)
        choice_of = choice_of.new_full((num_rows,), len(flat)).scatter_(0, row_of, choice_of)
        return cls(
            choice_of // experts.shape[1], rows_of.view_as(experts), choice_of, ends.int(), counts.float()
        )


def _taken(tensor: Tensor, index: Tensor, *, num_copies: int) -> Tensor:
    """Return rows of a tensor; where some rows are copies of none, index `len(tensor)` is a row of zeros."""
    return (F.pad(tensor, (0, 0, 0, 1)) if len(index) > num_copies else tensor).index_select(0, index)


@no_type_check  # checked methods of a Function cannot be compiled
class _Spread(torch.autograd.Function):
    """rows[r] = tokens[token_of[r]]; 0 where there is no such token."""

    @staticmethod
    def forward(tokens: Tensor, token_of: Tensor, rows_of: Tensor) -> Tensor:
        return _taken(tokens, token_of, num_copies=rows_of.numel())

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
        token_of, rows_of = ctx.saved_tensors
        return _taken(gradients[0].contiguous(), token_of, num_copies=rows_of.numel()), None, None


def spread(
    tokens: Float[Tensor, "token width"], token_of: Int[Tensor, " row"], rows_of: Int[Tensor, "token choice"]
) -> Float[Tensor, "row width"]:
    """Return a copy of its token for each row, zeros for a row that is a copy of none."""
    return _Spread.apply(tokens, token_of, rows_of)  # pyright: ignore[reportReturnType]


def gather(
    rows: Float[Tensor, "row width"], token_of: Int[Tensor, " row"], rows_of: Int[Tensor, "token choice"]
) -> Float[Tensor, "token width"]:
    """Return for each token the sum of its rows, added up in float32."""
    return _Gather.apply(rows, token_of, rows_of)  # pyright: ignore[reportReturnType]
