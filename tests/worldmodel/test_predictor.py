"""Laws of the world model's rollouts: the cache changes nothing, candidates do not meet."""

import contextlib
import dataclasses
import itertools
from collections.abc import Iterator

import jaxtyping
import numpy as np
import pytest
import torch

from data_tools.documents import Branch, Document, FrameKey, Image, Kind, Text
from tests.worldmodel.conftest import CHANNELS, NUM_LATENTS, IndexedRepresentation
from worldmodel.attend import PackedAttend
from worldmodel.attention import hybrid_mask
from worldmodel.documents import PackedBatch, Packer
from worldmodel.feedforward import Modalities
from worldmodel.flattening import NoiseLevels
from worldmodel.flow import FlowConfig, Prediction, Sampler, predicted_latent, sample_times
from worldmodel.objective import ObjectiveConfig, losses
from worldmodel.predictor import WorldModel
from worldmodel.transfusion import TokenInputs

TEXTS = [
    [
        "action: dx=+0.335, dy=-0.020, dyaw=+0.120, dt=0.26",
        "action: dx=+0.100, dy=+0.000, dyaw=-0.500, dt=0.26",
    ],
    ["action: dx=+12.400, dy=-0.020, dyaw=+0.120, dt=10.00", "turn left, then go"],
    ["go forward two metres", "action: dx=-0.300, dy=+0.200, dyaw=+0.000, dt=2.06"],
]
FRAMES = torch.tensor([7, 3, 9], dtype=torch.uint8)[None, :, None, None, None].expand(1, 3, 8, 8, 3)


@pytest.fixture(params=["per_modality", "experts", "shared"])
def world_model(request, make_model, tokenizer, latents):
    from worldmodel.feedforward import FeedForwardKind

    model = make_model(feedforward=FeedForwardKind(request.param))
    return WorldModel(model, tokenizer, IndexedRepresentation(latents), prediction=Prediction.latent)


@contextlib.contextmanager
def unchecked_shapes() -> Iterator[None]:
    """Switch the checks of the test run off, which would come before those of the code."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


def pack_rollout(world_model, latents, texts, monkeypatch) -> PackedBatch:
    """Pack the context and one candidate's steps as a training document with every frame clean."""
    branches: tuple[Branch, ...] = ()
    for step, text in reversed(list(enumerate(texts))):
        branches = (Branch((Text(text, 0.1), Image(FrameKey(0, 20 + step), True)), branches),)
    document = Document(Kind.forward, tuple(Image(FrameKey(0, k), False) for k in (7, 3, 9)), branches)
    packer = Packer(
        world_model.tokenizer,
        latents,
        FlowConfig(),
        num_rows=1,
        tokens_per_row=300,
        latents_per_frame=NUM_LATENTS,
    )
    clean = NoiseLevels(np.ones(3 + len(texts), np.float32), np.zeros(3 + len(texts), np.bool_), True)
    monkeypatch.setattr("worldmodel.documents.draw_noise_levels", lambda *_, **__: clean)
    rows = packer.empty()
    assert rows.place(document, packer.length(document))
    return packer.pack(rows, rng=np.random.default_rng(0))


def uncached_rollout(
    world_model, latents, texts, noise, num_steps, monkeypatch, *, history=None, level=0.0
) -> torch.Tensor:
    """Sample step after step by running the whole packed row each time: the slow reference.

    Of `history`'s noise a share of `level` is mixed into finished frames.
    """
    batch = pack_rollout(world_model, latents, texts, monkeypatch)
    mask = hybrid_mask(batch.reach, batch.frame)
    placed = batch.latents.clone()
    times = batch.times.clone()
    imagined = []
    for step, start_noise in enumerate(noise):
        inside = batch.frame[0] == 3 + step
        sample = start_noise
        for index in range(num_steps):
            time = index / num_steps
            placed[0, inside], times[0, inside] = sample, time
            fields = {item.name: getattr(batch, item.name) for item in dataclasses.fields(TokenInputs)}
            inputs = TokenInputs(**(fields | {"latents": placed, "times": times}))
            hidden, _ = world_model.transfusion(inputs, PackedAttend(mask), Modalities.of(inputs.is_image))
            output = world_model.transfusion.latents(hidden[0, inside])
            sample = output if index + 1 == num_steps else sample + (output - sample) / num_steps / (1 - time)
        past = sample if history is None else (1 - level) * sample + level * history[step]
        placed[0, inside], times[0, inside] = past, 1 - level
        imagined.append(sample)
    return torch.stack(imagined)


@pytest.mark.parametrize("num_steps", [1, 3])
def test_cached_rollout_equals_running_the_whole_document(world_model, latents, num_steps, monkeypatch):
    context = world_model.encode_context(FRAMES)
    rollout = world_model.rollout(
        context, [TEXTS], num_steps=num_steps, generator=torch.Generator().manual_seed(5)
    )
    generator = torch.Generator().manual_seed(5)
    noise = [torch.randn(NUM_LATENTS, CHANNELS, generator=generator) for _ in range(2)]
    assert rollout.shape == (1, 3, 2, NUM_LATENTS, CHANNELS)
    for candidate, texts in enumerate(TEXTS):
        expected = uncached_rollout(world_model, latents, texts, noise, num_steps, monkeypatch)
        torch.testing.assert_close(rollout[0, candidate], expected, atol=1e-4, rtol=1e-4)


