"""Opening: the representation that a folder holds, whatever its kind."""

from pathlib import Path

import torch

from worldmodel.representation.codec import Codec, CodecRepresentation, representation_of
from worldmodel.representation.dual import GENERATION, UNDERSTANDING, is_dual, load_dual
from worldmodel.representation.dual import KIND as DUAL
from worldmodel.representation.interface import Representation
from worldmodel.representation.kind import FILE_NAME, Kind, kind_of
from worldmodel.representation.normalisation import MEAN_KEY, STD_KEY
from worldmodel.representation.pixels import PixelsCodec, PixelsConfig
from worldmodel.representation.public_rae import PublicRae, PublicRaeConfig
from worldmodel.representation.public_vae import PublicVae, PublicVaeConfig
from worldmodel.representation.rae import RaeRepresentation
from worldmodel.representation.small_vae import SmallVae, SmallVaeConfig
from worldmodel.tensor_file import read_with_note


def load_representation(
    folder: str | Path, *, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> Representation:
    """Read a representation to train or to plan with.

    FileNotFoundError if the folder holds none; ValueError if its file is truncated, foreign or of another
    shape, and if it has no latent statistics.
    """
    if is_dual(folder):
        return load_dual(folder, lambda part: load_representation(part, device=device, dtype=dtype))
    representation = load_any(folder, device=device, dtype=dtype)
    if not representation.has_statistics:
        raise ValueError(
            f"needed a representation with the statistics of its latents, {folder} has none; compute them by "
            f"`python -m worldmodel.representation.statistics representation={folder} data=[RECORDINGS]`"
        )
    return representation


def load_any(
    folder: str | Path,
    *,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    keep_statistics: bool = True,
) -> RaeRepresentation | CodecRepresentation:
    """Read a representation of one encoder, with latent statistics or without.

    Without `keep_statistics` those of the file are passed over, whatever they are. Errors are those of
    `load_representation`, and ValueError for a dual representation.
    """
    path = Path(folder) / FILE_NAME
    tensors, note = read_with_note(path)
    if note.get("kind") == DUAL:
        raise ValueError(
            f"{folder} holds two representations; name one of {Path(folder) / UNDERSTANDING} and "
            f"{Path(folder) / GENERATION}"
        )
    kind = kind_of(note)
    if kind is Kind.rae:
        return RaeRepresentation.load(
            Path(folder), device=device, dtype=dtype, keep_statistics=keep_statistics
        )
    if not keep_statistics:
        tensors = {name: each for name, each in tensors.items() if name not in (MEAN_KEY, STD_KEY)}
    try:
        codec = _make_codec(kind, note["config"])
        return representation_of(codec, tensors, device=device, dtype=dtype)
    except (KeyError, TypeError, RuntimeError) as error:
        raise ValueError(f"{path} does not hold a representation: {error}") from error


def _make_codec(kind: Kind, config: object) -> Codec:
    if not isinstance(config, dict):
        raise TypeError(f"needed a configuration in its note, got {type(config).__name__}")
    match kind:
        case Kind.pixels:
            return PixelsCodec(PixelsConfig(**config))
        case Kind.vae:
            return SmallVae(SmallVaeConfig(**config))
        case Kind.autoencoder_kl | Kind.autoencoder_tiny:
            return PublicVae(kind, PublicVaeConfig(**config))
        case Kind.siglip2 | Kind.dinov2:
            return PublicRae(kind, PublicRaeConfig(**config))
        case Kind.rae:
            raise AssertionError("our own encoder is a representation of its own, without a codec")


def refuse_other(folder: Path, kind: str) -> None:
    """Raise ValueError if a folder that is to be written to holds a representation of another kind."""
    path = folder / FILE_NAME
    if path.is_file():
        found = read_with_note(path)[1].get("kind", Kind.rae.name)
        if found != kind:
            raise ValueError(
                f"needed a folder for a representation of kind {kind}, {folder} holds one of kind {found}; "
                "give another `out`"
            )
