"""Random streams: one independent generator a seed, role and rank."""

import hashlib

import numpy as np
import torch


def generator_for(seed: int, role: str, *, rank: int = 0, device: str = "cpu") -> torch.Generator:
    """Return an independent torch stream for one role on one rank."""
    return torch.Generator(device).manual_seed(_hash(seed, role, rank) >> 1)


def planning_noise(seed: int) -> torch.Generator:
    """Return what draws the noise of imagined candidates for a seed, in planning and in lessons for it."""
    return generator_for(seed, "noise")


def numpy_generator_for(seed: int, role: str, *, rank: int = 0) -> np.random.Generator:
    """Return an independent NumPy stream for one role on one rank."""
    return np.random.default_rng(_hash(seed, role, rank))


def _hash(seed: int, role: str, rank: int) -> int:
    digest = hashlib.sha256(f"{seed}/{role}/{rank}".encode()).digest()
    return int.from_bytes(digest[:8], "big")
