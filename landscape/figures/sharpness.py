"""Sharpness: spectra with their band, worst and mean rise against the radius, measures side by side."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from landscape.errors import RequestError
from landscape.figures.analysis import dataset, select_split
from landscape.figures.labels import shorten, with_unit
from landscape.figures.sections import COLOURS
from landscape.figures.sharpness_summary import measures_of
from landscape.figures.style import COLUMN, PAGE, StyledFigure, in_style, new_figure
from landscape.figures.tables import words

Z = 1.96
FLOOR = 1e-6
"""Share of a density's peak below which it isn't drawn."""
RHO_LINES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1)))
MARKS = ("o", "s", "^", "D", "v")
SIDE = "step"


def _node(tree: xr.DataTree, split: str | None) -> xr.Dataset:
    """The measures on one split; steps of a run take the place of checkpoints."""
    data = dataset(tree, "sharpness").load()
    data = data.sel(split=select_split(data, split))
    if SIDE in data.dims:
        data = data.rename({SIDE: "checkpoint"})
    return data


def _colours(data: xr.Dataset) -> list[Any]:
    """A colour for each checkpoint; steps of a run go from dark to light."""
    count = data.sizes["checkpoint"]
    if data["checkpoint"].dtype.kind == "i":
        return [colormaps["viridis"](0.9 * k / max(count - 1, 1)) for k in range(count)]
    return [COLOURS[k % len(COLOURS)] for k in range(count)]


def _handles(data: xr.Dataset) -> list[Line2D]:
    """The legend's lines; of many steps some."""
    labels, colours = data["checkpoint"].values, _colours(data)
    if data["checkpoint"].dtype.kind == "i":
        shown = np.unique(np.linspace(0, len(labels) - 1, 6).round().astype(int))
        return [Line2D([], [], color=colours[k], label=f"step {labels[k]}") for k in shown]
    names = shorten([str(name) for name in labels], 28)
    return [Line2D([], [], color=colour, label=name) for colour, name in zip(colours, names, strict=True)]


@in_style
def spectrum_figure(tree: xr.DataTree, split: str | None = None) -> StyledFigure:
    """The density of the Hessian's eigenvalues of each checkpoint, logarithmic, with its 95 % band over probes.

    Args:
        tree: A store of kind `sharpness` with the measure `hessian_density`.
        split: Which split; train by default.

    Raises:
        RequestError: If the density was not measured.
    """
    data = _node(tree, split)
    if "hessian_density" not in data:
        raise RequestError("the store holds no spectrum: measure hessian_density")
    figure = new_figure(COLUMN, 2.6)
    axes = figure.subplots()
    peak = float(data["hessian_density"].max())
    few = data.sizes["checkpoint"] <= len(COLOURS)  # of many steps the bands would hide the lines
    for number, colour in enumerate(_colours(data)):
        density_band(axes, data.isel(checkpoint=number), colour, FLOOR * peak, band=few)
    axes.set_yscale("log")
    axes.set_ylim(FLOOR * peak, 2 * peak)
    axes.set_xlim(*data["eigenvalue"].values[[0, -1]])
    axes.axvline(0, color="0.6", lw=0.5, zorder=0)
    unit = str(data["hessian_density_nodes"].attrs.get("units", "")) if "hessian_density_nodes" in data else ""
    axes.set_xlabel(f"eigenvalue of the Hessian ({unit})" if unit else "eigenvalue of the Hessian")
    axes.set_ylabel("density")
    figure.legend(
        handles=_handles(data), loc="outside lower center", ncols=2 if data["checkpoint"].dtype.kind != "i" else 3
    )
    return figure


def density_band(axes: Axes, data: xr.Dataset, colour: Any, floor: float, band: bool = True) -> None:
    """The density of one network's eigenvalues with its band over probes, for a logarithmic axis.

    Args:
        axes: Where to draw.
        data: The measure `hessian_density` of one network.
        colour: Of line and band.
        floor: The least density that the axis shows.
        band: Whether to draw the band.
    """
    grid = data["eigenvalue"].values
    value, low, high = (np.maximum(data[f"hessian_density{end}"].values, floor / 10) for end in ("", "_low", "_high"))
    if band:
        axes.fill_between(grid, low, high, color=colour, alpha=0.25, lw=0)
    axes.plot(grid, value, color=colour, lw=1.0)


