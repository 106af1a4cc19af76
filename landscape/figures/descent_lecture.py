"""Figures of the experiments on double descent: the lecture's two panels, polynomials, Fashion-MNIST, and trainings."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from landscape.figures.descent import capacity_axes, descent_panels, handles, label, quantities, scale_axes, title
from landscape.figures.descent_analysis import descent_data, landmarks, over_repetitions, parts_of
from landscape.figures.descent_fits import fits_grid, one_basis
from landscape.figures.methods import DASHED, DOTTED
from landscape.figures.style import PAGE, StyledFigure, halo, in_style, new_figure

TEST, TRAIN = "#0072b2", "#111111"
CEILING = 1.0
"""Squared errors end here: ten times that of a model of ten classes that always answers zero."""


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
def fashion_figure(tree: xr.DataTree) -> StyledFigure:
    """Features left, networks of growing width with their sharpness right; a column for each noise.

    Args:
        tree: A store of the experiment `fashion_descent`.
    """
    features, width = parts_of(tree)
    sharp = [name for name in quantities(width) if name not in ("loss", "error", "norm")]
    figure = new_figure(PAGE, 5.0)
    halves = figure.add_gridspec(1, 2)
    panels = np.hstack(
        [
            descent_panels(figure.add_subfigure(halves[0]), features, ["loss", "error", "norm"]),
            descent_panels(figure.add_subfigure(halves[1]), width, ["loss", "error", *sharp[:1]]),
        ]
    )
    lowest = min(axes.get_ylim()[0] for axes in panels[0])
    for number, axes in enumerate(panels[0]):
        noise = number % features.sizes["noise"]
        if number < features.sizes["noise"]:
            _peak(axes, features.isel(basis=0, noise=noise, ridge=0))
        axes.set_ylim(lowest, CEILING)
    for axes in panels[1]:
        axes.set_ylim(0, 1)
    return figure


def _peak(axes: Axes, line: xr.Dataset) -> None:
    """How high a peak is that leaves the panel."""
    found, risk = landmarks(line), over_repetitions(line["loss"].sel(split="test"))[0]
    if found.peak is None or (height := risk[list(line["capacity"].values).index(found.peak)]) <= CEILING:
        return
    axes.annotate(
        f"↑ {height:,.0f}",
        (found.peak, 0.97),
        xycoords=axes.get_xaxis_transform(),
        xytext=(5, 0),
        textcoords="offset points",
        ha="left",
        va="top",
        fontsize=6.5,
    )


@in_style
def training_figure(tree: xr.DataTree) -> StyledFigure:
    """Risk along the epochs, left, and against the number of samples, right; loss above error, a line for each noise.

    Args:
        tree: A store of the experiment `training_descent`.
    """
    parts = parts_of(tree)
    figure = new_figure(PAGE, 4.2)
    panels = figure.subplots(2, 2, sharex="col")
    for column, data in zip(panels.T, parts, strict=True):
        for axes, name in zip(column, ("loss", "error"), strict=True):
            capacity_axes(axes, data.isel(basis=0, ridge=0), name, "noise")
            axes.set_ylabel(label(data, name))
        column[-1].set_xlabel(str(data.attrs["capacity_name"]))
    level = f", {title(parts[0], 0, 0)}" if parts[0].sizes["noise"] == 1 else ""
    panels[0, 0].set_title(f"a longer and longer training{level}")
    panels[0, 1].set_title(f"on more and more samples{level}")
    figure.align_ylabels()
    figure.legend(handles=handles(parts, "noise"), loc="outside lower center", ncols=4)
    return figure
