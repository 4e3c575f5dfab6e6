"""Pairing: `python -m worldmodel.representation.pair understanding=FOLDER generation=FOLDER out=FOLDER`.

Writes a dual representation (dual.py): frames are looked at with the first, and generated in the second.
"""

from dataclasses import dataclass
from pathlib import Path

import hydra
from omegaconf import MISSING, DictConfig
from rich.console import Console

from data_tools.config import store, to_object
from worldmodel.representation.dual import KIND as DUAL
from worldmodel.representation.dual import DualRepresentation
from worldmodel.representation.open import load_representation, refuse_other


@dataclass(frozen=True, kw_only=True)
class PairConfig:
    """Two representations of equally many tokens a frame."""

    understanding: str = MISSING
    """Folder of the representation that frames are looked at with."""
    generation: str = MISSING
    """Folder of the one that frames are generated in."""
    out: str = MISSING


def pair(config: PairConfig) -> DualRepresentation:
    """Write the two as one to `config.out`, and return it; ValueError if they do not go together."""
    inputs, out = (config.understanding, config.generation), Path(config.out).resolve()
    if out in [Path(folder).resolve() for folder in inputs]:
        raise ValueError(f"needed an `out` of its own, got {config.out}, which is one of the two")
    refuse_other(out, DUAL)
    both = [load_representation(folder) for folder in inputs]
    for folder, each in zip(inputs, both, strict=True):
        if each.num_context_channels:
            raise ValueError(f"{folder} is a dual representation itself; name one of its two folders")
    dual = DualRepresentation(*both)
    dual.save(Path(config.out))
    return dual


@hydra.main(version_base=None, config_path="../conf", config_name="pair")
def main(node: DictConfig) -> None:
    """Pair them, and say what came of it."""
    dual = pair(to_object(node, PairConfig))
    Console().print_json(
        data={
            "fingerprint": dual.fingerprint,
            "num_tokens": dual.num_tokens,
            "num_context_channels": dual.num_context_channels,
            "num_channels": dual.num_channels,
        }
    )


store("pair_schema", PairConfig)

if __name__ == "__main__":
    main()
