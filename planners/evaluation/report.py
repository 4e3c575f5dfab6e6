"""Report: one page that opens from disk with nothing beside it, made from rows and their summary."""

import json
import math
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

import numpy as np

from data_tools.action_text import parse_actions
from planners.evaluation.charts import draw_costs, draw_intervals
from planners.evaluation.explanations import AGENTS, COLUMNS, METHODS, METRICS, PROTOCOL, SPLITS
from planners.evaluation.maps import MapLayers, draw_map
from planners.evaluation.metrics import Interval
from planners.evaluation.problems import path_from
from planners.evaluation.records import ClosedLoopRow, OpenLoopRow
from planners.evaluation.summary import (
    CLOSED_LOOP_METRICS,
    OPEN_LOOP_METRICS,
    ORACLES,
    Method,
    Split,
    Summary,
    Table,
    write_text_atomically,
)
from planners.evaluation.videos import data_uri, panel_video

PLAN_FRAMES_PER_S = 35 / 9  # real time
DRIVE_FRAMES_PER_S = 8.0
NUM_RESAMPLES = 2000
OURS = Method.world_model.name


def write_report(
    summary: Summary,
    open_rows: Sequence[OpenLoopRow],
    closed_rows: Sequence[ClosedLoopRow],
    path: Path,
) -> None:
    """Write the page; rows with evidence become its examples."""
    template = Template(files("planners.evaluation").joinpath("report.html").read_text(encoding="utf-8"))
    checkpoint = summary.run.checkpoint
    lead = (
        f"The world model {checkpoint!r} imagines where actions written as text lead, and the planner searches for "
        "the text that leads to the goal image."
        if checkpoint is not None
        else "No world model took part: the planner searches on the true simulator, which bounds what any world "
        "model can reach with this cost."
    )
    body = "\n".join(
        [
            _tiles(summary),
            _open_loop_section(summary, open_rows),
            _closed_loop_section(summary, closed_rows),
            _methods_section(summary),
        ]
    )
    page = template.substitute(title="Planning to an image goal", lead=escape(lead), body=body)
    write_text_atomically(page, path)


def _tiles(summary: Summary) -> str:
    tiles: list[tuple[str, str]] = []
    for split, result in summary.open_loop.items():
        words = split.replace("_", " ")
        if result.gap_closed is not None:
            gap = result.gap_closed
            tiles.append(
                (
                    _percent(gap.mean),
                    f"of the gap closed, {words} (95%: {_percent(gap.low)} to {_percent(gap.high)})",
                )
            )
        elif Method.oracle_simulator.name in result.table and result.best_baseline is not None:
            ratio = (
                result.table["oracle_simulator"]["ate_m"].mean
                / result.table[result.best_baseline]["ate_m"].mean
            )
            tiles.append((f"{ratio:.2f} ×", f"oracle simulator's ATE over the best baseline's, {words}"))
    for split, driven in summary.closed_loop.items():
        ours = driven.table.get(OURS)
        if ours is not None:
            label = f"closed-loop success, {split.replace('_', ' ')} ({ours['success'].n} episodes)"
            tiles.append((_percent(ours["success"].mean), label))
    inner = "".join(
        f'<div class="tile"><b>{escape(big)}</b><span>{escape(small)}</span></div>' for big, small in tiles
    )
    return f'<div class="tiles">{inner}</div>'


def _open_loop_section(summary: Summary, rows: Sequence[OpenLoopRow]) -> str:
    if not summary.open_loop:
        return ""
    parts = [
        "<h2>Open loop: one plan to a goal image two seconds ahead</h2>",
        "<p>Lower is better everywhere. Oracles use what no robot has; they bound what is possible.</p>",
    ]
    for split, result in summary.open_loop.items():
        chart_rows = [(name, metrics["ate_m"]) for name, metrics in result.table.items()]
        chart = (
            draw_intervals(
                chart_rows,
                oracles=ORACLES,
                highlighted=OURS,
                unit="ATE [m]",
                label=f"ATE of each method, {split}",
            )
            if chart_rows
            else ""
        )
        counted = f"{result.num_problems} problems" + (
            f", {result.num_failed} failed" if result.num_failed else ""
        )
        parts.append(
            f'<div class="card"><h3>{_split_title(split)} <span class="tag">{counted}</span></h3>'
            f'<p class="quiet">{escape(SPLITS[split])}</p>'
            f"{_table(result.table, OPEN_LOOP_METRICS, best=result.best_baseline)}"
            f'<div class="pair" style="margin-top:18px"><div>{chart}</div><div>{_gap_words(result.gap_closed)}</div></div></div>'
        )
    parts += [_plan_card(row) for row in rows if row.evidence is not None and row.error is None]
    return "\n".join(parts)


