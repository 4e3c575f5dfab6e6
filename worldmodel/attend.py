"""Attend: how queries meet keys: in packed rows, or from candidates to a context that they share."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool
from torch import Tensor

from worldmodel.attention import LayerCache, bias_of, branch_attention, packed_attention


@runtime_checkable
class Attend(Protocol):
    """How queries meet keys: the only thing in which training, encoding a context and rolling out differ."""

    def __call__(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Return what each query gathers; all are `*batch token head head_dim`."""
        ...


class PackedAttend:
    """Attention inside packed rows; keeps each layer's keys and values if asked to.

    `lookahead` is that of `packed_attention`.
    """

    def __init__(
        self, mask: Bool[Tensor, "row token token"], *, lookahead: int | None = None, keep: bool = False
    ) -> None:
        self.mask = mask
        self.lookahead = lookahead
        self.kept: list[tuple[Tensor, Tensor]] = []
        self._keep = keep
        self._bias: Tensor | None = None

    def __call__(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend under the mask."""
        if self._keep:
            self.kept.append((key, value))
        return packed_attention(
            query, key, value, self.mask, lookahead=self.lookahead, bias=self._bias_for(query)
        )

    def _bias_for(self, query: Tensor) -> Tensor | None:
        """Return the bias that all layers share; the compiler finds what they share by itself."""
        if query.is_cuda or torch.compiler.is_compiling():
            return None
        if self._bias is None or self._bias.dtype != query.dtype:
            self._bias = bias_of(self.mask, query.dtype)
        return self._bias


class BranchAttend:
    """Attention of candidates' new tokens to caches; keeps the new keys and values."""

    def __init__(
        self,
        caches: Sequence[LayerCache],
        own_mask: Bool[Tensor, "problem candidate token past_and_token"],
    ) -> None:
        self.caches = caches
        self.own_mask = own_mask
        self.kept: list[tuple[Tensor, Tensor]] = []

    def __call__(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend to the shared context, the candidate's past and its new tokens."""
        self.kept.append((key, value))
        return branch_attention(query, key, value, self.caches[layer], self.own_mask)
