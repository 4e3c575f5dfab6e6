from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional
from transformers import Dinov2WithRegistersModel, SiglipVisionModel
from transformers.image_utils import PILImageResampling
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.utils.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from tests.worldmodel.representation.synthetic import make_frames
from worldmodel.representation.codec import CodecRepresentation
from worldmodel.representation.kind import Kind
from worldmodel.representation.normalisation import Normalisation
from worldmodel.representation.open import load_representation
from worldmodel.representation.public_rae import DINOV2_BASE, SO400M, VIT_XL, PublicRae, PublicRaeConfig
from worldmodel.representation.rae import initialise
from worldmodel.representation.resize import resize_frames

SIGLIP: dict[str, Any] = SO400M | {
    "hidden_size": 36,  # 18 channels a head: not a multiple of 64, as So400m's 72
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 42,
}
DINO: dict[str, Any] = DINOV2_BASE | {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "image_size": 70,
}
DECODER: dict[str, Any] = VIT_XL | {
    "decoder_hidden_size": 16,
    "decoder_num_hidden_layers": 2,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 20,
}


def make_codec(kind: Kind, *, patch: int = 14) -> PublicRae:
    """Return an untrained one of 3 x 3 tokens for frames of 42 pixels."""
    encoder = SIGLIP if kind is Kind.siglip2 else DINO
    config = PublicRaeConfig(input_size=42, encoder=encoder, decoder=DECODER | {"patch_size": patch})
    codec = PublicRae(kind, config).eval()
    initialise(codec, generator=torch.Generator().manual_seed(0))
    return codec


def test_siglip_frames_are_normalised_as_by_its_own_processor():
    """The published processor of SigLIP 2: mean and deviation 0.5, bilinear to 224 pixels."""
    half = [0.5, 0.5, 0.5]
    processor = SiglipImageProcessorPil(image_mean=half, image_std=half, resample=PILImageResampling.BILINEAR)
    codec = PublicRae(Kind.siglip2, PublicRaeConfig(encoder=SIGLIP, decoder=DECODER))
    for height, width, levels in ((224, 224, 0.01), (120, 160, 1.01)):
        frames = make_frames(2, seed=1, height=height, width=width)
        images = [Image.fromarray(frame.numpy()) for frame in frames]
        expected = np.asarray(processor(images, return_tensors="np")["pixel_values"])
        resized = resize_frames(frames, image_size=224).permute(0, 3, 1, 2)
        difference = codec.normalised(resized / 255).numpy() - expected
        assert np.abs(difference).max() * 127.5 <= levels


def test_dinov2_frames_are_normalised_as_by_its_own_processor():
    """The published processor of DINOv2: ImageNet's colours; a frame of 256 pixels is cut to 224."""
    processor = BitImageProcessorPil(
        image_mean=IMAGENET_DEFAULT_MEAN, image_std=IMAGENET_DEFAULT_STD, size={"shortest_edge": 256}
    )
    codec = PublicRae(Kind.dinov2, PublicRaeConfig(input_size=224, encoder=DINO, decoder=DECODER))
    frames = make_frames(2, seed=2, height=256, width=256)
    images = [Image.fromarray(frame.numpy()) for frame in frames]
    expected = torch.as_tensor(np.asarray(processor(images, return_tensors="np")["pixel_values"]))
    cut = frames[:, 16:240, 16:240].permute(0, 3, 1, 2) / 255
    torch.testing.assert_close(codec.normalised(cut), expected, rtol=0, atol=1e-5)


def test_siglip_features_are_what_scale_rae_normalises():
    """There: the last layer's output, before the last norm, through `F.layer_norm` of eps 1e-6."""
    codec = make_codec(Kind.siglip2)
    assert isinstance(codec.encoder, SiglipVisionModel)
    before = []
    codec.encoder.encoder.register_forward_hook(lambda *passed: before.append(passed[2].last_hidden_state))
    frames = make_frames(2, seed=3, height=42, width=42)
    features = CodecRepresentation(codec, None).encode(frames)
    torch.testing.assert_close(features, functional.layer_norm(before[0], (36,), eps=1e-6))
    assert features.shape == (2, 9, 36)


