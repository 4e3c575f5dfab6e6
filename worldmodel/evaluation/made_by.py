"""MadeBy: what made the pictures or answers in a folder, written there before the first of them.

They outlive the run that made them, and are taken up by others: without this note a folder begun with one
model would be finished by another, and its rows would carry the name of the last.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from data_tools.whole_file import write_text
from worldmodel.evaluation.results import Settings, hash_model, hash_texts
from worldmodel.model_folder import resolve
from worldmodel.precision import Precision

FILE_NAME = "made_by.json"
KEPT = ("images", "parts", "pictures", "answers")
"""Folders that hold what evaluations make, and take up again."""


@runtime_checkable
class MakerSettings(Settings, Protocol):
    """What the settings of an evaluation say that makes pictures or answers."""

    @property
    def precision(self) -> Precision:
        """What the model computes in."""
        ...


@dataclass(frozen=True, kw_only=True)
class MadeBy:
    """All that pictures and answers are functions of, but the source code."""

    model: str
    """As it was named, which is no part of the comparison: a folder may have been moved."""
    model_hash: str
    seed: int
    precision: str
    texts_hash: str
    """Of the texts, and of the names of what is made of them."""


def begin(settings: MakerSettings, wanted: Sequence[tuple[str, str]]) -> MadeBy:
    """Return what makes names and texts into pictures or answers now, and note it in `out`.

    ValueError without a model, or if what lies there was made by something else, or nobody knows by what.
    """
    if settings.model is None:
        raise ValueError("needed a model to draw or answer with, got none; give model=FOLDER, or stage=score")
    out, model_hash = Path(settings.out), hash_model(resolve(settings.model))
    made_by = MadeBy(
        model=settings.model,
        model_hash=model_hash,
        seed=settings.seed,
        precision=settings.precision.value,
        texts_hash=_hash(wanted),
    )
    found = _read(out)
    if found is not None:
        _check_same(out, asdict(made_by), found)
        return found
    if begun := [name for name in KEPT if any(path.is_file() for path in (out / name).rglob("*"))]:
        raise ValueError(
            f"needed an empty {out}, or one with {FILE_NAME}; {', '.join(begun)} hold files by nobody knows "
            "whom; give another `out`, or score them with stage=score"
        )
    write_text(out / FILE_NAME, json.dumps(asdict(made_by), indent=1))
    return made_by


def find(settings: MakerSettings, wanted: Sequence[tuple[str, str]]) -> MadeBy | None:
    """Return what made the files in `out` that are scored now; None if nobody noted it.

    ValueError if it is something else than the settings say, or if they name a model and nobody noted one.
    """
    out = Path(settings.out)
    found = _read(out)
    if found is None and settings.model is not None:
        raise ValueError(
            f"needed {FILE_NAME} in {out}, got none: it is unknown whether {settings.model} made what is "
            "there; leave out model"
        )
    if found is None:
        return None
    needed = {"seed": settings.seed, "precision": settings.precision.value, "texts_hash": _hash(wanted)}
    if settings.model is not None:
        needed["model_hash"] = hash_model(resolve(settings.model))
    _check_same(out, needed, found)
    return found


def _hash(wanted: Sequence[tuple[str, str]]) -> str:
    return hash_texts(part for pair in wanted for part in pair)


def _read(out: Path) -> MadeBy | None:
    path = out / FILE_NAME
    if not path.is_file():
        return None
    try:
        return MadeBy(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is no note of a maker: {error}; give another `out`") from error


def _check_same(out: Path, needed: dict[str, object], found: MadeBy) -> None:
    other = {
        name: (value, getattr(found, name))
        for name, value in needed.items()
        if name != "model" and value != getattr(found, name)
    }
    if other:
        differences = "; ".join(f"needed {name} {value}, got {came}" for name, (value, came) in other.items())
        raise ValueError(
            f"what lies in {out} was made by {found.model} with other settings or for other texts: "
            f"{differences}; give another `out`, or the settings of {out / FILE_NAME}"
        )
