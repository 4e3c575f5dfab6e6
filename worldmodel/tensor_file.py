"""Tensor file: named tensors and a JSON note in one safetensors file, written whole or not at all."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from data_tools.whole_file import whole_file

_READABLE = 0o644
"""safetensors lets nobody but the owner read what it writes; models are meant to be shared."""


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], *, note: Mapping[str, object] | None = None
) -> None:
    """Write tensors with a note, whole or not at all; OSError if the disk refuses.

    One file holds both, so a stop at any moment leaves either the old state or the new one, never a mixture.
    """
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with whole_file(path) as temporary:
        try:
            save_file(whole, temporary, metadata={"note": json.dumps(note or {})})
        except SafetensorError as error:  # what safetensors makes of a full disk
            raise OSError(f"could not write {path}: {error}; make room and run the command again") from error
        temporary.chmod(_READABLE)


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


def smallest(tensor: Tensor) -> Tensor:
    """Return a tensor in bfloat16 if nothing is lost by that, else as it is."""
    rounded = tensor.to(torch.bfloat16)
    return rounded if tensor.is_floating_point() and torch.equal(rounded.to(tensor), tensor) else tensor


def hash_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Return a hash of names, shapes and values (as float32) in their order."""
    digest = hashlib.sha256()
    for name, tensor in tensors.items():
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
