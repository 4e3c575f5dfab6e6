"""Opening: the representation that a folder holds, whatever its kind."""

from pathlib import Path

from worldmodel.representation.dual import is_dual, load_dual
from worldmodel.representation.interface import Representation
from worldmodel.representation.rae import RaeRepresentation


def load_representation(folder: str | Path) -> Representation:
    """Read a representation to train or to plan with.

    FileNotFoundError if the folder holds none; ValueError if its file is truncated, foreign or of another
    shape.
    """
    return load_dual(folder, load_representation) if is_dual(folder) else RaeRepresentation.load(Path(folder))
