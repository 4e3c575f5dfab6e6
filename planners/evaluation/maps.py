"""Map: a level from above, with the path driven, the truth, and the candidates that were considered."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from data_tools import markup

SIZE_PX = 420.0
MARGIN_M = 0.8
LEAST_SPAN_M = 3.0
GOAL_RADIUS_M = 1.0


@dataclass(frozen=True, kw_only=True)
class MapLayers:
    """What one map shows, all in the world frame [m]."""

    walls: Float[np.ndarray, "line 4"]
    candidates: Sequence[Sequence[Float[np.ndarray, "_ 2"]]]
    """Groups, drawn fainter the earlier they come: the iterations of a plan, or the decisions of a drive."""
    driven: Float[np.ndarray, "_ 3"]
    """Poses of the robot; a dot follows the video along them."""
    true: Float[np.ndarray, "_ 3"]
    """The recorded way to the goal; may hold the goal's pose alone."""
    planned: Float[np.ndarray, "_ 3"]
    """Where the plan leads if nothing is in the way; may be empty."""
    is_success_shown: bool = False
    """Draw the circle within which an episode counts as reached."""


def draw_map(layers: MapLayers, *, label: str) -> str:
    """Return the map as SVG, north up, with a scale bar."""
    frame = _Frame(layers)
    children = [
        markup.polyline([frame(wall[:2]), frame(wall[2:])], class_="wall")
        for wall in frame.near(layers.walls)
    ]
    for number, group in enumerate(layers.candidates):
        opacity = 0.12 + 0.38 * (number + 1) / len(layers.candidates)
        lines = [markup.polyline([frame(point) for point in path], class_="candidate") for path in group]
        children.append(markup.element("g", *lines, opacity=opacity))
    goal, start = layers.true[-1], layers.driven[0]
    if layers.is_success_shown:
        children.append(_circle(frame(goal), GOAL_RADIUS_M * frame.scale, "goal-area"))
    for poses, name in ((layers.true, "true"), (layers.planned, "planned"), (layers.driven, "driven")):
        if len(poses) > 1:
            children.append(markup.polyline([frame(pose) for pose in poses], class_=name))
    children += [_arrow(goal, frame, "goal"), _arrow(start, frame, "start")]
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in (frame(pose) for pose in layers.driven))
    here = frame(start)
    children.append(markup.element("circle", cx=here[0], cy=here[1], r=5, class_="here", data_path=points))
    children += _scale_bar(frame)
    return markup.drawing(children, width=SIZE_PX, height=SIZE_PX, label=label, class_="map")


class _Frame:
    """Where a point of the world is on the paper: a square around all that moves."""

    def __init__(self, layers: MapLayers) -> None:
        points = [layers.driven[:, :2], layers.true[:, :2], layers.planned[:, :2]]
        everything = np.concatenate([part for part in points if len(part)])
        low, high = everything.min(axis=0), everything.max(axis=0)
        self.centre = (low + high) / 2
        self.span_m = max(LEAST_SPAN_M, float((high - low).max()) + 2 * MARGIN_M)
        self.scale = SIZE_PX / self.span_m

    def __call__(self, point: Float[np.ndarray, " _"]) -> markup.Point:
        x, y = (np.asarray(point[:2]) - self.centre) * self.scale
        return float(SIZE_PX / 2 + x), float(SIZE_PX / 2 - y)

    def near(self, walls: Float[np.ndarray, "line 4"]) -> Float[np.ndarray, "near 4"]:
        """Return the walls whose bounding box touches the paper."""
        if not len(walls):
            return walls
        reach = self.span_m / 2
        x, y = walls[:, 0::2] - self.centre[0], walls[:, 1::2] - self.centre[1]
        is_near = (x.min(1) <= reach) & (x.max(1) >= -reach) & (y.min(1) <= reach) & (y.max(1) >= -reach)
        return walls[is_near]


def _arrow(pose: Float[np.ndarray, " 3"], frame: _Frame, name: str) -> str:
    """Return a wedge that points where the robot looks."""
    x, y = frame(pose)
    heading = np.array([np.cos(pose[2]), -np.sin(pose[2])])
    side = np.array([-heading[1], heading[0]])
    corners = [13 * heading, -8 * heading + 8 * side, -4 * heading, -8 * heading - 8 * side]
    points = " ".join(f"{x + corner[0]:.1f},{y + corner[1]:.1f}" for corner in corners)
    return markup.element("polygon", points=points, class_=name)


def _circle(centre: markup.Point, radius: float, name: str) -> str:
    return markup.element("circle", cx=centre[0], cy=centre[1], r=radius, class_=name)


def _scale_bar(frame: _Frame) -> list[str]:
    length_m = markup.round_step(frame.span_m / 4, num_steps=1)
    length_m = length_m if length_m * frame.scale < SIZE_PX / 2 else length_m / 2
    start, end, y = 14.0, 14.0 + length_m * frame.scale, SIZE_PX - 14.0
    return [
        markup.polyline([(start, y - 5), (start, y), (end, y), (end, y - 5)], class_="scale"),
        markup.label_at((start + end) / 2, y - 8, f"{length_m:g} m", class_="scale-label"),
    ]