@in_style
def rho_figure(tree: xr.DataTree, split: str | None = None) -> StyledFigure:
    """The rise of the loss against the radius: one colour for each checkpoint, a line style for each measure.

    Args:
        tree: A store of kind `sharpness` with a measure over rho.
        split: Which split; train by default.

    Raises:
        RequestError: If no measure has radii.
    """
    data = _node(tree, split)
    names = [name for name in measures_of(data) if "rho" in data[name].dims and name != "sam_bound"]
    if not names:
        raise RequestError("the store holds no measure over rho, such as pgd_sharpness")
    figure = new_figure(COLUMN, 3.0)
    axes = figure.subplots()
    rho = data["rho"].values
    for number in range(data.sizes["checkpoint"]):
        for place, name in enumerate(names):
            one = data.isel(checkpoint=number)
            value, stderr = one[name].values, one[f"{name}_stderr"].values
            colour = COLOURS[number % len(COLOURS)]
            line, mark = RHO_LINES[place % len(RHO_LINES)], MARKS[place % len(MARKS)]
            axes.plot(rho, value, color=colour, ls=line, marker=mark, ms=3.0, lw=1.0)
            axes.errorbar(rho, value, Z * stderr, fmt="none", ecolor=colour, elinewidth=0.7)
    axes.set_xscale("log")
    values = np.concatenate([data[name].values.ravel() for name in names])
    values = values[np.isfinite(values)]
    if (values > 0).all():
        axes.set_yscale("log")
    else:
        axes.set_yscale("symlog", linthresh=float(values[values > 0].min(initial=1.0)))
    axes.set_xticks(rho, [f"{value:g}" for value in rho])
    axes.minorticks_off()
    axes.set_xlabel("radius ρ")
    axes.set_ylabel(with_unit("rise of the loss", data[names[0]]))
    styles = [
        Line2D(
            [],
            [],
            color="0.3",
            ls=RHO_LINES[place % len(RHO_LINES)],
            marker=MARKS[place % len(MARKS)],
            ms=3.0,
            label=words(name),
        )
        for place, name in enumerate(names)
    ]
    figure.legend(handles=[*_handles(data), *styles], loc="outside lower center", ncols=2)
    return figure


@in_style
def measures_figure(tree: xr.DataTree, split: str | None = None) -> StyledFigure:
    """All measures side by side, as dots with 95 % intervals, each relative to the first of several checkpoints.

    Args:
        tree: A store of kind `sharpness`.
        split: Which split; train by default.
    """
    data = _node(tree, split)
    rows: list[tuple[str, np.ndarray, np.ndarray]] = []
    for name in measures_of(data):
        own = [str(dim) for dim in data[name].dims if dim != "checkpoint"]
        if "eigenvalue" in own:
            continue
        labels = data[own[0]].values if own else [None]
        for place, label in enumerate(labels):
            at = {own[0]: place} if own else {}
            title = name.replace("_", " ") + (f", {'ρ' if own[0] == 'rho' else own[0]} = {label:g}" if own else "")
            rows.append((title, data[name].isel(at).values, data[f"{name}_stderr"].isel(at).values))
    if not rows:
        raise RequestError("the store holds no measure that is a number")
    figure = new_figure(PAGE if len(rows) > 12 else COLUMN, 0.7 + 0.17 * len(rows))
    axes = figure.subplots()
    alone = data.sizes["checkpoint"] == 1
    _dots(axes, rows, np.array([1.0 if alone else values[0] for _, values, _ in rows]))
    if not alone:
        axes.axvline(1, color="0.7", lw=0.5, zorder=0)
    axes.set_xlabel("value, each in its own unit" if alone else f"relative to {_handles(data)[0].get_label()}")
    figure.legend(handles=_handles(data), loc="outside lower center", ncols=3)
    return figure


def _dots(axes: Axes, rows: list[tuple[str, np.ndarray, np.ndarray]], units: np.ndarray) -> None:
    """One line for each measure, one dot for each checkpoint, in its line's unit; intervals lie side by side."""
    shown = []
    count = len(rows[0][1])
    apart = min(0.22, 0.6 / count)
    for height, ((_, values, errors), unit) in enumerate(zip(rows, units, strict=True)):
        if not np.isfinite(unit) or unit == 0:
            continue
        for number, (value, error) in enumerate(zip(values, errors, strict=True)):
            if np.isfinite(value):
                shown.append(value / unit)
                colour = COLOURS[number % len(COLOURS)]
                interval = Z * abs(error / unit) if np.isfinite(error) else 0.0
                place = height + apart * (number - (count - 1) / 2)
                axes.errorbar(value / unit, place, xerr=interval, fmt="o", ms=3.4, color=colour, elinewidth=0.8)
    axes.set_yticks(range(len(rows)), [title for title, _, _ in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    low, high = min(shown, default=1.0), max(shown, default=1.0)
    if low <= 0:  # a measure can be negative at one checkpoint
        axes.set_xscale("symlog", linthresh=0.1)
    elif high > 2 * low:
        axes.set_xscale("log")
    axes.margins(x=0.08)
    axes.grid(axis="y", color="0.9", lw=0.4)
