"""Glossary: what each measure of a row means, which way is better, and between which arms it compares."""

from dataclasses import dataclass
from enum import Enum


class Better(Enum):
    """Which values are better."""

    lower = "lower is better"
    higher = "higher is better"
    neither = "a property of data and representation"


@dataclass(frozen=True)
class Meaning:
    """What one measure is."""

    words: str
    better: Better
    is_within_representation: bool = False
    """Whether it compares only arms of one representation."""


_FRAMES = "squared error of clean latents, "
MEANINGS = {
    "nats": Meaning("nats a predicted text token in documents of this kind", Better.lower),
    "bits_per_byte": Meaning("information of held-out plain text [bits a byte]", Better.lower),
    "flow/clean": Meaning(_FRAMES + "of noised frames after a clean context", Better.lower, True),
    "flow/draft": Meaning(_FRAMES + "predicted from pure noise in one step", Better.lower, True),
    "flow/all": Meaning(_FRAMES + "over all frames of noised videos", Better.lower, True),
    "image/psnr_db": Meaning(
        "PSNR of one-step drafts after the true action, in 64 x 64 pixels [dB]", Better.higher
    ),
    "image/psnr_sampled_db": Meaning("the same of frames sampled in several steps [dB]", Better.higher),
    "image/psnr_copy_db": Meaning("PSNR of the last context frame, copied [dB]", Better.neither),
    "image/psnr_reconstruction_db": Meaning(
        "PSNR of the true frame through encoder and decoder, the most to hope for [dB]", Better.neither
    ),
    "image/error_of_copy": Meaning(
        "squared pixel error of drafts over that of the copied frame", Better.lower
    ),
    "image/shuffled": Meaning(
        "squared pixel error after another problem's action over that after the true one (1: not heeded)",
        Better.higher,
    ),
    "latent/error_of_copy": Meaning("as image/error_of_copy, in latents", Better.lower, True),
    "latent/shuffled": Meaning("as image/shuffled, in latents", Better.higher, True),
    "next/psnr_db": Meaning(
        "PSNR of the next frame imagined without an action, one step [dB]", Better.higher
    ),
    "next/error_of_copy": Meaning(
        "squared pixel error of that frame over that of the copied one", Better.lower
    ),
}
"""By name, or by the first part of names that end with a kind of document."""


def meaning_of(measure: str) -> Meaning:
    """Return what a measure is; ValueError for an unknown one."""
    for name in (measure, measure.rpartition("/")[0]):
        if name in MEANINGS:
            return MEANINGS[name]
    raise ValueError(f"no measure {measure}; there are {list(MEANINGS)}, some followed by a kind of document")
