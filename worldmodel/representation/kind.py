"""Kind: which of our representations a file holds."""

from enum import Enum

FILE_NAME = "representation.safetensors"
"""Of all kinds: weights, statistics of latents, and a note with kind and configuration."""


class Kind(Enum):
    """What turns frames into latents."""

    rae = "rae"
    """Our own small encoder with the decoder that was trained on it; files that name no kind are of this."""
    siglip2 = "siglip2"
    """SigLIP 2 with a public decoder: the paper's."""
    dinov2 = "dinov2"
    """DINOv2 with registers and a public decoder."""
    vae = "vae"
    """Our own small autoencoder, trained from recordings."""
    autoencoder_kl = "autoencoder_kl"
    """A public AutoencoderKL: of Stable Diffusion (4 channels) or FLUX (16)."""
    autoencoder_tiny = "autoencoder_tiny"
    """A public AutoencoderTiny: a small substitute of one of those."""
    pixels = "pixels"
    """The pixels of patches."""


def kind_of(note: dict[str, object]) -> Kind:
    """Return the kind that a file's note names; ValueError for one that this version does not know."""
    name = note.get("kind", Kind.rae.name)
    for kind in Kind:
        if kind.name == name:
            return kind
    raise ValueError(
        f"needed a representation of one of the kinds {', '.join(kind.name for kind in Kind)}, got {name!r}; "
        "install the version that wrote it"
    )
