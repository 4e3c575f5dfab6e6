"""Cards: the examples of a report, one plan or one drive each: video, map, costs, action text."""

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from data_tools.action_text import parse_actions
from data_tools.markup import division, element, words
from planners.evaluation.charts import draw_costs
from planners.evaluation.maps import MapLayers, draw_map
from planners.evaluation.problems import path_from
from planners.evaluation.records import ClosedLoopRow, OpenLoopRow
from planners.evaluation.videos import data_uri, panel_video

DRIVE_FRAMES_PER_S = 8.0


def plan_card(row: OpenLoopRow) -> str:
    """Return the card of an open-loop row that has evidence."""
    evidence = row.evidence
    assert evidence is not None
    start = np.array(row.start_pose)
    planned = path_from(start, parse_actions(row.plan)[:, :3])
    # The video starts at the robot's own view, which nobody had to imagine.
    imagined = (evidence.observed, *evidence.imagined) if evidence.imagined else ()
    frames_per_s = len(row.true_poses) / row.goal_s  # real time
    video = panel_video(
        (evidence.observed, *evidence.simulated),
        imagined,
        evidence.goal,
        frames_per_s=frames_per_s,
        imagined_label="imagined by the model",
        observed_label="recorded on the way to the goal" if evidence.is_recorded else "simulator",
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
    beside = division(
        "",
        costs,
        words("p", "Cost of every candidate, by iteration; the line is the best so far.", class_="quiet"),
        _text_details("The plan as text", row.plan),
    )
    map_ = division("", draw_map(layers, label="Map of the plan"), _PLAN_KEY)
    return division(
        "card",
        _title(row.method, row.problem_id, row.split),
        _numbers(numbers),
        _video(video),
        division("pair below", map_, beside),
        data_fps=f"{frames_per_s:.4f}",
    )


def drive_card(row: ClosedLoopRow) -> str:
    """Return the card of a closed-loop row that has evidence."""
    evidence = row.evidence
    assert evidence is not None
    video = panel_video(
        evidence.observed,
        evidence.imagined,
        evidence.goal,
        frames_per_s=DRIVE_FRAMES_PER_S,
        imagined_label="expected where the plan ends",
    )
    layers = MapLayers(
        walls=_lines(evidence.walls),
        candidates=[[_positions(path) for path in group] for group in evidence.considered],
        driven=np.array(row.poses),
        true=np.array(row.goal_pose)[None],
        planned=np.zeros((0, 3)),
        is_success_shown=True,
    )
    final = "no way back" if row.final_distance_m is None else f"{row.final_distance_m:.2f} m"
    numbers = {
        "outcome": "success" if row.success else "reached, did not stop" if row.reached else "no success",
        "goal": f"{row.geodesic_m:.1f} m away",
        "final distance": final,
        "collisions": f"{row.collisions:.0f}",
        "steps": str(row.num_steps),
    }
    map_ = division("", draw_map(layers, label="Map of the drive"), _DRIVE_KEY)
    return division(
        "card",
        _title(row.agent, row.episode_id, row.split),
        _numbers(numbers),
        _video(video),
        division("pair below", map_, division("", _text_details("The actions as text", row.actions))),
        data_fps=DRIVE_FRAMES_PER_S,
    )


def _title(name: str, where: str, split: str) -> str:
    title = f"{name.replace('_', ' ').capitalize()} on {where.removeprefix(f'{split}/')}"
    return element("h3", escape(title), words("span", split.replace("_", " "), class_="tag"))


def _numbers(numbers: Mapping[str, str]) -> str:
    parts = (element("span", escape(name), " ", words("b", value)) for name, value in numbers.items())
    return division("numbers", *parts)


def _video(content: bytes) -> str:
    source = data_uri(content, "video/mp4")
    return f'<video controls loop muted playsinline preload="auto" src="{source}"></video>'


def _text_details(title: str, lines: Sequence[str]) -> str:
    return element("details", words("summary", title), words("pre", "\n".join(lines)))


def _lines(lines: Sequence[Sequence[float]]) -> np.ndarray:
    return np.array(lines, dtype=np.float64).reshape(-1, 4)


def _positions(flat: Sequence[float]) -> np.ndarray:
    return np.array(flat, dtype=np.float64).reshape(-1, 2)


def _key(entries: Mapping[str, str]) -> str:
    items = []
    for name, colour in entries.items():
        swatch = element("i", "", style=f"border-color:var(--{colour})")
        items.append(element("li", swatch, escape(name)))
    return element("ul", *items, class_="key")


_PLAN_KEY = _key(
    {
        "driven (dashed: planned)": "ours",
        "recorded": "true",
        "candidates, later iterations darker": "cloud",
        "walls and ledges": "wall",
    }
)
_DRIVE_KEY = _key(
    {
        "driven": "ours",
        "within 1 m of the goal": "true",
        "some candidates": "cloud",
        "walls and ledges": "wall",
    }
)
