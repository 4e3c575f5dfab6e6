"""Overview: one picture of a run, for a README."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_tools.whole_file import whole_file
from planners.evaluation.records import OpenLoopRow, PlanEvidence
from planners.evaluation.summary import ORACLES, Method, Split, Summary
from planners.evaluation.videos import decode_png

INK, QUIET, OURS, TRUE, CLOUD, PAPER = "#1a1f2b", "#5c667a", "#c2410c", "#15803d", "#2563eb", "#ffffff"
STEPS_SHOWN = (2, 4, 6, 8)


def draw_overview(summary: Summary, rows: Sequence[OpenLoopRow], path: Path) -> bool:
    """Draw one plan and the table of its split; without a plan that was kept there is nothing to draw.

    Args:
        summary: Gives the table.
        rows: Give the plan: of those kept for the report, on levels that the model has seen if there are any,
            the one whose recording went farthest.
        path: Where the PNG goes.

    Returns:
        Whether a picture was written.
    """
    kept = [row for row in rows if row.evidence is not None and row.final_position_m is not None]
    if not kept:
        return False
    import matplotlib as mpl  # noqa: PLC0415 (only this picture needs it)

    mpl.use("Agg")
    import matplotlib.pyplot as plt  # noqa: PLC0415

    seen = [row for row in kept if row.split == Split.seen_levels.name]
    row = max(seen or kept, key=_recorded_m)
    assert row.evidence is not None
    with mpl.rc_context({"font.size": 9, "font.family": "sans-serif", "text.color": INK}):
        figure = plt.figure(figsize=(12, 3.3), dpi=120, facecolor=PAPER)
        films = figure.add_gridspec(
            2, 2, width_ratios=[4.06, 1], left=0.0, right=0.53, wspace=0.03, hspace=0.2
        )
        shown = "the recording" if row.evidence.is_recorded else "the simulator, driving the plan"
        _draw_strip(figure.add_subplot(films[0, 0]), row.evidence.simulated, shown)
        _draw_strip(figure.add_subplot(films[1, 0]), row.evidence.imagined, "what the world model imagined")
        _draw_strip(figure.add_subplot(films[0, 1]), (row.evidence.observed,), "now")
        _draw_strip(figure.add_subplot(films[1, 1]), (row.evidence.goal,), "the goal image")
        graphs = figure.add_gridspec(1, 2, width_ratios=[1, 0.85], left=0.55, right=0.9, wspace=0.08)
        _draw_map(figure.add_subplot(graphs[0]), row, row.evidence)
        _draw_errors(figure.add_subplot(graphs[1]), summary, row.split)
        with whole_file(path) as temporary:
            figure.savefig(temporary, format="png", bbox_inches="tight", facecolor=PAPER)
        plt.close(figure)
    return True


def _recorded_m(row: OpenLoopRow) -> float:
    return math.dist(row.start_pose[:2], row.true_poses[-1][:2])


def _draw_strip(axes: Any, frames: Sequence[bytes], title: str) -> None:
    axes.set_axis_off()
    axes.set_title(title, loc="left", color=INK, fontsize=9)
    if not frames:
        axes.text(0.02, 0.5, "no model in this run", color=QUIET, transform=axes.transAxes)
        return
    shown = [frames[step - 1] for step in STEPS_SHOWN] if len(frames) >= max(STEPS_SHOWN) else frames
    pictures = [decode_png(frame) for frame in shown]
    gap = np.full((pictures[0].shape[0], max(2, pictures[0].shape[1] // 40), 3), 255, dtype=np.uint8)
    parts = [part for picture in pictures for part in (picture, gap)][:-1]
    height, width = pictures[0].shape[:2]
    # Frames of a model are square; they stand for views of 4:3.
    axes.imshow(np.concatenate(parts, axis=1), aspect=(3 / 4) / (height / width), interpolation="bicubic")


def _draw_map(axes: Any, row: OpenLoopRow, evidence: PlanEvidence) -> None:
    for x1, y1, x2, y2 in evidence.walls:
        axes.plot([x1, x2], [y1, y2], color=QUIET, linewidth=1.2)
    for number, group in enumerate(evidence.candidates):
        alpha = 0.06 + 0.2 * (number + 1) / len(evidence.candidates)
        for flat in group:
            path = np.array(flat).reshape(-1, 2)
            axes.plot(path[:, 0], path[:, 1], color=CLOUD, alpha=alpha, linewidth=0.7)
    start = np.array(row.start_pose)
    true = np.concatenate([start[None], np.array(row.true_poses)])
    driven = np.concatenate([start[None], np.array(evidence.driven)])
    axes.plot(true[:, 0], true[:, 1], color=TRUE, linestyle=":", linewidth=2.6, label="recorded")
    axes.plot(driven[:, 0], driven[:, 1], color=OURS, linewidth=2.4, label="driven")
    axes.plot(*true[-1, :2], "o", color=TRUE, markersize=8)
    axes.plot(*start[:2], "o", color=INK, markersize=7)
    points = np.concatenate([true, driven])[:, :2]
    centre, reach = (points.max(0) + points.min(0)) / 2, max(np.ptp(points, axis=0).max() / 2 + 0.7, 1.5)
    axes.set(xlim=(centre[0] - reach, centre[0] + reach), ylim=(centre[1] - reach, centre[1] + reach))
    axes.set_aspect("equal")
    axes.set(xticks=[], yticks=[])
    axes.set_title("candidates, from above", loc="left", fontsize=9)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=2, fontsize=8, frameon=False)
    for spine in axes.spines.values():
        spine.set_color("#dfe3ea")


def _draw_errors(axes: Any, summary: Summary, split: str) -> None:
    table = summary.open_loop[split].table
    names = list(table)[::-1]
    for place, name in enumerate(names):
        interval = table[name]["ate_m"]
        colour = OURS if name == Method.world_model.name else QUIET
        filled = PAPER if name in ORACLES else colour
        axes.plot([interval.low, interval.high], [place, place], color=colour, alpha=0.5, linewidth=3)
        axes.plot(interval.mean, place, "o", color=colour, markerfacecolor=filled, markersize=7)
    axes.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    axes.yaxis.tick_right()
    axes.set_xlim(left=0.0)
    axes.set_title(f"ATE [m], {split.replace('_', ' ')}", loc="left", fontsize=9)
    axes.tick_params(colors=QUIET, length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.grid(axis="x", color="#dfe3ea")
    axes.set_axisbelow(True)
