import math

import pytest
import torch

from tests.worldmodel.representation.synthetic import TINY, make_frames
from worldmodel.representation.codec import CodecRepresentation
from worldmodel.representation.interface import Representation
from worldmodel.representation.pixels import PixelsCodec, PixelsConfig
from worldmodel.representation.rae import RaeConfig, RaeRepresentation, with_statistics
from worldmodel.tensor_file import read_with_note, write_tensors


@pytest.fixture(scope="module")
def representation() -> RaeRepresentation:
    return RaeRepresentation.create(TINY, generator=torch.Generator().manual_seed(0))


def test_it_is_a_representation_and_sizes_agree(representation):
    assert isinstance(representation, Representation)
    latents = representation.encode(make_frames(3, seed=1, height=30, width=40))
    assert latents.shape == (3, representation.num_tokens, representation.num_channels) == (3, 4, 64)
    assert representation.decode(latents).shape == (3, 32, 32, 3)


def test_default_is_nano_and_fits_the_shipped_checkpoint():
    nano = RaeRepresentation.create(RaeConfig(), generator=torch.Generator().manual_seed(0))
    assert (nano.num_tokens, nano.num_channels) == (16, 128)
    assert sum(parameter.numel() for parameter in nano.autoencoder.parameters()) <= 1.9e6


def test_weights_come_from_the_generator_alone():
    torch.rand(5)
    before = torch.get_rng_state()
    first = RaeRepresentation.create(TINY, generator=torch.Generator().manual_seed(3))
    assert torch.equal(torch.get_rng_state(), before)
    second = RaeRepresentation.create(TINY, generator=torch.Generator().manual_seed(3))
    other = RaeRepresentation.create(TINY, generator=torch.Generator().manual_seed(4))
    assert first.fingerprint == second.fingerprint != other.fingerprint


def test_latents_of_a_frame_do_not_depend_on_its_batch(representation):
    frames = make_frames(5, seed=2)
    together = representation.encode(frames)
    alone = torch.cat([representation.encode(frame[None]) for frame in frames])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_statistics_make_latents_standard_and_leave_reconstructions_alone(representation):
    frames = make_frames(70, seed=3)
    raw = representation.encode(frames)
    normalised = with_statistics(representation, mean=raw.mean(dim=0), std=raw.std(dim=0))
    latents = normalised.encode(frames)
    torch.testing.assert_close(latents.mean(dim=0), torch.zeros(4, 64), atol=1e-3, rtol=0)
    torch.testing.assert_close(latents.std(dim=0), torch.ones(4, 64), atol=1e-2, rtol=0)
    difference = normalised.decode(latents).int() - representation.decode(raw).int()
    assert difference.abs().max() <= 1
    torch.testing.assert_close(representation.encode(frames), raw)


def test_what_was_saved_is_what_is_loaded(representation, tmp_path):
    frames = make_frames(3, seed=4)
    shifted = with_statistics(representation, mean=torch.full((4, 64), 0.3), std=torch.full((4, 64), 2.0))
    shifted.save(tmp_path)
    loaded = RaeRepresentation.load(tmp_path)
    assert loaded.config == TINY and loaded.fingerprint == shifted.fingerprint
    torch.testing.assert_close(loaded.encode(frames), shifted.encode(frames), rtol=0, atol=0)
    latents = shifted.encode(frames)
    assert torch.equal(loaded.decode(latents), shifted.decode(latents))


def test_bfloat16_file_keeps_statistics_exact(representation, tmp_path):
    mean = torch.full((4, 64), math.pi)
    with_statistics(representation, mean=mean, std=torch.ones(4, 64)).save(tmp_path)
    buffers = dict(RaeRepresentation.load(tmp_path).autoencoder.named_buffers())
    assert torch.equal(buffers["_latents_mean"], mean)


def test_a_rounded_copy_is_not_saved_under_the_name_of_the_original(representation, tmp_path):
    with pytest.raises(ValueError, match="computes in float32 to save"):
        representation.in_precision(torch.bfloat16).save(tmp_path)
    assert not (tmp_path / "representation.safetensors").exists()


@pytest.mark.parametrize("deviation", [0.0, -1.0, math.nan, math.inf])
def test_statistics_that_cannot_be_divided_by_are_refused_and_can_be_passed_over(
    representation, tmp_path, deviation
):
    with pytest.raises(ValueError, match="positive deviations"):
        with_statistics(representation, mean=torch.zeros(4, 64), std=torch.full((4, 64), deviation))
    with_statistics(representation, mean=torch.ones(4, 64), std=torch.ones(4, 64)).save(tmp_path)
    path = tmp_path / "representation.safetensors"
    tensors, note = read_with_note(path)
    write_tensors(path, tensors | {"_latents_std": torch.full((4, 64), deviation)}, note=note)
    with pytest.raises(ValueError, match="positive deviations"):
        RaeRepresentation.load(tmp_path)
    bare = RaeRepresentation.load(tmp_path, keep_statistics=False)
    assert not bare.has_statistics and bare.fingerprint == representation.fingerprint


def test_a_file_of_another_kind_is_named(tmp_path):
    CodecRepresentation(PixelsCodec(PixelsConfig()), None).save(tmp_path)
    with pytest.raises(ValueError, match="is of kind pixels"):
        RaeRepresentation.load(tmp_path)


def test_truncated_and_foreign_files_are_refused(representation, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no representation\.safetensors"):
        RaeRepresentation.load(tmp_path)
    representation.save(tmp_path)
    path = tmp_path / "representation.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="truncated or no safetensors"):
        RaeRepresentation.load(tmp_path)
    write_tensors(path, {"weight": torch.zeros(2)}, note={"config": {"image_size": 32}})
    with pytest.raises(ValueError, match="does not hold a representation"):
        RaeRepresentation.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size": 60}, "multiple of patch_size"),
        ({"hidden_size": 96}, "multiple of the head size"),
        ({"decoder_num_heads": 7}, "multiple of decoder_num_heads"),
    ],
)
def test_shapes_that_do_not_divide_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        RaeConfig(**change)
