"""RaeRepresentation: a frozen self-supervised encoder and a decoder trained on its latents.

Source: Representation Autoencoders (arXiv 2510.11690), as `diffusers.AutoencoderRAE`. The encoder here is
small and pretrained by ourselves (masked.py); the latents are normalised for each channel at each position.
"""

import hashlib
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from diffusers.models.attention_processor import AttnProcessor
from diffusers.models.autoencoders.autoencoder_rae import AutoencoderRAE
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from transformers import Dinov2WithRegistersModel

from worldmodel.representation.kind import FILE_NAME, Kind, kind_of
from worldmodel.representation.normalisation import MEAN_KEY, STD_KEY, Normalisation
from worldmodel.representation.resize import resize_frames
from worldmodel.tensor_file import read_with_note, smallest, write_tensors

HEAD_DIM = 64
"""Head size that AutoencoderRAE gives its encoders."""


@dataclass(frozen=True, kw_only=True)
class RaeConfig:
    """Shape of the encoder and of the decoder; the defaults are nano: 16 tokens of 128, 1.8 M parameters."""

    image_size: int = 64
    """Height and width that the encoder sees and the decoder makes [pixels]."""
    patch_size: int = 16
    hidden_size: int = 128
    """Width of the encoder, and channels of a token; a multiple of 64."""
    num_layers: int = 4
    decoder_hidden_size: int = 160
    decoder_num_layers: int = 3
    decoder_num_heads: int = 5
    decoder_intermediate_size: int = 480

    def __post_init__(self) -> None:
        """Refuse shapes that do not divide."""
        if self.image_size < 1 or self.patch_size < 1 or self.hidden_size < 1:
            raise ValueError(
                f"image_size, patch_size and hidden_size must be at least 1, got {self.image_size}, "
                f"{self.patch_size} and {self.hidden_size}"
            )
        if self.image_size % self.patch_size:
            raise ValueError(
                f"image_size {self.image_size} must be a multiple of patch_size {self.patch_size}"
            )
        if self.hidden_size % HEAD_DIM:
            raise ValueError(
                f"hidden_size {self.hidden_size} must be a multiple of the head size, {HEAD_DIM}"
            )
        if self.decoder_hidden_size % self.decoder_num_heads:
            raise ValueError(
                f"decoder_hidden_size {self.decoder_hidden_size} must be a multiple of decoder_num_heads "
                f"{self.decoder_num_heads}"
            )

    @property
    def num_tokens(self) -> int:
        """Tokens of a frame."""
        return (self.image_size // self.patch_size) ** 2


class RaeRepresentation:
    """Frames to normalised latents and back, through one AutoencoderRAE.

    `autoencoder` is on `device` in `dtype`, which is the precision of compute; resizing and the latents that
    come out are float32 always.
    """

    def __init__(
        self,
        config: RaeConfig,
        autoencoder: AutoencoderRAE,
        *,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.config = config
        # The plain `Module.to`: the one of diffusers warns about parts that this model does not have.
        nn.Module.to(autoencoder, device=device, dtype=dtype)
        self.autoencoder = autoencoder.eval().requires_grad_(False)
        self._fingerprint: str | None = None

    @classmethod
    def create(cls, config: RaeConfig, *, generator: torch.Generator) -> "RaeRepresentation":
        """Return an untrained representation whose weights come from `generator`."""
        autoencoder = build_autoencoder(config)
        initialise(autoencoder, generator=generator)
        return cls(config, autoencoder)

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        keep_statistics: bool = True,
    ) -> "RaeRepresentation":
        """Read what `save` wrote; without `keep_statistics` latents are the encoder's own output.

        FileNotFoundError if the folder holds no representation, ValueError if its file is truncated, of
        another kind, or of another shape, or if its statistics cannot be divided by.
        """
        path = Path(folder) / FILE_NAME
        tensors, note = read_with_note(path)
        if (kind := kind_of(note)) is not Kind.rae:
            raise ValueError(f"needed our own encoder (kind rae), {path} is of kind {kind.name}")
        try:
            config = RaeConfig(**note["config"])  # pyright: ignore[reportCallIssue]
            autoencoder = build_autoencoder(config)
            autoencoder.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
        except (KeyError, TypeError, RuntimeError) as error:
            raise ValueError(f"{path} does not hold a representation: {error}") from error
        loaded = cls(config, autoencoder)
        statistics = dict(autoencoder.named_buffers())
        if keep_statistics:
            Normalisation(statistics[MEAN_KEY], statistics[STD_KEY])  # refuses what cannot be divided by
        else:
            statistics[MEAN_KEY].zero_()
            statistics[STD_KEY].fill_(1.0)
        if (device, dtype) == ("cpu", torch.float32):
            return loaded
        # The fingerprint is of the file, not of what is rounded to compute.
        rounded = loaded.in_precision(dtype, device=device)
        rounded._fingerprint = loaded.fingerprint
        return rounded

    def save(self, folder: Path) -> None:
        """Write weights, configuration and statistics; what bfloat16 holds exactly is stored in it.

        ValueError if it computes in less than float32: what it was rounded from is not here.
        """
        if self.autoencoder.encoder_mean.dtype != torch.float32:
            raise ValueError("needed a representation that computes in float32 to save, got a rounded copy")
        tensors = {name: smallest(tensor) for name, tensor in self.autoencoder.state_dict().items()}
        note = {"kind": Kind.rae.name, "config": asdict(self.config)}
        write_tensors(Path(folder) / FILE_NAME, tensors, note=note)

    def in_precision(self, dtype: torch.dtype, *, device: str = "cpu") -> "RaeRepresentation":
        """Return a copy that computes in `dtype` on `device`."""
        return RaeRepresentation(self.config, deepcopy(self.autoencoder), device=device, dtype=dtype)

    @property
    def image_size(self) -> int:
        """Height and width of a decoded frame [pixels]."""
        return self.config.image_size

    @property
    def num_tokens(self) -> int:
        """Tokens of a frame."""
        return self.config.num_tokens

    @property
    def num_channels(self) -> int:
        """Channels of a token."""
        return self.config.hidden_size

    @property
    def num_context_channels(self) -> int:
        """None: what is read is what is generated."""
        return 0

    @property
    def has_statistics(self) -> bool:
        """Whether latents are normalised: an encoder is made with mean 0 and deviation 1 everywhere."""
        buffers = dict(self.autoencoder.named_buffers())
        return bool((buffers[MEAN_KEY] != 0).any() | (buffers[STD_KEY] != 1).any())

    @property
    def fingerprint(self) -> str:
        """Hash of everything that `encode` depends on; a cache of latents is only good for one."""
        if self._fingerprint is not None:
            return self._fingerprint
        digest = hashlib.sha256(repr(self.config).encode())
        for name, tensor in self.autoencoder.state_dict().items():
            if not name.startswith("decoder."):
                digest.update(tensor.detach().float().cpu().numpy().tobytes())
        return digest.hexdigest()[:16]

    @torch.no_grad()
    def encode(self, frames: UInt8[Tensor, "batch height width 3"]) -> Float[Tensor, "batch token channel"]:
        """Return normalised latents, float32."""
        weight = self.autoencoder.encoder_mean
        resized = resize_frames(frames.to(weight.device), image_size=self.image_size)
        images = rearrange(resized, "batch height width rgb -> batch rgb height width").to(weight.dtype) / 255
        return self.autoencoder.encode(images, return_dict=False)[0].float()

    @torch.no_grad()
    def decode(
        self, latents: Float[Tensor, "batch token channel"]
    ) -> UInt8[Tensor, "batch image_size image_size 3"]:
        """Return the frames that normalised latents stand for."""
        weight = self.autoencoder.encoder_mean
        images = self.autoencoder.decode(latents.to(weight.device, weight.dtype), return_dict=False)[0]
        levels = (images.float() * 255).round().clamp(0, 255).to(torch.uint8)
        return rearrange(levels, "batch rgb height width -> batch height width rgb")


def build_autoencoder(config: RaeConfig) -> AutoencoderRAE:
    """Return an AutoencoderRAE of this shape, its weights undefined.

    It differs from the one that diffusers makes in three things, none of which changes what it computes:
    its position embedding has one row a token (DINOv2's is for 518 pixels, 131,072 parameters here, and
    would be interpolated in every call); its buffers of latent statistics have their final shape; and
    attention is written out, which takes 0.6 of the time of the fused kernel on a CPU for 21 tokens in
    bfloat16.
    """
    # The constructors draw from torch's global generator; the draws are overwritten and the generator put
    # back.
    with torch.random.fork_rng(devices=[]):
        autoencoder = AutoencoderRAE(
            encoder_type="dinov2",
            encoder_hidden_size=config.hidden_size,
            encoder_patch_size=config.patch_size,
            encoder_num_hidden_layers=config.num_layers,
            encoder_input_size=config.image_size,
            patch_size=config.patch_size,
            decoder_hidden_size=config.decoder_hidden_size,
            decoder_num_hidden_layers=config.decoder_num_layers,
            decoder_num_attention_heads=config.decoder_num_heads,
            decoder_intermediate_size=config.decoder_intermediate_size,
            encoder_norm_mean=[0.5, 0.5, 0.5],
            encoder_norm_std=[0.5, 0.5, 0.5],
            reshape_to_2d=False,
        )
    encoder = encoder_of(autoencoder)
    encoder.embeddings.position_embeddings = nn.Parameter(
        torch.zeros(1, config.num_tokens + 1, config.hidden_size)
    )
    encoder.set_attn_implementation("eager")
    autoencoder.set_attn_processor(AttnProcessor())
    autoencoder.register_buffer(MEAN_KEY, torch.zeros(config.num_tokens, config.hidden_size))
    autoencoder.register_buffer(STD_KEY, torch.ones(config.num_tokens, config.hidden_size))
    return autoencoder


def encoder_of(autoencoder: AutoencoderRAE) -> Dinov2WithRegistersModel:
    """Return the encoder with its type."""
    assert isinstance(autoencoder.encoder, Dinov2WithRegistersModel)
    return autoencoder.encoder


@torch.no_grad()
def initialise(module: nn.Module, *, generator: torch.Generator) -> None:
    """Draw all weights: Xavier uniform for matrices, normal 0.02 for tokens; norms and biases are neutral.

    Source: MAE (arXiv 2111.06377), appendix A.1.
    """
    norms = (part for part in module.modules() if isinstance(part, nn.LayerNorm | nn.GroupNorm))
    scales = {part.weight for part in norms}
    for name, parameter in module.named_parameters():
        if parameter.ndim == 1:
            is_scale = parameter in scales or name.endswith("lambda1")
            parameter.fill_(1.0 if is_scale else 0.0)
        elif name.endswith("weight"):
            nn.init.xavier_uniform_(parameter.flatten(1), generator=generator)
        else:
            parameter.normal_(std=0.02, generator=generator)


def with_statistics(
    representation: RaeRepresentation,
    *,
    mean: Float[Tensor, "token channel"],
    std: Float[Tensor, "token channel"],
) -> RaeRepresentation:
    """Return a copy whose latents are (features - mean) / std, features being the encoder's own output.

    ValueError for what cannot be divided by.
    """
    Normalisation(mean, std)
    weight = representation.autoencoder.encoder_mean
    copied = representation.in_precision(weight.dtype, device=str(weight.device))
    buffers = dict(copied.autoencoder.named_buffers())
    buffers[MEAN_KEY].copy_(mean)
    buffers[STD_KEY].copy_(std)
    return copied
