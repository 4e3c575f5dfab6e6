"""Attention by blocks is packed attention; on a GPU, forward and backward."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.nn.attention.flex_attention import create_mask

from tests.worldmodel.conftest import NUM_LATENTS
from tests.worldmodel.trees import mask_by_definition, pack_rows, random_document
from worldmodel.attention import hybrid_mask, packed_attention
from worldmodel.block_attention import BlockAttend, hybrid_block_mask
from worldmodel.documents import PackedBatch, Packer
from worldmodel.flow import FlowConfig


@pytest.fixture
def batch(tokenizer, latents, forward_document) -> PackedBatch:
    """Two rows of some documents with branches, and padding behind them."""
    packer = Packer(
        tokenizer, latents, FlowConfig(), num_rows=2, tokens_per_row=500, latents_per_frame=NUM_LATENTS
    )
    rows = packer.empty()
    for number in range(5):
        document = forward_document(num_context=1 + number % 3, seed=number)
        assert rows.place(document, packer.length(document))
    return packer.pack(rows, rng=np.random.default_rng(0))


def draw(generator: torch.Generator, num_heads: int) -> torch.Tensor:
    return torch.randn(2, 500, num_heads, 16, generator=generator)


def test_blocks_hold_the_mask_and_some_are_empty(batch):
    mask = hybrid_block_mask(batch.reach, batch.frame)
    seen = hybrid_mask(batch.reach, batch.frame)
    padded = torch.zeros(2, 512, 512, dtype=torch.bool)
    padded[:, :500, :500] = seen
    has_any = padded.view(2, 4, 128, 4, 128).any(dim=4).any(dim=2)  # row query_block key_block
    assert torch.equal(mask.to_dense()[:, 0].bool(), has_any)
    assert not has_any.all()


def test_its_rule_is_what_the_words_say_on_trees_of_branches(tokenizer, latents):
    for seed in range(6):
        rng = np.random.default_rng(100 + seed)
        drawn = [random_document(rng) for _ in range(5)]
        batch, places = pack_rows(drawn, tokenizer, latents, tokens_per_row=130)
        rule = hybrid_block_mask(batch.reach, batch.frame).mask_mod
        mask = create_mask(rule, 2, None, 130, 130, device="cpu")[:, 0]
        for row, own in enumerate(places):
            assert torch.equal(mask[row], mask_by_definition(own, num_tokens=130)), seed


@pytest.mark.compiled
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("num_kv_heads", [1, 2, 6])
def test_on_documents_blocks_packed_and_scaled_dot_product_attention_are_equal(
    batch, generator, dtype, tolerance, num_kv_heads
):
    query, key, value = (
        draw(generator, num_heads).to(dtype) for num_heads in (6, num_kv_heads, num_kv_heads)
    )
    by_blocks = BlockAttend(hybrid_block_mask(batch.reach, batch.frame))(0, query, key, value)
    mask = hybrid_mask(batch.reach, batch.frame)
    packed = packed_attention(query, key, value, mask, lookahead=NUM_LATENTS - 1)
    heads_first = (each.transpose(1, 2) for each in (query, key, value))
    fused = F.scaled_dot_product_attention(*heads_first, attn_mask=mask[:, None], enable_gqa=True)
    torch.testing.assert_close(by_blocks, fused.transpose(1, 2), atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(packed, fused.transpose(1, 2), atol=tolerance, rtol=tolerance)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_a_gpu_both_have_equal_gradients(batch, generator, dtype):
    batch = batch.to(torch.device("cuda"))
    drawn = [draw(generator, num_heads).to("cuda", dtype) for num_heads in (6, 2, 2)]
    mask = hybrid_mask(batch.reach, batch.frame)
    gradients = []
    for attend in (
        BlockAttend(hybrid_block_mask(batch.reach, batch.frame)),
        lambda layer, query, key, value: packed_attention(query, key, value, mask),
    ):
        query, key, value = leaves = [each.clone().requires_grad_() for each in drawn]
        attend(0, query, key, value).square().sum().backward()
        gradients.append([leaf.grad for leaf in leaves])
    tolerance = 1e-3 if dtype is torch.float32 else 5e-2
    torch.testing.assert_close(*gradients, atol=tolerance, rtol=tolerance)
