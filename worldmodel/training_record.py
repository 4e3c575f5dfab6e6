"""TrainingRecord: what a world model was trained on and how; it lies beside the weights."""

import hashlib
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from data_tools.fingerprint import fingerprint
from data_tools.provenance import current_commit, installed_versions
from data_tools.trajectory import Trajectory
from worldmodel.checkpoint import read_json
from worldmodel.training_log import TrainingLog

FILE_NAME = "training.json"


@dataclass(frozen=True, kw_only=True)
class TrainingRecord:
    """Facts of one pretraining run, as they stood when its weights were written."""

    places: list[str]
    """Places (levels, scenes) that training frames came from: what is unseen is anything else."""
    num_trajectories: int
    num_frames: int
    hours_recorded: float
    num_steps: int
    tokens: dict[str, int]
    """Tokens trained on, by kind of document."""
    training_s: float
    """Time spent in steps [s], without evaluation and interruptions."""
    seed: int
    hardware: str
    commit: str | None
    versions: dict[str, str]
    heldout: dict[str, float]
    """The newest held-out losses, as worldmodel.heldout names them; empty before the first."""
    data: str | None = None
    """Hash of the recordings and texts; None in records of before it was kept."""
    trajectories: dict[str, list[str]] = field(default_factory=dict)
    """Fingerprints of the training trajectories of each place, so that none is evaluated on; a place that is
    missing, as in older records, does not say which were its."""
    started_from: str | None = None
    """Hash of the weights that the run began with; None if these were random."""
    distilled_from: str | None = None
    """Hash of the weights of the teacher whose long sampler a few steps replace; None if there was none."""
    distilled_steps: int = 0
    distilled_s: float = 0.0
    """Time spent in them [s]."""


def make_record(
    trajectories: Sequence[Trajectory],
    *,
    num_steps: int,
    tokens: dict[str, int],
    seed: int,
    data: str,
    log: TrainingLog,
    start: Path | None = None,
) -> TrainingRecord:
    """Gather the facts of a run; time and held-out losses come from its log.

    `start` is the folder of the model that it began with: what that one has seen, this one has.
    """
    before = None if start is None else read_record(start)
    trajectories_of: dict[str, list[str]] = {} if before is None else dict(before.trajectories)
    unknown = set() if before is None else set(before.places) - before.trajectories.keys()
    for place in sorted({trajectory.place for trajectory in trajectories} - unknown):
        own = [fingerprint([each]) for each in trajectories if each.place == place]
        trajectories_of[place] = sorted({*own, *trajectories_of.get(place, ())})
    recorded_s = sum(float(trajectory.times_s[-1] - trajectory.times_s[0]) for trajectory in trajectories)
    return TrainingRecord(
        places=sorted({*(each.place for each in trajectories), *(before.places if before else ())}),
        num_trajectories=len(trajectories),
        num_frames=sum(trajectory.num_frames for trajectory in trajectories),
        hours_recorded=round(recorded_s / 3600, 3),
        num_steps=num_steps,
        tokens=tokens,
        training_s=round(log.training_s, 1),
        seed=seed,
        hardware=hardware(),
        commit=current_commit(),
        versions=installed_versions(),
        heldout=log.newest_heldout,
        data=data,
        trajectories=trajectories_of,
        started_from=None if start is None else hash_weights(start),
    )


def hash_weights(folder: Path) -> str:
    """Return a short hash of a model's weights."""
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()[:16]


def hardware() -> str:
    """Return how many processors of which name this machine has."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{os.cpu_count()} x {names[0] if names else platform.processor() or platform.machine()}"


def to_json(record: TrainingRecord) -> str:
    """Return the text of the file."""
    return json.dumps(asdict(record), indent=1)


def read_record(folder: Path) -> TrainingRecord:
    """Read the record of a model folder."""
    content = read_json(folder / FILE_NAME)
    try:
        return TrainingRecord(**content)  # pyright: ignore[reportArgumentType]
    except TypeError as error:
        raise ValueError(f"{folder / FILE_NAME} is no training record of this version: {error}") from error
