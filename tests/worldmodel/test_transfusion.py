"""Laws of the transformer."""

import dataclasses

import numpy as np
import pytest
import torch

from tests.worldmodel.conftest import CHANNELS, NUM_LATENTS
from worldmodel.attend import PackedAttend
from worldmodel.attention import hybrid_mask
from worldmodel.documents import Packer
from worldmodel.feedforward import FeedForwardKind, Modalities
from worldmodel.flow import FlowConfig
from worldmodel.objective import ObjectiveConfig, losses
from worldmodel.transfusion import ActionInput, TokenInputs, Transfusion, TransfusionConfig

WEIGHTS = torch.tensor([1.0, 3.0])


@pytest.fixture
def batch(tokenizer, latents, forward_document):
    packer = Packer(
        tokenizer, latents, FlowConfig(), num_rows=1, tokens_per_row=220, latents_per_frame=NUM_LATENTS
    )
    rows = packer.empty()
    document = forward_document()
    assert rows.place(document, packer.length(document))
    return packer.pack(rows, rng=np.random.default_rng(0))


def hidden_of(model, batch, **changes):
    fields = {item.name: getattr(batch, item.name) for item in dataclasses.fields(TokenInputs)} | changes
    attend = PackedAttend(hybrid_mask(batch.reach, batch.frame))
    hidden, _ = model(TokenInputs(**fields), attend, Modalities.of(batch.is_image))
    return hidden


def test_a_token_changes_only_what_sees_it(make_model, batch):
    model = make_model()
    mask = hybrid_mask(batch.reach, batch.frame)[0]
    for changed in (3, 40, 100):
        latents, ids = batch.latents.clone(), batch.ids.clone()
        latents[0, changed] += 1
        ids[0, changed] = (ids[0, changed] + 1) % 5
        difference = hidden_of(model, batch, latents=latents, ids=ids) - hidden_of(model, batch)
        moved = difference[0].abs().amax(dim=-1) > 1e-6
        assert not (moved & ~mask[:, changed]).any()
        assert moved[mask[:, changed]].float().mean() > 0.5


@pytest.mark.parametrize("mode", list(ActionInput))
def test_the_value_reaches_the_model_only_in_its_mode(make_model, batch, mode):
    model = make_model(action_input=mode)
    difference = hidden_of(model, batch, values=batch.values + batch.is_value) - hidden_of(model, batch)
    assert (difference.abs().max() > 1e-4) == (mode is ActionInput.text_value)


def test_an_untrained_model_predicts_the_mean_latent(tokenizer, batch, generator):
    model = Transfusion(
        TransfusionConfig(width=64, num_blocks=1), vocab_size=tokenizer.vocab_size, latent_channels=CHANNELS
    ).initialise(generator=generator)
    assert (model.latents(hidden_of(model, batch)) == 0).all()


@pytest.mark.parametrize("feedforward", list(FeedForwardKind))
def test_every_parameter_gets_a_gradient_in_bfloat16(make_model, batch, feedforward):
    model = make_model(feedforward=feedforward, action_input=ActionInput.text_value)
    noise = torch.randn(batch.latents.shape, generator=torch.Generator().manual_seed(0))
    losses(model, batch, noise, ObjectiveConfig(), dtype=torch.bfloat16).total(WEIGHTS).backward()
    silent = [name for name, value in model.named_parameters() if value.grad is None or not value.grad.any()]
    assert silent == []


@pytest.mark.parametrize("feedforward", list(FeedForwardKind))
def test_all_that_writes_to_the_residual_is_drawn_smaller(tokenizer, feedforward):
    config = TransfusionConfig(width=64, num_blocks=8, feedforward=feedforward)
    model = Transfusion(config, vocab_size=tokenizer.vocab_size, latent_channels=CHANNELS)
    model.initialise(generator=torch.Generator().manual_seed(0))
    for name, parameter in model.blocks.named_parameters():
        if parameter.dim() < 2:
            continue
        fan_in = parameter.shape[1]  # (output, input), or (expert, input, output)
        scale = 1 / 4 if ".output" in name else 1.0
        assert parameter.std().item() == pytest.approx(scale / fan_in**0.5, rel=0.1), name


def test_weights_come_from_the_generator_alone(tokenizer):
    torch.rand(5)
    before = torch.get_rng_state()
    Transfusion(TransfusionConfig(), vocab_size=tokenizer.vocab_size, latent_channels=CHANNELS)
    assert torch.equal(torch.get_rng_state(), before)


def test_bfloat16_stays_near_float32(make_model, batch):
    model = make_model()
    noise = torch.randn(batch.latents.shape, generator=torch.Generator().manual_seed(0))
    exact, rounded = (
        losses(model, batch, noise, ObjectiveConfig(), dtype=dtype).total(WEIGHTS)
        for dtype in (torch.float32, torch.bfloat16)
    )
    assert rounded.item() == pytest.approx(exact.item(), rel=2e-2)


def test_sizes_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="heads of a multiple of 8"):
        TransfusionConfig(width=100, num_heads=3)
    with pytest.raises(ValueError, match="multiple of num_kv_heads"):
        TransfusionConfig(width=192, num_heads=3, num_kv_heads=2)


@pytest.mark.compiled
def test_the_compiled_loss_equals_the_eager_one(make_model, batch):
    noise = torch.randn(batch.latents.shape, generator=torch.Generator().manual_seed(0))
    eager = make_model()
    compiled = make_model()
    compiled.compile(fullgraph=True)
    found = [
        losses(model, batch, noise, ObjectiveConfig(), dtype=torch.float32).total(WEIGHTS)
        for model in (eager, compiled)
    ]
    torch.testing.assert_close(found[1], found[0], atol=1e-5, rtol=1e-5)
