"""Prediction: imagined frames of held-out recordings against the true ones, and whether they heed commands.

`python -m planners.evaluation.prediction checkpoint=nano data=FOLDER out=FOLDER`

Navigation World Models' kinds: `time`, one jump to each horizon, and `rollout`, step by step along the true
motion; beside them the last frame copied and the true frame through encoder and decoder. Kind `faithfulness`
reads the motion back from imagined frames.
"""

import functools
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import hydra
import numpy as np
from omegaconf import MISSING, DictConfig
from PIL import Image
from rich.console import Console

from data_tools import config as configuration
from data_tools.frames import FrameFiles
from data_tools.provenance import current_commit, installed_versions, source_hash
from data_tools.trajectory import ReadReport, Trajectory, read_trajectories
from data_tools.whole_file import whole_file, write_text
from planners.calibrate import cached_model, checkpoint_hash
from planners.evaluation.contact_sheet import contact_sheet
from planners.evaluation.faithfulness import (
    FaithfulnessRow,
    FaithfulnessShape,
    Reach,
    measure_faithfulness,
    reach_of,
)
from planners.evaluation.faithfulness_table import faithfulness_markdown, faithfulness_results
from planners.evaluation.frame_metrics import NOT_OFFERED, Opened, Perceptual, open_perceptual
from planners.evaluation.prediction_measures import Instruments, PredictionShape, Question, measure_window
from planners.evaluation.prediction_rows import PredictionRow, Status
from planners.evaluation.prediction_table import cells, markdown, write_csv
from planners.evaluation.prediction_windows import Kind, Window, cut_windows
from planners.evaluation.progress import progress_bars, resumable
from planners.evaluation.records import Provenance, hash_with_code, to_table
from planners.evaluation.shards import OnProgress, ShardStore, run_shards, worker_session, write_table
from worldmodel.evaluation.features import inception_features
from worldmodel.evaluation.frechet import Gaussian, frechet_distance

MICRO_BATCH = 1
"""Windows are imagined one by one, so that the noise of each is its own."""
NO_INCEPTION = "its weights are not given: inception=FILE (pt_inception-2015-12-05-6726825d.pth)"


