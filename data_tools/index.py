"""Evaluation indices of a folder of recordings, by NWM's rule: JSON lines, and pickles for NWM's own code.

Usage: python -m data_tools.index data=FOLDER out=FOLDER kinds=[time,rollout,navigation]
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import hydra
from omegaconf import MISSING, DictConfig

from data_tools.config import store, to_object
from data_tools.data_folder import open_data
from data_tools.evaluation_index import EvaluationIndex, IndexKind, write_index, write_nwm_index
from data_tools.evaluation_windows import IndexConfig, generate_index


@dataclass(frozen=True, kw_only=True)
class IndexCommand:
    """Of which recordings, and which indices."""

    data: str = MISSING
    """Folder of trajectories."""
    out: str = MISSING
    """Folder for `<kind>.jsonl`."""
    kinds: list[IndexKind] = field(default_factory=lambda: list(IndexKind))
    names: str | None = None
    """File with the names of the test trajectories, one a line (`traj_names.txt`); None takes all."""
    period_s: float | None = None
    """Time between frames [s] of folders that hold no times, as NWM's (0.25)."""
    nwm_pickles: bool = True
    """Whether `time.pkl`, `rollout.pkl` and `navigation_eval.pkl` are written too."""
    seed: int = 0
    index: IndexConfig = field(default_factory=IndexConfig)

    def __post_init__(self) -> None:
        """Refuse nothing to do, and kinds given twice."""
        if not self.kinds or len(set(self.kinds)) < len(self.kinds):
            raise ValueError(f"needed each kind at most once, and one of them; got {self.kinds}")


def make_indices(command: IndexCommand) -> Sequence[EvaluationIndex]:
    """Generate all indices, then write them: nothing is written if one of them is impossible."""
    names = None if command.names is None else Path(command.names)
    trajectories = open_data(Path(command.data), names=names, period_s=command.period_s)
    indices = [
        generate_index(trajectories, kind, config=command.index, seed=command.seed) for kind in command.kinds
    ]
    for index in indices:
        write_index(index, Path(command.out) / f"{index.kind.name}.jsonl")
        if command.nwm_pickles:
            write_nwm_index(index, Path(command.out))
    return indices


@hydra.main(version_base=None, config_path="conf", config_name="index")
def main(node: DictConfig) -> None:
    """Generate, write and say what came out."""
    command = to_object(node, IndexCommand)
    for index in make_indices(command):
        num_trajectories = len({window.trajectory for window in index.windows})
        print(
            f"{index.kind.name}: {len(index.windows)} windows of {index.provenance['num_available']}, "
            f"from {num_trajectories} of {index.provenance['num_trajectories']} trajectories; "
            f"{index.provenance['num_in_gaps']} windows lie in gaps"
        )


store("index_schema", IndexCommand)

if __name__ == "__main__":
    main()
