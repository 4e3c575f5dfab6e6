"""Piece: the rows of a tensor that one process holds of it; a tensor that is not shared out is one piece."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor


@dataclass(frozen=True)
class Place:
    """Which rows of a tensor of `shape`: `num_rows` of them from `start` on. A number counts as one row."""

    shape: tuple[int, ...]
    start: int
    num_rows: int

    @classmethod
    def whole(cls, shape: torch.Size | tuple[int, ...]) -> "Place":
        """Return the place of all rows."""
        return cls(tuple(shape), 0, shape[0] if shape else 1)

    @classmethod
    def of_rank(cls, shape: torch.Size | tuple[int, ...], *, rank: int, count: int) -> "Place":
        """Return the rows of one of `count` ranks: equal parts in order, the last ones fewer or none."""
        part = -(-shape[0] // count)
        start = min(rank * part, shape[0])
        return cls(tuple(shape), start, min(part, shape[0] - start))

    @property
    def is_whole(self) -> bool:
        """Whether these are all rows."""
        return self == Place.whole(self.shape)

    @property
    def held_shape(self) -> tuple[int, ...]:
        """Shape of the rows themselves."""
        return (self.num_rows, *self.shape[1:]) if self.shape else ()


@dataclass(frozen=True)
class Piece:
    """Rows of a tensor, and where in it they belong."""

    place: Place
    rows: Tensor


def held(tensor: Tensor) -> Tensor:
    """Return what this process holds of a tensor; it shares the tensor's memory."""
    return (tensor.to_local() if isinstance(tensor, DTensor) else tensor).detach()


def place_of(tensor: Tensor) -> Place:
    """Return where the rows that this process holds of a tensor belong."""
    if not isinstance(tensor, DTensor):
        return Place.whole(tensor.shape)
    mesh = tensor.device_mesh
    place = Place.of_rank(tensor.shape, rank=mesh.get_local_rank(), count=mesh.size())
    assert tuple(held(tensor).shape) == place.held_shape, "sharded otherwise than by rows"
    return place


def piece_of(tensor: Tensor) -> Piece:
    """Return what this process holds of a tensor, with its place."""
    return Piece(place_of(tensor), held(tensor))


def pieces_of(module: nn.Module) -> dict[str, Piece]:
    """Return what this process holds of a module's state, by name."""
    return {name: piece_of(tensor) for name, tensor in module.state_dict().items()}
