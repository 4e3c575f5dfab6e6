"""Regions: parts of the world held out with all that happened there, whoever drove through.

Where every drive covers the same course, a split by trajectory tests nothing new. Here the drives are cut:
what lies inside a region is for tests, what lies near a held-out position is for nobody, the rest is for
training. The guard is about positions alone: a camera outside looks into the region as far as it sees.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64
from scipy.spatial import KDTree

from data_tools.draws import draw
from data_tools.evaluation_index import name_trajectories
from data_tools.places import positions_of
from data_tools.stretches import Stretch, runs
from data_tools.trajectory import Trajectory
from data_tools.world_frame import WorldFrame, world_of


@dataclass(frozen=True, kw_only=True)
class RegionConfig:
    """How regions are laid and drives are cut."""

    guard_m: float = 2.0
    """No training position is so near to a held-out one [m]."""
    num_regions: int = 1
    """Discs in each world."""
    min_frames: int = 12
    """Shorter stretches are left out: a context of 4 and a goal 8 frames ahead need 12."""

    def __post_init__(self) -> None:
        if self.guard_m < 0 or self.num_regions < 1 or self.min_frames < 1:
            raise ValueError(
                "needed guard_m of at least 0, num_regions and min_frames of at least 1; got "
                f"{self.guard_m}, {self.num_regions} and {self.min_frames}"
            )


@dataclass(frozen=True, kw_only=True)
class Region:
    """A disc of a world, held out."""

    world: str
    x_m: float
    y_m: float
    radius_m: float


@dataclass(frozen=True, kw_only=True)
class RegionSplit:
    """The stretches of both sides, and the frames that are on neither."""

    train: tuple[Stretch, ...]
    held_out: tuple[Stretch, ...]
    regions: tuple[Region, ...]
    num_guard_frames: int
    """Frames outside all regions, but too near to a held-out one."""
    num_short_frames: int
    """Frames of stretches that are too short, of either side."""

    def __post_init__(self) -> None:
        if not self.train or not self.held_out:
            raise ValueError(
                f"a split needs stretches on both sides; it has {len(self.train)} for training and "
                f"{len(self.held_out)} held out, {self.num_guard_frames} frames are in the guard and "
                f"{self.num_short_frames} in stretches that are too short. Change held_out_fraction, "
                "guard_m, min_frames, num_regions or the seed"
            )


def split_by_region(
    trajectories: Sequence[Trajectory],
    *,
    config: RegionConfig,
    frame: WorldFrame,
    seed: int,
    held_out_fraction: float,
) -> RegionSplit:
    """Hold out discs of each world around positions that the seed chooses.

    Args:
        trajectories: With poses, each with a name of its own; their order does not matter.
        config: How regions are laid.
        frame: Whose positions can be compared; not `own`, where nobody's can.
        seed: Another one chooses other regions.
        held_out_fraction: The discs of a world are as large as they must be to hold this fraction of its
            frames.

    Returns:
        The stretches, by name of their trajectory.

    Raises:
        ValueError: If poses are missing, positions cannot be compared, or a side is empty.
    """
    if frame is WorldFrame.own:
        raise ValueError(
            "a split by region needs positions that can be compared; with frame=own nobody's can. Use "
            "by=trajectory or by=place"
        )
    if not 0.0 < held_out_fraction < 1.0:
        raise ValueError(f"the fraction held out must be between 0 and 1; got {held_out_fraction}")
    worlds: dict[str, list[Trajectory]] = {}
    for _, trajectory in sorted(name_trajectories(trajectories).items()):
        worlds.setdefault(world_of(trajectory, frame), []).append(trajectory)
    train: list[Stretch] = []
    held_out: list[Stretch] = []
    regions: list[Region] = []
    num_guard = 0
    for world, members in sorted(worlds.items()):
        positions = np.concatenate([positions_of(each) for each in members])
        laid = _lay(world, members, fraction=held_out_fraction, seed=seed, number=config.num_regions)
        is_held_out = _is_inside(positions, laid)
        is_train = ~is_held_out & (KDTree(positions[is_held_out]).query(positions)[0] > config.guard_m)
        regions += laid
        num_guard += int((~is_held_out & ~is_train).sum())
        held_out += _cut_up(members, is_held_out)
        train += _cut_up(members, is_train)
    short = [each for each in (*train, *held_out) if each.stop - each.start < config.min_frames]
    return RegionSplit(
        train=tuple(each for each in train if each.stop - each.start >= config.min_frames),
        held_out=tuple(each for each in held_out if each.stop - each.start >= config.min_frames),
        regions=tuple(regions),
        num_guard_frames=num_guard,
        num_short_frames=sum(each.stop - each.start for each in short),
    )


def _lay(
    world: str, members: Sequence[Trajectory], *, fraction: float, seed: int, number: int
) -> list[Region]:
    """Return discs of one radius around visited positions, which hold the fraction of the world's frames."""
    positions = np.concatenate([positions_of(each) for each in members])
    centers = []
    for disc in range(number):
        draws = [draw(seed, "regions", world, disc, each.name) for each in members]
        chosen = int(np.argmin(draws))
        centers.append(positions_of(members[chosen])[draws[chosen] % members[chosen].num_frames])
    nearest_m = np.sort(_distances_m(positions, np.array(centers)).min(axis=1))
    radius_m = float(nearest_m[math.ceil(fraction * len(positions)) - 1])
    return [Region(world=world, x_m=float(x), y_m=float(y), radius_m=radius_m) for x, y in centers]


def _is_inside(
    positions: Float64[np.ndarray, "position 2"], regions: Sequence[Region]
) -> Bool[np.ndarray, " position"]:
    centers = np.array([(region.x_m, region.y_m) for region in regions])
    radii_m = np.array([region.radius_m for region in regions])
    return np.any(_distances_m(positions, centers) <= radii_m, axis=1)


def _distances_m(
    positions: Float64[np.ndarray, "position 2"], centers: Float64[np.ndarray, "center 2"]
) -> Float64[np.ndarray, "position center"]:
    return np.linalg.norm(positions[:, None] - centers[None], axis=-1)


def _cut_up(members: Sequence[Trajectory], is_inside: Bool[np.ndarray, " position"]) -> list[Stretch]:
    ends = np.cumsum([each.num_frames for each in members])
    parts = np.split(is_inside, ends[:-1])
    return [
        stretch
        for each, part in zip(members, parts, strict=True)
        for stretch in runs(each.name, part.tolist())
    ]
