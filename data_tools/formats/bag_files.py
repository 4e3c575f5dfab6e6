"""Bag files: the bags in a folder and below, each with a name of its own."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from data_tools.formats.bag_source import ROS1_SUFFIXES, STORAGE_SUFFIXES

_METADATA = "metadata.yaml"


def find_bags(path: Path) -> list[tuple[Path, str]]:
    """Return the bags at a path, sorted, each with a name that no other has.

    A name is the file's or folder's without suffix; where two are alike, the folders above are put before it.
    FileNotFoundError if there is no bag, ValueError for a file that is none.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there; needed a ROS bag or a folder with bags")
    if path.is_file() and not _is_bag_file(path):
        raise ValueError(
            f"{path} is no ROS bag; one ends in {', '.join((*ROS1_SUFFIXES, *STORAGE_SUFFIXES))} or is a "
            f"folder with {_METADATA}"
        )
    paths = sorted(_bags_below(path)) if path.is_dir() else [path]
    if not paths:
        raise FileNotFoundError(f"{path} holds no ROS bag: no .bag, .mcap or .db3 file, also not below it")
    return list(zip(paths, _names(paths), strict=True))


def _bags_below(root: Path) -> Iterator[Path]:
    for folder, subfolders, files in os.walk(root):
        here = Path(folder)
        # Other tools write files of this name too: a bag's stands beside its storage, plain or compressed.
        if _METADATA in files and any(suffix in name for name in files for suffix in STORAGE_SUFFIXES):
            subfolders.clear()
            yield here
            continue
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        yield from (here / name for name in files if not name.startswith(".") and _is_bag_file(here / name))


def _is_bag_file(path: Path) -> bool:
    return path.suffix in (*ROS1_SUFFIXES, *STORAGE_SUFFIXES) and path.is_file()


def _names(paths: list[Path]) -> list[str]:
    paths = [path.absolute() for path in paths]
    names = [_stem(path) for path in paths]
    for depth in range(1, max(len(path.parts) for path in paths)):
        counts = Counter(names)
        names = [
            name if counts[name] == 1 else "_".join([*path.parts[-depth - 1 : -1], _stem(path)])
            for name, path in zip(names, paths, strict=True)
        ]
    # What is still alike stands in one folder and differs in its suffix: a.bag and a.mcap.
    counts = Counter(names)
    return [name if counts[name] == 1 else path.name for name, path in zip(names, paths, strict=True)]


def _stem(path: Path) -> str:
    if path.is_dir():
        return path.name
    return Path(path.name.removesuffix(".active")).stem if path.suffix == ".active" else path.stem
