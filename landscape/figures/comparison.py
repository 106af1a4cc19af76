"""Ways to fit a curve, compared: barriers against the learning rate and against gradient evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from landscape.figures.analysis import dataset
from landscape.figures.style import INK, LOOKS, PAGE, StyledFigure, halo, in_style, new_figure, number

FLOOR = 2e-4
"""Barriers below this many nats, most of them exactly 0, are drawn on the floor of the panel."""
WAYS: Sequence[tuple[str, Any]] = (
    ("#0072b2", "-"),
    ("#111111", (0, (4.0, 1.4))),
    ("#d98200", (0, (1.0, 1.1))),
    ("#cc79a7", (0, (4.0, 1.2, 1.0, 1.2))),
)
"""Colour and line style of each optimizer and schedule, in the order of the store."""
NODES: dict[str, tuple[str, bool, float]] = {
    "uniform": ("o", False, 5.2),
    "stratified": ("s", True, 2.7),
    "golden": ("^", False, 4.4),
}
"""Marker of each way to draw t, whether it is filled, and its size: all three stay visible on one another."""


def best_rates(fits: xr.Dataset) -> xr.Dataset:
    """The learning rate with the lowest barrier for each budget: that of the median over pairs.

    Args:
        fits: `barrier` with dimensions curve, fit, rate, pair, budget and `learning_rate(fit, rate)`; a fit that
            diverged is NaN and counts as infinitely high.

    Returns:
        `median`, `low` and `high` over pairs and the `learning_rate`, dimensions curve, fit, budget. Of equal medians
        the one with the lower mean wins, then the smaller learning rate.
    """
    heights = fits["barrier"].where(np.isfinite(fits["barrier"]), np.inf)
    tried = np.isfinite(fits["learning_rate"])
    median = heights.median("pair").where(tried, np.inf)
    mean = heights.mean("pair").where(tried, np.inf)
    tied = median == median.min("rate")
    best = mean.where(tied, np.inf).argmin("rate")
    chosen = heights.isel(rate=best)
    return xr.Dataset(
        {
            "median": chosen.median("pair"),
            "low": chosen.min("pair"),
            "high": chosen.max("pair"),
            "learning_rate": fits["learning_rate"].isel(rate=best),
        }
    )


@in_style
def comparison_figure(tree: xr.DataTree, node: str, split: str = "train") -> StyledFigure:
    """For each kind of curve the barrier against the learning rate, and that of the best one against evaluations.

    Args:
        tree: A store of fits: `barrier(curve, fit, rate, pair, budget, split)` with coordinates `learning_rate`, and
            `optimizer`, `schedule`, `nodes` of each fit; and below it `linear` with `barrier(pair, split)`.
        node: Where it is in the store.
        split: Split of the data.

    Returns:
        The figure, as wide as a page.
    """
    fits = dataset(tree, node).sel(split=split).load()
    straight = dataset(tree, f"{node}/linear")["barrier"].sel(split=split).values
    curves = [str(curve) for curve in fits["curve"].values]
    figure = new_figure(PAGE, 0.75 + 1.85 * len(curves))
    panels = figure.subplots(len(curves), 2, sharex="col", sharey=True, squeeze=False, width_ratios=(1.25, 1))
    best = best_rates(fits)
    for row, curve in zip(panels, curves, strict=True):
        _rate_axes(row[0], fits.sel(curve=curve))
        _budget_axes(row[1], best.sel(curve=curve))
        for axes in row:
            _barrier_axis(axes, straight)
        name = LOOKS[curve].label if curve in LOOKS else curve
        row[0].set_ylabel(f"{name}\n{split} loss barrier (nats)")
    panels[0, 0].set_title(f"after {fits['budget'].values[-1]} gradient evaluations")
    panels[0, 1].set_title("each with the best learning rate for that budget")
    panels[-1, 0].set_xlabel("learning rate")
    panels[-1, 1].set_xlabel("gradient evaluations (minibatches)")
    ways, nodes = _way_handles(fits), _node_handles(fits)
    blank = Line2D([], [], ls="none", label="")
    columns = list(zip_longest(ways, nodes, fillvalue=blank))  # a legend is filled column by column
    handles = [handle for column in columns for handle in column]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(columns), handletextpad=0.6)
    return figure


def lowest_in_words(fits: xr.Dataset, count: int) -> str:
    """The lowest median of each optimizer and schedule, whatever the choice of t.

    Args:
        fits: As for `best_rates`.
        count: How many of the last budgets are stated; the choice of t is the best one at the last.

    Returns:
        For each curve the barriers and, in brackets, their learning rates.
    """
    best = best_rates(fits).isel(budget=slice(-count, None))
    parts = []
    for curve in (str(curve) for curve in best["curve"].values):
        ways = []
        for way in dict.fromkeys(zip(fits["optimizer"].values, fits["schedule"].values, strict=True)):
            same = (fits["optimizer"] == way[0]) & (fits["schedule"] == way[1])
            ours = best.sel(curve=curve).isel(fit=np.flatnonzero(same))
            chosen = ours.isel(fit=ours["median"].argmin("fit"))
            heights = " / ".join(number(float(height)) for height in chosen["median"].values)
            rates = " / ".join(f"{rate:g}" for rate in chosen["learning_rate"].values)
            ways.append(f"{way[0]} {way[1]} {heights} ({rates})")
        name = LOOKS[curve].label if curve in LOOKS else curve
        parts.append(f"{name}: {', '.join(ways)}")
    return "; ".join(parts)


def nodes_in_words(fits: xr.Dataset) -> str:
    """What another choice of t than uniform does to the barrier, all else equal.

    Args:
        fits: As for `best_rates`.

    Returns:
        A sentence, or nothing if there is only one choice of t: how often it is lower (ties don't count), and the
        geometric mean of the ratio where both are above the floor.
    """
    heights = fits["barrier"].where(np.isfinite(fits["barrier"]), np.inf)
    names = [str(name) for name in fits["fit"].values]
    found = []
    for nodes in dict.fromkeys(str(name) for name in fits["nodes"].values if name != "uniform"):
        partners = {name: name.removesuffix(nodes) + "uniform" for name in names if name.endswith(f"-{nodes}")}
        partners = {ours: theirs for ours, theirs in partners.items() if theirs in names}
        if not partners:
            continue
        ours, theirs = (heights.sel(fit=list(some)).values for some in (partners.keys(), partners.values()))
        differ, above = ours != theirs, (np.minimum(ours, theirs) > FLOOR) & np.isfinite(ours + theirs)
        if differ.any() and above.any():
            ratio = np.exp(np.log(ours[above] / theirs[above]).mean())
            found.append(f"{nodes} {np.mean(ours[differ] < theirs[differ]):.0%} of {differ.sum()} ({ratio:.2f})")
    if not found:
        return ""
    return (
        "Fits in which another choice of t than uniform lowers the barrier, all else equal (in brackets the geometric "
        f"mean ratio): {', '.join(found)}."
    )


def _rate_axes(axes: Axes, fits: xr.Dataset) -> None:
    """Median over pairs after the largest budget against the learning rate."""
    heights = fits["barrier"].isel(budget=-1)
    heights = heights.where(np.isfinite(heights), np.inf)
    for position in range(fits.sizes["fit"]):
        rates = fits["learning_rate"].values[position]
        middle = heights.isel(fit=position).median("pair").values
        axes.plot(rates, np.maximum(middle, FLOOR), clip_on=True, **_line(fits, position))
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(_plain_tick))


def _plain_tick(value: float, position: int | None = None) -> str:
    """A number as it is spoken."""
    return f"{value:g}"


def _budget_axes(axes: Axes, best: xr.Dataset) -> None:
    """Median and range over pairs against the budget, at the best learning rate; side by side where they coincide."""
    budgets = best["budget"].values.astype(float)
    count = best.sizes["fit"]
    step = np.log(budgets[1] / budgets[0]) / (2.2 * count) if len(budgets) > 1 else 0.03
    for position in range(count):
        one = best.isel(fit=position)
        x = budgets * np.exp(step * (position - (count - 1) / 2))
        middle, low, high = (np.maximum(one[name].values, FLOOR) for name in ("median", "low", "high"))
        style = _line(best, position)
        axes.vlines(x, low, high, color=style["color"], lw=0.7, zorder=1.9)
        axes.plot(x, middle, **style)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(list(budgets)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(_plain_tick))


def _barrier_axis(axes: Axes, straight: np.ndarray) -> None:
    """A logarithmic axis from the floor, which stands for 0, to above the barrier of the straight line."""
    axes.set_yscale("log")
    axes.set_ylim(FLOOR / 1.5, max(4.0, 3 * straight.max()))
    axes.axhspan(FLOOR / 1.5, FLOOR * 1.5, color="0.93", lw=0, zorder=0)
    axes.axhspan(straight.min(), straight.max(), color="0.86", lw=0, zorder=0.5)
    axes.yaxis.set_major_locator(FixedLocator([FLOOR, 1e-3, 1e-2, 1e-1, 1.0]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}" if value > FLOOR else f"< {FLOOR:g}"))
    label = axes.text(0.015, np.sqrt(straight.min() * straight.max()), "straight lines", fontsize=6.0, va="center")
    label.set(transform=axes.get_yaxis_transform(), path_effects=halo())
    axes.spines[["top", "right"]].set_visible(False)


def _line(fits: xr.Dataset, position: int) -> dict[str, Any]:
    """The look of one way to fit: colour and line by optimizer and schedule, marker by how t is drawn."""
    ways = _ways(fits)
    color, line = WAYS[ways.index(_way(fits, position)) % len(WAYS)]
    return {"color": color, "ls": line, "lw": 1.0, **_marker(str(fits["nodes"].values[position]), color)}


def _marker(nodes: str, color: str) -> dict[str, Any]:
    """The marker of a way to draw t."""
    marker, filled, size = NODES.get(nodes, ("D", False, 3.6))
    return {"marker": marker, "mfc": color if filled else "none", "mec": color, "ms": size, "mew": 0.8}


def _way(fits: xr.Dataset, position: int) -> tuple[str, str]:
    """Optimizer and schedule of a fit."""
    return str(fits["optimizer"].values[position]), str(fits["schedule"].values[position])


def _ways(fits: xr.Dataset) -> list[tuple[str, str]]:
    """All optimizers with their schedules, in order."""
    return list(dict.fromkeys(_way(fits, position) for position in range(fits.sizes["fit"])))


def _way_handles(fits: xr.Dataset) -> list[Line2D]:
    """Legend entries of optimizers and schedules."""
    handles = []
    for (optimizer, schedule), (color, line) in zip(_ways(fits), WAYS, strict=False):
        name = {"adam": "Adam", "adamw": "AdamW", "sgd": "SGD, momentum"}.get(optimizer, optimizer)
        handles.append(Line2D([], [], color=color, ls=line, lw=1.2, label=f"{name}, {schedule}"))
    return handles


def _node_handles(fits: xr.Dataset) -> list[Line2D]:
    """Legend entries of the ways to draw t."""
    handles = []
    for nodes in dict.fromkeys(str(name) for name in fits["nodes"].values):
        label = {"golden": "t by the golden ratio"}.get(nodes, f"t {nodes}")
        handles.append(Line2D([], [], ls="none", label=label, **_marker(nodes, INK)))
    return handles
