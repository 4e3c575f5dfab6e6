"""Prediction table: distances of imagined, copied and reconstructed frames by horizon, from rows alone."""

import csv
import io
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from data_tools.randomness import numpy_generator_for
from data_tools.whole_file import write_text
from planners.evaluation.metrics import Interval, mean_interval
from planners.evaluation.prediction_rows import METRICS, Method, PredictionRow, Status

FRECHET = {"features": "frechet_latents", "inception": "fid"}
"""Column of features -> the distance of sets that is taken in them."""
UNITS = {"psnr_db": "PSNR [dB]", "ssim": "SSIM", "latent_squared": "latent squared"}
UNITS |= {"latent_cosine": "latent 1 - cosine", "lpips": "LPIPS", "dreamsim": "DreamSim"}
UNITS |= {"frechet_latents": "Frechet distance of latents", "fid": "FID"}
READING = (
    "Means over windows, with 95% intervals over recordings. PSNR and SSIM: higher is nearer; all others: "
    "lower. Latents of a reconstruction are those of the truth. Frechet distances shrink with the number of "
    "windows: compare them at equal numbers alone."
)
MAX_NAMED = 5
"""Problems that are shown with their reason; all of them are in the rows."""

FrechetDistance = Callable[
    [Float[np.ndarray, "sample feature"], Float[np.ndarray, "_ feature"]],
    float,
]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One number of the table."""

    kind: str
    rate_hz: float | None
    horizon_s: float
    method: str
    metric: str
    value: Interval
    """Of a Frechet distance low and high are NaN: it is of the whole set."""


def cells(rows: Sequence[PredictionRow], *, frechet: FrechetDistance) -> list[Cell]:
    """Return the means over windows with 95% intervals over trajectories, and the distances of sets.

    Args:
        rows: Of any number of windows.
        frechet: The Frechet distance of two sets of features.

    Returns:
        Cells by kind and rate, horizon and method; a metric that was not measured has none.
    """
    groups: dict[tuple[str, float | None, float], dict[str, list[PredictionRow]]] = {}
    for row in rows:
        if row.status == Status.measured.name:
            group = groups.setdefault((row.kind, row.rate_hz, row.horizon_s), {})
            group.setdefault(row.method, []).append(row)
    found = []
    for (kind, rate_hz, horizon_s), own in groups.items():
        for method in (Method.world_model, Method.copy_last, Method.reconstruction):
            values = _means(own[method.name]) | _distances(own, method, frechet)
            found += [
                Cell(
                    kind=kind,
                    rate_hz=rate_hz,
                    horizon_s=horizon_s,
                    method=method.name,
                    metric=metric,
                    value=value,
                )
                for metric, value in values.items()
            ]
    return found


def _means(rows: Sequence[PredictionRow]) -> dict[str, Interval]:
    found = {}
    for metric in METRICS:
        values = [getattr(row, metric) for row in rows]
        if None in values:
            continue
        found[metric] = mean_interval(
            np.array(values, dtype=np.float64),
            [row.trajectory for row in rows],
            rng=numpy_generator_for(0, "prediction/bootstrap"),
        )
    return found


def _distances(
    rows: Mapping[str, Sequence[PredictionRow]], method: Method, frechet: FrechetDistance
) -> dict[str, Interval]:
    found = {}
    for column, name in FRECHET.items():
        ours, true = ([getattr(row, column) for row in rows[each.name]] for each in (method, Method.truth))
        if None in ours or len(ours) < 2:
            continue
        distance = frechet(
            *(np.stack([np.frombuffer(each, np.float32) for each in own]) for own in (ours, true))
        )
        found[name] = Interval(mean=distance, low=float("nan"), high=float("nan"), n=len(ours))
    return found


def write_csv(found: Sequence[Cell], path: Path) -> None:
    """Write cells as CSV, one a line; an absent bound is empty."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["kind", "rate_hz", "horizon_s", "method", "metric", "mean", "low", "high", "n"])
    for cell in found:
        bounds = ["" if np.isnan(bound) else f"{bound:.6g}" for bound in (cell.value.low, cell.value.high)]
        rate = "" if cell.rate_hz is None else f"{cell.rate_hz:g}"
        asked = [cell.kind, rate, f"{cell.horizon_s:g}", cell.method, cell.metric]
        writer.writerow([*asked, f"{cell.value.mean:.6g}", *bounds, cell.value.n])
    write_text(path, buffer.getvalue())


