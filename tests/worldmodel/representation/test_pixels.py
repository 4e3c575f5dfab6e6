import pytest
import torch

from tests.worldmodel.representation.synthetic import make_frames
from worldmodel.representation.codec import CodecRepresentation
from worldmodel.representation.interface import Representation
from worldmodel.representation.normalisation import Normalisation
from worldmodel.representation.open import load_representation
from worldmodel.representation.pixels import PixelsCodec, PixelsConfig

SHAPE = PixelsConfig(image_size=15, patch_size=5)


def make_representation(*, seed: int = 0) -> CodecRepresentation:
    generator = torch.Generator().manual_seed(seed)
    mean = torch.randn(9, 75, generator=generator)
    return CodecRepresentation(
        PixelsCodec(SHAPE), Normalisation(mean, torch.rand(9, 75, generator=generator) + 0.1)
    )


def test_every_frame_comes_back_exactly():
    representation = make_representation()
    assert isinstance(representation, Representation)
    frames = make_frames(7, seed=1, height=15, width=15)
    latents = representation.encode(frames)
    assert latents.shape == (7, representation.num_tokens, representation.num_channels) == (7, 9, 75)
    assert torch.equal(representation.decode(latents), frames)


def test_a_token_is_its_patch_row_by_row_and_colour_by_colour():
    frames = make_frames(2, seed=2, height=15, width=15)
    features = CodecRepresentation(PixelsCodec(SHAPE), None).encode(frames)
    patch = frames[1, 5:10, 10:15].float() / 127.5 - 1  # second row, third column: token 5
    torch.testing.assert_close(features[1, 5].view(3, 5, 5), patch.permute(2, 0, 1))


def test_levels_are_exact_even_if_asked_to_compute_in_less():
    frames = make_frames(3, seed=3, height=15, width=15)
    half = make_representation().in_precision(torch.bfloat16)
    assert torch.equal(half.decode(half.encode(frames)), frames)


def test_sizes_of_the_paper_and_of_nano():
    nano, paper = PixelsCodec(PixelsConfig()), PixelsCodec(PixelsConfig(image_size=224, patch_size=14))
    assert (nano.shape.num_tokens, nano.shape.num_channels) == (16, 768)
    assert (paper.shape.num_tokens, paper.shape.num_channels) == (256, 588)


def test_what_was_saved_is_what_is_loaded(tmp_path):
    representation = make_representation()
    representation.save(tmp_path)
    loaded = load_representation(tmp_path)
    frames = make_frames(3, seed=4, height=20, width=22)
    assert torch.equal(loaded.encode(frames), representation.encode(frames))
    assert loaded.fingerprint == representation.fingerprint != make_representation(seed=1).fingerprint


def test_patches_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="image_size 64 must be a multiple of patch_size 15"):
        PixelsConfig(patch_size=15)
