"""Whatever latents enter by, a cached rollout is what the packed document of training gives.

The slow reference is the code of training itself: what it makes of a document whose predicted frames are the
sample, noise and latent alike.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from data_tools.documents import Branch, Document, FrameKey, Image, Kind, Text
from tests.worldmodel.conftest import NUM_LATENTS, IndexedRepresentation, RandomLatents
from worldmodel.documents import PackedBatch, Packer
from worldmodel.flattening import NoiseLevels
from worldmodel.flow import FlowConfig, Prediction
from worldmodel.latent_io import LatentIo, UnetConfig
from worldmodel.objective import ObjectiveConfig, flow_errors, losses
from worldmodel.predictor import WorldModel

CHANNELS = 8
TEXTS = ["action: dx=+0.335, dy=-0.020, dyaw=+0.120, dt=0.26", "turn left, then go"]
ENTERING = [
    pytest.param(kind, context_channels, id=f"{kind.value}-{context_channels}")
    for kind in LatentIo
    for context_channels in (0, 4)
]


def make(make_model, tokenizer, kind: LatentIo, context_channels: int) -> tuple[WorldModel, RandomLatents]:
    latents = RandomLatents(CHANNELS, context_channels)
    unet = UnetConfig(channels=16, num_blocks=2)
    model = make_model(channels=CHANNELS, context_channels=context_channels, latent_io=kind, unet=unet)
    representation = IndexedRepresentation(latents)
    return WorldModel(model, tokenizer, representation, prediction=Prediction.latent), latents


def frames_of(numbers: range) -> torch.Tensor:
    return torch.tensor(list(numbers), dtype=torch.uint8)[None, :, None, None, None].expand(1, -1, 8, 8, 3)


def pack(tokenizer, latents: RandomLatents, document: Document) -> PackedBatch:
    flow = FlowConfig(clean_context_share=1.0)
    packer = Packer(tokenizer, latents, flow, num_rows=1, tokens_per_row=200, latents_per_frame=NUM_LATENTS)
    rows = packer.empty()
    assert rows.place(document, packer.length(document))
    return packer.pack(rows, rng=np.random.default_rng(0))


def rollout_document(num_frames: int) -> Document:
    context = tuple(Image(FrameKey(0, index), is_target=False) for index in range(num_frames))
    branches: tuple[Branch, ...] = ()
    for step, text in reversed(list(enumerate(TEXTS))):
        branches = (Branch((Text(text, 0.1), Image(FrameKey(0, 20 + step), True)), branches),)
    return Document(Kind.forward, context, branches)


def predicted_by_training(model, batch: PackedBatch, samples: list[torch.Tensor], time: float, monkeypatch):
    """Return what training's own forward pass predicts for the last of the frames whose samples are given."""
    num_context = int(batch.frame.max()) + 1 - len(TEXTS)
    latents, times = batch.latents.clone(), batch.times.clone()
    for step, sample in enumerate(samples):
        inside = batch.frame[0] == num_context + step
        latents[0, inside, batch.num_context_channels :] = sample
        times[0, inside] = time if step + 1 == len(samples) else 1.0
    changed = replace(batch, latents=latents, times=times)
    outputs: list[torch.Tensor] = []

    def keep(output, noised, latent, time, config):
        outputs.append(output)
        return output.mean(dim=-1)

    monkeypatch.setattr("worldmodel.objective.flow_error", keep)
    flow_errors(model, changed, changed.generated, ObjectiveConfig(), dtype=torch.float32)
    return outputs[0].unflatten(0, (-1, NUM_LATENTS))[len(samples) - 1]


@pytest.mark.parametrize("num_frames", [1, 4])
@pytest.mark.parametrize(("kind", "context_channels"), ENTERING)
def test_a_cached_rollout_is_the_packed_document_of_training(
    make_model, tokenizer, kind, context_channels, num_frames, monkeypatch
):
    world_model, latents = make(make_model, tokenizer, kind, context_channels)
    context = world_model.encode_context(frames_of(range(num_frames)))
    other = [[[TEXTS[1], TEXTS[0]], TEXTS]]
    rollout = world_model.rollout(context, other, num_steps=2, generator=torch.Generator().manual_seed(5))[
        0, 1
    ]
    batch = pack(tokenizer, latents, rollout_document(num_frames))
    generator, finished = torch.Generator().manual_seed(5), []
    for found in rollout:
        sample = torch.randn(NUM_LATENTS, CHANNELS, generator=generator)
        for time in (0.0, 0.5):
            given = [*finished, sample]
            latent = predicted_by_training(world_model.transfusion, batch, given, time, monkeypatch)
            sample = latent if time == 0.5 else sample + 0.5 * (latent - sample)
        torch.testing.assert_close(found, sample, atol=1e-4, rtol=1e-4)
        finished.append(sample)


