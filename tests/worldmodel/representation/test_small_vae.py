from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence

from data_tools.trajectory import write_trajectory
from tests.worldmodel.representation.synthetic import make_frames, make_trajectory
from worldmodel.precision import Precision
from worldmodel.representation.masters import MasterWeights
from worldmodel.representation.open import load_representation
from worldmodel.representation.rae import initialise
from worldmodel.representation.small_vae import SmallVae, SmallVaeConfig, divergence
from worldmodel.representation.stage import StageConfig
from worldmodel.representation.train import open_frames
from worldmodel.representation.train_vae import VaeTraining, train_vae
from worldmodel.representation.unshuffle import to_maps, to_tokens
from worldmodel.tensor_file import read_tensors

SHAPE = SmallVaeConfig(image_size=32, latent_channels=3, fine_width=8, coarse_width=16)


@pytest.fixture
def recordings(tmp_path):
    for index in range(3):
        write_trajectory(make_trajectory(f"walk_{index}", 6 + index, seed=index), tmp_path / "recordings")
    return tmp_path / "recordings"


def make_config(recordings, out) -> VaeTraining:
    stage = StageConfig(num_steps=8, batch_size=4, learning_rate=1e-2)
    return VaeTraining(
        data=[str(recordings)], out=str(out), shape=SHAPE, stage=stage, precision=Precision.float32
    )


def test_nano_has_16_tokens_of_32_channels():
    nano = SmallVae(SmallVaeConfig())
    assert (nano.shape.num_tokens, nano.shape.num_channels) == (16, 32)
    assert sum(parameter.numel() for parameter in nano.parameters()) <= 0.5e6


def test_every_weight_learns_from_the_first_step_on():
    generator = torch.Generator().manual_seed(0)
    codec = SmallVae(SHAPE)
    initialise(codec, generator=generator)
    norms = [part for part in codec.modules() if isinstance(part, nn.GroupNorm)]
    assert len(norms) == 10 and all((norm.weight == 1).all() and (norm.bias == 0).all() for norm in norms)
    mean, log_variance = codec.posterior(torch.rand(2, 3, 32, 32, generator=generator))
    (codec.made_of(mean).square().mean() + log_variance.square().mean()).backward()
    for name, parameter in codec.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_a_loss_that_is_not_finite_stops_before_it_is_learned_from():
    network = nn.Linear(2, 1)
    masters = MasterWeights(network, dtype=torch.float32, weight_decay=0.0, betas=(0.9, 0.95))
    before = network.weight.detach().clone()
    with pytest.raises(FloatingPointError, match="in step 1 the loss is nan"):
        masters.step(network.weight.sum() * torch.nan, learning_rate=0.1, max_norm=1.0)
    assert torch.equal(network.weight, before) and masters.step_count == 0


def test_tokens_are_those_of_pixel_unshuffle_and_maps_come_back():
    maps = torch.randn(2, 3, 10, 10, generator=torch.Generator().manual_seed(0))
    tokens = to_tokens(maps)
    assert tokens.shape == (2, 25, 12)
    torch.testing.assert_close(tokens, nn.PixelUnshuffle(2)(maps).flatten(2).transpose(1, 2))
    assert torch.equal(to_maps(tokens, num_rows=5), maps)


def test_divergence_is_that_of_torch():
    generator = torch.Generator().manual_seed(1)
    mean, log_variance = torch.randn(2, 3, 5, 7, generator=generator).split(1)
    expected = kl_divergence(Normal(mean, (0.5 * log_variance).exp()), Normal(0.0, 1.0)).mean()
    torch.testing.assert_close(divergence(mean, log_variance), expected)
    assert float(divergence(torch.zeros(1, 2), torch.zeros(1, 2))) == 0


def test_training_lowers_the_loss_normalises_and_repeats_exactly(recordings, tmp_path):
    first = train_vae(make_config(recordings, tmp_path / "first"))
    second = train_vae(make_config(recordings, tmp_path / "second"))
    assert first.fingerprint == second.fingerprint
    losses = read_tensors(tmp_path / "first/vae.safetensors")["losses"]
    assert losses[-1] < losses[0]
    cache = open_frames([str(recordings)], tmp_path / "first/cache", image_size=32)
    frames = cache.at(torch.arange(21))
    latents = first.encode(frames)
    assert latents.shape == (21, 4, 12)
    torch.testing.assert_close(latents.mean(dim=0), torch.zeros(4, 12), atol=1e-3, rtol=0)
    torch.testing.assert_close(latents.std(dim=0), torch.ones(4, 12), atol=1e-3, rtol=0)


def test_what_was_trained_is_what_is_loaded(recordings, tmp_path):
    trained = train_vae(make_config(recordings, tmp_path / "out"))
    loaded = load_representation(tmp_path / "out")
    frames = make_frames(2, seed=5)
    assert torch.equal(loaded.encode(frames), trained.encode(frames))
    assert torch.equal(loaded.decode(loaded.encode(frames)), trained.decode(trained.encode(frames)))
    assert loaded.fingerprint == trained.fingerprint


def test_a_stopped_training_goes_on_to_the_same_end(recordings, tmp_path, monkeypatch):
    config = make_config(recordings, tmp_path / "unbroken")
    config = replace(config, stage=replace(config.stage, checkpoint_period_s=0.0))
    unbroken = train_vae(config)
    calls = []

    def stop(*arguments: object, **options: object) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return divergence(*arguments, **options)  # pyright: ignore[reportArgumentType]

    stopped = replace(config, out=str(tmp_path / "stopped"))
    monkeypatch.setattr("worldmodel.representation.train_vae.divergence", stop)
    with pytest.raises(KeyboardInterrupt):
        train_vae(stopped)
    assert len(read_tensors(tmp_path / "stopped/vae.safetensors")["losses"]) == 5
    assert train_vae(stopped).fingerprint == unbroken.fingerprint


def test_a_folder_of_another_training_is_refused(recordings, tmp_path):
    config = make_config(recordings, tmp_path / "out")
    train_vae(config)
    with pytest.raises(ValueError, match="Give another output folder"):
        train_vae(replace(config, divergence_weight=1.0))


def test_shapes_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="image_size 40 must be a multiple of 16"):
        SmallVaeConfig(image_size=40)
    with pytest.raises(ValueError, match="coarse_width 12 must be a multiple of 8"):
        SmallVaeConfig(coarse_width=12)
