"""Statistics of a folder of recordings: spacing, frame rate, displacements; as a table and as JSON.

Usage: python -m data_tools.statistics data=FOLDER
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import hydra
from omegaconf import MISSING, DictConfig
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from data_tools.config import store, to_dict, to_object
from data_tools.data_folder import open_data
from data_tools.fingerprint import fingerprint
from data_tools.formats.nwm import PERIOD_S, SPACING_M
from data_tools.motion_statistics import (
    QUANTILES,
    HorizonStatistics,
    MotionStatistics,
    Stillness,
    Summary,
    measure_motion,
)
from data_tools.provenance import current_commit, installed_versions
from data_tools.trajectory import Trajectory
from data_tools.whole_file import write_text

FILE_NAME = "statistics.json"


@dataclass(frozen=True, kw_only=True)
class StatisticsCommand:
    """What is measured."""

    data: str = MISSING
    """Folder of trajectories."""
    out: str = "outputs/statistics"
    """Folder for statistics.json."""
    names: str | None = None
    """File with the names of trajectories, one a line (`traj_names.txt`); None takes all."""
    period_s: float | None = None
    """Time between frames [s] of folders that hold no times, as NWM's (0.25)."""
    step_s: float = PERIOD_S
    """Time of one step [s], for spacing and shares."""
    horizons_s: list[float] = field(default_factory=lambda: [0.25, 1.0, 2.0, 4.0, 8.0, 16.0])
    """Times after which displacements are described [s]."""
    stillness: Stillness = field(default_factory=Stillness)


def published_spacing_m(folder: Path, trajectories: Sequence[Trajectory]) -> float | None:
    """Return NWM's constant for the set [m] if the folder's name, or the one place, is among its sets."""
    places = {trajectory.place for trajectory in trajectories}
    names = [folder.resolve().name, *(places if len(places) == 1 else ())]
    return next((SPACING_M[name] for name in names if name in SPACING_M), None)


def measure_and_write(command: StatisticsCommand) -> tuple[MotionStatistics, float | None]:
    """Measure, write statistics.json, and return the statistics and the published spacing [m]."""
    names = None if command.names is None else Path(command.names)
    trajectories = open_data(Path(command.data), names=names, period_s=command.period_s)
    measured = measure_motion(
        trajectories, step_s=command.step_s, horizons_s=command.horizons_s, stillness=command.stillness
    )
    published_m = published_spacing_m(Path(command.data), trajectories)
    content = {
        **asdict(measured),
        "quantile_levels": QUANTILES,
        "published_spacing_m": published_m,
        "provenance": {
            "data_fingerprint": fingerprint(trajectories),
            "settings": to_dict(command),
            "commit": current_commit(),
            "versions": installed_versions(),
        },
    }
    write_text(Path(command.out) / FILE_NAME, json.dumps(content, indent=1, allow_nan=False) + "\n")
    return measured, published_m


def overview_table(measured: MotionStatistics, published_m: float | None) -> Table:
    """Return counts, rates, spacing and shares, one a row."""
    step = f"in {measured.step_s:g} s"
    rows = {
        "trajectories": str(measured.num_trajectories),
        "trajectories without poses": str(measured.num_without_poses),
        "frames": str(measured.num_frames),
        "duration [h]": _number(measured.duration_s / 3600),
        "path [km]": _number(measured.path_m / 1000),
        "frames a second: median, slowest, fastest": _rates(measured.period_s),
        f"spacing: mean distance {step} [m]": _number(measured.spacing_m),
        "spacing that NWM publishes [m]": _number(published_m),
        f"stands still {step}": _share(measured.still_share),
        f"turns on the spot {step}": _share(measured.turning_share),
        f"goes backward {step}": _share(measured.backward_share),
    }
    table = Table("what", "value", box=box.SIMPLE)
    for what, value in rows.items():
        table.add_row(escape(what), value)
    return table


def horizon_table(measured: MotionStatistics) -> Table:
    """Return the displacements over each horizon, a row a field."""
    table = Table(
        "after", "field", "mean", "std", "min", "5%", "50%", "95%", "max", box=box.SIMPLE, padding=0
    )
    for horizon in measured.horizons:
        rows = {
            "distance [m]": horizon.distance_m,
            "dx [m]": horizon.dx_m,
            "dy [m]": horizon.dy_m,
            "dyaw [rad]": horizon.dyaw_rad,
        }
        for name, summary in rows.items():
            after = f"{horizon.horizon_s:g} s" if name == "distance [m]" else ""
            table.add_row(after, escape(name), *_cells(summary), end_section=name == "dyaw [rad]")
    return table


def describe_counts(horizon: HorizonStatistics) -> str:
    """Say how many displacements a horizon has, and what could not be measured."""
    return (
        f"after {horizon.horizon_s:g} s: {horizon.num_displacements} displacements; "
        f"{horizon.num_too_short} trajectories too short, {horizon.num_in_gaps} frames before gaps"
    )


def _cells(summary: Summary | None) -> list[str]:
    if summary is None:
        return ["-"] * 7
    low, middle, high = (summary.quantiles[QUANTILES.index(level)] for level in (0.05, 0.5, 0.95))
    numbers = (summary.mean, summary.std, summary.min, low, middle, high, summary.max)
    return [_number(number) for number in numbers]


def _rates(period_s: Summary | None) -> str:
    if period_s is None:
        return "-"
    return ", ".join(f"{1 / value:.2f}" for value in (_median(period_s), period_s.max, period_s.min))


def _median(summary: Summary) -> float:
    return summary.quantiles[QUANTILES.index(0.5)]


def _number(number: float | None) -> str:
    return "-" if number is None else f"{round(number, 3):.4g}"


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


@hydra.main(version_base=None, config_path="conf", config_name="statistics")
def main(node: DictConfig) -> None:
    """Measure, write and print."""
    command = to_object(node, StatisticsCommand)
    measured, published_m = measure_and_write(command)
    console = Console()
    console.print(overview_table(measured, published_m))
    console.print(horizon_table(measured))
    for horizon in measured.horizons:
        console.print(describe_counts(horizon), highlight=False)
    console.print(f"written to {Path(command.out) / FILE_NAME}", markup=False)


# The representations have a command of the same name, and all schemas share one store.
store("data_statistics_schema", StatisticsCommand)

if __name__ == "__main__":
    main()
