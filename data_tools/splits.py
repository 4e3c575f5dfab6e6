"""Splits: which trajectories are for training, and which are held out, by trajectory or by place.

Membership hangs on a hash of the name and the seed, so adding trajectories never moves one from a side to the
other.
"""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from data_tools.trajectory import Trajectory


@dataclass(frozen=True)
class Split:
    """Trajectories for training, and those that no training step may see; neither is empty."""

    train: tuple[Trajectory, ...]
    held_out: tuple[Trajectory, ...]

    def __post_init__(self) -> None:
        if not self.train or not self.held_out:
            raise ValueError(
                f"a split needs trajectories on both sides; it has {len(self.train)} for training and "
                f"{len(self.held_out)} held out. Change the fraction, the seed or the places, or record more"
            )


def is_held_out(name: str, *, seed: int, fraction: float) -> bool:
    """Say whether a name is among the fraction held out; a larger one holds out the same names and more."""
    if not 0.0 <= fraction <= 1.0:
        raise ValueError(f"the fraction held out must be from 0 to 1; got {fraction}")
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < fraction * 2.0**64


def split_by_trajectory(trajectories: Sequence[Trajectory], *, seed: int, held_out_fraction: float) -> Split:
    """Hold out trajectories of every place: the fraction holds on average, a name's side for ever."""
    chosen = {
        index
        for index, trajectory in enumerate(trajectories)
        if is_held_out(f"{trajectory.place}/{trajectory.name}", seed=seed, fraction=held_out_fraction)
    }
    return _split(trajectories, chosen)


def split_by_place(trajectories: Sequence[Trajectory], *, held_out_places: Collection[str]) -> Split:
    """Hold out all trajectories of some places; ValueError if one of the places has none."""
    missing = set(held_out_places) - {trajectory.place for trajectory in trajectories}
    if missing:
        known = ", ".join(sorted({trajectory.place for trajectory in trajectories}))
        raise ValueError(f"no trajectory is from {', '.join(sorted(missing))}; the places are {known}")
    chosen = {index for index, trajectory in enumerate(trajectories) if trajectory.place in held_out_places}
    return _split(trajectories, chosen)


def choose_places(trajectories: Sequence[Trajectory], *, seed: int, fraction: float) -> frozenset[str]:
    """Choose places to hold out: the fraction of places holds on average, a place's side for ever."""
    places = {trajectory.place for trajectory in trajectories}
    return frozenset(place for place in places if is_held_out(place, seed=seed, fraction=fraction))


def _split(trajectories: Sequence[Trajectory], held_out: set[int]) -> Split:
    return Split(
        train=tuple(item for index, item in enumerate(trajectories) if index not in held_out),
        held_out=tuple(item for index, item in enumerate(trajectories) if index in held_out),
    )
