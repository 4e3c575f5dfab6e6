"""Quality: what is lost between a frame and its reconstruction, in numbers and in a picture."""

from dataclasses import dataclass
from pathlib import Path

import torch
from einops import rearrange
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from worldmodel.representation.cache import FrameCache
from worldmodel.representation.interface import Representation

NUM_MEASURED = 2048
"""Frames that the numbers are taken over, evenly spread."""
NUM_SHOWN = 12


@dataclass(frozen=True, kw_only=True)
class Quality:
    """Errors of reconstructions, and the deviation of latents, which is 1 over training frames."""

    num_frames: int
    mean_absolute_error: float
    """In grey levels, of 255."""
    psnr_db: float
    """Mean over frames of the peak signal-to-noise ratio."""
    latent_deviation: float


def measure(representation: Representation, frames: FrameCache, *, picture: Path | None = None) -> Quality:
    """Measure reconstructions of frames; write some of them beside their originals to `picture` (PNG)."""
    count = len(frames.frames)
    chosen = torch.linspace(0, count - 1, min(count, NUM_MEASURED)).round().long()
    errors, squares, deviations = [], [], []
    for part in chosen.split(256):
        originals = frames.at(part)
        latents = representation.encode(originals)
        difference = representation.decode(latents).cpu().float() - originals.float()
        errors.append(difference.abs().mean(dim=(1, 2, 3)))
        squares.append(difference.square().mean(dim=(1, 2, 3)))
        deviations.append(latents.square().mean(dim=(1, 2)).cpu())
    if picture is not None:
        shown = frames.at(chosen[torch.linspace(0, len(chosen) - 1, NUM_SHOWN).round().long()])
        write_picture(shown, representation.decode(representation.encode(shown)).cpu(), picture)
    return Quality(
        num_frames=len(chosen),
        mean_absolute_error=float(torch.cat(errors).mean()),
        psnr_db=float((10 * torch.log10(255**2 / torch.cat(squares).clamp(min=1e-3))).mean()),
        latent_deviation=float(torch.cat(deviations).mean().sqrt()),
    )


def write_picture(
    originals: UInt8[Tensor, "frame height width 3"], made: UInt8[Tensor, "frame height width 3"], path: Path
) -> None:
    """Write frames (upper row) and their reconstructions (lower row), twice as large."""
    sheet = rearrange([originals, made], "row frame height width rgb -> (row height) (frame width) rgb")
    image = Image.fromarray(sheet.numpy())
    path.parent.mkdir(parents=True, exist_ok=True)
    image.resize((image.width * 2, image.height * 2), Image.Resampling.NEAREST).save(path)