def _gap_words(gap: Interval | None) -> str:
    if gap is None:
        return '<p class="quiet">Dots are means, bars 95% intervals; hollow dots are oracles.</p>'
    return (
        f"<p><b>Gap closed: {_percent(gap.mean)}</b> (95%: {_percent(gap.low)} to {_percent(gap.high)}).</p>"
        f'<p class="quiet">{escape(METRICS["gap_closed"])}</p>'
        '<p class="quiet">Dots are means, bars 95% intervals; hollow dots are oracles.</p>'
    )


def _closed_loop_section(summary: Summary, rows: Sequence[ClosedLoopRow]) -> str:
    if not summary.closed_loop:
        return ""
    parts = [
        "<h2>Closed loop: drive to the place of a goal image and stop</h2>",
        "<p>The agent plans, drives the first steps of its plan, looks again, and decides when it has arrived.</p>",
    ]
    for split, result in summary.closed_loop.items():
        counted = f"{result.num_episodes} episodes" + (
            f", {result.num_failed} failed" if result.num_failed else ""
        )
        parts.append(
            f'<div class="card"><h3>{_split_title(split)} <span class="tag">{counted}</span></h3>'
            f'<p class="quiet">{escape(SPLITS[split])}</p>{_table(result.table, CLOSED_LOOP_METRICS, best=None)}</div>'
        )
    parts += [_drive_card(row) for row in rows if row.evidence is not None and row.error is None]
    return "\n".join(parts)


def _table(table: Table, metrics: Sequence[str], *, best: str | None) -> str:
    head = "".join(
        f"<th>{escape(COLUMNS[metric][0])}<br>[{escape(COLUMNS[metric][1])}]</th>" for metric in metrics
    )
    body = []
    for name, intervals in table.items():
        kind = "ours" if name == OURS else "oracle" if name in ORACLES else ""
        tag = '<span class="tag">oracle</span>' if name in ORACLES else ""
        tag += '<span class="tag">best baseline</span>' if name == best else ""
        cells = "".join(f"<td>{_cell(intervals[metric])}</td>" for metric in metrics)
        body.append(f'<tr class="{kind}"><td>{escape(name.replace("_", " "))}{tag}</td>{cells}</tr>')
    rows = "".join(body)
    return f'<div class="table"><table><thead><tr><th></th>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _cell(interval: Interval) -> str:
    return f"{interval.mean:.2f}<small>{interval.low:.2f} to {interval.high:.2f}</small>"


def _plan_card(row: OpenLoopRow) -> str:
    evidence = row.evidence
    assert evidence is not None
    start = np.array(row.start_pose)
    actions = parse_actions(row.plan)
    planned = path_from(start, actions[:, :3])
    # The video starts at the robot's own view, which nobody had to imagine.
    imagined = (evidence.observed, *evidence.imagined) if evidence.imagined else ()
    video = panel_video(
        (evidence.observed, *evidence.simulated), imagined, evidence.goal, frames_per_s=PLAN_FRAMES_PER_S
    )
    layers = MapLayers(
        walls=_lines(evidence.walls),
        candidates=[[_positions(path) for path in group] for group in evidence.candidates],
        driven=np.concatenate([start[None], np.array(evidence.driven)]),
        true=np.concatenate([start[None], np.array(row.true_poses)]),
        planned=np.concatenate([start[None], planned]),
    )
    numbers = {
        "ATE": f"{row.ate_m:.2f} m",
        "final position": f"{row.final_position_m:.2f} m",
        "final yaw": f"{row.final_yaw_rad:.2f} rad",
        "planned in": f"{row.seconds:.2f} s",
    }
    costs = draw_costs(evidence.candidate_costs, label="Cost of each candidate by CEM iteration")
    return (
        f'<div class="card" data-fps="{PLAN_FRAMES_PER_S:.4f}"><h3>{_method_title(row.method)} on {escape(row.problem_id)} '
        f'<span class="tag">{escape(row.split.replace("_", " "))}</span></h3>{_numbers(numbers)}{_video(video)}'
        f'<div class="pair" style="margin-top:16px"><div>{draw_map(layers, label="Map of the plan")}{_PLAN_KEY}</div>'
        f'<div>{costs}<p class="quiet">Cost of every candidate, by iteration; the line is the best so far.</p>'
        f"<details><summary>The plan as text</summary><pre>{escape(chr(10).join(row.plan))}</pre></details></div></div></div>"
    )


