"""Plot: one panel a measure, one line an arm: seeds as dots, the mean with its interval."""

from collections.abc import Sequence
from pathlib import Path

from data_tools.whole_file import whole_file
from worldmodel.ablation.estimates import ArmEstimates
from worldmodel.ablation.glossary import meaning_of

COLUMNS = 3
PANEL_INCHES = (4.2, 0.9)
"""Width, and height beside that of the arms."""
ARM_INCHES = 0.28


def draw(arms: Sequence[ArmEstimates], path: Path, *, measures: Sequence[str]) -> None:
    """Draw the measures that any arm has, as PNG."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - training draws nothing

    shown = [name for name in measures if any(name in arm.values for arm in arms)]
    num_columns = min(COLUMNS, max(1, len(shown)))
    num_rows = max(1, -(-len(shown) // num_columns))
    height = PANEL_INCHES[1] + ARM_INCHES * len(arms)
    figure = Figure(figsize=(PANEL_INCHES[0] * num_columns, height * num_rows), layout="constrained")
    panels = figure.subplots(num_rows, num_columns, squeeze=False, sharey=True).flatten()
    for panel in panels[len(shown) :]:
        panel.set_axis_off()
    for name, panel in zip(shown, panels, strict=False):
        for place, arm in enumerate(arms):
            values = [row.measure[name] for row in arm.rows if name in row.measure]
            panel.plot(values, [place] * len(values), "o", color="0.65", markersize=4)
            if name in arm.values:
                found = arm.values[name]
                panel.errorbar(
                    found.mean, place, xerr=found.half_width, fmt="D", color="C0", capsize=3, markersize=5
                )
        panel.set_title(f"{name} ({meaning_of(name).better.value})", fontsize=8)
        panel.tick_params(labelsize=8)
        panel.set_yticks(range(len(arms)), [arm.arm for arm in arms])
    panels[0].invert_yaxis()
    with whole_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
