"""DualRepresentation: one encoder to look at frames with, another to generate them in.

The control of arXiv 2603.03276: does one representation do for both? A frame that is given enters the
transformer with what the first encoder makes of it, a frame that is generated with noised latents of the
second, which alone are decoded. On disk it is a folder with the folders `understanding` and `generation`, and
a file that says so.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from worldmodel.representation.interface import Representation
from worldmodel.representation.rae import FILE_NAME
from worldmodel.representation.resize import resize_frames
from worldmodel.tensor_file import read_with_note, write_tensors

KIND = "dual"
UNDERSTANDING, GENERATION = "understanding", "generation"
"""Folders of the two."""


class DualRepresentation:
    """Two representations of equally many tokens a frame; latents are those of both, side by side.

    Frames are resized to the size of the second, whose frames are decoded, before either encodes them: it is
    what a cache of frames holds. ValueError if the numbers of tokens differ.
    """

    def __init__(self, understanding: Representation, generation: Representation) -> None:
        if understanding.num_tokens != generation.num_tokens:
            raise ValueError(
                f"needed two representations of equally many tokens a frame, got {understanding.num_tokens} "
                f"to understand and {generation.num_tokens} to generate; take others, or train one of them "
                "with another patch_size or image_size"
            )
        self.understanding, self.generation = understanding, generation

    @property
    def image_size(self) -> int:
        """Height and width of a decoded frame [pixels]."""
        return self.generation.image_size

    @property
    def num_tokens(self) -> int:
        """Tokens of a frame."""
        return self.generation.num_tokens

    @property
    def num_channels(self) -> int:
        """Channels of a token that are generated."""
        return self.generation.num_channels

    @property
    def num_context_channels(self) -> int:
        """Channels of a token that frames are looked at with."""
        return self.understanding.num_channels

    @property
    def fingerprint(self) -> str:
        """Hash of everything that `encode` depends on."""
        both = f"{self.understanding.fingerprint} {self.generation.fingerprint} {self.image_size}"
        return hashlib.sha256(both.encode()).hexdigest()[:16]

    def encode(self, frames: UInt8[Tensor, "batch height width 3"]) -> Float[Tensor, "batch token channel"]:
        """Return the latents of both: context channels, then those that are generated."""
        resized = resize_frames(frames, image_size=self.image_size)
        return torch.cat((self.understanding.encode(resized), self.generation.encode(resized)), dim=-1)

    def decode(
        self, latents: Float[Tensor, "batch token generated"]
    ) -> UInt8[Tensor, "batch image_size image_size 3"]:
        """Return the frames that generated latents stand for."""
        return self.generation.decode(latents)

    def save(self, folder: Path) -> None:
        """Write both, and last the file that makes the folder a representation.

        That file is removed first: a folder in which this was stopped holds none.
        """
        (Path(folder) / FILE_NAME).unlink(missing_ok=True)
        self.understanding.save(Path(folder) / UNDERSTANDING)
        self.generation.save(Path(folder) / GENERATION)
        write_tensors(Path(folder) / FILE_NAME, {}, note={"kind": KIND})


def is_dual(folder: str | Path) -> bool:
    """Return whether a folder holds two representations; errors are those of reading any."""
    return read_with_note(Path(folder) / FILE_NAME)[1].get("kind") == KIND


def load_dual(folder: str | Path, load: Callable[[Path], Representation]) -> DualRepresentation:
    """Read what `DualRepresentation.save` wrote; `load` reads each of the two, and its errors are ours."""
    return DualRepresentation(load(Path(folder) / UNDERSTANDING), load(Path(folder) / GENERATION))