@dataclass(frozen=True, kw_only=True)
class PredictionConfig:
    """What is evaluated; rows are a function of all but `out`, `workers`, `kinds` and the numbers of windows.

    Attributes:
        checkpoint: A shipped model's name or a folder.
        data: Folder of recordings that the model was not trained on.
        out: Folder of the results.
        period_s: Time between frames [s] of recordings that do not hold it (NWM's folders without info.json).
        kinds: What is asked.
        num_time: Windows of kind time, rounded up to whole shards; NWM has 500.
        num_rollout: Of kind rollout; NWM has 150.
        num_faithfulness: Of kind faithfulness.
        windows_per_shard: What is kept together when a run is stopped.
        num_shown: Windows of time and of rollout that the contact sheet shows.
        shape: What is imagined.
        faithfulness: What is commanded and read back.
        perceptual: Metrics by trained networks; those not at hand are named and left out.
        inception: File with the published weights of FID; without it there is no FID.
        seed: Of windows and noise.
        workers: Ray workers; 0 computes in this process.
    """

    checkpoint: str = MISSING
    data: str = MISSING
    out: str = MISSING
    period_s: float | None = None
    kinds: list[Kind] = field(default_factory=lambda: list(Kind))
    num_time: int = 500
    num_rollout: int = 150
    num_faithfulness: int = 150
    windows_per_shard: int = 5
    num_shown: int = 2
    shape: PredictionShape = field(default_factory=PredictionShape)
    faithfulness: FaithfulnessShape = field(default_factory=FaithfulnessShape)
    perceptual: list[Perceptual] = field(default_factory=lambda: list(Perceptual))
    inception: str | None = None
    seed: int = 4_000_037
    workers: int = 2

    def __post_init__(self) -> None:
        """Refuse what measures nothing, before anything is read."""
        if min(self.num_time, self.num_rollout, self.num_faithfulness, self.windows_per_shard) < 1:
            raise ValueError(
                "num_time, num_rollout, num_faithfulness and windows_per_shard must be at least 1; leave a "
                "kind out with kinds=[time]"
            )
        if not self.kinds or len(set(self.kinds)) < len(self.kinds):
            raise ValueError(f"kinds must name one kind at least and each once; got {self.kinds}")
        if min(self.workers, self.num_shown) < 0:
            raise ValueError(
                f"workers and num_shown must be at least 0; got {self.workers} and {self.num_shown}"
            )

    def num_windows(self, kind: Kind) -> int:
        """Return the windows of a kind, in whole shards."""
        asked = {
            Kind.time: self.num_time,
            Kind.rollout: self.num_rollout,
            Kind.faithfulness: self.num_faithfulness,
        }[kind]
        return -(-asked // self.windows_per_shard) * self.windows_per_shard


@dataclass(frozen=True, kw_only=True)
class PredictionTask:
    """A shard's windows, and what is asked at them."""

    config: PredictionConfig
    provenance: Provenance
    windows: tuple[Window, ...]
    shown: frozenset[str]
    """Names of the windows whose frames are kept."""
    reaches: tuple[Reach, ...]
    """Of each of faithfulness.horizons_s; empty for other kinds."""


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """All rows of a run."""

    prediction: list[PredictionRow]
    faithfulness: list[FaithfulnessRow]


def evaluate_shard(task: PredictionTask) -> Sequence[PredictionRow]:
    """Imagine and compare at each window of a shard."""
    instruments = _instruments(task.config.checkpoint, tuple(task.config.perceptual), task.config.inception)
    return [row for question in _questions(task) for row in measure_window(question, instruments)]


def evaluate_faithfulness(task: PredictionTask) -> Sequence[FaithfulnessRow]:
    """Command and read back at each window of a shard."""
    shape = task.config.faithfulness
    reaches = dict(zip(shape.horizons_s, task.reaches, strict=True))
    model = cached_model(task.config.checkpoint)
    return [
        row for question in _questions(task) for row in measure_faithfulness(question, shape, reaches, model)
    ]


def make_tasks(
    config: PredictionConfig, kind: Kind, trajectories: Sequence[Trajectory], provenance: Provenance
) -> dict[str, PredictionTask]:
    """Draw the windows of a kind and cut them into shards; more windows leave the first shards alone."""
    is_faithfulness = kind is Kind.faithfulness
    horizons_s = config.faithfulness.horizons_s if is_faithfulness else config.shape.horizons_s
    windows = cut_windows(
        trajectories,
        kind=kind,
        num_windows=config.num_windows(kind),
        num_context=config.shape.num_context,
        horizons_s=horizons_s,
        seed=config.seed,
    )
    size = config.windows_per_shard
    return {
        f"{kind.name}-{start // size}": PredictionTask(
            config=config,
            provenance=provenance,
            windows=tuple(windows[start : start + size]),
            shown=frozenset(window.name for window in windows[: config.num_shown]),
            reaches=tuple(reach_of(trajectories, each) for each in horizons_s) if is_faithfulness else (),
        )
        for start in range(0, len(windows), size)
    }


def run_prediction(
    config: PredictionConfig,
    trajectories: Sequence[Trajectory],
    *,
    on_prediction: OnProgress | None = None,
    on_faithfulness: OnProgress | None = None,
) -> Evaluated:
    """Return the rows of an evaluation, computing what its folder lacks."""
    provenance = make_provenance(config, trajectories)
    store = ShardStore(folder=Path(config.out) / "shards", config_hash=provenance.config_hash)
    tasks = {kind: make_tasks(config, kind, trajectories, provenance) for kind in config.kinds}
    commands = tasks.pop(Kind.faithfulness, {})
    prediction = run_shards(
        evaluate_shard,
        {name: task for own in tasks.values() for name, task in own.items()},
        row_type=PredictionRow,
        store=store,
        num_workers=config.workers,
        has_failed=lambda row: row.status == Status.failed.name,
        on_progress=on_prediction,
    )
    faithfulness = run_shards(
        evaluate_faithfulness,
        commands,
        row_type=FaithfulnessRow,
        store=store,
        num_workers=config.workers,
        has_failed=lambda row: row.status == Status.failed.name,
        on_progress=on_faithfulness,
    )
    return Evaluated(prediction=prediction, faithfulness=faithfulness)


def make_provenance(config: PredictionConfig, trajectories: Sequence[Trajectory]) -> Provenance:
    """Return what all rows share; its hash is over all that numbers depend on, installed metrics too."""
    ignored = {"out", "workers", "data", "kinds", "num_time", "num_rollout", "num_faithfulness", "inception"}
    described = {
        name: value for name, value in configuration.to_dict(config).items() if name not in ignored
    } | {
        "recordings": recordings_hash(trajectories),
        "at_hand": sorted(_perceptual(tuple(config.perceptual)).metrics),
        "has_inception": config.inception is not None,
    }
    hash_of_checkpoint = checkpoint_hash(config.checkpoint)
    return Provenance(
        config_hash=hash_with_code({"config": described, "checkpoint": hash_of_checkpoint}),
        checkpoint=config.checkpoint,
        checkpoint_hash=hash_of_checkpoint,
        seed=config.seed,
        micro_batch=MICRO_BATCH,
        source_hash=source_hash(),
        versions=json.dumps(installed_versions(), sort_keys=True),
    )


def recordings_hash(trajectories: Sequence[Trajectory]) -> str:
    """Return a hash of names, times, poses and the first, middle and last image of each, decoded or not."""
    digest = hashlib.sha256()
    for trajectory in trajectories:
        digest.update(f"{trajectory.name}/{trajectory.num_frames}/".encode() + trajectory.times_s.tobytes())
        digest.update(b"" if trajectory.poses is None else trajectory.poses.tobytes())
        assert isinstance(trajectory.frames, FrameFiles)
        last = trajectory.num_frames - 1
        for frame in sorted({0, last // 2, last}):
            digest.update(trajectory.frames.paths[frame].read_bytes())
    return digest.hexdigest()


def write_results(config: PredictionConfig, found: Evaluated, report: ReadReport, *, seconds: float) -> str:
    """Write rows, tables, the contact sheet and `prediction.json`; return the tables as Markdown."""
    out = Path(config.out)
    not_measured = dict(_perceptual(tuple(config.perceptual)).missing)
    not_measured |= ({} if config.inception else {"fid": NO_INCEPTION}) | NOT_OFFERED
    texts = [f"- skipped {each.folder.name}: {each.reason}\n" for each in report.skipped]
    if found.prediction:
        table = cells(found.prediction, frechet=_frechet)
        write_table(to_table(found.prediction, PredictionRow), out / "prediction.parquet")
        write_csv(table, out / "prediction.csv")
        texts.append(markdown(table, found.prediction, not_measured=not_measured))
    if any(row.picture is not None for row in found.prediction):
        with whole_file(out / "contact_sheet.png") as temporary:
            Image.fromarray(contact_sheet(found.prediction)).save(temporary, format="PNG")
    if found.faithfulness:
        write_table(to_table(found.faithfulness, FaithfulnessRow), out / "faithfulness.parquet")
        results = faithfulness_results(found.faithfulness)
        texts.append(faithfulness_markdown(results, found.faithfulness))
    text = "\n".join(texts)
    write_text(out / "prediction.md", text)
    made = {
        "config": configuration.to_dict(config),
        "commit": current_commit(),
        "seconds": seconds,
        "not_measured": not_measured,
        "num_recordings": len(report.trajectories),
        "skipped": {each.folder.name: each.reason for each in report.skipped},
    }
    write_text(out / "prediction.json", json.dumps(made, indent=1) + "\n")
    return text


def _questions(task: PredictionTask) -> list[Question]:
    return [
        Question(
            window=window,
            shape=task.config.shape,
            seed=task.config.seed,
            provenance=task.provenance,
            keeps_pictures=window.name in task.shown,
        )
        for window in task.windows
    ]


@functools.cache
def _instruments(checkpoint: str, perceptual: tuple[Perceptual, ...], inception: str | None) -> Instruments:
    """Open the model and the metrics once a process."""
    return Instruments(
        world_model=cached_model(checkpoint),
        perceptual=_perceptual(perceptual).metrics,
        inception=None if inception is None else inception_features(Path(inception)).describe,
    )


@functools.cache
def _perceptual(wanted: tuple[Perceptual, ...]) -> Opened:
    return open_perceptual(wanted)


def _frechet(made: np.ndarray, true: np.ndarray) -> float:
    return frechet_distance(Gaussian.of(made), Gaussian.of(true))


@hydra.main(version_base=None, config_path="../conf", config_name="prediction")
def main(node: DictConfig) -> None:
    """Evaluate, print the tables, and write rows, tables and picture."""
    config = configuration.to_object(node, PredictionConfig)
    console = Console()
    started = time.perf_counter()
    report = read_trajectories(Path(config.data), period_s=config.period_s)
    if not report.trajectories:
        reasons = "; ".join(each.reason for each in report.skipped[:1]) or "it holds no folders"
        raise ValueError(f"needed recordings in data={config.data}, found none that can be read: {reasons}")
    with resumable(console), worker_session(config.workers), progress_bars(console) as add_bar:
        found = run_prediction(
            config,
            report.trajectories,
            on_prediction=add_bar("prediction"),
            on_faithfulness=add_bar("faithfulness"),
        )
    text = write_results(config, found, report, seconds=time.perf_counter() - started)
    console.print(text, markup=False, soft_wrap=True)


configuration.store("prediction_schema", PredictionConfig)

if __name__ == "__main__":
    # Ray's workers find classes by import; those of `__main__` would be others than ours.
    from planners.evaluation import prediction  # noqa: PLW0406

    prediction.main()
