"""Tensor file: named tensors and a JSON note in one safetensors file, written whole or not at all."""

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor


def write_tensors(path: Path, tensors: Mapping[str, Tensor], *, note: Mapping[str, object]) -> None:
    """Write tensors with a note, through a temporary file beside `path` that is renamed when it is complete.

    One file holds both, so a stop at any moment leaves either the old state or the new one, never a mixture.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".partial")
    os.close(handle)
    try:
        whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        save_file(whole, temporary, metadata={"note": json.dumps(note)})
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, object]]:
    """Read what `write_tensors` wrote; ValueError if the file is truncated or foreign."""
    if not path.is_file():
        raise FileNotFoundError(f"needed a safetensors file at {path}, found none")
    try:
        with safe_open(path, framework="pt") as opened:
            note = json.loads((opened.metadata() or {})["note"])
            # `keys` is a method of the file handle, which is not iterable itself.
            names = list(opened.keys())
            return {name: opened.get_tensor(name) for name in names}, note
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{path} is truncated or foreign ({type(error).__name__}: {error}); needed a file written by "
            "this project; delete it and make it again"
        ) from error
