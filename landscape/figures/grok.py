"""Grokking: accuracy against steps on a log axis, sharpness and norms below it, and the steps that it takes."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.lines import Line2D

from landscape.errors import RequestError
from landscape.figures.analysis import dataset
from landscape.figures.grokking import chosen, milestones, over_seeds, swept_dims
from landscape.figures.sections import COLOURS
from landscape.figures.sharpness_summary import measures_of
from landscape.figures.style import COLUMN, PAGE, StyledFigure, in_style, log_axis, new_figure, split_line
from landscape.figures.tables import setting, words

MOST_COLUMNS = 4
"""More swept points than these share one column, a colour each."""
MOSTLY = 0.8
"""Share of the values that must be positive for a log axis; rounding makes a few of a collapsed loss's rises zero."""
MEASURED = "measured_step"
SPLIT_COLOURS = {"train": "#111111", "test": "#0072b2"}
NORMS: dict[str, tuple[str, Any]] = {"weight_norm": ("weights", "-"), "gradient_norm": ("gradient", (0, (1.0, 1.4)))}


def _points(data: xr.Dataset) -> list[tuple[str, xr.Dataset]]:
    """Each point of the sweep with its name."""
    dims = swept_dims(data)
    found = []
    for values in itertools.product(*(data[dim].values for dim in dims)):
        name = ", ".join(f"{words(dim)} {setting(value)}" for dim, value in zip(dims, values, strict=True))
        found.append((name, data.sel(dict(zip(dims, values, strict=True)))))
    return found


def _colours(count: int) -> list[str]:
    """A colour for each point; of many a ramp, so that none comes twice."""
    if count <= len(COLOURS):
        return list(COLOURS[:count])
    return [to_hex(one) for one in colormaps["viridis"](np.linspace(0, 0.92, count))]


@in_style
def grok_figure(tree: xr.DataTree, at: Mapping[str, Any] | None = None) -> StyledFigure:
    """Accuracy of both splits against the step, with sharpness and norms below it.

    Lines are medians over seeds, bands reach from the least to the greatest seed, as long as at least half of the runs
    go on. Up to four points of the sweep have a column each, in which thin lines mark when the median run had memorised
    and grokked; more of them share one column, each in its colour.

    Args:
        tree: A store of `landscape grok`.
        at: The value of each setting, and the seed, that is drawn; all by default.

    Raises:
        RequestError: If it has no node `grok`, no run is stored yet, or `at` names what there isn't.
    """
    data = chosen(dataset(tree, "grok").load(), at or {})
    if not np.isfinite(data["accuracy"]).any():
        raise RequestError("no run is stored yet: repeat the command that writes the store")
    points = _points(data)
    wide = len(points) <= MOST_COLUMNS
    columns = [[point] for point in points] if wide else [points]
    measured = [name for name in measures_of(data) if data[name].dims[-1] == MEASURED and "k" not in data[name].dims]
    rows = ["accuracy", *measured, "norms"]
    width = COLUMN if len(columns) == 1 else min(PAGE, 0.8 + 1.9 * len(columns))
    figure = new_figure(width, 0.5 + 1.25 * len(rows) + 0.25)
    panels = figure.subplots(len(rows), len(columns), sharex=True, sharey="row", squeeze=False)
    colours = None if wide else _colours(len(points))
    for column, group in enumerate(columns):
        for row, name in enumerate(rows):
            axes = panels[row, column]
            for number, (_, point) in enumerate(group):
                _draw(axes, point, name, None if colours is None else colours[number])
            axes.spines[["top", "right"]].set_visible(False)
        if wide:
            panels[0, column].set_title(group[0][0])
            _mark(panels[:, column], group[0][1])
    _finish(panels, rows, data)
    _legend(figure, [] if wide else [name for name, _ in points], colours or [], len(columns))
    return figure


