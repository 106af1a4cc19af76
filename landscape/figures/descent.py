"""Double descent: risk, error, norm and sharpness against the capacity, with both interpolation thresholds marked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from landscape.errors import RequestError
from landscape.figures.descent_analysis import BAND, RISKS, Landmarks, descent_data, landmarks, lines, over_repetitions
from landscape.figures.labels import with_unit
from landscape.figures.methods import DASHED, DOTTED, shades
from landscape.figures.sharpness_summary import measures_of
from landscape.figures.style import COLUMN, INK, PAGE, StyledFigure, in_style, log_axis, new_figure, whole
from landscape.figures.tables import words

MOST_COLUMNS = 4
FLOOR = 0.05
"""Training losses below this share of the lowest test loss run along the panel's floor."""
LINEAR_BELOW = 8.0
"""The horizontal axis is linear where the capacities span less than this factor."""
THEORY: dict[str, Any] = {"color": "0.8", "ls": "-", "lw": 3.0}
MEASURED: dict[str, Any] = {"color": "#009e73", "ls": DOTTED, "lw": 1.2}
STAR: dict[str, Any] = {"ls": "none", "marker": "*", "ms": 6.5, "mec": INK, "mew": 0.7}
Panels = npt.NDArray[np.object_]
"""Axes by row and column."""


@in_style
def descent_figure(tree: xr.DataTree, basis: str | None = None) -> StyledFigure:
    """Everything that was measured, against the capacity: a column for each basis or noise, a line for each ridge.

    Args:
        tree: A store of `landscape descent`.
        basis: Draw this basis only; all by default.

    Returns:
        The figure, a column wide if there is one column of panels, else a page.
    """
    data = descent_data(tree, basis)
    names = quantities(data)
    figure = new_figure(COLUMN if data.sizes["basis"] * data.sizes["noise"] == 1 else PAGE, 0.9 + 1.3 * len(names))
    descent_panels(figure, data, names)
    return figure


def quantities(data: xr.Dataset) -> list[str]:
    """What is drawn of a sweep."""
    return [name for name in ("loss", "error", "norm", *measures_of(data), "complexity") if name in data]


def descent_panels(figure: Figure | SubFigure, data: xr.Dataset, names: Sequence[str]) -> Panels:
    """Panels and their legend: a row for each quantity, a column for each basis or noise.

    Args:
        figure: Where to draw.
        data: What `descent_data` gives.
        names: The quantities.

    Returns:
        The panels by row and column.

    Raises:
        RequestError: If there would be more columns than fit.
    """
    columns = [(b, q) for b in range(data.sizes["basis"]) for q in range(data.sizes["noise"])]
    if len(columns) > MOST_COLUMNS:
        raise RequestError(
            f"{len(columns)} columns of panels (bases × noises) are more than {MOST_COLUMNS}: choose one --basis"
        )
    panels: Panels = figure.subplots(len(names), len(columns), sharex=True, sharey="row", squeeze=False)
    for (b, q), column in zip(columns, panels.T, strict=True):
        part = data.isel(basis=b, noise=q)
        column[0].set_title(title(data, b, q))
        for axes, name in zip(column, names, strict=True):
            capacity_axes(axes, part, name)
        column[-1].set_xlabel(str(data.attrs["capacity_name"]))
    for name, row in zip(names, panels, strict=True):
        row[0].set_ylabel(label(data, name))
    whole(panels[0, 0]).align_ylabels(list(panels[:, 0]))
    narrow = figure.bbox.width < PAGE * whole(panels[0, 0]).dpi
    spacing = {"ncols": 2, "handlelength": 2.0, "columnspacing": 1.0} if narrow else {"ncols": 4}
    figure.legend(handles=handles([data]), loc="outside lower center", **spacing)
    return panels


def capacity_axes(axes: Axes, data: xr.Dataset, name: str, along: str = "ridge") -> None:
    """One quantity against the capacity, a line for each ridge or noise, the thresholds and the best models marked.

    Args:
        axes: Where to draw.
        data: Node `descent` with no other dimension of `LINES` than that of the lines.
        name: The quantity.
        along: The lines' dimension: `ridge`, of which the first is marked, or `noise`, each marked in its colour.
    """
    capacity = data["capacity"].values
    splits = ("train", "test") if "split" in data[name].dims else (None,)
    for number, color in enumerate(shades(data.sizes[along])[::-1]):
        line = data.isel({along: number})
        found = None
        if along != "ridge" or number == 0:  # ridges share the marks of the first
            found = landmarks(line, name if name in RISKS else "loss")
            mark_thresholds(axes, found, MEASURED["color"] if along == "ridge" else color)
        for split in splits:
            values = line[name] if split is None else line[name].sel(split=split)
            middle, low, high = over_repetitions(values)
            style: dict[str, Any] = {"lw": 0.8, "ls": DASHED} if split == "train" else {"lw": 1.2}
            axes.plot(capacity, middle, color=color, zorder=3 - 0.1 * number, **style)
            if split != "train" and values.size > len(capacity):
                axes.fill_between(capacity, low, high, color=color, alpha=0.2, lw=0, zorder=2)
            if found is not None and split == "test" and name in RISKS:
                _stars(axes, capacity, middle, found, INK if along == "ridge" else color)
        if name == "loss" and "theory" in data:
            expected = line["theory"].values
            axes.plot(capacity, expected, ls="none", marker="o", ms=2.6, mfc="none", mec=color, mew=0.7, zorder=4)
    if name == "complexity" and data.attrs.get("threshold") is not None:
        axes.axhline(float(data.attrs["samples"]), lw=0.6, color="0.6", zorder=1)
    scale_axes(axes, data, name, along)


