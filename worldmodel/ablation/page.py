"""Page: a table of arms with intervals and differences, and what it can and cannot say, as text and HTML."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from worldmodel.ablation.estimates import ArmEstimates, Estimate
from worldmodel.ablation.glossary import Better, meaning_of
from worldmodel.ablation.table import TableConfig

Grid = list[list[str]]
"""Cells, row by row; the first row is the head."""


@dataclass(frozen=True)
class Section:
    """A part of a page: a heading, sentences, perhaps a grid of cells, perhaps a picture."""

    heading: str
    sentences: Sequence[str]
    grid: Grid | None = None
    picture: str | None = None


def sections_of(
    table: TableConfig, arms: Sequence[ArmEstimates], *, measures: Sequence[str], picture: str
) -> list[Section]:
    """Return the parts of a page."""
    first = arms[0].arm
    return [
        Section(f"{table.name}: {table.question}", [_runs_in_words(arms)]),
        Section(
            "Held-out measures",
            ["Mean over seeds, ± half of the 95% interval (Student's t; with one seed there is none)."],
            _values(arms, measures),
            picture,
        ),
        Section(
            f"Differences to {first}",
            [
                f"Paired by seed: the arm less {first}. Where the 95% interval leaves out zero, the "
                "difference is marked better or worse.",
                _chance_in_words(arms),
            ],
            _differences(arms, measures),
        ),
        Section("What was trained", [], _training(arms)),
        Section("What the measures are", [], [["measure", "meaning", ""], *map(_meaning, measures)]),
        Section("What this table can and cannot say", [*_general_limits(arms), *table.limits]),
    ]


def to_markdown(sections: Sequence[Section]) -> str:
    """Return a page as Markdown."""
    parts = []
    for number, section in enumerate(sections):
        parts.append(f"{'#' if number == 0 else '##'} {section.heading}")
        if len(section.sentences) > 2:
            parts.append("\n".join(f"* {sentence}" for sentence in section.sentences))
        elif section.sentences:
            parts.append("\n".join(section.sentences))
        if section.grid is not None:
            head, *body = section.grid
            lines = [head, ["---"] * len(head), *body]
            parts.append("\n".join("| " + " | ".join(line) + " |" for line in lines))
        if section.picture is not None:
            parts.append(
                f"![Each measure of each arm: seeds as dots, means with intervals]({section.picture})"
            )
    return "\n\n".join(parts) + "\n"


def to_html(sections: Sequence[Section]) -> str:
    """Return a page as HTML that needs nothing but the picture beside it."""
    parts = []
    for number, section in enumerate(sections):
        level = "h1" if number == 0 else "h2"
        parts.append(f"<{level}>{escape(section.heading)}</{level}>")
        parts += [f"<p>{escape(sentence)}</p>" for sentence in section.sentences]
        if section.grid is not None:
            head, *body = section.grid
            rows = [_html_row(head, "th"), *(_html_row(line, "td") for line in body)]
            parts.append(f"<table>{''.join(rows)}</table>")
        if section.picture is not None:
            parts.append(f'<img src="{escape(section.picture)}" alt="Each measure of each arm">')
    style = (
        "body{font:15px sans-serif;max-width:75rem;margin:2rem auto;padding:0 1rem}"
        "table{border-collapse:collapse}"
        "td,th{padding:.2rem .6rem;border-bottom:1px solid #ddd;text-align:left}img{max-width:100%}"
    )
    title = escape(sections[0].heading)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{style}</style>'
        f"{''.join(parts)}</html>\n"
    )


def _html_row(cells: Sequence[str], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"


def _values(arms: Sequence[ArmEstimates], measures: Sequence[str]) -> Grid:
    body = [
        [arm.arm, *(_cell(arm.values.get(name)) for name in measures), str(len(arm.rows))] for arm in arms
    ]
    return [["arm", *measures, "seeds"], *body]


def _differences(arms: Sequence[ArmEstimates], measures: Sequence[str]) -> Grid:
    body = [[arm.arm, *(_difference(name, arm, arms[0]) for name in measures)] for arm in arms[1:]]
    return [["arm", *measures], *body]


def _difference(name: str, arm: ArmEstimates, first: ArmEstimates) -> str:
    found = arm.differences.get(name)
    if found is None:
        return ""
    meaning = meaning_of(name)
    if not _is_comparable(name, arm, first):
        return "not comparable"
    if meaning.better is Better.neither or not found.excludes_zero:
        return _cell(found, signed=True)
    is_better = (found.mean > 0) == (meaning.better is Better.higher)
    return f"{_cell(found, signed=True)} {'better' if is_better else 'worse'}"


def _is_comparable(name: str, arm: ArmEstimates, first: ArmEstimates) -> bool:
    return not meaning_of(name).is_within_representation or _representations(arm) == _representations(first)


def _representations(arm: ArmEstimates) -> set[str]:
    return {row.representation for row in arm.rows}


def _cell(found: Estimate | None, *, signed: bool = False) -> str:
    if found is None:
        return ""
    digits = 2 if abs(found.mean) >= 10 else 3
    mean = f"{found.mean:{'+' if signed else ''}.{digits}f}"
    return mean if found.half_width is None else f"{mean} ± {found.half_width:.{digits}f}"


def _training(arms: Sequence[ArmEstimates]) -> Grid:
    kinds = list(dict.fromkeys(kind for arm in arms for row in arm.rows for kind in row.tokens))
    head = [
        "arm", "parameters", "active, text", "active, image", "latents a frame", "steps", "seconds of steps",
        *(f"{kind} tokens" for kind in kinds),
    ]  # fmt: skip
    body = []
    for arm in arms:
        row = arm.rows[0]
        tokens = (np.mean([each.tokens.get(kind, 0) for each in arm.rows]) for kind in kinds)
        numbers = (row.parameters_total, row.parameters_active_text, row.parameters_active_image)
        body.append(
            [
                arm.arm,
                *(f"{number:,}" for number in numbers),
                f"{row.latents_per_frame} x {row.latent_channels}",
                str(row.num_steps),
                f"{np.mean([each.training_s for each in arm.rows]):.0f}",
                *(f"{count:,.0f}" for count in tokens),
            ]
        )
    return [head, *body]


def _meaning(measure: str) -> list[str]:
    meaning = meaning_of(measure)
    within = "; only between arms of one representation" if meaning.is_within_representation else ""
    return [measure, meaning.words, meaning.better.value + within]


def _runs_in_words(arms: Sequence[ArmEstimates]) -> str:
    rows = [row for arm in arms for row in arm.rows]
    seeds = sorted({row.seed for row in rows})
    commits = sorted({row.commit or "unknown" for row in rows})
    torch = sorted({json.loads(row.versions).get("torch", "unknown") for row in rows})
    tokens = [sum(row.tokens.values()) for row in rows]
    machines = sorted({row.hardware for row in rows})
    return (
        f"{len(rows)} runs: {len(arms)} arms, seeds {', '.join(map(str, seeds))}; {min(tokens):,} to "
        f"{max(tokens):,} tokens and {min(row.training_s for row in rows):.0f} to "
        f"{max(row.training_s for row in rows):.0f} s of training a run on {', '.join(machines)} (one "
        f"thread); torch {', '.join(torch)}; commit {', '.join(commits)}."
    )


def _chance_in_words(arms: Sequence[ArmEstimates]) -> str:
    tested = [
        name
        for arm in arms
        for name, each in arm.differences.items()
        if each.half_width is not None
        and meaning_of(name).better is not Better.neither
        and _is_comparable(name, arm, arms[0])
    ]
    if not tested:
        return "Nothing can be marked: that takes two seeds of two arms."
    return (
        f"Of {len(tested)} differences that could be marked {0.05 * len(tested):.1f} would be by chance "
        "alone; nothing is corrected for that."
    )


def _general_limits(arms: Sequence[ArmEstimates]) -> list[str]:
    rows = [row for arm in arms for row in arm.rows]
    fewest = min(len(arm.rows) for arm in arms)
    parameters = [row.parameters_total for row in rows]
    tokens = [sum(row.tokens.values()) for row in rows]
    return [
        f"It can say which arm is ahead after {min(tokens):,} to {max(tokens):,} tokens with "
        f"{min(parameters):,} to {max(parameters):,} parameters on these recordings and texts.",
        "It cannot say what holds at the paper's size (1.5 B active parameters, 10^11 to 10^12 tokens): "
        "these runs are shorter than the warm-up of one there, and what helps early may not help late.",
        f"The intervals are over {fewest} seeds or more of weights and order of data, not over data sets or "
        "other held-out documents, which are the same for all; learning rates were not tuned for each arm.",
        "PSNR and squared errors favour blurred means; they do not measure how real a picture looks.",
    ]
