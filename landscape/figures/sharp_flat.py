"""A sharp and a wide minimum side by side: surfaces, lines, spectra, and the ratio of every measure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from matplotlib.lines import Line2D

from landscape.figures import contour
from landscape.figures.analysis import dataset
from landscape.figures.methods import method_look
from landscape.figures.relief import relief_axes
from landscape.figures.scale import scale_of
from landscape.figures.sections import Z
from landscape.figures.sharpness import FLOOR, density_band
from landscape.figures.style import INK, PAGE, StyledFigure, in_style, new_figure, number, split_line
from landscape.figures.surface import BANDS, CAP
from landscape.figures.widths import YARDSTICKS, called, ratios, yardsticks

HIGHEST = 5.0
"""Nats up to which lines are drawn."""
FAINT = 0.3
"""Opacity of the seeds beside the first."""
GROUND = ("0.35", "#0072b2")
"""Colours of measures that are raw, and of those in units of the weights."""


@in_style
def sharp_flat_figure(tree: xr.DataTree, node: str) -> StyledFigure:
    """Surfaces above, lines through the minima in the middle, measures and spectra below.

    Args:
        tree: A store of the experiment `sharp_flat`.
        node: Where it is in the store.

    Returns:
        The figure, as wide as a page. Surfaces and thick lines are those of the first seed.
    """
    networks = dataset(tree, node).load()
    figure = new_figure(PAGE, 8.3)
    rows = figure.add_gridspec(3, 1, height_ratios=(2.9, 1.85, 3.4))
    top, middle, bottom = (figure.add_subfigure(rows[row]) for row in range(3))
    _surfaces(top, dataset(tree, f"{node}/surface").load(), networks)
    panels = middle.subplots(1, 3)
    gap_axes(panels[:2], dataset(tree, f"{node}/line").load())
    eigenvector_axes(panels[2], dataset(tree, f"{node}/eigenvector").load())
    left, right = bottom.subfigures(1, 2, width_ratios=(1.75, 1), squeeze=False)[0]
    ratio_axes(left.subplots(), ratios(yardsticks(tree, node)))
    spectrum_axes(right.subplots(2, 1), dataset(tree, f"{node}/sharpness").load())
    return figure


def _name(method: str) -> str:
    return method_look(method).label


def _surfaces(part: SubFigure, surface: xr.Dataset, networks: xr.Dataset) -> None:
    """The surface of each method over the same axes, on one scale."""
    first = surface.isel(seed=0)
    loss = first["loss"].transpose("method", "beta", "alpha")
    computed = first["status"].transpose("method", "beta", "alpha").values > 0
    scale = scale_of([np.where(computed, loss.values, np.nan)], cap=CAP, bands=BANDS)
    methods = [str(name) for name in surface["method"].values]
    for position, method in enumerate(methods):
        own = networks.isel(method=position, seed=0)
        told = ", ".join(
            f"{split} error {100 * float(own['error'].sel(split=split)):.2f} %" for split in own["split"].values
        )
        with mpl.rc_context({"grid.linewidth": 0.4, "grid.color": "0.85"}):
            axes: Any = part.add_axes((0.01 + 0.435 * position, 0.06, 0.43, 0.89), projection="3d")
        relief_axes(axes, loss.isel(method=position), computed[position], scale, "")
        axes.set_box_aspect((1, 1, 0.72), zoom=1.12)
        part.text(0.225 + 0.435 * position, 0.965, f"{_name(method)}: {told}", ha="center", va="center", fontsize=7.5)
    bar = part.add_axes((0.895, 0.16, 0.016, 0.66))
    bar.set_axis_off()
    contour.colour_bar(bar, scale, "train loss (nats)", width=1.0)


def gap_axes(panels: Sequence[Axes], line: xr.Dataset) -> None:
    """Train and test loss along the same filter-normalised direction, one panel for each method.

    The shaded distance between them is the gap that a shift between the two functions makes.

    Args:
        panels: Where to draw.
        line: Node `line`.
    """
    for position, axes in enumerate(panels):
        one = line.isel(method=position)
        method = str(one["method"].values)
        look, first = method_look(method), one.isel(seed=0)
        for seed in range(one.sizes["seed"] - 1, -1, -1):
            for split in one["split"].values:
                _band(axes, one.isel(seed=seed).sel(split=split), look.color, split_line(str(split)), seed == 0)
        if first.sizes["split"] > 1:
            low, high = (first["loss"].isel(split=number) for number in range(2))
            axes.fill_between(first["alpha"], low, high, color=look.color, alpha=0.12, lw=0)
        axes.set_title(f"{_name(method)}, random direction")
        axes.set_xlabel("α (filter-normalised)")
        axes.set_ylim(0, HIGHEST)
        axes.set_xlim(*line["alpha"].values[[0, -1]])
    panels[0].set_ylabel("loss (nats)")
    panels[1].tick_params(labelleft=False)
    handles = [Line2D([], [], color=INK, ls=split_line(str(split)), label=split) for split in line["split"].values]
    panels[0].legend(handles=handles, loc="upper center")


def _band(axes: Axes, one: xr.Dataset, colour: str, line: Any, first: bool) -> None:
    """The loss of one network along a line with its 95 % band; faint but for the first seed."""
    value, stderr = one["loss"].where(one["status"] > 0).values, one["loss_stderr"].values
    shade: dict[str, Any] = {"alpha": 1.0 if first else FAINT, "lw": 1.2 if first else 0.8}
    axes.plot(one["alpha"], value, color=colour, ls=line, **shade)
    axes.fill_between(one["alpha"], value - Z * stderr, value + Z * stderr, color=colour, alpha=0.2, lw=0)


def eigenvector_axes(axes: Axes, line: xr.Dataset) -> None:
    """The loss along the top eigenvector of each network's own Hessian, in raw distance.

    Args:
        axes: Where to draw.
        line: Node `eigenvector`.
    """
    train = line.sel(split="train")
    handles = []
    for position in range(train.sizes["method"]):
        one = train.isel(method=position)
        look = method_look(str(one["method"].values))
        for seed in range(one.sizes["seed"] - 1, -1, -1):
            _band(axes, one.isel(seed=seed), look.color, "-", seed == 0)
        handles.append(Line2D([], [], color=look.color, label=look.label))
    axes.set_title("top eigenvector, train")
    axes.set_xlabel("distance in weight space")
    axes.set_ylim(0, HIGHEST)
    axes.set_xlim(*line["alpha"].values[[0, -1]])
    axes.set_ylabel("loss (nats)")
    axes.legend(handles=handles, loc="upper center")


def spectrum_axes(panels: Sequence[Axes], measures: xr.Dataset) -> None:
    """The density of the Hessian's eigenvalues with its band over probes, one panel for each method.

    Args:
        panels: Where to draw.
        measures: Node `sharpness`, of which the first seed is drawn.
    """
    first = measures.isel(seed=0)
    peak = float(first["hessian_density"].max())
    for position, axes in enumerate(panels):
        one = first.isel(method=position)
        look = method_look(str(one["method"].values))
        density_band(axes, one, look.color, FLOOR * peak)
        top = float(one["hessian_max"]) if "hessian_max" in one else np.nan
        axes.plot(top, 2 * FLOOR * peak, marker="v", ms=4.5, color=look.color, mec="white", mew=0.5)
        axes.set_yscale("log")
        axes.set_ylim(FLOOR * peak, 3 * peak)
        axes.set_xlim(*measures["eigenvalue"].values[[0, -1]])
        axes.axvline(0, color="0.6", lw=0.5, zorder=0)
        axes.set_ylabel("density")
        axes.text(0.96, 0.9, f"{look.label}, ▾ λ₁ = {number(top, 3)}", transform=axes.transAxes, ha="right", va="top")
    panels[0].tick_params(labelbottom=False)
    panels[0].set_title("spectrum of the Hessian")
    panels[-1].set_xlabel("eigenvalue (nats / distance²)")


def ratio_axes(axes: Axes, found: xr.Dataset) -> None:
    """The sharpness by SAM relative to that by SGD: a dot for each seed, the mean and its 95 % interval.

    Args:
        axes: Where to draw.
        found: From `widths.ratios`.
    """
    names = [str(name) for name in found["yardstick"].values]
    split = sum(not YARDSTICKS[name].normalized for name in names)
    heights = [place + (0.9 if place >= split else 0.0) for place in range(len(names))]
    for name, height in zip(names, heights, strict=True):
        one = found.sel(yardstick=name)
        colour = GROUND[YARDSTICKS[name].normalized]
        if np.isfinite(float(one["mean"])):
            axes.plot([one["low"], one["high"]], [height, height], color=colour, lw=1.0, solid_capstyle="butt")
            axes.plot(one["mean"], height, marker="D", ms=4.0, color=colour, mec="white", mew=0.5, zorder=3)
        places = height - 0.26 + 0.0 * one["ratio"]
        axes.errorbar(
            one["ratio"], places, xerr=Z * one["ratio_stderr"], fmt="o", ms=2.2, color=colour, alpha=0.6, elinewidth=0.5
        )
    axes.set_yticks(heights, [called(name, float(found["rho"].sel(yardstick=name))) for name in names])
    axes.set_ylim(heights[-1] + 0.6, -1.3)
    axes.tick_params(axis="y", length=0)
    axes.set_xscale("log")
    finite = np.concatenate([found[part].values.ravel() for part in ("ratio", "low", "high")])
    finite = finite[np.isfinite(finite)]
    axes.set_xlim(max(finite.min() / 1.15, 0.04), min(max(finite.max(), 1.1) * 1.15, 12.0))
    ticks = [tick for tick in (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10) if axes.get_xlim()[0] <= tick <= axes.get_xlim()[1]]
    axes.set_xticks(ticks, [number(tick, 1) for tick in ticks])
    axes.minorticks_off()
    axes.axvline(1, color=INK, lw=0.7, zorder=0)
    axes.grid(axis="x", color="0.92", lw=0.5)
    for height, words, colour in (
        (-0.8, "raw", GROUND[0]),
        (heights[split] - 0.85, "in units of the weights", GROUND[1]),
    ):
        axes.text(0.985, height, words, transform=axes.get_yaxis_transform(), ha="right", color=colour, va="center")
    axes.set_xlabel("sharpness of SAM's minimum relative to SGD's (below 1: wider)")