def _draw(axes: Axes, point: xr.Dataset, name: str, colour: str | None) -> None:
    """One quantity at one point of the sweep."""
    if name == "accuracy":
        for split in ("train", "test"):
            shown = colour or SPLIT_COLOURS[split]
            _band(axes, 100 * point["accuracy"].sel(split=split), shown, split_line(split))
    elif name == "norms":
        for norm, (_, line) in NORMS.items():
            _band(axes, point[norm], colour or SPLIT_COLOURS["train"], line)
    else:
        values = point[name]
        if "rho" in values.dims:  # the middle radius stands for all
            values = values.isel(rho=values.sizes["rho"] // 2)
        _band(axes, values, colour or SPLIT_COLOURS["train"], "-")


def _band(axes: Axes, values: xr.DataArray, colour: str, line: Any) -> None:
    """The median over seeds with a band from the least to the greatest, where at least half of the runs are."""
    dim = str(values.dims[-1])
    table = values.transpose("seed", dim).values
    steps = values[dim].values
    kept = (np.isfinite(table).sum(0) * 2 >= len(table)) & np.isfinite(table).any(0) & (steps > 0)
    if not kept.any():
        return
    table, steps = table[:, kept], steps[kept]
    if len(table) > 1:
        axes.fill_between(steps, np.nanmin(table, 0), np.nanmax(table, 0), color=colour, alpha=0.18, lw=0)
    axes.plot(steps, np.nanmedian(table, 0), color=colour, ls=line, lw=1.1)


def _mark(panels: np.ndarray, point: xr.Dataset) -> None:
    """Where the median run had memorised, and where it had grokked, through all rows."""
    found = over_seeds(milestones(point)).sel(bound="median")
    for event, split in (("memorised_step", "train"), ("grokked_step", "test")):
        if bool(found[f"{event}_reached"]):
            for axes in panels:
                axes.axvline(float(found[event]), color=SPLIT_COLOURS[split], lw=0.5, alpha=0.6, zorder=0)


def _finish(panels: np.ndarray, rows: Sequence[str], data: xr.Dataset) -> None:
    """Scales and labels."""
    for axes in panels.flat:
        axes.set_xscale("log")
        axes.set_xlim(left=1)
    for row, name in enumerate(rows):
        axes = panels[row, 0]
        if name == "accuracy":
            axes.set_ylabel("accuracy (%)")
            axes.set_ylim(-3, 103)
            axes.set_yticks([0, 50, 100])
            continue
        if name == "norms":
            axes.set_ylabel("norm")
        else:
            text = words(name)
            if "rho" in data[name].dims:
                text += f"\nρ = {data['rho'].values[data.sizes['rho'] // 2]:g}"
            axes.set_ylabel(f"{text}\n({data[name].attrs.get('units', '')})")
        drawn = np.concatenate([line.get_ydata() for each in panels[row] for line in each.lines] or [np.zeros(0)])
        if (drawn > 0).mean() > MOSTLY:
            for each in panels[row]:
                log_axis(each)
    styles = [Line2D([], [], color="0.3", ls=line, label=name) for name, line in NORMS.values()]
    panels[-1, 0].legend(handles=styles, loc="lower left", frameon=True, edgecolor="none", borderpad=0.1)
    for axes in panels[-1]:
        axes.set_xlabel("step")
    panels[0, 0].figure.align_ylabels(list(panels[:, 0]))


def _legend(figure: StyledFigure, names: Sequence[str], colours: Sequence[str], columns: int) -> None:
    """What lines and colours mean."""
    handles = [Line2D([], [], color=colour, label=name) for colour, name in zip(colours, names, strict=True)]
    shades = SPLIT_COLOURS if not names else dict.fromkeys(SPLIT_COLOURS, "0.3")
    handles += [Line2D([], [], color=shades[split], ls=split_line(split), label=split) for split in ("train", "test")]
    figure.legend(handles=handles, loc="outside lower center", ncols=2 if columns == 1 else 4)


@in_style
def milestones_figure(tree: xr.DataTree, at: Mapping[str, Any] | None = None) -> StyledFigure:
    """Steps until a network has memorised and until it has grokked, against the swept setting.

    Dots are medians over seeds with 95 % bootstrap intervals; an open one with an arrow was not reached within the
    budget.

    Args:
        tree: A store of `landscape grok`; of several swept settings the last is the axis, the others are colours.
        at: The value of each setting, and the seed, that is drawn; all by default.

    Raises:
        RequestError: If nothing was swept, or `at` names what there isn't.
    """
    data = chosen(dataset(tree, "grok").load(), at or {})
    dims = swept_dims(data)
    if not dims:
        raise RequestError(
            "no setting was swept: there is nothing to draw the steps against (--sweep weight_decay=0,1)"
        )
    found = over_seeds(milestones(data))
    axis = dims[-1]
    figure = new_figure(COLUMN, 2.6)
    axes = figure.subplots()
    labels = data[axis].values
    numeric = labels.dtype.kind in "if" and len(labels) > 1
    places = labels if numeric and (labels > 0).all() else np.arange(len(labels))
    groups = list(itertools.product(*(data[dim].values for dim in dims[:-1])))
    handles = []
    for number, group in enumerate(groups):
        one = found.sel(dict(zip(dims[:-1], group, strict=True)))
        colour = _colours(len(groups))[number]
        for event, mark in (("memorised_step", "s"), ("grokked_step", "o")):
            _events(axes, places, one, event, mark, colour)
        if group:
            name = ", ".join(f"{words(dim)} {setting(value)}" for dim, value in zip(dims, group, strict=False))
            handles.append(Line2D([], [], color=colour, label=name))
    handles += [
        Line2D([], [], color="0.3", marker=mark, ls="none", ms=3.6, label=name)
        for mark, name in (("s", "memorised"), ("o", "grokked"))
    ]
    handles.append(
        Line2D([], [], color="0.3", marker="^", mfc="white", ls="none", ms=3.6, label="not within the budget")
    )
    log_axis(axes)
    if numeric and (labels > 0).all() and labels.max() > 8 * labels.min():
        axes.set_xscale("log")
    axes.set_xticks(places, [setting(value) for value in labels])
    axes.tick_params(axis="x", which="minor", length=0)
    if len(labels) > 6 and not numeric:
        axes.tick_params(axis="x", rotation=60)
    axes.set_xlabel(words(axis))
    axes.set_ylabel("steps")
    axes.margins(x=0.08)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


def _events(axes: Axes, places: np.ndarray, found: Mapping[Any, Any], event: str, mark: str, colour: str) -> None:
    """One event at all values of the axis."""
    steps, reached = found[event], found[f"{event}_reached"]
    median, low, high = (steps.sel(bound=bound).values for bound in ("median", "low", "high"))
    there, ended = (reached.sel(bound=bound).values for bound in ("median", "high"))
    axes.plot(places, np.where(there, median, np.nan), color=colour, lw=0.8, marker=mark, ms=3.6)
    axes.vlines(places[there], low[there], high[there], color=colour, lw=0.8)
    open_ended = there & ~ended  # the interval reaches beyond the budget
    axes.plot(places[open_ended], high[open_ended], ls="none", marker="^", ms=3, color=colour, mfc="white", mew=0.7)
    axes.plot(places[~there], median[~there], ls="none", marker="^", ms=3.6, color=colour, mfc="white", mew=0.7)