def test_noised_history_equals_running_the_whole_document(world_model, latents, monkeypatch):
    """Frames come into the history noised and as of that time; what is returned is clean."""
    context = world_model.encode_context(FRAMES)
    rollout = world_model.rollout(
        context, [TEXTS], num_steps=2, generator=torch.Generator().manual_seed(5), history_noise=0.2
    )
    generator = torch.Generator().manual_seed(5)
    first, history, second = (torch.randn(NUM_LATENTS, CHANNELS, generator=generator) for _ in range(3))
    for candidate, texts in enumerate(TEXTS):
        expected = uncached_rollout(
            world_model,
            latents,
            texts,
            [first, second],
            2,
            monkeypatch,
            history=[history, history],
            level=0.2,
        )
        torch.testing.assert_close(rollout[0, candidate], expected, atol=1e-4, rtol=1e-4)
    plain = world_model.rollout(context, [TEXTS], num_steps=2, generator=torch.Generator().manual_seed(5))
    assert torch.equal(plain[:, :, 0], rollout[:, :, 0])
    assert not torch.allclose(plain[:, :, 1], rollout[:, :, 1], atol=1e-3)


def test_noise_of_the_context_comes_from_the_generator(world_model):
    def noised(seed):
        generator = torch.Generator().manual_seed(seed)
        return world_model.encode_context(FRAMES, history_noise=0.3, generator=generator).keys[-1]

    assert torch.equal(noised(1), noised(1))
    clean = world_model.encode_context(FRAMES).keys[-1]
    for other in (noised(2), clean):
        assert not torch.allclose(noised(1), other, atol=1e-3)
    with pytest.raises(ValueError, match="both history_noise and a generator"):
        world_model.encode_context(FRAMES, history_noise=0.3)
    with pytest.raises(ValueError, match=r"in \[0, 1\).*got 1"):
        world_model.encode_context(FRAMES, history_noise=1.0, generator=torch.Generator())


def test_a_candidate_does_not_depend_on_the_others(world_model):
    context = world_model.encode_context(FRAMES)
    together = world_model.rollout(context, [TEXTS], num_steps=2, generator=torch.Generator().manual_seed(5))
    alone = world_model.rollout(
        context, [TEXTS[1:2]], num_steps=2, generator=torch.Generator().manual_seed(5)
    )
    torch.testing.assert_close(together[:, 1:2], alone, atol=1e-5, rtol=1e-5)


