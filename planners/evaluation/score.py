"""Score what any project planned or imagined, under the protocol of open loop.

`python -m planners.evaluation.score planned=FILE_OR_FOLDER truth=FOLDER out=FOLDER`

Plans are tables (`planned_paths` says with which columns), imagined frames folders with a manifest
(`predicted_frames`); `truth` is a folder of trajectories, ours or NWM's. It leaves rows, tables beside the
published ones as Markdown, CSV and HTML, and `summary.json` with everything that was not scored.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
from omegaconf import MISSING, DictConfig
from rich.console import Console

from data_tools import config as configuration
from data_tools.provenance import current_commit, installed_versions, source_hash
from data_tools.trajectory import read_trajectories
from data_tools.whole_file import write_text
from planners.evaluation.planned_paths import (
    FAULTS,
    Units,
    read_paths,
    read_records,
    table_files,
    whole_number,
)
from planners.evaluation.predicted_frames import (
    MANIFEST,
    FrameMetrics,
    FrameNames,
    FrameRow,
    Psnr,
    TruthSize,
    score_frames,
)
from planners.evaluation.published import OurProtocol, published_planning, published_prediction
from planners.evaluation.records import OpenLoopRow, Provenance, hash_of_model, hash_with_code, to_table
from planners.evaluation.score_rows import Truth, count_faults, mean_spacing_m, score_paths
from planners.evaluation.score_table import ScoreTable, score_tables
from planners.evaluation.shards import write_table
from planners.evaluation.side_by_side import own_predictions, planning_tables, prediction_table
from planners.evaluation.success import GOAL_SHARE, RADIUS_M
from planners.evaluation.tables import TextTable, to_markdown, write_tables

NUM_NAMED = 5
"""Faults that the terminal names; `summary.json` names all."""


@dataclass(frozen=True, kw_only=True)
class ScoreConfig:
    """What is scored, and against what.

    Attributes:
        planned: A table of planned paths, a folder of such, or a folder of predicted frames.
        truth: Folder of trajectories.
        out: Folder of the results.
        method: What plans are called in tables without a column `method`, and frames.
        units: Of lengths in planned paths; `spacing` needs `spacing_m`.
        spacing_m: The data set's spacing, the unit of scores; null measures it on the truth.
        period_s: Time between frames [s] of trajectories without times, as NWM's are.
        windows: A table with the columns trajectory and frame: what was to be planned; null asks for what any
            method planned.
        windows_are: What these windows are called by published results: `NWM's 100 windows`.
        data_set: Name that published results are found by; null is the truth's folder.
        num_context: Frames that the planner saw.
        radius_m: Within which a planned end is a success.
        goal_share: The same, as a share of the goal's distance.
        frame_names: What numbers in names of frames count.
        frame_kind: How frames were imagined: `time` (one jump) or `rollout at 4 fps`.
        truth_size: How true frames come to the size of predicted ones.
        seed: Of the bootstrap.
    """

    planned: str = MISSING
    truth: str = MISSING
    out: str = "outputs/score"
    method: str = "planned"
    units: Units = Units.metres
    spacing_m: float | None = None
    period_s: float | None = None
    windows: str | None = None
    windows_are: str | None = None
    data_set: str | None = None
    num_context: int | None = None
    radius_m: float = RADIUS_M
    goal_share: float = GOAL_SHARE
    frame_names: FrameNames = FrameNames.steps
    frame_kind: str = "time"
    truth_size: TruthSize = TruthSize.resized
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("spacing_m", "period_s", "radius_m", "goal_share"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be positive; got {value}")


@dataclass(frozen=True, kw_only=True)
class Score:
    """What was scored, and what was not."""

    tables: tuple[TextTable, ...]
    fault_counts: Mapping[str, int]
    faults: tuple[str, ...]


def score(config: ScoreConfig, *, metrics: FrameMetrics | None = None) -> Score:
    """Score paths or frames and write the results; frames are measured by `metrics`, without them by PSNR."""
    planned = Path(config.planned)
    if (planned / MANIFEST).is_file():
        return _score_frames(config, metrics or Psnr())
    return _score_paths(config)


def read_truth(config: ScoreConfig, *, needs_poses: bool) -> Truth:
    """Open the recordings; ValueError if none can be read."""
    folder = Path(config.truth)
    report = read_trajectories(folder, period_s=config.period_s)
    if not report.trajectories:
        first = f"; the first was skipped because {report.skipped[0].reason}" if report.skipped else ""
        raise ValueError(f"{folder} holds no trajectory that can be read{first}")
    spacing_m = config.spacing_m
    if spacing_m is None and needs_poses:
        spacing_m = mean_spacing_m(report.trajectories)
    return Truth(
        trajectories={each.name: each for each in report.trajectories},
        data_set=config.data_set or folder.resolve().name,
        spacing_m=spacing_m,
        unreadable={skipped.folder.name: skipped.reason for skipped in report.skipped},
    )


def read_windows(path: Path) -> set[tuple[str, int]]:
    """Read the trajectories and frames that were to be planned from; ValueError names a row that is none."""
    found = set()
    for file in table_files(path):
        for number, record in read_records(file, columns=("trajectory", "frame")):
            name = None if record is None else record.get("trajectory")
            frame = None if record is None else whole_number(record.get("frame"))
            if not isinstance(name, str) or frame is None:
                raise ValueError(f"{file}, row {number}: needed a trajectory and a frame; got {record}")
            found.add((name, frame))
    return found


def _score_paths(config: ScoreConfig) -> Score:
    report = read_paths(
        Path(config.planned), method=config.method, units=config.units, spacing_m=config.spacing_m
    )
    asked = set() if config.windows is None else read_windows(Path(config.windows))
    truth = read_truth(config, needs_poses=True)
    assert truth.spacing_m is not None
    scored = score_paths(report.paths, truth, _provenance(config), faults=report.faults, asked=asked)
    own = score_tables(scored.rows, radius_m=config.radius_m, goal_share=config.goal_share, seed=config.seed)
    ours = OurProtocol(
        data_set=truth.data_set,
        spacing_m=truth.spacing_m,
        num_context=config.num_context,
        windows=config.windows_are,
    )
    out = Path(config.out)
    write_table(to_table(scored.rows, OpenLoopRow), out / "open_loop.parquet")
    tables = planning_tables(own, published_planning(), ours)
    lead = f"{config.planned} against {config.truth}, spacing {truth.spacing_m:.4g} m."
    write_tables(tables, out, stem="planning", lead=lead)
    counts = {kind.name: count for kind, count in count_faults(scored.faults).items()}
    sentences = tuple(
        f"{FAULTS[fault.kind]}: {fault.where}: {fault.method or 'unknown method'}, "
        f"{fault.trajectory or 'unknown trajectory'}, frame {fault.frame}: {fault.detail}"
        for fault in scored.faults
    )
    found = Score(tables=tuple(tables), fault_counts=counts, faults=sentences)
    _write_summary(config, found, [_table_json(each) for each in own])
    return found


def _score_frames(config: ScoreConfig, metrics: FrameMetrics) -> Score:
    truth = read_truth(config, needs_poses=False)
    scored = score_frames(
        Path(config.planned),
        truth,
        _provenance(config),
        metrics=metrics,
        method=config.method,
        names=config.frame_names,
        truth_size=config.truth_size,
    )
    own = own_predictions(scored.rows, kind=config.frame_kind, seed=config.seed)
    table = prediction_table(own, published_prediction(), data_set=truth.data_set)
    out = Path(config.out)
    write_table(to_table(scored.rows, FrameRow), out / "frames.parquet")
    write_tables([table], out, stem="prediction", lead=f"{config.planned} against {config.truth}.")
    counts = {"not_scored": len(scored.faults)} if scored.faults else {}
    found = Score(tables=(table,), fault_counts=counts, faults=scored.faults)
    _write_summary(config, found, [dataclasses.asdict(each) for each in own])
    return found


def _provenance(config: ScoreConfig) -> Provenance:
    """Return what all rows share: the settings, and the very files that were scored."""
    planned = Path(config.planned)
    content = hash_of_model(planned) if planned.is_dir() else _hash_of_file(planned)
    settings = {name: value for name, value in configuration.to_dict(config).items() if name != "out"}
    return Provenance(
        config_hash=hash_with_code({"config": settings, "planned": content}),
        checkpoint=None,
        checkpoint_hash=None,
        seed=config.seed,
        micro_batch=1,
        source_hash=source_hash(),
        versions=json.dumps(installed_versions(), sort_keys=True),
    )


def _hash_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_summary(config: ScoreConfig, found: Score, results: Sequence[Mapping[str, Any]]) -> None:
    summary = {
        "results": results,
        "fault_counts": found.fault_counts,
        "faults": found.faults,
        "config": configuration.to_dict(config),
        "commit": current_commit(),
        "versions": installed_versions(),
    }
    text = json.dumps(summary, indent=2, allow_nan=False)
    write_text(Path(config.out) / "summary.json", text + "\n")


def _table_json(table: ScoreTable) -> dict[str, Any]:
    return {
        "split": table.split,
        "goal_s": table.horizon.goal_s,
        "num_steps": table.horizon.num_steps,
        "num_problems": table.num_problems,
        "num_failed": table.num_failed,
        "spacing_m": table.spacing_m,
        "methods": {
            method: {name: dataclasses.asdict(interval) for name, interval in metrics.items()}
            | dataclasses.asdict(table.success[method])
            for method, metrics in table.table.items()
        },
    }


def _own_part(table: TextTable) -> TextTable:
    """Return our rows alone, in the columns that say something of them."""
    rows = [row for number, row in enumerate(table.rows) if number in table.emphasised]
    kept = [column for column in range(len(table.headings)) if any(row[column] for row in rows)]
    return TextTable(
        title=table.title,
        headings=tuple(table.headings[column] for column in kept),
        rows=tuple(tuple(row[column] for column in kept) for row in rows),
    )


@hydra.main(version_base=None, config_path="../conf", config_name="score")
def main(node: DictConfig) -> None:
    """Score, print the tables, and say what was not scored."""
    config = configuration.to_object(node, ScoreConfig)
    console = Console()
    try:
        found = score(config)
    except (ValueError, OSError) as error:
        raise SystemExit(str(error)) from error
    for table in found.tables:
        console.print(to_markdown(_own_part(table)) + "\n", markup=False, soft_wrap=True)
    for kind, count in found.fault_counts.items():
        console.print(f"not scored: {count} {kind.replace('_', ' ')}", markup=False)
    for sentence in found.faults[:NUM_NAMED]:
        console.print(f"  {sentence}", markup=False, soft_wrap=True)
    if len(found.faults) > NUM_NAMED:
        console.print(f"  and {len(found.faults) - NUM_NAMED} more, all in summary.json")
    console.print(f"\nTables, rows and summary: {Path(config.out).resolve()}", soft_wrap=True, markup=False)


configuration.store("score_schema", ScoreConfig)

if __name__ == "__main__":
    main()
