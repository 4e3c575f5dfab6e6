"""Attention: the hybrid mask, rotary positions, and keys and values that branches share.

A packed row holds documents one after another, a document's context first, then its branches depth first.
`reach[j]` is the index at which the branch of token j ends, the branches that grow from it included. Then
token i sees token j if j <= i < reach[j], or if both lie in one frame: causal text, frames that look both
ways, no branch that sees another, no document that sees another.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

QUERY_CHUNK = 128
"""Queries that are multiplied with keys at once on a CPU. Those of the first chunks do not meet the keys
behind them: at rows of 512 tokens attention takes 0.7 of the time that all pairs take, at 384 tokens too."""


def hybrid_mask(
    reach: Int[Tensor, "row token"], frame: Int[Tensor, "row token"]
) -> Bool[Tensor, "row token token"]:
    """Return which token (last axis) each token may attend to.

    `frame` numbers the frames of a row; text and padding hold -1.
    """
    index = torch.arange(reach.shape[1], device=reach.device)
    query, key = index[:, None], index[None, :]
    causal = (key <= query)[None] & (query[None] < reach[:, None, :])
    same_frame = (frame[:, :, None] == frame[:, None, :]) & (frame[:, :, None] >= 0)
    return causal | same_frame


Rotation = tuple[
    Float[Tensor, "*batch token 1 head_dim"],
    Float[Tensor, "*batch token 1 head_dim"],
]
"""Cosine and sine of each channel's angle, the sine negative in the first half of a head's channels."""


def rotation_at(
    positions: Int[Tensor, "*batch token 3"], *, head_dim: int, base: float, dtype: torch.dtype
) -> Rotation:
    """Return the rotation of channel pairs: half of them turn with time, a quarter each with row and column.

    In time the frequencies fall from 1 to 1 / base, as in RoPE (arXiv 2104.09864). In space they fall from
    pi to pi / 32: a grid has a few rows, and frequencies of text would hardly tell neighbours apart. Text
    lies at row 0 and column 0.
    """
    half = head_dim // 2
    quarter = half // 4
    index = torch.arange(half - 2 * quarter, device=positions.device, dtype=torch.float32)
    in_time = base ** (-index / len(index))
    in_space = math.pi * 32.0 ** (-index[:quarter] / max(1, quarter - 1))
    parts = [
        positions[..., axis, None].float() * frequencies
        for axis, frequencies in enumerate((in_time, in_space, in_space))
    ]
    angles = torch.cat(parts, dim=-1)[..., None, :]  # one for all heads
    cos, sin = angles.cos().to(dtype), angles.sin().to(dtype)
    return torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1)


def rotate(
    x: Float[Tensor, "*batch token head head_dim"], rotation: Rotation
) -> Float[Tensor, "*batch token head head_dim"]:
    """Rotate channel pairs (k, k + half) of every head."""
    cos, sin = rotation
    return x * cos + x.roll(x.shape[-1] // 2, dims=-1) * sin


def bias_of(mask: Bool[Tensor, "row token token"], dtype: torch.dtype) -> Float[Tensor, "row token token"]:
    """Return what is added to scores: 0 where a token is seen, minus infinity elsewhere."""
    return torch.zeros_like(mask, dtype=dtype).masked_fill_(~mask, float("-inf"))


def packed_attention(
    query: Float[Tensor, "row token head head_dim"],
    key: Float[Tensor, "row token kv_head head_dim"],
    value: Float[Tensor, "row token kv_head head_dim"],
    mask: Bool[Tensor, "row token token"],
    *,
    lookahead: int | None = None,
    bias: Float[Tensor, "row token token"] | None = None,
) -> Float[Tensor, "row token head head_dim"]:
    """Attend inside packed rows; query heads share key heads in groups.

    `lookahead` promises that no token sees one that is more than so many places behind it; None promises
    nothing. `bias` is `bias_of(mask)` in the dtype of `query`, which layers share; None makes it anew.

    On CUDA this is `scaled_dot_product_attention`. On a CPU two plain matrix products are 1.9 times as fast
    in bfloat16 (448 tokens, 3 heads of 64, forward and backward, two EPYC cores), so there they are written
    out.
    """
    if query.is_cuda:
        return _fused_attention(query, key, value, mask)
    groups = query.shape[2] // key.shape[2]
    q = rearrange(query, "row token (kv group) dim -> row kv group token dim", group=groups)
    k = rearrange(key, "row token kv dim -> row kv 1 dim token")
    v = rearrange(value, "row token kv dim -> row kv 1 token dim")
    q = q * query.shape[-1] ** -0.5
    bias = rearrange(bias_of(mask, q.dtype) if bias is None else bias, "row token key -> row 1 1 token key")
    num_tokens = mask.shape[-1]
    parts = []
    for start in range(0, num_tokens, QUERY_CHUNK):
        end = min(start + QUERY_CHUNK, num_tokens)
        seen = num_tokens if lookahead is None else min(end + lookahead, num_tokens)
        scores = q[..., start:end, :] @ k[..., :seen] + bias[..., start:end, :seen]
        parts.append(scores.softmax(dim=-1) @ v[..., :seen, :])
    return rearrange(torch.cat(parts, dim=3), "row kv group token dim -> row token (kv group) dim")


def _fused_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    heads_first = (x.transpose(1, 2) for x in (query, key, value))  # row head token head_dim
    return F.scaled_dot_product_attention(*heads_first, attn_mask=mask[:, None], enable_gqa=True).transpose(
        1, 2
    )


@dataclass(frozen=True)
class LayerCache:
    """Keys and values of one layer: the context's, shared by all candidates, and each candidate's own.

    `shared_valid` says what of the context is seen; None is all of it.
    """

    shared_key: Float[Tensor, "problem context kv_head head_dim"]
    shared_value: Float[Tensor, "problem context kv_head head_dim"]
    own_key: Float[Tensor, "problem candidate past kv_head head_dim"]
    own_value: Float[Tensor, "problem candidate past kv_head head_dim"]
    shared_valid: Bool[Tensor, "problem context"] | None = None


def branch_attention(
    query: Float[Tensor, "problem candidate token head head_dim"],
    key: Float[Tensor, "problem candidate token kv_head head_dim"],
    value: Float[Tensor, "problem candidate token kv_head head_dim"],
    cache: LayerCache,
    own_mask: Bool[Tensor, "problem candidate token past_and_token"],
) -> Float[Tensor, "problem candidate token head head_dim"]:
    """Attend from each candidate's new tokens to the shared context, the candidate's past and the new tokens.

    The shared keys are multiplied by the queries of all candidates at once and never copied. Equal to
    `packed_attention` over [context, past, new] with a mask that shows of the context what is valid.
    """
    num_groups = query.shape[3] // key.shape[3]
    own_key = torch.cat((cache.own_key, key), dim=2)
    own_value = torch.cat((cache.own_value, value), dim=2)
    q = rearrange(query, "p c t (kv group) d -> p kv c group t d", group=num_groups) * query.shape[-1] ** -0.5
    num_candidates, num_tokens = query.shape[1], query.shape[2]
    shared = rearrange(q, "p kv c group t d -> p kv (c group t) d") @ rearrange(
        cache.shared_key, "p s kv d -> p kv d s"
    )
    shared = rearrange(
        shared, "p kv (c group t) s -> p kv c group t s", c=num_candidates, group=num_groups, t=num_tokens
    )
    if cache.shared_valid is not None:
        hidden = ~cache.shared_valid[:, None, None, None, None]  # problem kv candidate group token context
        shared = shared.masked_fill(hidden, float("-inf"))
    # Heads of a group stand one below the other: broadcasting over them would copy the keys.
    own = rearrange(q, "p kv c group t d -> p kv c (group t) d") @ rearrange(
        own_key, "p c s kv d -> p kv c d s"
    )
    own = rearrange(own, "p kv c (group t) s -> p kv c group t s", group=num_groups)
    own = own.masked_fill(~own_mask[:, None, :, None], float("-inf"))
    weights = torch.cat((shared, own), dim=-1).softmax(dim=-1)
    num_shared = shared.shape[-1]
    from_shared = rearrange(weights[..., :num_shared], "p kv c group t s -> p kv (c group t) s") @ rearrange(
        cache.shared_value, "p s kv d -> p kv s d"
    )
    from_shared = rearrange(
        from_shared,
        "p kv (c group t) d -> p kv c group t d",
        c=num_candidates,
        group=num_groups,
        t=num_tokens,
    )
    from_own = rearrange(weights[..., num_shared:], "p kv c group t s -> p kv c (group t) s") @ rearrange(
        own_value, "p c s kv d -> p kv c s d"
    )
    from_own = rearrange(from_own, "p kv c (group t) d -> p kv c group t d", group=num_groups)
    return rearrange(from_shared + from_own, "p kv c group t d -> p c t (kv group) d")
