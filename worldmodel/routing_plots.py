"""Routing plots: a picture of how experts specialise, share the load, and serve both uses of images."""

from pathlib import Path
from typing import Any

import numpy as np

from data_tools.whole_file import whole_file
from worldmodel.routing_counts import NUM_BINS, RoutingCounts
from worldmodel.routing_statistics import RoutingStatistics, preferences, shares_of

TEXT, BOTH, IMAGE = "#4c72b0", "#d0d0d0", "#dd8452"
PUBLISHED_VARIATION, PUBLISHED_CORRELATION = 0.15, 0.90
"""Of arXiv 2603.03276."""


def draw(found: RoutingCounts, statistics: RoutingStatistics, path: Path) -> None:
    """Write it as PNG: specialisation, utilisation, usage over noise, understanding and generation."""
    import matplotlib as mpl  # noqa: PLC0415 (only this command draws)

    mpl.use("Agg")
    import matplotlib.pyplot as plt  # noqa: PLC0415

    with mpl.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure, axes = plt.subplots(2, 3, figsize=(14, 7.5), dpi=110, layout="constrained")
        _specialisation(axes[0, 0], statistics)
        _preferences(figure, axes[0, 1], found)
        _utilisation(figure, axes[0, 2], found, statistics)
        _over_time(axes[1, 0], statistics)
        _usage_by_time(figure, axes[1, 1], found)
        _two_roles(axes[1, 2], found, statistics)
        with whole_file(path) as temporary:
            figure.savefig(temporary, format="png")
        plt.close(figure)


def _specialisation(axes: Any, statistics: RoutingStatistics) -> None:
    text, image = np.array(statistics.text_experts), np.array(statistics.image_experts)
    layers, both = np.arange(len(text)), 1 - text - image
    axes.bar(layers, text, color=TEXT, label="mostly text")
    axes.bar(layers, both, bottom=text, color=BOTH, label="both")
    axes.bar(layers, image, bottom=text + both, color=IMAGE, label="mostly image")
    axes.set(title="Specialisation", xlabel="layer", ylabel="share of experts", xticks=layers, ylim=(0, 1))
    axes.legend(loc="lower right", framealpha=0.9)


def _preferences(figure: Any, axes: Any, found: RoutingCounts) -> None:
    values = preferences(found).sort(dim=1).values.numpy()
    shown = axes.imshow(values, aspect="auto", cmap="coolwarm", vmin=0, vmax=1, interpolation="nearest")
    axes.set(
        title="Where an expert's tokens come from",
        xlabel="experts, sorted",
        ylabel="layer",
        yticks=range(len(values)),
    )
    figure.colorbar(shown, ax=axes, label="0: text alone, 1: images alone")


def _utilisation(figure: Any, axes: Any, found: RoutingCounts, statistics: RoutingStatistics) -> None:
    load = (found.text + found.image).double()
    relative = (load / load.mean(dim=1, keepdim=True)).sort(dim=1, descending=True).values.numpy()
    shown = axes.imshow(relative, aspect="auto", cmap="viridis", vmin=0, interpolation="nearest")
    entropy = f"entropy {min(statistics.entropy):.3f} to {max(statistics.entropy):.3f} of an even load's"
    axes.set(
        title=f"Utilisation: {entropy}",
        xlabel="experts, busiest first",
        ylabel="layer",
        yticks=range(len(relative)),
    )
    figure.colorbar(shown, ax=axes, label="load over the mean")


def _over_time(axes: Any, statistics: RoutingStatistics) -> None:
    values = [np.nan if value is None else value for value in statistics.time_variation]
    axes.bar(np.arange(len(values)), values, color=IMAGE)
    label = f"published: about {PUBLISHED_VARIATION}"
    axes.axhline(PUBLISHED_VARIATION, color="black", linestyle="--", linewidth=1, label=label)
    axes.set(
        title="Variation of usage over flow time", xlabel="layer", ylabel="coefficient of variation, 10 bins"
    )
    axes.set_xticks(np.arange(len(values)))
    axes.legend()


def _usage_by_time(figure: Any, axes: Any, found: RoutingCounts) -> None:
    """Of the layer in the middle, where the field looks first."""
    layer = len(found.generation) // 2
    shares = shares_of(found.generation[layer])
    order = shares.mean(dim=0).argsort(descending=True)
    extent = (0, 1, shares.shape[1] - 0.5, -0.5)
    shown = axes.imshow(
        shares[:, order].T.numpy(),
        aspect="auto",
        cmap="viridis",
        vmin=0,
        extent=extent,
        interpolation="nearest",
    )
    axes.set(
        title=f"Usage by flow time, layer {layer}",
        xlabel=f"flow time in {NUM_BINS} bins (0: noise)",
        ylabel="experts, busiest first",
    )
    figure.colorbar(shown, ax=axes, label="share of predicted tokens")


def _two_roles(axes: Any, found: RoutingCounts, statistics: RoutingStatistics) -> None:
    one, other = shares_of(found.understanding), shares_of(found.generation.sum(dim=1))
    for layer, (x, y) in enumerate(zip(one.numpy(), other.numpy(), strict=True)):
        colour = (0.15, 0.3, 0.9 * layer / max(1, len(one) - 1))
        axes.scatter(x, y, s=14, color=colour, label=f"layer {layer}" if layer in (0, len(one) - 1) else None)
    limit = max(one.max().item(), other.max().item()) * 1.05
    label = f"equal; published: r of at least {PUBLISHED_CORRELATION:.2f}"
    axes.plot((0, limit), (0, limit), color="black", linestyle="--", linewidth=1, label=label)
    known = [value for value in statistics.correlation if value is not None]
    ours = f"r from {min(known):.2f} to {max(known):.2f}" if known else "no clean context"
    axes.set(
        title=f"Understanding and generation: {ours}",
        xlabel="share of understanding tokens",
        ylabel="share of generation tokens",
    )
    axes.legend()
