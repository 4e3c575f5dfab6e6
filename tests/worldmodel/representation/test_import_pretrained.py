"""Small models of the public classes, saved as their libraries save them, come in by path."""

import json
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_rae import AutoencoderRAE
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import (
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    SiglipConfig,
    SiglipModel,
    SiglipVisionModel,
)

from tests.worldmodel.representation.synthetic import make_frames
from tests.worldmodel.representation.test_public_rae import DECODER, DINO, SIGLIP, make_codec
from tests.worldmodel.representation.test_public_vae import FLUX, SD, SMALL, TINY
from worldmodel.precision import Precision
from worldmodel.representation.import_pretrained import ImportConfig, Source, import_pretrained
from worldmodel.representation.kind import Kind
from worldmodel.representation.open import load_any
from worldmodel.representation.public_rae import PublicRae
from worldmodel.representation.public_weights import read_decoder
from worldmodel.representation.rae import initialise


def drawn(module: nn.Module, *, seed: int) -> None:
    initialise(module, generator=torch.Generator().manual_seed(seed))


def save_siglip(folder: Path) -> SiglipModel:
    """Save both towers, as google's repositories hold them."""
    text = {"hidden_size": 36, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = SiglipConfig(text_config=text | {"vocab_size": 11}, vision_config=SIGLIP)
    siglip = SiglipModel(config).eval()
    drawn(siglip, seed=1)
    siglip.save_pretrained(folder)
    return siglip


def scale_rae_files(codec: PublicRae, folder: Path) -> None:
    """Write a decoder as Scale-RAE does: a configuration of ViT-MAE, its names of weights, one .pt file."""
    weights = {}
    renamed = {"to_q": "attention.query", "to_k": "attention.key", "to_v": "attention.value"}
    for name, tensor in codec.decoder.state_dict().items():
        theirs = name.replace("to_out.0", "output.dense")
        for ours, own in renamed.items():
            theirs = theirs.replace(ours, own)
        weights[theirs] = tensor
    folder.mkdir()
    torch.save(weights, folder / "model.pt")
    config = {**DECODER, "model_type": "vit_mae", "hidden_size": 36, "image_size": 42}
    (folder / "config.json").write_text(json.dumps(config))


def test_siglip2_with_the_decoder_of_scale_rae(tmp_path):
    siglip, codec = save_siglip(tmp_path / "encoder"), make_codec(Kind.siglip2)
    scale_rae_files(codec, tmp_path / "decoder")
    made = import_pretrained(
        ImportConfig(
            kind=Source.siglip2,
            out=str(tmp_path / "out"),
            encoder=str(tmp_path / "encoder"),
            decoder=str(tmp_path / "decoder"),
            image_size=42,
        )
    )
    loaded = load_any(tmp_path / "out")
    assert loaded.fingerprint == made.fingerprint and not loaded.has_statistics
    frames = make_frames(2, seed=1, height=42, width=42)
    with torch.no_grad():
        seen = frames.permute(0, 3, 1, 2) / 127.5 - 1
        hidden = siglip.vision_model(pixel_values=seen).last_hidden_state  # the norm's weights are neutral
        made_images = codec.to_images(hidden)
    features = loaded.encode(frames)
    torch.testing.assert_close(features, hidden)
    expected = (made_images * 255).clamp(0, 255).permute(0, 2, 3, 1)
    assert (loaded.decode(features).float() - expected).abs().max() <= 0.51


def test_the_weights_of_the_last_norm_are_stripped(tmp_path):
    siglip = save_siglip(tmp_path / "encoder")
    scale_rae_files(make_codec(Kind.siglip2), tmp_path / "decoder")
    config = ImportConfig(
        kind=Source.siglip2,
        out=str(tmp_path / "out"),
        encoder=str(tmp_path / "encoder"),
        decoder=str(tmp_path / "decoder"),
        image_size=42,
    )
    before = import_pretrained(config).fingerprint
    with torch.no_grad():
        assert isinstance(siglip.vision_model, SiglipVisionModel)
        siglip.vision_model.post_layernorm.weight.add_(1)
    siglip.save_pretrained(tmp_path / "encoder")
    assert import_pretrained(config).fingerprint == before


def test_dinov2_with_decoder_and_statistics_of_rae(tmp_path):
    encoder = Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**DINO)).eval()
    drawn(encoder, seed=2)
    encoder.save_pretrained(tmp_path / "encoder")
    deviations = torch.rand(64, 3, 3, generator=torch.Generator().manual_seed(3)) + 0.5
    autoencoder = AutoencoderRAE(
        encoder_type="dinov2",
        encoder_hidden_size=64,
        encoder_num_hidden_layers=1,
        encoder_input_size=42,
        latents_std=deviations,
        **{name: value for name, value in DECODER.items() if name.startswith("decoder")},
    )
    drawn(autoencoder.decoder, seed=4)
    autoencoder.save_pretrained(tmp_path / "decoder")
    config = ImportConfig(
        kind=Source.dinov2,
        out=str(tmp_path / "out"),
        encoder=str(tmp_path / "encoder"),
        decoder=str(tmp_path / "decoder"),
        image_size=42,
    )
    with pytest.raises(ValueError, match="are of another shape"):  # 24 channels, the decoder reads 64
        import_pretrained(config)
    wide_form: dict[str, Any] = DINO | {"hidden_size": 64, "num_attention_heads": 1}
    wide = Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**wide_form))
    drawn(wide, seed=5)
    wide.save_pretrained(tmp_path / "encoder")
    made = import_pretrained(config)
    assert made.image_size == 48 and made.normalisation is not None
    # Row by row: the third token of the first row is [:, 0, 2] of a map.
    torch.testing.assert_close(made.normalisation.std[2], deviations[:, 0, 2])
    assert not made.normalisation.mean.any()
    latents = torch.randn(2, 9, 64, generator=torch.Generator().manual_seed(6))
    with torch.no_grad():
        maps = latents.transpose(1, 2).unflatten(2, (3, 3))  # batch channel row column
        expected = autoencoder.eval().decode(maps, return_dict=False)[0]
    levels = (expected * 255).clamp(0, 255).permute(0, 2, 3, 1)
    assert (made.decode(latents).float() - levels).abs().max() <= 0.51


