"""Double descent: risk, error, norm and sharpness against the capacity, with both interpolation thresholds marked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from landscape.errors import RequestError
from landscape.figures.descent_analysis import BAND, Landmarks, descent_data, landmarks, over_repetitions
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


def descent_panels(figure: Figure | SubFigure, data: xr.Dataset, names: Sequence[str]) -> None:
    """Panels and their legend: a row for each quantity, a column for each basis or noise.

    Args:
        figure: Where to draw.
        data: What `descent_data` gives.
        names: The quantities.

    Raises:
        RequestError: If there would be more columns than fit.
    """
    columns = [(b, q) for b in range(data.sizes["basis"]) for q in range(data.sizes["noise"])]
    if len(columns) > MOST_COLUMNS:
        raise RequestError(
            f"{len(columns)} columns of panels (bases × noises) are more than {MOST_COLUMNS}: choose one --basis"
        )
    panels = figure.subplots(len(names), len(columns), sharex=True, sharey="row", squeeze=False)
    for (b, q), column in zip(columns, panels.T, strict=True):
        part = data.isel(basis=b, noise=q)
        column[0].set_title(title(data, b, q))
        for axes, name in zip(column, names, strict=True):
            capacity_axes(axes, part, name)
        column[-1].set_xlabel(str(data.attrs["capacity_name"]))
    for name, row in zip(names, panels, strict=True):
        row[0].set_ylabel(label(data, name))
    whole(panels[0, 0]).align_ylabels(list(panels[:, 0]))
    narrow = whole(panels[0, 0]).get_figwidth() < PAGE
    spacing = {"ncols": 2, "handlelength": 2.0, "columnspacing": 1.0} if narrow else {"ncols": 4}
    figure.legend(handles=handles(data), loc="outside lower center", **spacing)


def capacity_axes(axes: Axes, data: xr.Dataset, name: str) -> None:
    """One quantity against the capacity, a line for each ridge, the thresholds and the best models marked.

    Args:
        axes: Where to draw.
        data: Node `descent` at one basis and noise, with a dimension `ridge`.
        name: The quantity.
    """
    capacity = data["capacity"].values
    found = landmarks(data.isel(ridge=0))
    mark_thresholds(axes, found)
    splits = ("train", "test") if "split" in data[name].dims else (None,)
    for number, color in enumerate(shades(data.sizes["ridge"])[::-1]):
        line = data.isel(ridge=number)
        for split in splits:
            values = line[name] if split is None else line[name].sel(split=split)
            middle, low, high = over_repetitions(values)
            style: dict[str, Any] = {"lw": 0.8, "ls": DASHED} if split == "train" else {"lw": 1.2}
            axes.plot(capacity, middle, color=color, zorder=3 - 0.1 * number, **style)
            if split != "train" and values.size > len(capacity):
                axes.fill_between(capacity, low, high, color=color, alpha=0.2, lw=0, zorder=2)
        if name == "loss" and "theory" in data:
            expected = line["theory"].values
            axes.plot(capacity, expected, ls="none", marker="o", ms=2.6, mfc="none", mec=color, mew=0.7, zorder=4)
    if name == "loss":
        risk = over_repetitions(data["loss"].isel(ridge=0).sel(split="test"))[0]
        for place, filled in ((found.classical, False), (found.modern, True)):
            if place is not None:
                height = risk[list(capacity).index(place)]
                face = INK if filled else "white"
                axes.plot(place, height, marker="*", ms=6.5, mfc=face, mec=INK, mew=0.7, zorder=6, clip_on=False)
    if name == "complexity" and data.attrs.get("threshold") is not None:
        axes.axhline(float(data.attrs["samples"]), lw=0.6, color="0.6", zorder=1)
    scale_axes(axes, data, name)


def mark_thresholds(axes: Axes, found: Landmarks) -> None:
    """The interpolation threshold, by theory and as measured."""
    if found.theory is not None:
        axes.axvline(found.theory, zorder=1, **THEORY)
    if found.measured is not None:
        axes.axvline(found.measured, zorder=1, **MEASURED)


def scale_axes(axes: Axes, data: xr.Dataset, name: str) -> None:
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
    values = np.concatenate([np.ravel(over_repetitions(test.isel(ridge=k))) for k in range(data.sizes["ridge"])])
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


def handles(data: xr.Dataset) -> list[Any]:
    """What lines, marks and colours mean."""
    found: list[Any] = []
    colors = shades(data.sizes["ridge"])[::-1]
    if data.sizes["ridge"] > 1:
        for color, ridge in zip(colors, data["ridge"].values, strict=True):
            label = "minimum norm" if ridge == 0 else f"ridge λ = {ridge:g}"
            found.append(Line2D([], [], color=color, lw=1.2, label=label))
    grey: dict[str, Any] = {"color": colors[0] if data.sizes["ridge"] == 1 else "0.35"}
    repeated = data.sizes["seed"] * data.sizes.get("draw", 1) > 1
    found.append(Line2D([], [], lw=1.2, label="test, median" if repeated else "test", **grey))
    found.append(Line2D([], [], lw=0.8, ls=DASHED, label="train", **grey))
    if repeated:
        band = f"{100 * BAND[0]:g}–{100 * BAND[1]:g} % of repetitions"
        found.append(Patch(fc=grey["color"], alpha=0.25, lw=0, label=band))
    if "theory" in data:
        found.append(Line2D([], [], ls="none", marker="o", ms=3, mfc="none", mec="0.35", label="expected by theory"))
    if data.attrs.get("threshold") is not None:
        found.append(Line2D([], [], label=str(data.attrs["threshold_name"]), **THEORY))
    what = "train error" if "error" in data else "train loss / variance"
    found.append(Line2D([], [], label=f"{what} < {data.attrs['epsilon']:g}", **MEASURED))
    star: dict[str, Any] = {"ls": "none", "marker": "*", "ms": 6.5, "mec": INK, "mew": 0.7}
    found.append(Line2D([], [], mfc="white", label="best before the peak", **star))
    found.append(Line2D([], [], mfc=INK, label="best beyond it", **star))
    return found
