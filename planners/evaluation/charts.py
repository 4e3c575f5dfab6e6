"""Charts: costs over CEM iterations, and means with their intervals."""

import math
from collections.abc import Sequence

from data_tools import markup
from planners.evaluation.metrics import Interval

WIDTH_PX = 420.0
COST_HEIGHT_PX = 220.0
ROW_HEIGHT_PX = 30.0
LABEL_WIDTH_PX = 132.0


def draw_costs(candidate_costs: Sequence[Sequence[float]], *, label: str) -> str:
    """Return each candidate's cost as a dot, by iteration, and the best cost so far as a line."""
    flat = [cost for costs in candidate_costs for cost in costs]
    low, high = min(flat), max(flat)
    span = high - low if high > low else max(abs(high), 1.0)
    left, right, top, bottom = 52.0, WIDTH_PX - 12.0, 12.0, COST_HEIGHT_PX - 34.0

    def place(cost: float) -> float:
        return bottom - (bottom - top) * (cost - low) / span

    column = (right - left) / len(candidate_costs)
    decimals = max(0, 2 - math.floor(math.log10(span)))
    children = [
        part
        for tick in (low, low + span / 2, low + span)
        for part in (
            markup.polyline([(left, place(tick)), (right, place(tick))], class_="grid"),
            markup.label_at(left - 6, place(tick) + 4, f"{tick:.{decimals}f}", class_="tick right"),
        )
    ]
    best_line: list[markup.Point] = []
    best = high
    for number, costs in enumerate(candidate_costs):
        centre = left + column * (number + 0.5)
        for index, cost in enumerate(costs):
            # The golden ratio spreads neighbours evenly, without a random stream in a drawing.
            offset = ((index * 0.618034) % 1 - 0.5) * column * 0.6
            children.append(
                markup.element("circle", cx=centre + offset, cy=place(cost), r=2.2, class_="cost-dot")
            )
        best = min(best, *costs)
        best_line.append((centre, place(best)))
        children.append(
            markup.label_at(centre, COST_HEIGHT_PX - 16, f"iteration {number + 1}", class_="tick middle")
        )
    children.append(markup.polyline(best_line, class_="best-line"))
    children += [markup.element("circle", cx=x, cy=y, r=4, class_="best-dot") for x, y in best_line]
    return markup.drawing(children, width=WIDTH_PX, height=COST_HEIGHT_PX, label=label, class_="chart")


def draw_intervals(
    rows: Sequence[tuple[str, Interval]], *, oracles: Sequence[str], highlighted: str, unit: str, label: str
) -> str:
    """Return one dot with its 95% interval a row; oracles are hollow, the highlighted row is coloured."""
    high = max(max(interval.high, interval.mean) for _, interval in rows) or 1.0
    left, right = LABEL_WIDTH_PX, WIDTH_PX - 14.0
    height = ROW_HEIGHT_PX * len(rows) + 40.0
    step = markup.round_step(high, num_steps=4)

    def place(value: float) -> float:
        return left + (right - left) * max(value, 0.0) / high

    children: list[str] = []
    for number in range(int(high / step + 1e-9) + 1):
        x = place(number * step)
        children.append(markup.polyline([(x, 6.0), (x, height - 34)], class_="grid"))
        children.append(markup.label_at(x, height - 20, f"{number * step:g}", class_="tick middle"))
    children.append(markup.label_at((left + right) / 2, height - 4, unit, class_="tick middle"))
    for number, (name, interval) in enumerate(rows):
        y = 6.0 + ROW_HEIGHT_PX * (number + 0.5)
        kind = "ours" if name == highlighted else "oracle" if name in oracles else "other"
        children += [
            markup.label_at(left - 10, y + 4, name.replace("_", " "), class_=f"row-label {kind}"),
            markup.polyline([(place(interval.low), y), (place(interval.high), y)], class_=f"whisker {kind}"),
            markup.element("circle", cx=place(interval.mean), cy=y, r=5, class_=f"mean {kind}"),
        ]
    return markup.drawing(children, width=WIDTH_PX, height=height, label=label, class_="chart")
