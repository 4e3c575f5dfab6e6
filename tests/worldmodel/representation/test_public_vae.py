from typing import Any

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from torch import nn

from tests.worldmodel.representation.synthetic import make_frames
from worldmodel.representation.codec import CodecRepresentation
from worldmodel.representation.kind import Kind
from worldmodel.representation.normalisation import Normalisation
from worldmodel.representation.open import load_representation
from worldmodel.representation.public_vae import FLUX, SD, PublicVae, PublicVaeConfig, network_of
from worldmodel.representation.rae import initialise

SMALL: dict[str, Any] = {
    "block_out_channels": [8, 16, 8],
    "down_block_types": ["DownEncoderBlock2D"] * 3,
    "up_block_types": ["UpDecoderBlock2D"] * 3,
    "layers_per_block": 1,
    "norm_num_groups": 4,
}
TINY: dict[str, Any] = {
    "encoder_block_out_channels": [8, 8, 8],
    "decoder_block_out_channels": [8, 8, 8],
    "num_encoder_blocks": [1, 1, 1],
    "num_decoder_blocks": [1, 1, 1],
}
FORMS = {
    "sd": (Kind.autoencoder_kl, SD | SMALL),
    "flux": (Kind.autoencoder_kl, FLUX | SMALL),
    "tiny": (Kind.autoencoder_tiny, TINY),
}


def make_codec(form: str) -> PublicVae:
    """Return an untrained one for frames of 24 pixels: 3 x 3 tokens of 8 x 8 pixels."""
    kind, network = FORMS[form]
    codec = PublicVae(kind, PublicVaeConfig(image_size=24, network=network)).eval()
    initialise(codec, generator=torch.Generator().manual_seed(0))
    return codec


@pytest.mark.parametrize(("form", "channels"), [("sd", 16), ("flux", 64), ("tiny", 16)])
def test_tokens_are_squares_of_the_scaled_latents_of_diffusers(form, channels):
    codec = make_codec(form)
    assert (codec.shape.num_tokens, codec.shape.num_channels) == (9, channels)
    frames = make_frames(2, seed=1, height=24, width=24)
    images = frames.permute(0, 3, 1, 2) / 127.5 - 1
    autoencoder = codec.autoencoder
    with torch.no_grad():
        if isinstance(autoencoder, AutoencoderKL):
            latents = autoencoder.encode(images, return_dict=False)[0].mean
            shift = {"sd": 0.0, "flux": 0.1159}[form]
            latents = (latents - shift) * {"sd": 0.18215, "flux": 0.3611}[form]
        else:
            latents = autoencoder.encode(images, return_dict=False)[0]
        expected = nn.PixelUnshuffle(2)(latents).flatten(2).transpose(1, 2)
    representation = CodecRepresentation(codec, None)
    torch.testing.assert_close(representation.encode(frames), expected)


@pytest.mark.parametrize("form", FORMS)
def test_decoding_undoes_all_but_the_network(form):
    codec = make_codec(form)
    representation = CodecRepresentation(codec, None)
    frames = make_frames(2, seed=2, height=24, width=24)
    images = frames.permute(0, 3, 1, 2) / 127.5 - 1
    autoencoder = codec.autoencoder
    with torch.no_grad():
        if isinstance(autoencoder, AutoencoderTiny):
            latents = autoencoder.encode(images, return_dict=False)[0]
        else:
            latents = autoencoder.encode(images, return_dict=False)[0].mean
        made = autoencoder.decode(latents, return_dict=False)[0]  # pyright: ignore[reportArgumentType]
    expected = ((made + 1) * 127.5).clamp(0, 255).permute(0, 2, 3, 1)
    difference = representation.decode(representation.encode(frames)).float() - expected
    assert difference.abs().max() <= 0.51


@pytest.mark.parametrize("form", FORMS)
def test_what_was_saved_is_what_is_loaded(form, tmp_path):
    codec = make_codec(form)
    shape = (codec.shape.num_tokens, codec.shape.num_channels)
    representation = CodecRepresentation(codec, Normalisation(torch.full(shape, 0.2), torch.full(shape, 3.0)))
    representation.save(tmp_path)
    loaded = load_representation(tmp_path)
    frames = make_frames(2, seed=3)
    assert torch.equal(loaded.encode(frames), representation.encode(frames))
    assert torch.equal(loaded.decode(loaded.encode(frames)), representation.decode(loaded.encode(frames)))
    assert loaded.fingerprint == representation.fingerprint


def test_the_fingerprint_is_of_what_encodes():
    codec = make_codec("sd")
    before = CodecRepresentation(codec, None).fingerprint
    with torch.no_grad():
        codec.get_parameter("autoencoder.decoder.conv_in.weight").add_(1)
        assert CodecRepresentation(codec, None).fingerprint == before
        codec.get_parameter("autoencoder.encoder.conv_in.weight").add_(1)
    assert CodecRepresentation(codec, None).fingerprint != before


@pytest.mark.parametrize(("form", "millions"), [(SD, 83.65), (FLUX, 83.82)])
def test_the_public_forms_have_their_published_sizes(form, millions):
    with torch.device("meta"):
        codec = PublicVae(Kind.autoencoder_kl, PublicVaeConfig(network=form))
    assert (codec.shape.num_tokens, codec.shape.num_channels) == (256, 4 * form["latent_channels"])
    assert sum(p.numel() for p in codec.parameters()) / 1e6 == pytest.approx(millions, abs=0.01)


def test_the_form_of_a_network_makes_it_again():
    autoencoder = make_codec("flux").autoencoder
    again = AutoencoderKL(**network_of(autoencoder))
    assert network_of(again) == network_of(autoencoder) and network_of(again)["shift_factor"] == 0.1159


def test_frames_that_are_no_grid_of_tokens_are_refused():
    with pytest.raises(ValueError, match="image_size 20 must be a multiple of 8 pixels"):
        PublicVae(Kind.autoencoder_kl, PublicVaeConfig(image_size=20, network=SD | SMALL))
