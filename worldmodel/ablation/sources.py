"""Sources: what tells the recordings and texts of one comparison from those of another, before it trains."""

import hashlib
import json
from pathlib import Path

from data_tools.whole_file import write_text
from worldmodel.recordings import open_recordings

FILE = "sources.json"


def claim_sources(out: Path, *, data: str, text: str) -> None:
    """Note in `out` what its rows are made of; ValueError if it holds rows that are made of something else.

    Paths do not count. Of recordings count names, numbers of frames, poses, times and texts, of text files
    names and sizes; pixels do not, for they would take as long to read as to train.
    """
    found = {"data": _hash_recordings(data), "text": _hash_texts(Path(text))}
    path = out / FILE
    if path.is_file():
        noted = json.loads(path.read_text(encoding="utf-8"))
        differ = [f"{name} {noted[name]}, got {found[name]}" for name in found if noted[name] != found[name]]
        if differ:
            raise ValueError(
                f"the rows in {out} are of other recordings or texts: needed {' and '.join(differ)}; "
                "give the same data, or another `out`"
            )
    write_text(path, json.dumps(found, indent=1))


def _hash_recordings(folder: str) -> str:
    digest = hashlib.sha256()
    for each in open_recordings([folder]):
        digest.update(f"{each.name} {each.num_frames} {each.texts!r}".encode())
        digest.update(each.times_s.tobytes())
        digest.update(b"" if each.poses is None else each.poses.tobytes())
    return digest.hexdigest()[:16]


def _hash_texts(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    named = [f"{path.relative_to(folder).as_posix()} {path.stat().st_size}" for path in files]
    return hashlib.sha256("\n".join(named).encode()).hexdigest()[:16]