def _drive_card(row: ClosedLoopRow) -> str:
    evidence = row.evidence
    assert evidence is not None
    video = panel_video(evidence.observed, evidence.imagined, evidence.goal, frames_per_s=DRIVE_FRAMES_PER_S)
    poses, goal = np.array(row.poses), np.array(row.goal_pose)
    layers = MapLayers(
        walls=_lines(evidence.walls),
        candidates=[[_positions(path) for path in group] for group in evidence.considered],
        driven=poses,
        true=goal[None],
        planned=np.zeros((0, 3)),
        is_success_shown=True,
    )
    outcome = "success" if row.success else "reached, did not stop" if row.reached else "no success"
    numbers = {
        "outcome": outcome,
        "goal": f"{row.geodesic_m:.1f} m away",
        "final distance": f"{row.final_distance_m:.2f} m",
        "collisions": f"{row.collisions:.0f}",
        "steps": str(row.num_steps),
    }
    return (
        f'<div class="card" data-fps="{DRIVE_FRAMES_PER_S}"><h3>{_method_title(row.agent)} on {escape(row.episode_id)} '
        f'<span class="tag">{escape(row.split.replace("_", " "))}</span></h3>{_numbers(numbers)}'
        f'{_video(video)}<div class="pair" style="margin-top:16px"><div>{draw_map(layers, label="Map of the drive")}'
        f"{_DRIVE_KEY}</div><div><details><summary>The actions as text</summary>"
        f"<pre>{escape(chr(10).join(row.actions))}</pre></details></div></div></div>"
    )


def _methods_section(summary: Summary) -> str:
    run = summary.run
    config = run.config
    protocol = {
        name: words.format(horizon=8, horizon_s=8 * 9 / 35, num_resamples=NUM_RESAMPLES)
        for name, words in PROTOCOL.items()
    }
    facts = {
        "checkpoint": run.checkpoint or "none",
        "hash of the checkpoint": run.checkpoint_hash or "none",
        "hash of the configuration": run.config_hash,
        "commit": run.commit or "unknown",
        "seed": str(run.seed),
        "versions": run.versions,
        "wall time [s]": json.dumps({name: round(seconds, 1) for name, seconds in run.timing.items()}),
    }
    rows = "".join(
        f'<tr><td>{escape(name)}</td><td class="wrap" style="white-space:normal">{escape(value)}</td></tr>'
        for name, value in facts.items()
    )
    return (
        "<h2>How each number was made</h2>"
        f'<div class="card"><h3>Protocol</h3>{_definitions(protocol)}</div>'
        f'<div class="card"><h3>Numbers</h3>{_definitions(METRICS)}</div>'
        f'<div class="card"><h3>Open-loop methods</h3>{_definitions(METHODS)}</div>'
        f'<div class="card"><h3>Closed-loop agents</h3>{_definitions(AGENTS)}</div>'
        f'<div class="card"><h3>This run</h3><div class="table"><table><tbody>{rows}</tbody></table></div>'
        f"<details><summary>Configuration</summary><pre>{escape(json.dumps(config, indent=2))}</pre></details></div>"
    )


def _definitions(words: Mapping[str, str]) -> str:
    inner = "".join(
        f"<dt>{escape(name.replace('_', ' '))}</dt><dd>{escape(meaning)}</dd>"
        for name, meaning in words.items()
    )
    return f"<dl>{inner}</dl>"


def _numbers(numbers: Mapping[str, str]) -> str:
    return (
        '<div class="numbers">'
        + "".join(f"<span>{escape(name)} <b>{escape(value)}</b></span>" for name, value in numbers.items())
        + "</div>"
    )


def _video(content: bytes) -> str:
    return f'<video controls loop muted playsinline preload="auto" src="{data_uri(content, "video/mp4")}"></video>'


def _split_title(split: str) -> str:
    return escape(Split[split].name.replace("_", " ").capitalize())


def _method_title(name: str) -> str:
    return escape(name.replace("_", " ").capitalize())


def _percent(share: float) -> str:
    return (
        f"{100 * share:.0f}%" if math.isfinite(share) else "undefined" if math.isnan(share) else "unbounded"
    )


def _lines(lines: Sequence[Sequence[float]]) -> np.ndarray:
    return np.array(lines, dtype=np.float64).reshape(-1, 4)


def _positions(flat: Sequence[float]) -> np.ndarray:
    return np.array(flat, dtype=np.float64).reshape(-1, 2)


def _key(entries: Mapping[str, str]) -> str:
    inner = "".join(
        f'<li><i style="border-color:var(--{colour})"></i>{escape(words)}</li>'
        for words, colour in entries.items()
    )
    return f'<ul class="key">{inner}</ul>'


_PLAN_KEY = _key(
    {
        "driven": "ours",
        "recorded (true)": "true",
        "candidates, later iterations darker": "cloud",
        "walls": "wall",
    }
)
_DRIVE_KEY = _key(
    {"driven": "ours", "within 1 m of the goal": "true", "candidates": "cloud", "walls": "wall"}
)
