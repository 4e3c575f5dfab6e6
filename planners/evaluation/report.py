"""Report: one page that opens from disk with nothing beside it, made from rows and their summary."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from data_tools.markup import division, element, words
from data_tools.whole_file import write_text
from planners.evaluation.cards import drive_card, plan_card
from planners.evaluation.charts import draw_intervals
from planners.evaluation.explanations import (
    AGENTS,
    COLUMNS,
    METHODS,
    METRICS,
    PROTOCOL,
    RECORDED_PROBLEMS,
    SPLITS,
    percent,
    with_bounds,
)
from planners.evaluation.metrics import NUM_RESAMPLES, Interval
from planners.evaluation.records import ClosedLoopRow, OpenLoopRow, hash_of
from planners.evaluation.summary import (
    CLOSED_LOOP_METRICS,
    OF_DATA_SETS,
    OPEN_LOOP_METRICS,
    ORACLES,
    Method,
    SplitResult,
    Summary,
    Table,
    split_named,
)

OURS = Method.world_model.name
ORACLE = Method.oracle_simulator.name
DIGITS = {"seconds_per_decision": 4}
"""Decimals of a metric, where two are too few: agents that do not plan think in no time."""
LEGEND = "Dots are means, bars 95% intervals; hollow dots are oracles."


def write_report(
    summary: Summary, open_rows: Sequence[OpenLoopRow], closed_rows: Sequence[ClosedLoopRow], path: Path
) -> None:
    """Write the page; rows with evidence become its examples."""
    template = Template(files("planners.evaluation").joinpath("report.html").read_text(encoding="utf-8"))
    body = [
        _tiles(summary),
        _open_loop_section(summary, open_rows),
        _closed_loop_section(summary, closed_rows),
        _methods_section(summary, open_rows),
    ]
    page = template.substitute(
        title="Planning to an image goal", lead=escape(_lead(summary)), body="\n".join(body)
    )
    write_text(path, page)


def _lead(summary: Summary) -> str:
    checkpoint = summary.run.model.checkpoint
    if checkpoint is None:
        return (
            "No world model took part: the planner searches on the true simulator, which bounds what any "
            "world model can reach with this cost."
        )
    return (
        f"The world model {Path(checkpoint).name!r} imagines where actions written as text lead, and the "
        "planner searches for the text that leads to the goal image."
    )


def _tiles(summary: Summary) -> str:
    tiles: list[tuple[str, str]] = []
    for split, result in summary.open_loop.items():
        name = _spaced(split)
        if result.gap_closed is not None:
            gap = result.gap_closed
            interval = f"95%: {percent(gap.low)} to {percent(gap.high)}"
            tiles.append((percent(gap.mean), f"of the gap closed, {name} ({interval})"))
        elif ORACLE in result.table and result.best_baseline is not None:
            best = result.table[result.best_baseline]["ate_m"].mean
            ratio = result.table[ORACLE]["ate_m"].mean / best
            tiles.append((f"{ratio:.2f}", f"ATE of the simulator's plans over the best baseline's, {name}"))
    for split, driven in summary.closed_loop.items():
        if OURS in driven.table:
            success = driven.table[OURS]["success"]
            label = f"closed-loop success, {_spaced(split)} ({success.n} episodes)"
            tiles.append((percent(success.mean), label))
    return division(
        "tiles", *(division("tile", words("b", big), words("span", small)) for big, small in tiles)
    )


def _open_loop_section(summary: Summary, rows: Sequence[OpenLoopRow]) -> str:
    if not summary.open_loop:
        return ""
    parts = [
        words("h2", "Open loop: one plan to the goal image of a recording"),
        words("p", "Lower is better everywhere. Oracles use what no robot has; they bound what is possible."),
    ]
    parts += [_open_loop_card(split, result) for split, result in summary.open_loop.items()]
    parts += [plan_card(row) for row in rows if row.evidence is not None and row.error is None]
    return "\n".join(parts)


def _open_loop_card(split: str, result: SplitResult) -> str:
    parts = [
        _split_title(split, f"{result.num_problems} problems", result.num_failed),
        words("p", SPLITS[split_named(split).name], class_="quiet"),
        _table(result.table, OPEN_LOOP_METRICS, best=result.best_baseline),
    ]
    if result.table:
        chart = draw_intervals(
            [(name, metrics["ate_m"]) for name, metrics in result.table.items()],
            oracles=ORACLES,
            highlighted=OURS,
            unit="ATE [m]",
            label=f"ATE of each method on {_spaced(split)}",
        )
        gap = _gap_words(result.gap_closed)
        parts.append(division("pair below", division("", chart), division("", gap)))
    return division("card", *parts)


def _gap_words(gap: Interval | None) -> str:
    legend = words("p", LEGEND, class_="quiet")
    if gap is None:
        return legend
    return (
        element("p", words("b", f"Gap closed: {with_bounds(gap)}"))
        + words("p", METRICS["gap_closed"], class_="quiet")
        + legend
    )


def _closed_loop_section(summary: Summary, rows: Sequence[ClosedLoopRow]) -> str:
    if not summary.closed_loop:
        return ""
    parts = [
        words("h2", "Closed loop: drive to the place of a goal image and stop"),
        words(
            "p",
            "The agent plans, drives the first steps of its plan, looks again, and decides when it is there.",
        ),
    ]
    for split, result in summary.closed_loop.items():
        parts.append(
            division(
                "card",
                _split_title(split, f"{result.num_episodes} episodes", result.num_failed),
                words("p", SPLITS[split_named(split).name], class_="quiet"),
                _table(result.table, CLOSED_LOOP_METRICS, best=None),
            )
        )
    parts += [drive_card(row) for row in rows if row.evidence is not None and row.error is None]
    return "\n".join(parts)


def _table(table: Table, metrics: Sequence[str], *, best: str | None) -> str:
    heads = [element("th", "")]
    for metric in metrics:
        name, unit = COLUMNS[metric]
        heads.append(element("th", escape(name), "<br>", escape(f"[{unit}]")))
    body = []
    for name, intervals in table.items():
        kind = "ours" if name == OURS else "oracle" if name in ORACLES else "other"
        tags = [words("span", "oracle", class_="tag")] if name in ORACLES else []
        tags += [words("span", "best baseline", class_="tag")] if name == best else []
        cells = [element("td", escape(_spaced(name)), *tags)]
        cells += [_cell(intervals[metric], digits=DIGITS.get(metric, 2)) for metric in metrics]
        body.append(element("tr", *cells, class_=kind))
    whole = element("table", element("thead", element("tr", *heads)), element("tbody", *(body or [""])))
    return division("table", whole)


def _cell(interval: Interval, *, digits: int) -> str:
    if interval.n == 0:
        return element("td", "none")
    spread = f"{interval.low:.{digits}f} to {interval.high:.{digits}f}"
    return element("td", f"{interval.mean:.{digits}f}", words("small", spread))


def _methods_section(summary: Summary, open_rows: Sequence[OpenLoopRow]) -> str:
    run = summary.run
    shapes = sorted({(len(row.true_poses), round(row.goal_s, 2)) for row in open_rows if row.error is None})
    is_recorded = any(split_named(split) in OF_DATA_SETS for split in summary.open_loop)
    texts = {**PROTOCOL, "Problems": RECORDED_PROBLEMS} if is_recorded else PROTOCOL
    protocol = {
        name: text.format(
            horizon=" or ".join(f"{num_steps} steps ({goal_s:.2f} s)" for num_steps, goal_s in shapes),
            num_resamples=NUM_RESAMPLES,
        )
        for name, text in texts.items()
    }
    facts = {
        "checkpoint": run.model.checkpoint or "none",
        "hash of the checkpoint": run.model.checkpoint_hash or "none",
        "hash of the configuration": hash_of(run.config),
        "hash of our source": run.model.source_hash,
        "commit": run.commit or "unknown",
        "seeds": json.dumps({loop.name: shared.seed for loop, shared in run.loops.items()}),
        "versions": run.model.versions,
        "wall time [s]": json.dumps({loop.name: round(seconds, 1) for loop, seconds in run.timing.items()}),
    }
    rows = [
        element("tr", words("td", name), words("td", value, class_="wrap")) for name, value in facts.items()
    ]
    config = json.dumps(run.config, indent=2)
    parts = [words("h2", "How each number was made")]
    for title, meanings in (
        ("Protocol", protocol),
        ("Numbers", METRICS),
        ("Open-loop methods", METHODS),
        ("Closed-loop agents", AGENTS),
    ):
        parts.append(division("card", words("h3", title), _definitions(meanings)))
    table = division("table", element("table", element("tbody", *rows)))
    details = element("details", words("summary", "Configuration"), words("pre", config))
    parts.append(division("card", words("h3", "This run"), table, details))
    return "\n".join(parts)


def _definitions(meanings: Mapping[str, str]) -> str:
    parts = (words("dt", _spaced(name)) + words("dd", meaning) for name, meaning in meanings.items())
    return element("dl", *parts)


def _split_title(split: str, counted: str, num_failed: int) -> str:
    counted += f", {num_failed} failed" if num_failed else ""
    return element("h3", escape(_spaced(split).capitalize()), words("span", counted, class_="tag"))


def _spaced(name: str) -> str:
    return name.replace("_", " ")