def test_a_problem_does_not_depend_on_the_others(world_model):
    other = FRAMES.flip(1)
    both = world_model.encode_context(torch.cat((FRAMES, other)))
    rollout = world_model.rollout(
        both, [TEXTS, TEXTS], num_steps=1, generator=torch.Generator().manual_seed(5)
    )
    alone = world_model.rollout(
        world_model.encode_context(other), [TEXTS], num_steps=1, generator=torch.Generator().manual_seed(5)
    )
    torch.testing.assert_close(rollout[1:], alone, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(rollout[0], rollout[1], atol=1e-3)


def test_the_action_matters(world_model):
    context = world_model.encode_context(FRAMES)
    texts = [[TEXTS[0][:1], TEXTS[0][1:]]]
    rollout = world_model.rollout(context, texts, num_steps=1, generator=torch.Generator().manual_seed(5))
    assert (rollout[0, 0] - rollout[0, 1]).abs().max() > 1e-3


@pytest.mark.parametrize("sampler", list(Sampler))
@pytest.mark.parametrize("prediction", list(Prediction))
def test_guidance_of_three_steps_is_that_of_the_sampler_written_out(
    world_model, latents, prediction, sampler, monkeypatch
):
    """In velocities: v = free + (g - 1) (plain - free) + (plain - free), whatever the network predicts."""
    model = WorldModel(
        world_model.transfusion,
        world_model.tokenizer,
        world_model.representation,
        prediction=prediction,
        sampling_shift=1.5,
    )
    noise = torch.randn(NUM_LATENTS, CHANNELS, generator=torch.Generator().manual_seed(5))

    def predicted(text: str, sample: torch.Tensor, time: float) -> torch.Tensor:
        batch = pack_rollout(model, latents, [text], monkeypatch)
        inside = batch.frame[0] == 3
        placed, times = batch.latents.clone(), batch.times.clone()
        placed[0, inside], times[0, inside] = sample, time
        fields = {item.name: getattr(batch, item.name) for item in dataclasses.fields(TokenInputs)}
        inputs = TokenInputs(**(fields | {"latents": placed, "times": times}))
        attend = PackedAttend(hybrid_mask(batch.reach, batch.frame))
        hidden, _ = model.transfusion(inputs, attend, Modalities.of(inputs.is_image))
        output = model.transfusion.latents(hidden[0, inside])
        latent = predicted_latent(output, sample, torch.full((NUM_LATENTS,), time), prediction=prediction)
        return (latent - sample) / (1 - time)

    def velocity(sample: torch.Tensor, time: float) -> torch.Tensor:
        free, plain = (predicted(text, sample, time) for text in ("", TEXTS[0][0]))
        return plain + (2.5 - 1) * (plain - free)

    sample = noise
    times = sample_times(3, shift=1.5)
    for time, next_time in itertools.pairwise(times):
        slope = velocity(sample, time)
        if sampler is Sampler.heun and next_time < 1:
            slope = (slope + velocity(sample + (next_time - time) * slope, next_time)) / 2
        sample = sample + (next_time - time) * slope
    found = model.rollout(
        model.encode_context(FRAMES),
        [[TEXTS[0][:1]]],
        num_steps=3,
        generator=torch.Generator().manual_seed(5),
        guidance=2.5,
        sampler=sampler,
    )
    torch.testing.assert_close(found[0, 0, 0], sample, atol=2e-4, rtol=2e-4)


def test_guidance_moves_away_from_the_frame_without_action(world_model):
    context = world_model.encode_context(FRAMES)

    def rollout(texts, guidance):
        generator = torch.Generator().manual_seed(5)
        return world_model.rollout(context, [[texts]], num_steps=1, generator=generator, guidance=guidance)

    free, plain = rollout([""], 1.0), rollout(TEXTS[0][:1], 1.0)
    guided = rollout(TEXTS[0][:1], 3.0)
    torch.testing.assert_close(guided, free + 3 * (plain - free), atol=1e-4, rtol=1e-4)


def test_actions_must_be_rectangular(world_model):
    context = world_model.encode_context(FRAMES)
    generator = torch.Generator()
    with pytest.raises(ValueError, match="candidates of 1 problems"):
        world_model.rollout(context, [TEXTS, TEXTS], num_steps=1, generator=generator)
    with pytest.raises(ValueError, match="equally many candidates and steps"):
        world_model.rollout(context, [[TEXTS[0], TEXTS[1][:1]]], num_steps=1, generator=generator)
    with pytest.raises(ValueError, match="num_steps"):
        world_model.rollout(context, [TEXTS], num_steps=0, generator=generator)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("action: dx=+0.335, dy=-0.020, dyaw=+0.120", "not an action"),
        ("action: go", "not an action"),
        ("action: dx=+100.335, dy=-0.020, dyaw=+0.120, dt=0.26", "not an action"),
        ("action: dx=+0.335, dy=-0.020, dyaw=+3.335, dt=0.26", "more than half a turn"),
    ],
)
def test_what_begins_as_an_action_must_be_one(world_model, text, match):
    context = world_model.encode_context(FRAMES)
    with pytest.raises(ValueError, match=match):
        world_model.rollout(context, [[["turn left", text]]], num_steps=1, generator=torch.Generator())


def test_nats_need_a_token_that_is_predicted(world_model):
    context = world_model.encode_context(FRAMES)
    for text in ("", "+"):
        with pytest.raises(ValueError, match="at least two tokens"):
            world_model.action_nats(context, [[TEXTS[0][0], text]])


def test_frames_of_floats_are_refused(world_model):
    with unchecked_shapes(), pytest.raises(TypeError, match=r"as uint8.*got torch\.float32; scale"):
        world_model.encode(FRAMES[0].float() / 255)


def test_nats_of_actions_after_a_goal_equal_those_of_the_whole_document(world_model, latents):
    actions = [texts[0] for texts in TEXTS]
    goal = torch.full((1, 8, 8, 3), 5, dtype=torch.uint8)
    context = world_model.extend_context(world_model.encode_context(FRAMES), goal)
    found = world_model.action_nats(context, [actions])
    frames = tuple(Image(FrameKey(0, index), is_target=False) for index in (7, 3, 9))
    asked = tuple(Branch((Text(text, 1.0),)) for text in actions)
    document = Document(Kind.inverse, frames, (Branch((Image(FrameKey(0, 5), is_target=False),), asked),))
    packer = Packer(
        world_model.tokenizer,
        latents,
        FlowConfig(clean_context_share=1.0),
        num_rows=1,
        tokens_per_row=300,
        latents_per_frame=NUM_LATENTS,
    )
    rows = packer.empty()
    assert rows.place(document, packer.length(document))
    batch = packer.pack(rows, rng=np.random.default_rng(0))
    noise = torch.zeros_like(batch.latents)
    nats = losses(world_model.transfusion, batch, noise, ObjectiveConfig(), dtype=torch.float32).token_nats
    own = nats[batch.text_weight == 1].split(
        [len(tokens) for tokens in world_model.tokenizer.encode_many(actions)]
    )
    expected = torch.stack([each[1:].sum() for each in own])
    torch.testing.assert_close(found[0], expected, atol=1e-4, rtol=1e-4)