@pytest.mark.parametrize(
    ("kind", "network"),
    [
        (Source.sd_vae, AutoencoderKL(**(SD | SMALL))),
        (Source.flux_vae, AutoencoderKL(**(FLUX | SMALL))),
        (Source.tiny_vae, AutoencoderTiny(**TINY)),
    ],
)
def test_autoencoders_of_diffusers(kind, network, tmp_path):
    drawn(network, seed=7)
    network.save_pretrained(tmp_path / "network")
    made = import_pretrained(
        ImportConfig(kind=kind, out=str(tmp_path / "out"), encoder=str(tmp_path / "network"), image_size=24)
    )
    loaded = load_any(tmp_path / "out")
    frames = make_frames(2, seed=8, height=24, width=24)
    assert loaded.fingerprint == made.fingerprint and loaded.num_tokens == 9
    assert torch.equal(loaded.encode(frames), made.encode(frames))
    with pytest.raises(ValueError, match="has its own decoder"):
        ImportConfig(kind=kind, out="o", decoder="d")


def test_bfloat16_takes_half_the_room(tmp_path):
    network = AutoencoderTiny(**TINY)
    drawn(network, seed=9)
    network.save_pretrained(tmp_path / "network")
    sizes = []
    for precision in Precision:
        out = tmp_path / precision.name
        config = ImportConfig(
            kind=Source.tiny_vae,
            out=str(out),
            encoder=str(tmp_path / "network"),
            image_size=24,
            precision=precision,
        )
        made = import_pretrained(config)
        assert load_any(out).fingerprint == made.fingerprint
        sizes.append((out / "representation.safetensors").stat().st_size)
    assert sizes[1] < 0.7 * sizes[0]


@pytest.mark.filterwarnings("ignore:.*local_dir_use_symlinks:UserWarning")  # diffusers still passes it
@pytest.mark.parametrize("kind", [Source.siglip2, Source.sd_vae])
def test_without_a_hub_the_error_names_weights_and_remedy(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    config = ImportConfig(kind=kind, out=str(tmp_path / "out"))
    with pytest.raises(FileNotFoundError, match=r"could not be had from the model hub.*encoder=FOLDER"):
        import_pretrained(config)
    assert not (tmp_path / "out").exists()


def test_decoders_that_are_missing_foreign_or_execute_something_are_refused(tmp_path):
    save_siglip(tmp_path / "encoder")
    codec, folder = make_codec(Kind.siglip2), tmp_path / "decoder"
    scale_rae_files(codec, folder)
    config = ImportConfig(
        kind=Source.siglip2,
        out=str(tmp_path / "out"),
        encoder=str(tmp_path / "encoder"),
        decoder=str(folder),
        image_size=42,
    )
    torch.save({"decoder": Path("anything but a tensor")}, folder / "model.pt")
    with pytest.raises(ValueError, match="needed tensors alone in"):
        import_pretrained(config)
    torch.save({"decoder_embed.weight": torch.zeros(16, 36)}, folder / "model.pt")
    with pytest.raises(ValueError, match=r"of another network: .* are missing"):
        import_pretrained(config)
    (folder / "model.pt").unlink()
    with pytest.raises(FileNotFoundError, match=r"no model\.pt in .*decoder=FOLDER"):
        import_pretrained(config)
    (folder / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match=r"configuration in .* is of 'bert'"):
        import_pretrained(config)
    assert not (tmp_path / "out").exists()


def without_one(folder: Path, file: str, ending: str) -> None:
    tensors = load_file(folder / file)
    save_file(
        {name: t for name, t in tensors.items() if not name.endswith(ending)}, folder / file, {"format": "pt"}
    )


def test_weights_with_a_part_missing_are_refused(tmp_path):
    AutoencoderTiny(**TINY).save_pretrained(tmp_path / "network")
    without_one(tmp_path / "network", "diffusion_pytorch_model.safetensors", "encoder.layers.0.bias")
    with pytest.raises(ValueError, match=r"of another network: 1 are missing .*'encoder\.layers\.0\.bias'"):
        import_pretrained(
            ImportConfig(
                kind=Source.tiny_vae,
                out=str(tmp_path / "out"),
                encoder=str(tmp_path / "network"),
                image_size=24,
            )
        )
    save_siglip(tmp_path / "encoder")
    without_one(tmp_path / "encoder", "model.safetensors", "vision_model.encoder.layers.1.mlp.fc1.bias")
    with pytest.raises(ValueError, match=r"of another network: 1 are missing .*layers\.1\.mlp\.fc1\.bias"):
        import_pretrained(
            ImportConfig(kind=Source.siglip2, out=str(tmp_path / "out"), encoder=str(tmp_path / "encoder"))
        )


def test_a_decoder_of_scale_rae_has_the_form_and_the_weights_it_was_written_with(tmp_path):
    codec = make_codec(Kind.siglip2)
    scale_rae_files(codec, tmp_path / "decoder")
    read = read_decoder(str(tmp_path / "decoder"), file=None)
    assert read.form == DECODER and read.normalisation is None
    weights = codec.decoder.state_dict()
    assert weights.keys() == read.weights.keys()
    assert all(torch.equal(weights[name], tensor) for name, tensor in read.weights.items())
