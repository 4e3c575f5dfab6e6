"""Tensor file: named tensors and a JSON note in one safetensors file, written whole or not at all."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

_READABLE = 0o644
"""safetensors lets nobody but the owner read what it writes; models are meant to be shared."""


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], *, note: Mapping[str, object] | None = None
) -> None:
    """Write tensors with a note, through a temporary file beside `path` that is renamed when it is complete.

    One file holds both, so a stop at any moment leaves either the old state or the new one, never a mixture.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        save_file(whole, temporary, metadata={"note": json.dumps(note or {})})
        temporary.chmod(_READABLE)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a file; FileNotFoundError, or ValueError if it is truncated."""
    return read_with_note(path)[0]


def read_with_note(path: Path) -> tuple[dict[str, Tensor], dict[str, object]]:
    """Read what `write_tensors` wrote, or any other safetensors file, whose note is empty.

    Errors are those of `read_tensors`.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no {path.name} in {path.parent}; is this folder what you meant?")
    try:
        with safe_open(path, framework="pt") as opened:
            note = json.loads((opened.metadata() or {}).get("note", "{}"))
            # `keys` is a method of the file handle, which is not iterable itself.
            names = list(opened.keys())
            return {name: opened.get_tensor(name) for name in names}, note
    except (SafetensorError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{path} is truncated or no safetensors file ({type(error).__name__}: {error}); fetch it or make "
            "it again"
        ) from error