@pytest.mark.parametrize(("kind", "context_channels"), ENTERING)
def test_a_goal_stands_after_the_context_as_in_training(make_model, tokenizer, kind, context_channels):
    world_model, latents = make(make_model, tokenizer, kind, context_channels)
    context = world_model.encode_context(frames_of(range(2)))
    found = world_model.action_nats(world_model.extend_context(context, frames_of(range(5, 6))[0]), [TEXTS])
    given = tuple(Image(FrameKey(0, index), is_target=False) for index in range(2))
    asked = tuple(Branch((Text(text, 1.0),)) for text in TEXTS)
    goal = Branch((Image(FrameKey(0, 5), is_target=False),), asked)
    batch = pack(tokenizer, latents, Document(Kind.inverse, given, (goal,)))
    nats = losses(
        world_model.transfusion,
        batch,
        torch.zeros_like(batch.generated),
        ObjectiveConfig(),
        dtype=torch.float32,
    ).token_nats
    own = nats[batch.text_weight == 1].split([len(each) for each in tokenizer.encode_many(TEXTS)])
    torch.testing.assert_close(found[0], torch.stack([each[1:].sum() for each in own]), atol=1e-4, rtol=1e-4)


def test_rollouts_and_encoded_goals_have_the_generated_channels(make_model, tokenizer):
    world_model, latents = make(make_model, tokenizer, LatentIo.linear, 4)
    goal = world_model.encode(frames_of(range(7, 8))[0])
    assert torch.equal(goal[0], latents.table[7, :, 4:])
    context = world_model.encode_context(frames_of(range(2)))
    imagined = world_model.rollout(
        context, [[TEXTS]], num_steps=1, generator=torch.Generator().manual_seed(0)
    )
    assert imagined.shape[3:] == goal.shape[1:] == (NUM_LATENTS, CHANNELS)


def test_each_frame_enters_with_its_half_and_both_halves_learn(make_model, tokenizer):
    world_model, latents = make(make_model, tokenizer, LatentIo.linear, 4)
    model = world_model.transfusion.requires_grad_(True)
    batch = pack(tokenizer, latents, rollout_document(3))
    assert batch.latents.shape[2] == 4 + CHANNELS and batch.generated.shape[2] == CHANNELS
    noise = torch.randn(batch.generated.shape, generator=torch.Generator().manual_seed(0))

    def loss(changed: torch.Tensor) -> torch.Tensor:
        given = replace(batch, latents=changed)
        found = losses(model, given, noise, ObjectiveConfig(), dtype=torch.float32)
        return found.flow + found.language

    clean = batch.latents.clone().requires_grad_()
    loss(clean).backward()
    looked_at = batch.is_image & ~batch.is_flow_target
    gradient = dict(model.named_parameters())["latent_input.weight"].grad
    assert clean.grad is not None and gradient is not None
    assert (clean.grad[looked_at][:, 4:] == 0).all() and clean.grad[looked_at][:, :4].any()
    assert (clean.grad[batch.is_flow_target][:, :4] == 0).all()
    columns = gradient.abs().amax(dim=0)
    assert (columns > 0).all() and len(columns) == 4 + CHANNELS


def test_the_shift_of_times_counts_what_is_generated(tokenizer, monkeypatch):
    seen: list[int] = []

    def draw(document, config, *, latent_size, rng):
        seen.append(latent_size)
        return NoiseLevels(np.ones(3, np.float32), np.array([False, True, True]), has_clean_context=True)

    monkeypatch.setattr("worldmodel.documents.draw_noise_levels", draw)
    pack(tokenizer, RandomLatents(CHANNELS, 4), rollout_document(1))
    assert seen == [NUM_LATENTS * CHANNELS]