def test_dinov2_features_are_those_of_patches_alone():
    codec = make_codec(Kind.dinov2)
    assert isinstance(codec.encoder, Dinov2WithRegistersModel)
    frames = make_frames(2, seed=4, height=42, width=42)
    features = CodecRepresentation(codec, None).encode(frames)
    with torch.no_grad():
        seen = codec.normalised(frames.permute(0, 3, 1, 2) / 255)
        tokens = codec.encoder(pixel_values=seen).last_hidden_state
    assert features.shape == (2, 9, 24) and tokens.shape == (2, 1 + 4 + 9, 24)
    torch.testing.assert_close(features, tokens[:, 5:])


def test_a_zero_class_token_in_front_is_dropped_by_the_decoder():
    """Scale-RAE puts one in front and has its decoder drop it: the decoder gives the same without."""
    codec = make_codec(Kind.siglip2)
    features = torch.randn(2, 9, 36, generator=torch.Generator().manual_seed(5))
    with_zero = torch.cat((torch.zeros(2, 1, 36), features), dim=1)
    with torch.no_grad():
        dropped = codec.decoder(with_zero, drop_cls_token=True, return_dict=False)[0]
        torch.testing.assert_close(codec.decoder(features, return_dict=False)[0], dropped)


def test_frames_that_come_out_may_be_larger_than_those_that_go_in():
    codec = make_codec(Kind.dinov2, patch=16)
    representation = CodecRepresentation(codec, None)
    frames = make_frames(2, seed=6, height=60, width=80)
    latents = representation.encode(frames)
    assert (codec.shape.input_size, representation.image_size) == (42, 48)
    assert representation.decode(latents).shape == (2, 48, 48, 3)
    torch.testing.assert_close(representation.encode(resize_frames(frames, image_size=48)), latents)


@pytest.mark.parametrize("kind", [Kind.siglip2, Kind.dinov2])
def test_what_was_saved_is_what_is_loaded(kind, tmp_path):
    codec = make_codec(kind)
    with torch.no_grad():
        codec.decoder.get_buffer("decoder_pos_embed").add_(0.1)
    shape = (codec.shape.num_tokens, codec.shape.num_channels)
    representation = CodecRepresentation(codec, Normalisation(torch.full(shape, 0.2), torch.full(shape, 3.0)))
    representation.save(tmp_path)
    loaded = load_representation(tmp_path)
    frames = make_frames(2, seed=7)
    assert torch.equal(loaded.encode(frames), representation.encode(frames))
    assert torch.equal(loaded.decode(loaded.encode(frames)), representation.decode(loaded.encode(frames)))
    assert loaded.fingerprint == representation.fingerprint


def test_the_paper_has_256_tokens_of_1152():
    with torch.device("meta"):
        codec = PublicRae(Kind.siglip2, PublicRaeConfig())
        dino = PublicRae(
            Kind.dinov2, PublicRaeConfig(encoder=DINOV2_BASE, decoder=VIT_XL | {"patch_size": 16})
        )
    assert (codec.shape.num_tokens, codec.shape.num_channels, codec.shape.image_size) == (256, 1152, 224)
    assert (dino.shape.num_tokens, dino.shape.num_channels, dino.shape.image_size) == (256, 768, 256)
    assert sum(p.numel() for p in codec.encoder.parameters()) / 1e6 == pytest.approx(412.4, abs=0.5)
    assert sum(p.numel() for p in dino.encoder.parameters()) / 1e6 == pytest.approx(86.6, abs=0.5)


def test_frames_that_patches_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="input_size 40 must be a multiple of the encoder's patches, 14"):
        PublicRae(Kind.siglip2, PublicRaeConfig(input_size=40, encoder=SIGLIP, decoder=DECODER))
