"""Prediction row: one method's frame at one horizon after one window, against the true one."""

from dataclasses import dataclass
from enum import Enum

from planners.evaluation.records import Provenance


class Method(Enum):
    """Whose frame it is."""

    truth = "truth"
    """The recorded frame itself; it has features and a picture, and no distance."""

    world_model = "world_model"

    copy_last = "copy_last"
    """The last frame of the context: nothing moves."""

    reconstruction = "reconstruction"
    """The true frame through the representation's encoder and decoder: what no imagined frame can be hoped
    to surpass."""


class Status(Enum):
    """What became of a measurement."""

    measured = "measured"
    too_short = "too_short"
    """The recording has no frame at this horizon."""

    failed = "failed"
    """An image that does not decode, or a motion that cannot be written; the row says which."""


@dataclass(frozen=True, kw_only=True)
class PredictionRow:
    """One method on one window at one horizon; numbers are absent unless `status` is measured."""

    provenance: Provenance
    window: str
    kind: str
    rate_hz: float | None
    """Of a rollout's steps; None for a jump."""
    horizon_s: float
    method: str
    status: str
    error: str | None
    trajectory: str
    frame: int
    """The last frame of the context."""
    num_steps: int | None
    """Frames imagined up to this one."""
    elapsed_s: float | None
    """From the window to the frame compared with, which is the nearest to the horizon."""
    actions: tuple[str, ...]
    """What the model was told; empty for other methods."""
    psnr_db: float | None
    ssim: float | None
    latent_squared: float | None
    latent_cosine: float | None
    lpips: float | None
    dreamsim: float | None
    features: bytes | None
    """The frame's latents averaged over tokens, float32: distances of sets are taken in them."""
    inception: bytes | None
    """The features of FID, float32; None without its weights."""
    picture: bytes | None
    """The frame as PNG; kept for a few windows."""


METRICS = ("psnr_db", "ssim", "latent_squared", "latent_cosine", "lpips", "dreamsim")
"""The columns of a row that are numbers about a pair of frames."""