def markdown(found: Sequence[Cell], rows: Sequence[PredictionRow], *, not_measured: Mapping[str, str]) -> str:
    """Return tables of cells, what could not be measured at which windows, and what was measured nowhere."""
    lines = [READING, ""]
    for kind, rate_hz in dict.fromkeys((cell.kind, cell.rate_hz) for cell in found):
        own = [cell for cell in found if (cell.kind, cell.rate_hz) == (kind, rate_hz)]
        lines += [f"### {_title(kind, rate_hz, rows)}", "", *_table(own), ""]
    lines += _problems(rows)
    lines += [f"- not measured: {metric}: {reason}" for metric, reason in not_measured.items()]
    return "\n".join([*lines, ""])


def _title(kind: str, rate_hz: float | None, rows: Sequence[PredictionRow]) -> str:
    own = [row for row in rows if row.kind == kind and row.rate_hz == rate_hz]
    counted = (
        f"{len({row.window for row in own})} windows of {len({row.trajectory for row in own})} recordings"
    )
    if rate_hz is None:
        return f"{kind}: one jump, {counted}"
    spans = [row.elapsed_s / row.num_steps for row in own if row.elapsed_s and row.num_steps]
    steps = f"{1 / np.mean(spans):.2f} recorded" if spans else "none recorded"
    return f"{kind}: {rate_hz:g} steps a second asked, {steps}, {counted}"


def _table(own: Sequence[Cell]) -> list[str]:
    metrics = [metric for metric in UNITS if any(cell.metric == metric for cell in own)]
    lines = [
        f"| s | method | windows | {' | '.join(UNITS[metric] for metric in metrics)} |",
        f"| --- | --- | --- |{' --- |' * len(metrics)}",
    ]
    for horizon_s, method in dict.fromkeys((cell.horizon_s, cell.method) for cell in own):
        values = {
            cell.metric: cell.value for cell in own if (cell.horizon_s, cell.method) == (horizon_s, method)
        }
        texts = [_text(values[metric]) if metric in values else "" for metric in metrics]
        count = max(value.n for value in values.values())
        lines.append(f"| {horizon_s:g} | {method.replace('_', ' ')} | {count} | {' | '.join(texts)} |")
    return lines


def _text(value: Interval) -> str:
    if np.isnan(value.low):
        return f"{value.mean:.3g}"
    return f"{value.mean:.3f} [{value.low:.3f}, {value.high:.3f}]"


def _problems(rows: Sequence[PredictionRow]) -> list[str]:
    """Count what could not be measured, once for a window, rate and horizon, and name the first few."""
    own = [row for row in rows if row.method == Method.world_model.name]
    short = Counter(
        (row.kind, row.rate_hz, row.horizon_s) for row in own if row.status == Status.too_short.name
    )
    lines = [
        f"- {count} windows of {kind}{'' if rate_hz is None else f' at {rate_hz:g} a second'} are too short "
        f"for {horizon_s:g} s"
        for (kind, rate_hz, horizon_s), count in short.items()
    ]
    failed = [row for row in own if row.status == Status.failed.name]
    reasons = list(dict.fromkeys(row.error for row in failed))
    if failed:
        lines.append(f"- {len(failed)} measurements failed, for {len(reasons)} reasons:")
        lines += [f"  - {reason}" for reason in reasons[:MAX_NAMED]]
        lines += [f"  - and {len(reasons) - MAX_NAMED} more, in the rows"] * (len(reasons) > MAX_NAMED)
    return lines
