"""Import of public weights into a folder of ours: what they are, and the statistics that came with them.

Usage: python -m worldmodel.representation.import_pretrained kind=siglip2 out=outputs/siglip2
       [encoder=FOLDER_OR_HUB_NAME] [decoder=FOLDER_OR_HUB_NAME]

Afterwards, unless statistics came along: `python -m worldmodel.representation.statistics`.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import hydra
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from omegaconf import MISSING, DictConfig
from torch import Tensor, nn
from transformers import Dinov2WithRegistersModel, SiglipVisionModel

from data_tools.config import store, to_object
from worldmodel.precision import Precision
from worldmodel.representation.codec import CodecRepresentation
from worldmodel.representation.kind import Kind
from worldmodel.representation.open import refuse_other
from worldmodel.representation.public_rae import PublicRae, PublicRaeConfig, form_of
from worldmodel.representation.public_vae import PublicVae, PublicVaeConfig, network_of
from worldmodel.representation.public_weights import from_hub, read_decoder


class Source(Enum):
    """Public weights that are known by name."""

    siglip2 = "siglip2"
    """SigLIP 2 So400m/14 at 224 pixels with the decoder of Scale-RAE: the paper's."""
    dinov2 = "dinov2"
    """DINOv2 base with registers, and the decoder and the statistics of RAE."""
    sd_vae = "sd_vae"
    flux_vae = "flux_vae"
    tiny_vae = "tiny_vae"
    """AutoencoderTiny in the place of Stable Diffusion's."""


ENCODERS = {
    Source.siglip2: "google/siglip2-so400m-patch14-224",
    Source.dinov2: "facebook/dinov2-with-registers-base",
    Source.sd_vae: "stabilityai/sd-vae-ft-mse",
    Source.flux_vae: "black-forest-labs/FLUX.1-schnell",
    Source.tiny_vae: "madebyollin/taesd",
}
"""Names on the Hugging Face hub; an autoencoder is one with its decoder."""
DECODERS = {
    Source.siglip2: "nyu-visionx/siglip2_decoder",
    Source.dinov2: "nyu-visionx/RAE-dinov2-wReg-base-ViTXL-n08",
}


KINDS = {
    Source.siglip2: Kind.siglip2,
    Source.dinov2: Kind.dinov2,
    Source.sd_vae: Kind.autoencoder_kl,
    Source.flux_vae: Kind.autoencoder_kl,
    Source.tiny_vae: Kind.autoencoder_tiny,
}


@dataclass(frozen=True, kw_only=True)
class ImportConfig:
    """What is imported, from where, and how it is stored."""

    kind: Source = MISSING
    out: str = MISSING
    encoder: str | None = None
    """Folder or hub name of the encoder, or of the whole autoencoder; None is the public one of its kind."""
    decoder: str | None = None
    """Folder or hub name of the decoder of siglip2 and dinov2; None is the public one."""
    decoder_file: str | None = None
    """File of the decoder's weights there; None is `model.pt` or diffusers' own."""
    image_size: int | None = None
    """Height and width of the frames that go in [pixels]; None is 224 for encoders, 256 for autoencoders."""
    precision: Precision = Precision.float32
    """That weights are stored in: bfloat16 takes half the room, and rounds them."""

    def __post_init__(self) -> None:
        """Refuse a decoder for what has its own."""
        is_encoder = self.kind in (Source.siglip2, Source.dinov2)
        if not is_encoder and (self.decoder is not None or self.decoder_file is not None):
            raise ValueError(f"{self.kind.name} has its own decoder; give neither decoder nor decoder_file")


def import_pretrained(config: ImportConfig) -> CodecRepresentation:
    """Read the weights, write the representation to `config.out`, and return it."""
    refuse_other(Path(config.out), KINDS[config.kind].name)
    match config.kind:
        case Source.siglip2 | Source.dinov2:
            representation = _import_rae(config)
        case Source.sd_vae | Source.flux_vae | Source.tiny_vae:
            representation = _import_vae(config)
    if config.precision is not Precision.float32:
        for parameter in representation.codec.parameters():
            parameter.copy_(parameter.to(config.precision.dtype))
    representation.save(Path(config.out))
    return representation