def _stars(axes: Axes, capacity: np.ndarray, risk: np.ndarray, found: Landmarks, color: str) -> None:
    """The best models before the peak and beyond it."""
    for place, face in ((found.classical, "white"), (found.modern, color)):
        if place is not None:
            height = risk[list(capacity).index(place)]
            axes.plot(place, height, **{**STAR, "mec": color}, mfc=face, zorder=6, clip_on=False)


def mark_thresholds(axes: Axes, found: Landmarks, color: str = MEASURED["color"]) -> None:
    """The interpolation threshold, by theory and as measured."""
    if found.theory is not None:
        axes.axvline(found.theory, zorder=1, **THEORY)
    if found.measured is not None:
        axes.axvline(found.measured, zorder=1, **{**MEASURED, "color": color})


def scale_axes(axes: Axes, data: xr.Dataset, name: str, along: str = "ridge") -> None:
    """Logarithmic axes; losses of interpolating models, which are zero but for rounding, end at a floor."""
    capacity = data["capacity"].values
    if capacity[-1] > LINEAR_BELOW * capacity[0]:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if capacity[-1] < 300 * capacity[0] else (1.0,)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}" if value < 1e4 else f"{value:,.0f}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(capacity[0], capacity[-1])
    axes.spines[["top", "right"]].set_visible(False)
    if name == "error":
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}"))
        return
    test = data[name].sel(split="test") if "split" in data[name].dims else data[name]
    values = np.concatenate([np.ravel(over_repetitions(test.isel({along: k}))) for k in range(data.sizes[along])])
    values = values[np.isfinite(values) & (values > 0)]
    if not len(values):
        return
    low, high = float(values.min()), float(values.max())
    if name == "loss":
        train = data[name].sel(split="train").values
        train = train[np.isfinite(train) & (train > FLOOR * low)]
        low = min(low, float(train.min(initial=low)))
    before = axes.get_ylim() if axes.get_yscale() == "log" else (np.inf, 0.0)  # of the panels beside, on one scale
    axes.set_ylim(min(low / 1.5, before[0]), max(high * 1.5, before[1]))
    log_axis(axes)


def title(data: xr.Dataset, basis: int, noise: int) -> str:
    """What tells a column of panels apart."""
    parts = []
    if "basis" in data.coords:
        parts.append(str(data["basis"].values[basis]))
    if "noise" in data.coords and (data.sizes["noise"] > 1 or float(data["noise"][noise]) > 0):
        level = float(data["noise"].values[noise])
        wrong = "error" in data
        parts.append(f"{100 * level:g} % wrong labels" if wrong else f"noise σ = {level:g}")
    return ", ".join(parts)


def label(data: xr.Dataset, name: str) -> str:
    """The vertical axis of a quantity."""
    if name == "loss":
        unit = str(data["loss"].attrs.get("units", ""))
        return f"loss ({unit})" if unit == "nats" else "squared error"
    if name == "error":
        return "error (%)"
    if name == "norm":
        return "norm"
    if name == "complexity":
        return "complexity\n(samples)"
    return with_unit(words(name).replace("hessian max", "λ max").replace("hessian trace", "trace"), xr.DataArray(0.0))


def handles(parts: Sequence[xr.Dataset], along: str = "ridge") -> list[Any]:
    """What lines, marks and colours mean; no mark is explained that isn't drawn.

    Args:
        parts: What `descent_data` gives of each sweep; all have the same lines.
        along: The dimension of the lines in each panel.
    """
    found: list[Any] = []
    first = parts[0]
    colors = shades(first.sizes[along])[::-1]
    if first.sizes[along] > 1:
        for color, level in zip(colors, first[along].values, strict=True):
            found.append(Line2D([], [], color=color, lw=1.2, label=_level(along, level)))
    grey: dict[str, Any] = {"color": colors[0] if first.sizes[along] == 1 else "0.35"}
    repeated = any(data.sizes["seed"] * data.sizes.get("draw", 1) > 1 for data in parts)
    found.append(Line2D([], [], lw=1.2, label="test, median" if repeated else "test", **grey))
    found.append(Line2D([], [], lw=0.8, ls=DASHED, label="train", **grey))
    if repeated:
        band = f"{100 * BAND[0]:g}–{100 * BAND[1]:g} % of repetitions"
        found.append(Patch(fc=grey["color"], alpha=0.25, lw=0, label=band))
    if any("theory" in data for data in parts):
        found.append(Line2D([], [], ls="none", marker="o", ms=3, mfc="none", mec="0.35", label="expected by theory"))
    for data in parts:
        if data.attrs.get("threshold") is not None:
            found.append(Line2D([], [], label=str(data.attrs["threshold_name"]), **THEORY))
    marks = [
        landmarks(line, name)
        for data in parts
        for _, line in lines(data if along != "ridge" else data.isel(ridge=[0]))
        for name in RISKS
        if name in data
    ]
    if any(mark.measured is not None for mark in marks):
        what = "train error" if "error" in first else "train loss / variance"
        color = MEASURED["color"] if along == "ridge" else grey["color"]
        label = f"{what} < {first.attrs['epsilon']:g}"
        found.append(Line2D([], [], label=label, **{**MEASURED, "color": color}))
    peaked = any(mark.peak is not None for mark in marks)
    if any(mark.classical is not None for mark in marks):
        found.append(Line2D([], [], mfc="white", label="best before the peak" if peaked else "best", **STAR))
    if peaked:
        found.append(Line2D([], [], mfc=INK, label="best beyond it", **STAR))
    return found


def _level(along: str, level: float) -> str:
    """What tells a line apart."""
    if along == "noise":
        return f"{100 * level:g} % wrong labels"
    return "minimum norm" if level == 0 else f"ridge λ = {level:g}"
