"""Statistics of latents, measured over recordings and written into a representation's own file.

Usage: python -m worldmodel.representation.statistics representation=outputs/siglip2 data=[recordings/train]
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import hydra
import torch
from jaxtyping import UInt8
from omegaconf import MISSING, DictConfig
from rich.progress import track
from torch import Tensor

from data_tools.config import store, to_object
from data_tools.randomness import generator_for
from worldmodel.precision import Device
from worldmodel.recordings import open_recordings
from worldmodel.representation.cache import CACHE, FrameCache
from worldmodel.representation.codec import CodecRepresentation
from worldmodel.representation.kind import FILE_NAME
from worldmodel.representation.normalisation import MEAN_KEY, STD_KEY, Normalisation, measure_normalisation
from worldmodel.representation.open import load_any
from worldmodel.representation.rae import RaeRepresentation, with_statistics
from worldmodel.tensor_file import read_with_note, write_tensors

BATCH = 64
"""Frames that are encoded at once."""
NUM_FRAMES = 20_000
"""Frames that are measured, at most; the error of a mean is then below 1% of a deviation."""


@dataclass(frozen=True, kw_only=True)
class StatisticsConfig:
    """What is measured, and over what."""

    representation: str = MISSING
    """Folder of a representation of any kind; its file gets the statistics, in the place of others if it had
    some."""
    data: list[str] = MISSING
    """Folders of trajectories, of training alone."""
    num_frames: int = NUM_FRAMES
    """Frames that are drawn from them, at most."""
    variance_only: bool = False
    """Leave means at 0 and divide by deviations alone, as RAE does with DINOv2."""
    seed: int = 0
    device: Device = Device.cpu
    num_threads: int = 1

    def __post_init__(self) -> None:
        """Refuse what no deviation can be measured on."""
        if self.num_frames < 2 or self.num_threads < 1:
            raise ValueError(
                f"needed num_frames of at least 2 and num_threads of at least 1, got {self.num_frames} and "
                f"{self.num_threads}"
            )


def statistics_of(
    representation: RaeRepresentation | CodecRepresentation,
    frames: FrameCache,
    *,
    generator: torch.Generator,
    num_frames: int = NUM_FRAMES,
    variance_only: bool = False,
) -> Normalisation:
    """Measure the features of a sample of frames, whatever statistics the representation has already."""
    chosen = torch.randperm(len(frames.frames), generator=generator)[:num_frames].sort().values

    def batches() -> Iterator[UInt8[Tensor, "batch height width 3"]]:
        parts = chosen.split(BATCH)
        for part in track(parts, description="measuring latents"):
            yield frames.at(part)

    encode = without_statistics(representation).encode
    return measure_normalisation(encode, batches(), variance_only=variance_only)


def without_statistics(
    representation: RaeRepresentation | CodecRepresentation,
) -> RaeRepresentation | CodecRepresentation:
    """Return a representation whose latents are the features."""
    if isinstance(representation, CodecRepresentation):
        return representation.with_normalisation(None)
    shape = (representation.num_tokens, representation.num_channels)
    return with_statistics(representation, mean=torch.zeros(shape), std=torch.ones(shape))


def write_statistics(folder: Path, normalisation: Normalisation) -> None:
    """Put statistics into the file of a representation, whole or not at all; its weights stay as they are."""
    tensors, note = read_with_note(folder / FILE_NAME)
    statistics = {MEAN_KEY: normalisation.mean, STD_KEY: normalisation.std}
    write_tensors(folder / FILE_NAME, tensors | statistics, note=note)


def measure_and_write(config: StatisticsConfig) -> Normalisation:
    """Measure as configured, and write the result."""
    torch.set_num_threads(config.num_threads)
    if not config.data:
        raise ValueError("needed at least one folder of recordings in `data`, got none")
    folder = Path(config.representation)
    representation = load_any(folder, device=str(config.device.of_rank(0)), keep_statistics=False)
    trajectories = open_recordings(config.data)
    # Where pretraining on this folder finds them.
    cache = Path(config.data[0]) / CACHE
    frames = FrameCache.build(trajectories, cache, image_size=representation.image_size)
    normalisation = statistics_of(
        representation,
        frames,
        generator=generator_for(config.seed, "data"),
        num_frames=config.num_frames,
        variance_only=config.variance_only,
    )
    write_statistics(folder, normalisation)
    return normalisation


@hydra.main(version_base=None, config_path="../conf", config_name="statistics")
def main(node: DictConfig) -> None:
    """Measure, write and say what came out."""
    config = to_object(node, StatisticsConfig)
    normalisation = measure_and_write(config)
    print(
        f"{config.representation}: deviations from {normalisation.std.min():.3g} to "
        f"{normalisation.std.max():.3g}, means from {normalisation.mean.min():.3g} to "
        f"{normalisation.mean.max():.3g}; fingerprint {load_any(config.representation).fingerprint}"
    )


store("statistics_schema", StatisticsConfig)

if __name__ == "__main__":
    main()
