"""Codec: frames to features and back, before any normalisation; and the representation that one makes."""

import abc
import hashlib
import json
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from worldmodel.representation.kind import FILE_NAME, Kind
from worldmodel.representation.normalisation import MEAN_KEY, STD_KEY, Normalisation
from worldmodel.representation.resize import resize_frames
from worldmodel.tensor_file import smallest, write_tensors

DECODER_PARTS = {"decoder", "post_quant_conv"}
"""Names of modules that `encode` does not use."""


@dataclass(frozen=True, kw_only=True)
class CodecShape:
    """What goes into a codec and comes out of it.

    Attributes:
        input_size: Height and width of the images that go in [pixels].
        image_size: Height and width of those that come out.
        num_tokens: Tokens of an image.
        num_channels: Channels of a token.
    """

    input_size: int
    image_size: int
    num_tokens: int
    num_channels: int


class Codec(nn.Module, abc.ABC):
    """Networks, or none, between images and the features of their tokens.

    Args:
        kind: what the file is called that it is saved in.
        note: what the weights do not say, as plain containers.
        shape: what goes in and comes out.
    """

    def __init__(self, kind: Kind, note: dict[str, object], shape: CodecShape) -> None:
        super().__init__()
        self.kind, self.note, self.shape = kind, note, shape

    @abc.abstractmethod
    def to_features(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch token channel"]:
        """Return the features of images whose levels are in [0, 1]."""

    @abc.abstractmethod
    def to_images(
        self, features: Float[Tensor, "batch token channel"]
    ) -> Float[Tensor, "batch 3 height width"]:
        """Return images with levels about in [0, 1]."""


class CodecRepresentation:
    """Frames to normalised latents and back through a codec.

    The codec is on `device` in `dtype`, which is the precision of its compute; resizing, normalisation and
    the latents that come out are float32 always. Without a normalisation latents are the features: good for
    measuring one, and refused by all else.
    """

    def __init__(
        self,
        codec: Codec,
        normalisation: Normalisation | None,
        *,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        shape = (codec.shape.num_tokens, codec.shape.num_channels)
        if normalisation is not None and normalisation.mean.shape != shape:
            raise ValueError(
                f"needed latent statistics of {shape[0]} tokens of {shape[1]} channels, got "
                f"{tuple(normalisation.mean.shape)}; compute them anew with `python -m "
                "worldmodel.representation.statistics`"
            )
        self.codec = codec.to(device=device, dtype=dtype).eval().requires_grad_(False)
        self.normalisation = None if normalisation is None else normalisation.to(device)
        self.device = device
        self._fingerprint: str | None = None
        # Without weights nothing is gained by computing in less.
        self.dtype = dtype if any(True for _ in codec.parameters()) else torch.float32

    @property
    def has_statistics(self) -> bool:
        """Whether latents are normalised."""
        return self.normalisation is not None

    @property
    def image_size(self) -> int:
        """Height and width of a decoded frame [pixels]."""
        return self.codec.shape.image_size

    @property
    def num_tokens(self) -> int:
        """Tokens of a frame."""
        return self.codec.shape.num_tokens

    @property
    def num_channels(self) -> int:
        """Channels of a token."""
        return self.codec.shape.num_channels

    @property
    def num_context_channels(self) -> int:
        """None: what is read is what is generated."""
        return 0

    @property
    def fingerprint(self) -> str:
        """Hash of everything that `encode` depends on, but the precision of its compute."""
        if self._fingerprint is None:
            self._fingerprint = self._hash()
        return self._fingerprint

    def with_normalisation(self, normalisation: Normalisation | None) -> "CodecRepresentation":
        """Return the same codec with other statistics, or with none."""
        return CodecRepresentation(self.codec, normalisation, device=self.device, dtype=self.dtype)

    def in_precision(self, dtype: torch.dtype, *, device: str = "cpu") -> "CodecRepresentation":
        """Return a copy that computes in `dtype` on `device`, with the fingerprint of this one."""
        copied = CodecRepresentation(deepcopy(self.codec), self.normalisation, device=device, dtype=dtype)
        copied._fingerprint = self.fingerprint
        return copied

    def save(self, folder: Path) -> None:
        """Write weights, note and statistics as one file; what bfloat16 holds exactly is stored in it.

        ValueError if it computes in less than float32: what it was rounded from is not here.
        """
        if self.dtype != torch.float32:
            raise ValueError("needed a representation that computes in float32 to save, got a rounded copy")
        tensors = {name: smallest(tensor) for name, tensor in self._tensors().items()}
        note = {"kind": self.codec.kind.name, "config": self.codec.note}
        write_tensors(Path(folder) / FILE_NAME, tensors, note=note)

    @torch.no_grad()
    def encode(self, frames: UInt8[Tensor, "batch height width 3"]) -> Float[Tensor, "batch token channel"]:
        """Return normalised latents, float32."""
        # First to the size that frames are cached in, so that latents are the same from a cache and without.
        shown = resize_frames(frames.to(self.device), image_size=self.image_size)
        resized = resize_frames(shown, image_size=self.codec.shape.input_size)
        images = rearrange(resized, "batch height width rgb -> batch rgb height width").to(self.dtype) / 255
        features = self.codec.to_features(images).float()
        return features if self.normalisation is None else self.normalisation.apply(features)

    @torch.no_grad()
    def decode(
        self, latents: Float[Tensor, "batch token channel"]
    ) -> UInt8[Tensor, "batch image_size image_size 3"]:
        """Return the frames that normalised latents stand for."""
        latents = latents.to(self.device, torch.float32)
        features = latents if self.normalisation is None else self.normalisation.undo(latents)
        images = self.codec.to_images(features.to(self.dtype))
        levels = (images.float() * 255).round().clamp(0, 255).to(torch.uint8)
        return rearrange(levels, "batch rgb height width -> batch height width rgb")

    def _hash(self) -> str:
        digest = hashlib.sha256(
            f"{self.codec.kind.name} {json.dumps(self.codec.note, sort_keys=True)}".encode()
        )
        for name, tensor in self._tensors().items():
            if not DECODER_PARTS & set(name.split(".")):
                digest.update(f"{name} {tuple(tensor.shape)}".encode())
                digest.update(tensor.detach().float().cpu().numpy().tobytes())
        return digest.hexdigest()[:16]

    def _tensors(self) -> dict[str, Tensor]:
        tensors = dict(self.codec.state_dict())
        if self.normalisation is not None:
            tensors |= {MEAN_KEY: self.normalisation.mean, STD_KEY: self.normalisation.std}
        return tensors


def representation_of(
    codec: Codec, tensors: dict[str, Tensor], *, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> CodecRepresentation:
    """Return the representation whose file held these tensors, its codec being of the right shape.

    RuntimeError if they are not the codec's.
    """
    weights = {name: tensor.float() for name, tensor in tensors.items() if name not in (MEAN_KEY, STD_KEY)}
    codec.load_state_dict(weights)
    normalisation = None
    if MEAN_KEY in tensors:
        normalisation = Normalisation(tensors[MEAN_KEY].float(), tensors[STD_KEY].float())
    representation = CodecRepresentation(codec, normalisation)
    is_as_asked = device == "cpu" and dtype == torch.float32
    # The fingerprint is of the weights as they are in the file, not as they are rounded to compute.
    return representation if is_as_asked else representation.in_precision(dtype, device=device)
