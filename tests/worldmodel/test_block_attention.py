"""Attention by blocks is packed attention; on a GPU, forward and backward."""

import numpy as np
import pytest
import torch

from tests.worldmodel.conftest import NUM_LATENTS
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


@pytest.mark.compiled
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_block_attention_equals_packed_attention(batch, generator):
    query, key, value = (draw(generator, num_heads) for num_heads in (6, 2, 2))
    found = BlockAttend(hybrid_block_mask(batch.reach, batch.frame))(0, query, key, value)
    expected = packed_attention(query, key, value, hybrid_mask(batch.reach, batch.frame))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


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
