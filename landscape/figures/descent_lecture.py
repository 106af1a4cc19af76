"""Figures of the experiments on double descent: the lecture's two panels, polynomials, Fashion-MNIST, and trainings."""

from __future__ import annotations

from typing import Any

import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from landscape.figures.descent import capacity_axes, descent_panels, handles, label, quantities, scale_axes
from landscape.figures.descent_analysis import descent_data, landmarks, over_repetitions
from landscape.figures.descent_fits import fits_grid, one_basis
from landscape.figures.methods import DASHED, DOTTED
from landscape.figures.style import PAGE, StyledFigure, halo, in_style, new_figure

TEST, TRAIN = "#0072b2", "#111111"


@in_style
def polynomial_figure(tree: xr.DataTree) -> StyledFigure:
    """Fits in the first basis above, and the risks of all bases below.

    Args:
        tree: A store of `landscape descent polynomial`.
    """
    risks, fits = one_basis(tree, None)
    figure = new_figure(PAGE, 6.0)
    rows = figure.add_gridspec(2, 1, height_ratios=(1.6, 1.0))
    above, below = (figure.add_subfigure(rows[row]) for row in range(2))
    fits_grid(above, risks, fits)
    descent_panels(below, descent_data(tree), ["loss"])
    return figure


@in_style
def two_panel_figure(tree: xr.DataTree) -> StyledFigure:
    """Left the classical U up to the threshold, right the whole curve with its second descent.

    Args:
        tree: A store of `landscape descent features` with one noise and one ridge.
    """
    data = descent_data(tree).isel(basis=0, noise=0)
    line = data.isel(ridge=0)
    found = landmarks(line)
    figure = new_figure(PAGE, 2.7)
    left, right = figure.subplots(1, 2)
    threshold = float(found.theory or line["capacity"].values[-1])
    before = data.sel(capacity=data["capacity"] < 0.9 * threshold)
    for axes, part in ((left, before), (right, data)):
        _risks(axes, part.isel(ridge=0))
        axes.set(xlabel=str(data.attrs["capacity_name"]), ylabel="squared error")
    top = float(over_repetitions(before.isel(ridge=0)["loss"].sel(split="test"))[0].max())
    left.set_ylim(0, 1.25 * top)
    left.set_xlim(before["capacity"].values[[0, -1]])
    left.spines[["top", "right"]].set_visible(False)
    left.set_title("(a) classical: the U-shaped risk curve")
    scale_axes(right, data, "loss")
    right.set_title("(b) double descent")
    low, high = right.get_ylim()
    right.set_ylim(low, 12 * high)
    if found.classical is not None:
        _divide(left, found.classical, "under-fitting", "over-fitting", "sweet spot")
    _divide(right, threshold, "under-parameterised", "over-parameterised", "interpolation threshold")
    if found.measured is not None:
        right.axvline(found.measured, color="#009e73", lw=1.0, ls=DASHED, zorder=1)
        right.plot([], [], color="#009e73", lw=1.0, ls=DASHED, label=f"train error < {data.attrs['epsilon']:g}")
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def _risks(axes: Axes, line: xr.Dataset) -> None:
    """Test and training risk with their bands."""
    for split, color, style in (("test", TEST, "-"), ("train", TRAIN, DASHED)):
        middle, low, high = over_repetitions(line["loss"].sel(split=split))
        axes.plot(line["capacity"], middle, color=color, ls=style, lw=1.4, label=f"{split} risk, median")
        axes.fill_between(line["capacity"], low, high, color=color, alpha=0.18, lw=0)


def _divide(axes: Axes, place: float, before: str, after: str, name: str) -> None:
    """A dotted line with what is on either side of it, and its own name, at the top."""
    axes.axvline(place, color="0.3", lw=1.0, ls=DOTTED, zorder=1)
    low, high = axes.transAxes.inverted().transform(axes.transData.transform([(place, 1.0)] * 2))[:, 0]
    common: dict[str, Any] = {"transform": axes.transAxes, "fontsize": 6.5, "path_effects": halo(2.0)}
    axes.text(low - 0.02, 0.97, before, ha="right", va="top", **common)
    axes.text(high + 0.02, 0.97, after, ha="left", va="top", **common)
    axes.text(high + 0.02, 0.88, name, ha="left", va="top", style="italic", color="0.35", **common)


@in_style
def fashion_figure(tree: xr.DataTree, node: str) -> StyledFigure:
    """Features above, networks of growing width with their sharpness below; a column for each noise.

    Args:
        tree: A store of the experiment `fashion_descent`.
        node: Where it is in the store.
    """
    features, width = (descent_data(tree, node=f"{node}/{part}") for part in ("features", "width"))
    wide = [name for name in quantities(width) if name != "norm"]
    figure = new_figure(PAGE, 1.3 + 1.15 * (3 + len(wide)))
    rows = figure.add_gridspec(2, 1, height_ratios=(3.3, len(wide) + 0.3))
    above, below = (figure.add_subfigure(rows[row]) for row in range(2))
    descent_panels(above, features, ["loss", "error", "norm"])
    descent_panels(below, width, wide)
    return figure


@in_style
def training_figure(tree: xr.DataTree, node: str) -> StyledFigure:
    """Risk along the epochs, left, and against the number of samples, right; a row for loss and error at each noise.

    Args:
        tree: A store of the experiment `training_descent`.
        node: Where it is in the store.
    """
    parts = [descent_data(tree, node=f"{node}/{part}") for part in ("epoch", "samples")]
    levels = parts[0]["noise"].values
    figure = new_figure(PAGE, 0.9 + 2.5 * len(levels))
    panels = figure.subplots(2 * len(levels), 2, squeeze=False)
    for column, data in zip(panels.T, parts, strict=True):
        for number, level in enumerate(levels):
            part = data.isel(basis=0, noise=number)
            for axes, name in zip(column[2 * number : 2 * number + 2], ("loss", "error"), strict=True):
                capacity_axes(axes, part, name)
                if name == "error":
                    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}"))
                axes.set_ylabel(label(data, name))
            column[2 * number].set_title(f"{100 * level:g} % wrong labels")
        column[-1].set_xlabel(str(data.attrs["capacity_name"]))
    figure.align_ylabels()
    figure.legend(handles=handles(parts[1]), loc="outside lower center", ncols=4)
    return figure