def _import_rae(config: ImportConfig) -> CodecRepresentation:
    source = config.encoder or ENCODERS[config.kind]
    kind = KINDS[config.kind]
    network = SiglipVisionModel if kind is Kind.siglip2 else Dinov2WithRegistersModel
    encoder, found = from_hub(
        source,
        "encoder",
        lambda: _with_info(network.from_pretrained(source, dtype=torch.float32, output_loading_info=True)),
    )
    _check_whole(found, source)
    assert isinstance(encoder, SiglipVisionModel | Dinov2WithRegistersModel)
    decoder_source = config.decoder or DECODERS[config.kind]
    decoder = from_hub(
        decoder_source, "decoder", lambda: read_decoder(decoder_source, file=config.decoder_file)
    )
    size = config.image_size or PublicRaeConfig().input_size
    codec = PublicRae(kind, PublicRaeConfig(input_size=size, encoder=form_of(encoder), decoder=decoder.form))
    # The head pools tokens for captions; the last norm's weights are stripped, see PublicRae.
    kept = {
        name: tensor
        for name, tensor in encoder.state_dict().items()
        if not name.startswith(("head.", "post_layernorm.", "layernorm."))
    }
    _load(codec.encoder, kept, source, optional=set())
    # Positions are sines and cosines and the token of its own is 0 where a file does not hold them.
    _load(codec.decoder, decoder.weights, decoder_source, {"decoder_pos_embed", "trainable_cls_token"})
    found, shape = decoder.normalisation, (codec.shape.num_tokens, codec.shape.num_channels)
    if found is not None and found.mean.shape != shape:
        print(
            f"the statistics of {decoder_source} are left out: they are of {tuple(found.mean.shape)} tokens "
            f"and channels, not of {shape}",
            file=sys.stderr,
        )
        found = None
    return CodecRepresentation(codec, found)


def _import_vae(config: ImportConfig) -> CodecRepresentation:
    source = config.encoder or ENCODERS[config.kind]
    kind = KINDS[config.kind]
    network = AutoencoderTiny if kind is Kind.autoencoder_tiny else AutoencoderKL
    # In a pipeline of diffusers, as FLUX comes, the autoencoder is a part.
    is_part = config.encoder is None and config.kind is Source.flux_vae
    autoencoder, found = from_hub(
        source,
        "encoder",
        lambda: _with_info(
            network.from_pretrained(
                source,
                subfolder="vae" if is_part else None,
                torch_dtype=torch.float32,
                low_cpu_mem_usage=False,  # with it a missing weight has no name in the error
                output_loading_info=True,
            )
        ),
    )
    _check_whole(found, source)
    size = config.image_size or PublicVaeConfig().image_size
    codec = PublicVae(kind, PublicVaeConfig(image_size=size, network=network_of(autoencoder)))
    _load(codec.autoencoder, autoencoder.state_dict(), source, optional=set())
    return CodecRepresentation(codec, None)


def _with_info(loaded: Any) -> tuple[Any, Mapping[str, Any]]:
    """Give its type to what libraries return when they are asked what they found."""
    model, found = loaded
    return model, found


def _check_whole(found: Mapping[str, Any], source: str) -> None:
    """Refuse weights that are not all there: libraries draw what is missing, and go on."""
    missing = [
        name
        for part in ("missing_keys", "mismatched_keys")
        for name in sorted(str(key) for key in found[part])
        if not name.startswith("head.")
    ]
    if missing:
        raise ValueError(
            f"the weights of {source} are of another network: {len(missing)} are missing or of another shape "
            f"({missing[:3]})"
        )


def _load(module: nn.Module, weights: Mapping[str, Tensor], source: str, optional: set[str]) -> None:
    """Put weights into a module; ValueError if they are not all of its own."""
    try:
        missing, unexpected = module.load_state_dict(dict(weights), strict=False)
    except RuntimeError as error:
        raise ValueError(f"the weights of {source} are of another shape: {error}") from error
    missing = [name for name in missing if name not in optional]
    if missing or unexpected:
        raise ValueError(
            f"the weights of {source} are of another network: {len(missing)} are missing ({missing[:3]}) and "
            f"{len(unexpected)} unknown ({unexpected[:3]})"
        )


@hydra.main(version_base=None, config_path="../conf", config_name="import_pretrained")
def main(node: DictConfig) -> None:
    """Import the weights and say what came out, and what is still to be done."""
    config = to_object(node, ImportConfig)
    made = import_pretrained(config)
    print(f"{config.out}: {made.num_tokens} tokens of {made.num_channels}; fingerprint {made.fingerprint}")
    if not made.has_statistics:
        print(
            "now the statistics of its latents: python -m worldmodel.representation.statistics "
            f"representation={config.out} data=[RECORDINGS]"
        )


store("import_pretrained_schema", ImportConfig)

if __name__ == "__main__":
    main()
