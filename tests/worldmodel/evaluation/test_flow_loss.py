"""Flow loss: errors belong to frames and recordings, by kind and noise level."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from data_tools.document_config import DocumentConfig
from data_tools.documents import Kind
from tests.data_tools.recordings import drive
from tests.worldmodel.tiny_run import SHAPE, make_config
from worldmodel.evaluation import flow_loss
from worldmodel.evaluation.flow_loss import FlowLossConfig, measure
from worldmodel.flow import Prediction
from worldmodel.live_latents import LiveLatents
from worldmodel.predictor import WorldModel
from worldmodel.representation.rae import RaeRepresentation
from worldmodel.tokenizer import TextTokenizer
from worldmodel.transfusion import Transfusion

TRAJECTORIES = [
    replace(
        drive(num_frames, seed=num_frames),
        frames=np.random.default_rng(num_frames).integers(0, 256, (num_frames, 16, 16, 3), dtype=np.uint8),
    )
    for num_frames in (31, 23)
]


@pytest.fixture(scope="module")
def model() -> WorldModel:
    generator = torch.Generator().manual_seed(0)
    representation = RaeRepresentation.create(SHAPE, generator=generator)
    tokenizer = TextTokenizer.train(["a wall ahead"], 330)
    transfusion = Transfusion(
        make_config(__file__).model,  # pyright: ignore
        vocab_size=tokenizer.vocab_size,
        latent_channels=SHAPE.hidden_size,
    ).initialise(generator=generator)
    return WorldModel(transfusion, tokenizer, representation, prediction=Prediction.latent)


def config(**settings: object) -> FlowLossConfig:
    documents = DocumentConfig(num_targets=4, max_context=3, max_characters=40, max_video_frames=8)
    defaults = {
        "model": "nano",
        "data": "",
        "out": "",
        "num_batches": 2,
        "num_rows": 2,
        "tokens_per_row": 240,
        "documents": documents,
        "times": [0.0, 0.5],
    }
    return FlowLossConfig(**(defaults | settings))  # pyright: ignore


def test_a_model_that_predicts_zero_errs_by_the_square_of_first_frames_whatever_the_noise(model):
    latents = LiveLatents(model.representation, TRAJECTORIES)
    rows = measure(model, TRAJECTORIES, Kind.video, config())
    assert [row.measure for row in rows] == ["flow_error/time_0", "flow_error/time_0.5"]
    assert rows[0].value == pytest.approx(rows[1].value, rel=1e-6)
    assert rows[0].over == "recordings" and rows[0].low <= rows[0].value <= rows[0].high  # pyright: ignore
    everything = latents.lookup(
        [flow_loss.FrameKey(t, f) for t, each in enumerate(TRAJECTORIES) for f in range(each.num_frames)]
    )
    squares = everything.square().mean(dim=(1, 2))
    assert squares.min() <= rows[0].value <= squares.max()


def test_frames_and_errors_are_matched(model, monkeypatch):
    """Give each token the error that is the number of its frame's first latent; then means are exact."""
    latents = LiveLatents(model.representation, TRAJECTORIES)

    def errors(transfusion, batch, noise, objective, *, dtype):
        return batch.latents[batch.is_flow_target].mean(dim=-1)

    monkeypatch.setattr(flow_loss, "flow_errors", errors)
    seen = []
    original = flow_loss.frame_errors

    def spy(*arguments, **named):
        seen.extend(found := original(*arguments, **named))
        return found

    monkeypatch.setattr(flow_loss, "frame_errors", spy)
    rows = measure(model, TRAJECTORIES, Kind.forward, config(times=[0.3]))
    expected = latents.lookup([key for key, _ in seen]).mean(dim=(1, 2)).numpy()
    np.testing.assert_allclose([error for _, error in seen], expected, rtol=1e-4, atol=1e-5)
    assert rows[0].n == len(seen) > 4


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"times": [1.0]}, "times"),
        ({"kinds": [Kind.video, Kind.text]}, r"kinds with frames to predict .*'text'"),
        ({"kinds": []}, "at least one"),
        ({"num_batches": 0}, "num_batches .*got 0 and 2"),
    ],
)
def test_what_cannot_be_measured_is_refused(settings, match):
    with pytest.raises(ValueError, match=match):
        config(**settings)


def test_latents_are_those_of_the_representation_whatever_is_asked_at_once(model):
    latents = LiveLatents(model.representation, TRAJECTORIES)
    keys = [flow_loss.FrameKey(1, 4), flow_loss.FrameKey(0, 2), flow_loss.FrameKey(1, 4)]
    found = latents.lookup(keys)
    assert found.shape == (3, SHAPE.num_tokens, SHAPE.hidden_size) == (3, 4, latents.num_channels)
    torch.testing.assert_close(found[0], found[2])
    torch.testing.assert_close(found[1], latents.lookup(keys[1:2])[0])
    assert latents.lookup([]).shape == (0, 4, 64)
