"""Laws of the mask, the rotary positions and the shared cache."""

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.worldmodel.conftest import NUM_LATENTS
from tests.worldmodel.trees import mask_by_definition, pack_rows, random_document
from worldmodel.attention import (
    QUERY_CHUNK,
    LayerCache,
    branch_attention,
    hybrid_mask,
    packed_attention,
    rotate,
    rotation_at,
)


def test_mask_by_hand():
    # Row: context text, a frame of two, then branches [3, 4] (with a child [4]) and [5], then another
    # document [6].
    reach = torch.tensor([[6, 6, 6, 5, 5, 6, 7]])
    frame = torch.tensor([[-1, 0, 0, -1, -1, -1, -1]])
    expected = torch.tensor(
        [
            [1, 0, 0, 0, 0, 0, 0],
            [1, 1, 1, 0, 0, 0, 0],
            [1, 1, 1, 0, 0, 0, 0],
            [1, 1, 1, 1, 0, 0, 0],
            [1, 1, 1, 1, 1, 0, 0],
            [1, 1, 1, 0, 0, 1, 0],
            [0, 0, 0, 0, 0, 0, 1],
        ]
    ).bool()
    assert torch.equal(hybrid_mask(reach, frame)[0], expected)


def test_mask_is_what_the_words_say_on_trees_of_branches(tokenizer, latents):
    depth, documents_in_a_row = 0, 0
    for seed in range(24):
        rng = np.random.default_rng(seed)
        drawn = [random_document(rng) for _ in range(5)]
        batch, places = pack_rows(drawn, tokenizer, latents, tokens_per_row=130)
        mask = hybrid_mask(batch.reach, batch.frame)
        for row, own in enumerate(places):
            assert torch.equal(mask[row], mask_by_definition(own, num_tokens=130)), seed
            depth = max([depth, *(len(place.path) for place in own)])
            documents_in_a_row = max(documents_in_a_row, len({place.document for place in own}))
    assert depth == 3 and documents_in_a_row >= 3  # the trees were no bare sticks


def test_rotation_keeps_length_and_scores_depend_on_distance(generator):
    x = torch.randn(2, 16, generator=generator)
    positions = torch.tensor([[3, 1, 2], [10, 4, 3]])
    shift = torch.tensor([5, 2, 1])

    def rotated(places):
        rotation = rotation_at(places, head_dim=16, base=100.0, dtype=torch.float32)
        return rotate(x[:, None], rotation)[:, 0]

    def score(places):
        query, key = rotated(places)
        return query @ key

    torch.testing.assert_close(rotated(positions).norm(dim=-1), x.norm(dim=-1))
    torch.testing.assert_close(score(positions), score(positions + shift), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(
        score(positions), score(positions + shift * torch.tensor([[0], [1]])), atol=1e-3
    )


@pytest.mark.parametrize("num_kv_heads", [1, 2, 6])
@pytest.mark.parametrize("num_tokens", [7, QUERY_CHUNK + 9])
def test_packed_attention_equals_torch(generator, num_kv_heads, num_tokens):
    query = torch.randn(2, num_tokens, 6, 8, generator=generator)
    key, value = (torch.randn(2, num_tokens, num_kv_heads, 8, generator=generator) for _ in range(2))
    mask = torch.rand(2, num_tokens, num_tokens, generator=generator) < 0.5
    mask |= torch.eye(num_tokens, dtype=torch.bool)
    expected = _torch_attention(query, key, value, mask)
    torch.testing.assert_close(packed_attention(query, key, value, mask), expected)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.bfloat16, 2e-2)])
def test_on_documents_packed_attention_equals_torch_forward_and_backward(
    tokenizer, latents, generator, dtype, tolerance
):
    rng = np.random.default_rng(1)
    num_tokens = QUERY_CHUNK + 72
    batch, _ = pack_rows(
        [random_document(rng) for _ in range(9)], tokenizer, latents, tokens_per_row=num_tokens
    )
    mask = hybrid_mask(batch.reach, batch.frame)
    drawn = [torch.randn(2, num_tokens, heads, 16, generator=generator) for heads in (6, 2, 2, 6)]
    found = []
    for attend, kind in (
        (partial(packed_attention, lookahead=NUM_LATENTS - 1), dtype),
        (_torch_attention, dtype),
        (_torch_attention, torch.float32),
    ):
        query, key, value, direction = (each.to(kind).requires_grad_() for each in drawn)
        output = attend(query, key, value, mask)
        output.backward(direction)
        found.append([output, query.grad, key.grad, value.grad])
    for ours, torchs, exact in zip(*found, strict=True):
        torch.testing.assert_close(ours, torchs, atol=2 * tolerance, rtol=tolerance)
        scale = exact.abs().max()
        assert (ours - exact).abs().max() <= tolerance * scale


def test_packed_attention_with_a_lookahead_equals_torch(generator):
    num_tokens, frame_size = 2 * QUERY_CHUNK + 40, 9
    query = torch.randn(1, num_tokens, 2, 8, generator=generator)
    key, value = (torch.randn(1, num_tokens, 1, 8, generator=generator) for _ in range(2))
    # Frames from end to end: some lie on both sides of a chunk's border.
    frame = torch.arange(num_tokens)[None] // frame_size
    mask = hybrid_mask(torch.full((1, num_tokens), num_tokens), frame)
    assert mask[0, QUERY_CHUNK - 1, QUERY_CHUNK]
    found = packed_attention(query, key, value, mask, lookahead=frame_size - 1)
    torch.testing.assert_close(found, _torch_attention(query, key, value, mask))


def _torch_attention(query, key, value, mask):
    heads_first = (x.transpose(1, 2) for x in (query, key, value))
    attended = F.scaled_dot_product_attention(*heads_first, attn_mask=mask[:, None], enable_gqa=True)
    return attended.transpose(1, 2)


def test_branch_attention_equals_packed_attention_over_copies(generator):
    problems, candidates, context, past, new, heads, kv, dim = 2, 3, 5, 4, 7, 6, 2, 8

    def draw(*shape):
        return torch.randn(*shape, generator=generator)

    cache = LayerCache(
        draw(problems, context, kv, dim),
        draw(problems, context, kv, dim),
        draw(problems, candidates, past, kv, dim),
        draw(problems, candidates, past, kv, dim),
    )
    query = draw(problems, candidates, new, heads, dim)
    key, value = draw(problems, candidates, new, kv, dim), draw(problems, candidates, new, kv, dim)
    own = torch.rand(problems, candidates, new, past + new, generator=generator) < 0.6
    found = branch_attention(query, key, value, cache, own)
    shown = torch.ones(new, context, dtype=torch.bool).expand(problems, candidates, -1, -1)
    mask = torch.cat((shown, own), dim=-1)
    for p in range(problems):
        for c in range(candidates):
            keys = torch.cat((cache.shared_key[p], cache.own_key[p, c], key[p, c]))
            values = torch.cat((cache.shared_value[p], cache.own_value[p, c], value[p, c]))
            expected = F.scaled_dot_product_attention(
                query[p, c].transpose(0, 1)[None],
                keys.transpose(0, 1)[None],
                values.transpose(0, 1)[None],
                attn_mask=mask[p, c],
                enable_gqa=True,
            )[0].transpose(0, 1)
            torch.testing.assert_close(found[p, c], expected)
