"""Cache: all frames of a list of trajectories, resized, and their latents, each in one file that is mapped.

A file is filled trajectory by trajectory beside its final place and renamed when it is complete; a run that
was stopped goes on with the first trajectory that is missing.
"""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from numpy.lib.format import open_memmap
from rich.progress import track
from torch import Tensor

from data_tools.documents import FrameKey
from data_tools.file_lock import locked
from data_tools.trajectory import Trajectory
from data_tools.whole_file import write_text
from worldmodel.representation.interface import Representation
from worldmodel.representation.resize import resize_frames

CACHE = ".cache"
"""Folder of frames and latents beside the recordings that they are of."""
ENCODE_BATCH = 256
"""Frames that are encoded at once."""
MOST_IN_MEMORY_BYTES = 2**31
"""Latents up to this size are read into memory: training looks them up all over the file, and pages that the
system drops in between would be read from disk again and again."""


@dataclass(frozen=True, eq=False)
class FrameCache:
    """Frames of trajectories at one size, and where each trajectory begins.

    `starts` has one entry more than there are trajectories: the last is the number of frames. `identity` is
    that of the trajectories.
    """

    frames: UInt8[np.ndarray, "frame height width 3"]
    starts: Int64[np.ndarray, " boundary"]
    identity: str

    @classmethod
    def build(cls, trajectories: Sequence[Trajectory], folder: Path, *, image_size: int) -> "FrameCache":
        """Open the cache of these trajectories in `folder`, after making what is missing of it."""
        starts = starts_of(trajectories)

        def read(index: int) -> UInt8[np.ndarray, "frame height width 3"]:
            frames = trajectories[index].frames
            resized = [
                resize_frames(torch.from_numpy(np.array(frames[number]))[None], image_size=image_size)
                for number in range(len(frames))
            ]
            return torch.cat(resized).numpy()

        shape = (int(starts[-1]), image_size, image_size, 3)
        identity = identity_of(trajectories)
        path = fill(
            folder, "frames", f"{identity}-{image_size}",
            starts=starts, shape=shape, dtype="uint8", compute=read,
        )  # fmt: skip
        return cls(frames=np.load(path, mmap_mode="r"), starts=starts, identity=identity)

    def at(self, indices: Int64[Tensor, " sample"]) -> UInt8[Tensor, "sample height width 3"]:
        """Return copies of the frames at these indices, counted over all trajectories."""
        return torch.from_numpy(self.frames[indices.numpy()])

    def pair_starts(self, *, max_gap: int) -> Int64[Tensor, " frame"]:
        """Return the indices of the frames that have at least `max_gap` more after them on their path."""
        runs = [
            np.arange(start, max(start, end - max_gap))
            for start, end in zip(self.starts[:-1], self.starts[1:], strict=True)
        ]
        return torch.from_numpy(np.concatenate(runs).astype(np.int64))


class LatentCache:
    """Normalised latents of all frames of a list of trajectories, float16 on disk and float32 when looked up.

    float16 holds 11 significant bits: an error of at most 0.002 for latents that stay below 4 in size.
    """

    def __init__(
        self,
        latents: Float[np.ndarray, "frame token channel"],
        starts: Int64[np.ndarray, " boundary"],
        *,
        num_context_channels: int = 0,
    ) -> None:
        self._latents = latents
        self._firsts, self._ends = starts[:-1], starts[1:]
        self.num_context_channels = num_context_channels

    @classmethod
    def build(
        cls, representation: Representation, frames: FrameCache, folder: Path, *, identity: str
    ) -> "LatentCache":
        """Open the latents of `frames` in `folder`, after encoding what is missing.

        `identity` says what they depend on: fingerprints of representation and frames. Files of other
        identities are left alone and not used.
        """

        def encode(index: int) -> Float[np.ndarray, "frame token channel"]:
            span = frames.frames[frames.starts[index] : frames.starts[index + 1]]
            parts = [
                representation.encode(torch.from_numpy(np.array(span[first : first + ENCODE_BATCH])))
                for first in range(0, len(span), ENCODE_BATCH)
            ]
            return torch.cat(parts).cpu().numpy().astype(np.float16)

        channels = representation.num_context_channels + representation.num_channels
        shape = (int(frames.starts[-1]), representation.num_tokens, channels)
        path = fill(
            folder, "latents", identity, starts=frames.starts, shape=shape, dtype="float16", compute=encode
        )
        is_small = path.stat().st_size <= MOST_IN_MEMORY_BYTES
        return cls(
            np.load(path, mmap_mode=None if is_small else "r"),
            frames.starts,
            num_context_channels=representation.num_context_channels,
        )

    def of(self, trajectories: Sequence[int]) -> "LatentCache":
        """Return the latents of some of the trajectories, numbered anew from 0; they share one array."""
        chosen = copy(self)
        chosen._firsts, chosen._ends = self._firsts[list(trajectories)], self._ends[list(trajectories)]
        return chosen

    @property
    def num_frames(self) -> int:
        """Frames of all trajectories."""
        return int((self._ends - self._firsts).sum())

    @property
    def num_tokens(self) -> int:
        """Tokens of a frame."""
        return self._latents.shape[1]

    @property
    def num_channels(self) -> int:
        """Channels of a token that are generated."""
        return self._latents.shape[2] - self.num_context_channels

    def lookup(self, keys: Sequence[FrameKey]) -> Float[Tensor, "frame token channel"]:
        """Return the latents of frames; IndexError for a key that the cache was not built with."""
        trajectories = np.array([key.trajectory for key in keys], dtype=np.int64)
        frames = np.array([key.frame for key in keys], dtype=np.int64)
        num_trajectories = len(self._firsts)
        if len(keys) and not (0 <= trajectories.min() and trajectories.max() < num_trajectories):
            raise IndexError(
                f"the cache holds trajectories 0 to {num_trajectories - 1}; asked for "
                f"{trajectories.min()} to {trajectories.max()}: it was built from another list"
            )
        indices = self._firsts[trajectories] + frames
        is_outside = (frames < 0) | (indices >= self._ends[trajectories])
        if is_outside.any():
            raise IndexError(
                f"no such frame: {keys[int(np.argmax(is_outside))]}; the cache was built from others"
            )
        return torch.from_numpy(self._latents[indices].astype(np.float32))


