"""Making of the representation that is the pixels of patches: their statistics over recordings are all of it.

Usage: python -m worldmodel.representation.make_pixels data=[recordings/train] out=outputs/pixels
"""

from dataclasses import dataclass, field
from pathlib import Path

import hydra
import torch
from omegaconf import MISSING, DictConfig

from data_tools.config import store, to_object
from data_tools.randomness import generator_for
from worldmodel.recordings import open_recordings
from worldmodel.representation.cache import FrameCache
from worldmodel.representation.codec import CodecRepresentation
from worldmodel.representation.kind import Kind
from worldmodel.representation.open import refuse_other
from worldmodel.representation.pixels import PixelsCodec, PixelsConfig
from worldmodel.representation.statistics import statistics_of


@dataclass(frozen=True, kw_only=True)
class MakePixels:
    """Shape of the patches, and what their levels are measured over."""

    data: list[str] = MISSING
    """Folders of trajectories, of training alone."""
    out: str = MISSING
    """Folder of the result and of the frame cache."""
    shape: PixelsConfig = field(default_factory=PixelsConfig)
    seed: int = 0
    num_threads: int = 1


def make_pixels(config: MakePixels) -> CodecRepresentation:
    """Measure the levels of pixels, write the representation to `config.out`, and return it."""
    torch.set_num_threads(config.num_threads)
    out, codec = Path(config.out), PixelsCodec(config.shape)
    refuse_other(out, Kind.pixels.name)
    frames = FrameCache.build(open_recordings(config.data), out / "cache", image_size=codec.shape.image_size)
    representation = CodecRepresentation(codec, None)
    normalisation = statistics_of(representation, frames, generator=generator_for(config.seed, "data"))
    representation = representation.with_normalisation(normalisation)
    representation.save(out)
    return representation


@hydra.main(version_base=None, config_path="../conf", config_name="make_pixels")
def main(node: DictConfig) -> None:
    """Make the representation and say what it is."""
    config = to_object(node, MakePixels)
    made = make_pixels(config)
    print(f"{config.out}: {made.num_tokens} tokens of {made.num_channels}; fingerprint {made.fingerprint}")


store("make_pixels_schema", MakePixels)

if __name__ == "__main__":
    main()
