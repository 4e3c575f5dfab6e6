"""Packing never leaks: what one document holds reaches no other one, forward or backward."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.worldmodel.conftest import CHANNELS
from tests.worldmodel.trees import Place, pack_rows, random_document
from worldmodel.documents import PackedBatch
from worldmodel.feedforward import FeedForwardKind
from worldmodel.objective import Losses, ObjectiveConfig, losses
from worldmodel.transfusion import ActionInput, Transfusion

TOKENS_PER_ROW = 160
MODELS = [
    (kind, *heads) for kind in FeedForwardKind for heads in ((3, 1), (6, 2), (3, 3))
]  # feed-forward layer, heads, key-value heads


@pytest.fixture
def packed(tokenizer, latents) -> tuple[PackedBatch, list[list[Place]]]:
    """Return two rows of documents with branches, at least two a row."""
    rng = np.random.default_rng(4)
    batch, places = pack_rows(
        [random_document(rng) for _ in range(9)], tokenizer, latents, tokens_per_row=TOKENS_PER_ROW
    )
    assert all(len({place.document for place in row}) >= 2 for row in places)
    return batch, places


@pytest.fixture
def make(make_model) -> Callable[..., Transfusion]:
    """Return a builder of models that read the values of numbers too."""

    def build(kind: FeedForwardKind, num_heads: int, num_kv_heads: int) -> Transfusion:
        return make_model(
            feedforward=kind,
            num_heads=num_heads,
            num_kv_heads=num_kv_heads,
            action_input=ActionInput.text_value,
        )

    return build


def tokens_of(places: list[list[Place]], document: int) -> torch.Tensor:
    """Mark the tokens of a document in the rows."""
    inside = torch.zeros(len(places), TOKENS_PER_ROW, dtype=torch.bool)
    for row, own in enumerate(places):
        for token, place in enumerate(own):
            inside[row, token] = place.document == document
    return inside


def changed(batch: PackedBatch, inside: torch.Tensor, generator: torch.Generator) -> PackedBatch:
    """Give the marked tokens other text, numbers, latents and times; what kind they are stays."""
    is_text = inside & ~batch.is_image
    ids = torch.randint(0, 280, batch.ids.shape, generator=generator)
    return replace(
        batch,
        ids=torch.where(is_text, ids, batch.ids),
        places=torch.where(is_text, (batch.places + 1) % 3, batch.places),
        values=torch.where(is_text, batch.values + 1, batch.values),
        is_value=batch.is_value ^ is_text,
        latents=torch.where(inside[..., None], -3 * batch.latents, batch.latents),
        times=torch.where(inside & batch.is_image, 1 - batch.times, batch.times),
    )


def split(found: Losses, batch: PackedBatch, inside: torch.Tensor) -> tuple[list[torch.Tensor], ...]:
    """Return the losses by token of the marked tokens, and of all others: of text, then of frames."""
    of_text, of_flow = inside.flatten()[batch.text_from], inside[batch.is_flow_target]
    return (
        [found.token_nats[of_text], found.flow_errors[of_flow]],
        [found.token_nats[~of_text], found.flow_errors[~of_flow]],
    )


def draw_noise() -> torch.Tensor:
    return torch.randn(2, TOKENS_PER_ROW, CHANNELS, generator=torch.Generator().manual_seed(6))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("sizes", MODELS)
def test_a_changed_document_changes_no_other_one(make, packed, generator, sizes, dtype):
    batch, places = packed
    model, noise = make(*sizes), draw_noise()
    before = losses(model, batch, noise, ObjectiveConfig(), dtype=dtype)
    for document in (0, 1):
        inside = tokens_of(places, document)
        after = losses(model, changed(batch, inside, generator), noise, ObjectiveConfig(), dtype=dtype)
        (own_before, others_before), (own_after, others_after) = (
            split(found, batch, inside) for found in (before, after)
        )
        for one, other in zip(own_before, own_after, strict=True):
            assert len(one) == 0 or (one - other).abs().max() > 1e-3
        for one, other in zip(others_before, others_after, strict=True):
            assert len(one) > 0
            if sizes[0] is FeedForwardKind.experts:
                # Other tokens of an expert's group move its rows: sums of floats in another order.
                tolerance = 1e-6 if dtype is torch.float32 else 2e-2
                torch.testing.assert_close(one, other, atol=tolerance, rtol=tolerance)
            else:
                assert torch.equal(one, other)


@pytest.mark.parametrize("sizes", MODELS)
def test_the_loss_of_a_document_has_no_gradient_in_another_one(make, packed, sizes):
    batch, places = packed
    model = make(*sizes)
    for document in (0, 1):
        latents = batch.latents.clone().requires_grad_()
        noise = draw_noise().requires_grad_()
        inside = tokens_of(places, document)
        whole = replace(batch, latents=latents, times=torch.where(batch.is_image, 0.5, batch.times))
        found = losses(model, whole, noise, ObjectiveConfig(), dtype=torch.float32)
        own, _ = split(found, batch, inside)
        torch.cat(own).sum().backward()
        for leaf in (latents, noise):
            assert leaf.grad is not None
            assert leaf.grad[inside & batch.is_image].abs().max() > 1e-4
            assert not leaf.grad[~inside].any()  # exactly zero


@pytest.mark.parametrize("kind", list(FeedForwardKind))
def test_documents_of_other_lengths_change_those_before_them_by_rounding_alone(
    make, tokenizer, latents, forward_document, kind
):
    rng = np.random.default_rng(5)
    model = make(kind, 6, 2)
    noise = torch.randn(2, 400, CHANNELS, generator=torch.Generator().manual_seed(6))
    first, found = forward_document(), []
    for _ in range(3):
        drawn = [first, *(random_document(rng) for _ in range(2))]
        batch, places = pack_rows(drawn, tokenizer, latents, tokens_per_row=400)
        assert {place.document for place in places[0]} == {0, 1, 2}
        inside = torch.arange(400).expand(2, -1) < torch.tensor([[places[0].index(Place(1, ()))], [0]])
        all_losses = losses(model, batch, noise, ObjectiveConfig(), dtype=torch.float32)
        found.append(split(all_losses, batch, inside)[0])
    for others in found[1:]:
        for one, other in zip(found[0], others, strict=True):
            assert len(one) > 5
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-6)
