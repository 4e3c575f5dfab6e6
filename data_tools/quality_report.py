"""Quality report: one page on a conversion: what is kept, what was cut and why, maps and pictures."""

import base64
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from string import Template

import numpy as np
from jaxtyping import Float64

from data_tools.conversion_record import ConversionRecord
from data_tools.findings import cuts_by_reason, findings
from data_tools.image_writing import contact_sheet
from data_tools.markup import division, drawing, element, label_at, polyline, round_step, words
from data_tools.trajectory import Skipped, Trajectory, read_trajectory
from data_tools.whole_file import write_text

REPORT = "quality.html"
_MAP_PX = 420.0
_MARGIN = 0.08
_SHEET_COLUMNS, _SHEET_ROWS, _SHEET_WIDTH = 6, 3, 150
_MAX_CUTS_LISTED = 200


def write_quality_report(
    records: Sequence[ConversionRecord], skipped: Sequence[Skipped], out: Path, *, num_shown: int
) -> None:
    """Write `quality.html` into the folder of a conversion, with maps and pictures of its trajectories."""
    ordered = sorted(records, key=lambda record: (-len(findings(record)), record.name))
    sections = [
        _totals(records, skipped),
        _findings(ordered),
        _cuts(records),
        _table(records),
        _skipped(skipped),
        words("h2", "Recordings"),
        *(_card(record, out) for record in ordered[:num_shown]),
    ]
    if len(ordered) > num_shown:
        sections.append(words("p", f"{len(ordered) - num_shown} more are in the table only.", class_="quiet"))
    page = files("data_tools").joinpath(REPORT).read_text(encoding="utf-8")
    write_text(out / REPORT, Template(page).substitute(body="\n".join(sections)))


def _totals(records: Sequence[ConversionRecord], skipped: Sequence[Skipped]) -> str:
    num_frames = sum(record.num_frames for record in records)
    spacings = [record.quality.spacing_m for record in records if record.quality.spacing_m is not None]
    weights = [record.num_frames for record in records if record.quality.spacing_m is not None]
    tiles = {
        "recordings": f"{len(records)}",
        "trajectories": f"{sum(len(record.trajectories) for record in records)}",
        "frames": f"{num_frames}",
        "skipped": f"{len(skipped)}",
        "mean spacing [m]": f"{np.average(spacings, weights=weights):.3f}" if sum(weights) else "no poses",
    }
    boxes = [division("tile", words("b", value), words("span", name)) for name, value in tiles.items()]
    return division("tiles", *boxes)


def _findings(records: Sequence[ConversionRecord]) -> str:
    lines = [
        element("li", words("b", record.name), words("span", f": {sentence}"))
        for record in records
        for sentence in findings(record)
    ]
    if not lines:
        return element("section", words("h2", "Findings"), words("p", "Nothing is noteworthy."))
    return element("section", words("h2", "Findings"), element("ul", *lines))


def _cuts(records: Sequence[ConversionRecord]) -> str:
    rows = [
        (reason.value, str(parts), str(frames)) for reason, (parts, frames) in cuts_by_reason(records).items()
    ]
    if not rows:
        return element("section", words("h2", "Cut"), words("p", "Nothing was cut."))
    return element("section", words("h2", "Cut"), _grid(("why", "times", "frames"), rows))


def _table(records: Sequence[ConversionRecord]) -> str:
    head = (
        "recording", "frames", "cut", "images [1/s]", "longest gap [s]", "spacing [m]", "speed p95 [m/s]",
        "still", "backward", "heading", "images", "delay [s]",
    )  # fmt: skip
    rows = []
    for record in records:
        quality = record.quality
        heading, images = quality.heading, quality.images
        rows.append(
            (
                record.name,
                str(record.num_frames),
                str(sum(cut.num_frames for cut in record.cuts)),
                f"{quality.image_rate_hz:.2f}",
                f"{quality.longest_gap_s:.2f}",
                _optional(quality.spacing_m, ".3f"),
                _optional(quality.speed_m_s, ".2f"),
                _optional(quality.still_share, ".0%"),
                _optional(quality.backward_share, ".0%"),
                "" if heading is None else f"{heading.agreement:.2f}",
                "" if images is None else f"{images.correlation:.2f}",
                "" if images is None or not images.says_something else f"{images.delay_s:+.2f}",
            )
        )
    note = (
        "heading: mean cosine between yaw and direction of motion, 1 is perfect. images: correlation of the "
        "shift from image to image with the turn of the robot at the best delay; below 0.3 it says nothing."
    )
    return element(
        "section", words("h2", "All recordings"), _grid(head, rows), words("p", note, class_="quiet")
    )


