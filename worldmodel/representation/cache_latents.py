"""Caching of the latents of a data set: what pretraining would do at its start, beforehand and on its own.

Usage: python -m worldmodel.representation.cache_latents representation=outputs/siglip2 data=recordings

The files lie in `.cache` beside the recordings. Stopped at any moment it goes on with the first trajectory
that is missing; `worldmodel.pretrain` with the same representation and data finds them complete.
"""

from dataclasses import dataclass
from pathlib import Path

import hydra
import torch
from omegaconf import MISSING, DictConfig

from data_tools.config import store, to_object
from worldmodel.corpus import cache_latents
from worldmodel.precision import Device, Precision
from worldmodel.recordings import open_recordings
from worldmodel.representation.cache import CACHE, LatentCache
from worldmodel.representation.open import load_representation


@dataclass(frozen=True, kw_only=True)
class CacheConfig:
    """What is encoded by what, and how."""

    representation: str = MISSING
    """Folder of a representation with statistics."""
    data: str = MISSING
    """Folder of trajectories, as `worldmodel.pretrain` takes it."""
    device: Device = Device.cpu
    precision: Precision = Precision.float32
    """Of the encoder's compute; latents are stored in float16 whatever it is. What is cached in one precision
    is not computed again in the other."""
    num_threads: int = 1


def run(config: CacheConfig) -> LatentCache:
    """Encode what is missing, and return the whole."""
    torch.set_num_threads(config.num_threads)
    representation = load_representation(
        config.representation, device=str(config.device.of_rank(0)), dtype=config.precision.dtype
    )
    trajectories = open_recordings([config.data])
    return cache_latents(representation, trajectories, Path(config.data) / CACHE)[0]


@hydra.main(version_base=None, config_path="../conf", config_name="cache_latents")
def main(node: DictConfig) -> None:
    """Cache the latents and say how many there are."""
    latents = run(to_object(node, CacheConfig))
    print(f"{latents.num_frames} frames of {latents.num_tokens} tokens of {latents.num_channels} channels")


store("cache_latents_schema", CacheConfig)

if __name__ == "__main__":
    main()
