"""Frame metrics: how near imagined frames, or their latents, are to the true ones.

PSNR and SSIM need nothing. LPIPS and DreamSim need their packages (`pip install 'worldnav[perceptual]'`) and
weights that these fetch; without them they are left out, with the reason. The distances of RAE-NWM and of our
planner, in the latents of the model's own representation, are here too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

LEVELS = 255.0
EQUAL_PSNR_DB = 10 * float(np.log10(12 * LEVELS**2))
"""What equal frames are given, 58.9 dB: that of frames that differ by rounding to 8 bits alone, whose squared
error is 1/12 of a level. The formula gives infinity, of which no mean can be taken."""
NOT_OFFERED = {
    "fvd": "no library that we keep offers it, and its detector's weights are a program (TorchScript)",
}
"""Metrics of the literature that are left out for everybody, and why."""

Frames = UInt8[Tensor, "batch height width 3"]
Compare = Callable[[Frames, Frames], Float[Tensor, " batch"]]
"""Made and true frames of one size -> one number a pair."""
Network = Callable[[Tensor, Tensor], Tensor]
Preprocess = Callable[[Image.Image], Float[Tensor, "1 3 side side"]]


class Perceptual(Enum):
    """Metrics that a trained network takes; lower is nearer."""

    lpips = "lpips"
    dreamsim = "dreamsim"


@dataclass(frozen=True)
class Opened:
    """The perceptual metrics at hand, and why the others are not."""

    metrics: dict[str, Compare]
    missing: dict[str, str]


def to_square(
    frames: UInt8[Tensor, "batch height width 3"], *, size_px: int
) -> UInt8[Tensor, "batch {size_px} {size_px} 3"]:
    """Resize whole frames to a square with an antialiased triangle filter; nothing is cut off."""
    if frames.shape[1:3] == (size_px, size_px):
        return frames
    images = rearrange(frames, "batch height width rgb -> batch rgb height width").float()
    resized = F.interpolate(images, size=(size_px, size_px), mode="bilinear", antialias=True)
    levels = resized.round().clamp(0, LEVELS).to(torch.uint8)
    return rearrange(levels, "batch rgb height width -> batch height width rgb").contiguous()


def to_unit(
    frames: UInt8[Tensor, "batch height width 3"],
) -> Float[Tensor, "batch 3 height width"]:
    """Return frames as floats in [0, 1]."""
    return rearrange(frames, "batch height width rgb -> batch rgb height width").float() / LEVELS


def psnr_db(
    made: UInt8[Tensor, "batch height width 3"], true: UInt8[Tensor, "batch height width 3"]
) -> Float[Tensor, " batch"]:
    """Return each pair's peak signal-to-noise ratio [dB], of all pixels and colours together.

    10 log10(255^2 / mean squared difference of levels); at most `EQUAL_PSNR_DB`.
    """
    from torchmetrics.functional.image import peak_signal_noise_ratio  # noqa: PLC0415 (seconds to import)

    found = peak_signal_noise_ratio(
        to_unit(made), to_unit(true), data_range=1.0, reduction="none", dim=(1, 2, 3)
    )
    return found.clamp(max=EQUAL_PSNR_DB)


def ssim(
    made: UInt8[Tensor, "batch height width 3"], true: UInt8[Tensor, "batch height width 3"]
) -> Float[Tensor, " batch"]:
    """Return each pair's structural similarity in [-1, 1], 1 for equal frames.

    A Gaussian window of 11 pixels with a deviation of 1.5 about every pixel, borders mirrored, each colour by
    itself (Wang et al. 2004; they leave out windows that cross the border).
    """
    from torchmetrics.functional.image import structural_similarity_index_measure  # noqa: PLC0415

    found = structural_similarity_index_measure(
        to_unit(made), to_unit(true), gaussian_kernel=True, sigma=1.5, data_range=1.0, reduction="none"
    )
    assert isinstance(found, Tensor)
    return found.reshape(len(made))  # one pair comes back without its axis


def latent_squared(
    made: Float[Tensor, "batch token channel"], true: Float[Tensor, "batch token channel"]
) -> Float[Tensor, " batch"]:
    """Return the mean squared difference of latents."""
    return reduce((made.float() - true.float()).square(), "batch token channel -> batch", "mean")


def latent_cosine(
    made: Float[Tensor, "batch token channel"], true: Float[Tensor, "batch token channel"]
) -> Float[Tensor, " batch"]:
    """Return the mean over tokens of 1 - cosine of their channels, RAE-NWM's cost."""
    return 1 - F.cosine_similarity(made.float(), true.float(), dim=-1).mean(dim=1)


def lpips_by(network: Network) -> Compare:
    """Return LPIPS by its network, which takes images in [-1, 1]."""

    @torch.no_grad()
    def compare(made: Frames, true: Frames) -> Float[Tensor, " batch"]:
        return network(2 * to_unit(made) - 1, 2 * to_unit(true) - 1).reshape(len(made))

    return compare


def dreamsim_by(network: Network, preprocess: Preprocess) -> Compare:
    """Return DreamSim by its network, behind its own preprocessing (224 pixels, [0, 1])."""

    @torch.no_grad()
    def compare(made: Frames, true: Frames) -> Float[Tensor, " batch"]:
        ours, theirs = (
            torch.cat([preprocess(Image.fromarray(frame)) for frame in frames.numpy()])
            for frames in (made, true)
        )
        return network(ours, theirs).reshape(len(made))

    return compare


def open_perceptual(wanted: Sequence[Perceptual]) -> Opened:
    """Open the perceptual metrics that are wanted; those whose package or weights are absent are named."""
    metrics: dict[str, Compare] = {}
    missing: dict[str, str] = {}
    for metric in wanted:
        try:
            metrics[metric.name] = _open(metric)
        except ImportError as error:
            missing[metric.name] = (
                f"{metric.name} is not installed ({error}): pip install 'worldnav[perceptual]'"
            )
        except (OSError, RuntimeError, ValueError) as error:  # what downloads and damaged weights raise
            missing[metric.name] = (
                f"the weights of {metric.name} could not be had ({type(error).__name__}: {error}); run once "
                "where there is a network"
            )
    return Opened(metrics, missing)


def _open(metric: Perceptual) -> Compare:
    match metric:
        case Perceptual.lpips:
            import lpips  # noqa: PLC0415 # pyright: ignore[reportMissingImports]

            return lpips_by(lpips.LPIPS(net="alex", verbose=False).eval())
        case Perceptual.dreamsim:
            import dreamsim  # noqa: PLC0415 # pyright: ignore[reportMissingImports]

            # Its default is a folder `models` wherever the command happens to run.
            cache = Path(torch.hub.get_dir()) / "dreamsim"
            return dreamsim_by(*dreamsim.dreamsim(pretrained=True, device="cpu", cache_dir=str(cache)))
