"""Levels: the 68 human-made Freedoom levels that come with ViZDoom, and their split by level.

`map01` to `map32` are in `freedoom2.wad`, `e1m1` to `e4m9` in `freedoom1.wad`. The split is by level, so that
no wall of a test level was ever seen in training; each part holds levels of both games.
"""

from pathlib import Path

__all__ = ["LEVELS", "TEST_LEVELS", "TRAIN_LEVELS", "VAL_LEVELS", "check_level", "game_file"]

_MAPS = tuple(f"map{number:02d}" for number in range(1, 33))
_EPISODE_MAPS = tuple(f"e{episode}m{number}" for episode in range(1, 5) for number in range(1, 10))

LEVELS: tuple[str, ...] = _MAPS + _EPISODE_MAPS
"""All 68 levels."""

VAL_LEVELS: tuple[str, ...] = ("map05", "map10", "map15", "e1m3", "e2m4", "e3m5", "e4m6")
"""Seven levels for choices during training."""

TEST_LEVELS: tuple[str, ...] = (
    "map01", "map07", "map13", "map20", "map26", "e1m1", "e1m5", "e2m1", "e2m7", "e3m2", "e3m8", "e4m3",
)  # fmt: skip
"""Twelve levels for results; they include the six of the published oracle measurements."""

TRAIN_LEVELS: tuple[str, ...] = tuple(
    level for level in LEVELS if level not in VAL_LEVELS and level not in TEST_LEVELS
)
"""The other 49 levels."""


def check_level(level: str) -> None:
    """Raise a ValueError that lists the levels if there is none of this name."""
    if level not in LEVELS:
        raise ValueError(f"unknown level {level!r}; the levels are {', '.join(LEVELS)}")


def game_file(level: str) -> Path:
    """Return the WAD file of the ViZDoom package that holds a level."""
    check_level(level)
    import vizdoom  # noqa: PLC0415 (the names of the levels must not need the engine)

    name = "freedoom2.wad" if level in _MAPS else "freedoom1.wad"
    return Path(vizdoom.__file__).parent / name
