"""PublicRae: a frozen encoder of others and a public decoder of its features.

Encoders are SigLIP 2 and DINOv2 with registers, as transformers reads them; decoders those of
`diffusers.AutoencoderRAE`. The features are the encoder's last hidden states after a layer normalisation
without weights: RAE (arXiv 2510.11690) strips the weights of the encoder's own, Scale-RAE normalises what
comes before it, which is the same. The two are put together here, and not by AutoencoderRAE, since that one
builds encoders of 64 channels a head alone (So400m has 72) and, in diffusers 0.42, none of SigLIP with
transformers 5.
"""

from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_rae import RAEDecoder
from jaxtyping import Float
from torch import Tensor, nn
from transformers import (
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from worldmodel.representation.codec import Codec, CodecShape
from worldmodel.representation.kind import Kind

Encoder = SiglipVisionModel | Dinov2WithRegistersModel

SO400M: dict[str, Any] = {
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "image_size": 224,
    "patch_size": 14,
    "hidden_act": "gelu_pytorch_tanh",
    "layer_norm_eps": 1e-6,
}
"""Form of SigLIP 2 So400m/14 at 224 pixels: the paper's encoder."""
DINOV2_BASE: dict[str, Any] = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "mlp_ratio": 4,
    "image_size": 518,
    "patch_size": 14,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-6,
    "qkv_bias": True,
    "use_swiglu_ffn": False,
    "num_register_tokens": 4,
}
"""Form of DINOv2 base with registers; its 37 x 37 positions are interpolated to those of the frame."""
VIT_XL: dict[str, Any] = {
    "decoder_hidden_size": 1152,
    "decoder_num_hidden_layers": 28,
    "decoder_num_attention_heads": 16,
    "decoder_intermediate_size": 4096,
    "patch_size": 14,
    "qkv_bias": True,
    "layer_norm_eps": 1e-12,
    "hidden_act": "gelu",
}
"""Form of the decoder that was trained for So400m; the one for DINOv2 makes patches of 16."""

HALF = (0.5, 0.5, 0.5)
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True)
class PublicRaeConfig:
    """Size of the frames that go in, and the forms of both networks; the defaults are the paper's."""

    input_size: int = 224
    """Height and width of the frames that the encoder sees [pixels]."""
    encoder: dict[str, Any] = field(default_factory=lambda: dict(SO400M))
    """Arguments of its configuration in transformers."""
    decoder: dict[str, Any] = field(default_factory=lambda: dict(VIT_XL))
    """Arguments of `RAEDecoder`, less those that follow from the encoder."""


class PublicRae(Codec):
    """Frames, normalised as the encoder was trained, to features; and features to frames of its decoder."""

    def __init__(self, kind: Kind, config: PublicRaeConfig) -> None:
        known = SO400M if kind is Kind.siglip2 else DINOV2_BASE
        for part, form, needed in (("encoder", config.encoder, known), ("decoder", config.decoder, VIT_XL)):
            if form.keys() != needed.keys():
                raise ValueError(f"needed {sorted(needed)} of the {part}, got {sorted(form)}")
        patch = int(config.encoder["patch_size"])
        if config.input_size % patch:
            raise ValueError(
                f"input_size {config.input_size} must be a multiple of the encoder's patches, {patch}"
            )
        num_rows = config.input_size // patch
        # The constructors draw from torch's global generator; the draws are overwritten and it is put back.
        with torch.random.fork_rng(devices=[]):
            encoder = _build_encoder(kind, config.encoder)
            width = int(encoder.config.hidden_size)
            decoder = _build_decoder(config.decoder, width=width, num_rows=num_rows)
        shape = CodecShape(
            input_size=config.input_size,
            image_size=decoder.image_size,
            num_tokens=num_rows**2,
            num_channels=width,
        )
        super().__init__(kind, asdict(config), shape)
        self.encoder, self.decoder = encoder, decoder
        self.register_buffer("input_mean", _colour(HALF if kind is Kind.siglip2 else IMAGENET_MEAN), False)
        self.register_buffer("input_std", _colour(HALF if kind is Kind.siglip2 else IMAGENET_STD), False)

    def normalised(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch 3 height width"]:
        """Return images as the encoder was trained on them."""
        return (images - self.get_buffer("input_mean")) / self.get_buffer("input_std")

    def to_features(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch token channel"]:
        """Return the last hidden states of patches."""
        seen = self.normalised(images)
        if isinstance(self.encoder, SiglipVisionModel):
            return self.encoder(pixel_values=seen, interpolate_pos_encoding=True).last_hidden_state
        num_others = 1 + int(self.encoder.config.num_register_tokens)
        return self.encoder(pixel_values=seen).last_hidden_state[:, num_others:]

    def to_images(
        self, features: Float[Tensor, "batch token channel"]
    ) -> Float[Tensor, "batch 3 height width"]:
        """Decode features; the decoder has a token of its own in the place of a class token."""
        made = self.decoder.unpatchify(self.decoder(features, return_dict=False)[0])
        return made * self.get_buffer("input_std") + self.get_buffer("input_mean")


def form_of(encoder: Encoder) -> dict[str, Any]:
    """Return what makes an encoder of the same form: those arguments that its form depends on."""
    names = SO400M if isinstance(encoder, SiglipVisionModel) else DINOV2_BASE
    return {name: getattr(encoder.config, name) for name in names}


def _build_encoder(kind: Kind, form: dict[str, Any]) -> Encoder:
    if kind is Kind.siglip2:
        config = SiglipVisionConfig(**form, vision_use_head=False)
        siglip = SiglipVisionModel(config)
        siglip.post_layernorm = _plain(siglip.post_layernorm)
        return siglip
    assert kind is Kind.dinov2
    dino = Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**form))
    dino.layernorm = _plain(dino.layernorm)
    return dino


def _plain(norm: nn.LayerNorm) -> nn.LayerNorm:
    return nn.LayerNorm(list(norm.normalized_shape), eps=norm.eps, elementwise_affine=False)


def _build_decoder(form: dict[str, Any], *, width: int, num_rows: int) -> RAEDecoder:
    image_size = int(form["patch_size"]) * num_rows
    decoder = RAEDecoder(
        hidden_size=width, num_patches=num_rows**2, image_size=image_size,
        **form,
    )  # fmt: skip
    # Kept with the weights: a decoder is bound to the positions that it was trained with.
    positions = decoder.get_buffer("decoder_pos_embed")
    decoder.register_buffer("decoder_pos_embed", positions, persistent=True)
    return decoder


def _colour(levels: tuple[float, float, float]) -> Float[Tensor, "3 1 1"]:
    return torch.tensor(levels)[:, None, None]
