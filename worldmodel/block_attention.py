"""Block attention: the hybrid mask on CUDA, where blocks of tokens that see nothing of each other are free.

FlexAttention (arXiv 2412.05496) compiles the rule of `attention.hybrid_mask` into its kernel: no score of a
pair in a block that sees nothing is computed, and a row of many short documents takes the time of its
documents. Which blocks see something is found from the rule for all pairs, once a batch, in a byte a pair. It
has no backward pass on a CPU, where `attention.packed_attention` is used.
"""

from collections.abc import Callable
from functools import cache

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention


def hybrid_block_mask(reach: Int[Tensor, "row token"], frame: Int[Tensor, "row token"]) -> BlockMask:
    """Return the mask of `hybrid_mask` by blocks of 128 x 128 tokens."""
    num_rows, num_tokens = reach.shape
    return create_block_mask(
        lambda row, head, query, key: _sees(reach[row], frame[row], query, key),
        num_rows,
        None,  # the same for all heads
        num_tokens,
        num_tokens,
        device=str(reach.device),
    )


def _sees(reach: Tensor, frame: Tensor, query: Tensor, key: Tensor) -> Tensor:
    """Return whether one token of a row may attend to another: the rule of `hybrid_mask`, by indices."""
    is_causal = (key <= query) & (query < reach[key])
    is_same_frame = (frame[query] == frame[key]) & (frame[query] >= 0)
    return is_causal | is_same_frame


class BlockAttend:
    """Attention inside packed rows on CUDA: the `Attend` of training there."""

    def __init__(self, mask: BlockMask) -> None:
        self.mask = mask

    def __call__(
        self,
        layer: int,
        query: Float[Tensor, "row token head head_dim"],
        key: Float[Tensor, "row token kv_head head_dim"],
        value: Float[Tensor, "row token kv_head head_dim"],
    ) -> Float[Tensor, "row token head head_dim"]:
        """Attend under the mask; query heads share key heads in groups."""
        # In a model that is compiled itself this is a part of its graph.
        is_alone = query.is_cuda and not torch.compiler.is_compiling()
        attention = _compiled() if is_alone else flex_attention
        query, key, value = (each.transpose(1, 2) for each in (query, key, value))  # row head token head_dim
        return attention(query, key, value, block_mask=self.mask, enable_gqa=True).transpose(1, 2)


@cache
def _compiled() -> Callable[..., Tensor]:
    """Return the fused kernel: without compilation all scores would be made."""
    return torch.compile(flex_attention)