def _skipped(skipped: Sequence[Skipped]) -> str:
    if not skipped:
        return ""
    rows = [(str(each.folder), each.reason) for each in skipped]
    return element("section", words("h2", "Skipped"), _grid(("what", "why"), rows))


def _card(record: ConversionRecord, out: Path) -> str:
    trajectories = [read_trajectory(out / name) for name in record.trajectories]
    parts = [words("h3", f"{record.name} ({record.place})")]
    if sentences := findings(record):
        parts.append(element("ul", *(words("li", sentence) for sentence in sentences)))
    if trajectories:
        pictures = element("img", src=_pictures(trajectories), alt="frames in order", class_="sheet")
        paths = [each.poses for each in trajectories if each.poses is not None]
        parts.append(division("pair", _map(paths), pictures) if paths else pictures)
    if record.cuts:
        rows = [
            (cut.reason.value, f"{cut.start_s:.2f}", f"{cut.end_s:.2f}", str(cut.num_frames))
            for cut in record.cuts[:_MAX_CUTS_LISTED]
        ]
        left = len(record.cuts) - len(rows)
        more = words("p", f"and {left} more", class_="quiet") if left else ""
        title = words("summary", f"{len(record.cuts)} cuts")
        grid = _grid(("why", "from [s]", "to [s]", "frames"), rows)
        parts.append(element("details", title, grid, more))
    return division("card", *parts)


def _map(paths: Sequence[Float64[np.ndarray, "_ 3"]]) -> str:
    """Draw the paths from above, north up, with a dot where each begins and a scale bar."""
    points = np.concatenate([path[:, :2] for path in paths])
    low, high = points.min(axis=0), points.max(axis=0)
    span_m = max(float((high - low).max()) * (1 + 2 * _MARGIN), 1.0)
    centre, scale = (low + high) / 2, _MAP_PX / span_m

    def place(point: np.ndarray) -> tuple[float, float]:
        x, y = (point[:2] - centre) * scale
        return float(_MAP_PX / 2 + x), float(_MAP_PX / 2 - y)

    children = []
    for path in paths:
        children.append(polyline([place(pose) for pose in path], class_="path"))
        x, y = place(path[0])
        children.append(element("circle", cx=x, cy=y, r=4.0, class_="start"))
    bar_m = round_step(span_m, num_steps=5)
    children.append(polyline([(12.0, _MAP_PX - 14), (12.0 + bar_m * scale, _MAP_PX - 14)], class_="bar"))
    children.append(label_at(12.0, _MAP_PX - 20, f"{bar_m:g} m"))
    return drawing(children, width=_MAP_PX, height=_MAP_PX, label="paths from above", class_="map")


def _pictures(trajectories: Sequence[Trajectory]) -> str:
    """Return frames of all trajectories at even distances, in order, as the address of one picture."""
    places = [(each, frame) for each in trajectories for frame in range(each.num_frames)]
    count = min(_SHEET_COLUMNS * _SHEET_ROWS, len(places))
    chosen = np.linspace(0, len(places) - 1, count).round().astype(int).tolist()
    pictures = [places[index][0].frames[places[index][1]] for index in chosen]
    sheet = contact_sheet(pictures, columns=_SHEET_COLUMNS, width=_SHEET_WIDTH)
    return "data:image/jpeg;base64," + base64.b64encode(sheet).decode()


def _grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    header = element("thead", element("tr", *(words("th", each) for each in head)))
    lines = [element("tr", *(words("td", each) for each in row)) for row in rows]
    return division("table", element("table", header, element("tbody", *lines)))


def _optional(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
