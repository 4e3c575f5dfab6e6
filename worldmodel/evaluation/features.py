"""Features: what Frechet distances are taken in, each with the name that goes into the measure.

`<kind>:<fingerprint>` is a representation of ours, averaged over the tokens of a picture. `inception` is the
network of FID, with its published weights from a local file and no others: what it gives alone is called FID.
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from einops import reduce
from jaxtyping import Float, UInt8
from torch import Tensor

INCEPTION = "inception"
INCEPTION_HASH = "6726825d"
"""First digits of the SHA-256 of pt_inception-2015-12-05-6726825d.pth, which its name carries."""


@runtime_checkable
class Encoder(Protocol):
    """A representation that can say which one it is."""

    @property
    def fingerprint(self) -> str:
        """Hash of all that `encode` depends on."""
        ...

    def encode(self, frames: UInt8[Tensor, "batch height width 3"]) -> Float[Tensor, "batch token channel"]:
        """Return the latents of frames of any size."""
        ...


Describe = Callable[[UInt8[Tensor, "batch height width 3"]], Float[Tensor, "batch feature"]]


@dataclass(frozen=True)
class Features:
    """A description of pictures, and its name."""

    name: str
    describe: Describe

    @property
    def measure(self) -> str:
        """What a Frechet distance in these features is called."""
        return "fid" if self.name == INCEPTION else f"frechet_distance[{self.name}]"

    def of(
        self, batches: Iterable[UInt8[Tensor, "batch height width 3"]]
    ) -> Float[np.ndarray, "sample feature"]:
        """Return the features of pictures that come in batches."""
        return np.concatenate([self.describe(batch).cpu().double().numpy() for batch in batches])


def features_of(encoder: Encoder) -> Features:
    """Return the features that a representation gives: the mean of its latents over a picture."""
    kind = type(encoder).__name__.removesuffix("Representation").lower()

    def describe(frames: UInt8[Tensor, "batch height width 3"]) -> Float[Tensor, "batch feature"]:
        return reduce(encoder.encode(frames).float(), "batch token channel -> batch channel", "mean")

    return Features(f"{kind}:{encoder.fingerprint}", describe)


def inception_features(weights: Path) -> Features:
    """Return the 2048 features of FID; `pip install 'worldnav[fid]'` brings the network.

    FileNotFoundError without the file, ValueError if its weights are not those of FID, ImportError without
    the library.
    """
    if not weights.is_file():
        raise FileNotFoundError(f"no weights of Inception at {weights}; FID is left out without `inception`")
    found = hashlib.sha256(weights.read_bytes()).hexdigest()
    if not found.startswith(INCEPTION_HASH):
        raise ValueError(
            f"{weights} does not hold the weights of FID: needed a SHA-256 that begins {INCEPTION_HASH}, got "
            f"{found[:8]}; get pt_inception-2015-12-05-6726825d.pth"
        )
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import (  # noqa: PLC0415 # pyright: ignore
            FeatureExtractorInceptionV3,
        )
    except ImportError as error:
        raise ImportError("FID needs torch-fidelity: pip install 'worldnav[fid]'") from error
    network = FeatureExtractorInceptionV3(
        "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(weights)
    ).eval()

    @torch.no_grad()
    def describe(frames: UInt8[Tensor, "batch height width 3"]) -> Float[Tensor, "batch feature"]:
        return network(frames.permute(0, 3, 1, 2).contiguous())[0]  # batch rgb height width, uint8

    return Features(INCEPTION, describe)