def starts_of(trajectories: Sequence[Trajectory]) -> Int64[np.ndarray, " boundary"]:
    """Return the index of each trajectory's first frame, and the number of all; ValueError for none."""
    if not trajectories:
        raise ValueError("needed at least one trajectory to cache, got none; record or name some")
    return np.cumsum([0, *(trajectory.num_frames for trajectory in trajectories)], dtype=np.int64)


def identity_of(trajectories: Sequence[Trajectory]) -> str:
    """Return a hash of names, places, lengths, times, poses and some frames: other recordings have others.

    Of each trajectory the first, the middle and the last frame are read: all of them would take as long as
    making the cache.
    """
    digest = hashlib.sha256()
    for trajectory in trajectories:
        digest.update(f"{trajectory.name}/{trajectory.place}/{trajectory.num_frames}/".encode())
        digest.update(np.ascontiguousarray(trajectory.times_s).tobytes())
        if trajectory.poses is not None:
            digest.update(np.ascontiguousarray(trajectory.poses).tobytes())
        for number in sorted({0, trajectory.num_frames // 2, trajectory.num_frames - 1}):
            digest.update(np.ascontiguousarray(trajectory.frames[number]).tobytes())
    return digest.hexdigest()[:16]


def fill(
    folder: Path,
    name: str,
    identity: str,
    *,
    starts: Int64[np.ndarray, " boundary"],
    shape: tuple[int, ...],
    dtype: str,
    compute: Callable[[int], np.ndarray],
) -> Path:
    """Make `<folder>/<name>-<identity>.npy` if it is not there, and return its path.

    Of processes that ask for the same file one makes it, and the others wait.

    Args:
        folder: Made if missing.
        name: What is cached.
        identity: What it depends on.
        starts: First row of each trajectory, and the number of rows.
        shape: Of the whole array.
        dtype: Of the array.
        compute: Returns the rows of one trajectory.

    Returns:
        The path of the complete file.
    """
    final = folder / f"{name}-{identity}.npy"
    if not final.exists():
        with locked(folder / f".{final.name}.lock"):
            if not final.exists():
                _fill(final, starts, shape, dtype, compute)
    return final


def _fill(
    final: Path,
    starts: Int64[np.ndarray, " boundary"],
    shape: tuple[int, ...],
    dtype: str,
    compute: Callable[[int], np.ndarray],
) -> None:
    partial, progress = final.with_suffix(".partial"), final.with_suffix(".json")
    num_done = json.loads(progress.read_text())["num_done"] if partial.exists() and progress.exists() else 0
    if num_done:
        array = open_memmap(partial, mode="r+")
    else:
        # A note that outlived its array would make rows that were never computed look done.
        progress.unlink(missing_ok=True)
        array = _reserve(partial, shape, dtype)
    for index in track(
        range(num_done, len(starts) - 1), description=f"caching {final.name.partition('-')[0]}"
    ):
        array[starts[index] : starts[index + 1]] = compute(index)
        array.flush()
        # Only after the rows are flushed: it never claims rows that are not on disk.
        write_text(progress, json.dumps({"num_done": index + 1}))
    del array
    os.replace(partial, final)
    progress.unlink()


def _reserve(path: Path, shape: tuple[int, ...], dtype: str) -> np.memmap:
    array = open_memmap(path, mode="w+", dtype=np.dtype(dtype), shape=shape)
    # A hole in a mapped file that the disk has no room for kills the process when it is written to; asking
    # for the room first makes it an error.
    with path.open("r+b") as opened:
        os.posix_fallocate(opened.fileno(), 0, path.stat().st_size)
    return array
