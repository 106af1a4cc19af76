"""Every optimizer on softmax regression: courses, learning rates, the lecture's setting, and all methods in order."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MultipleLocator, NullLocator, PercentFormatter
from scipy.stats import t

from landscape.figures.analysis import dataset
from landscape.figures.methods import DASHED, DOTTED, method_look
from landscape.figures.style import INK, PAGE, StyledFigure, in_style, new_figure

SHOWN = ("sgd", "nesterov", "adamw", "shampoo", "spectral-gd", "muon")
"""Methods whose courses are drawn in colour, those that matter most last; all others are thin and grey."""
TOP = 4.0
"""Values of f − f* above this are cut off."""


@in_style
def softmax_figure(tree: xr.DataTree, node: str) -> StyledFigure:
    """Left: courses, learning rates and the lecture's setting, one column for each schedule. Right: all methods.

    Args:
        tree: A store of the experiment `softmax_regression`.
        node: Where it is in the store.

    Returns:
        The figure, as wide as a page.
    """
    tune, best, untuned, optimum = (dataset(tree, f"{node}/{n}").load() for n in ("tune", "best", "untuned", "optimum"))
    figure = new_figure(PAGE, 6.2)
    grid = figure.add_gridspec(3, 3, width_ratios=(1, 1, 1.2), height_ratios=(1.1, 1, 0.95))
    panels = np.array([[figure.add_subplot(grid[row, column]) for column in range(2)] for row in range(3)])
    schedules = [str(name) for name in best["schedule"].values]
    for axes, schedule in zip(panels[0], schedules, strict=False):
        course_axes(axes, best.sel(schedule=schedule), f"{schedule} learning rate")
    for axes, schedule in zip(panels[1], schedules, strict=False):
        rate_axes(axes, tune.sel(schedule=schedule))
    accuracy_axes(panels[2, 0], untuned, optimum, "the lecture's setting")
    accuracy_axes(panels[2, 1], best.sel({"method": untuned["method"].values}), optimum, "tuned")
    for row in panels:
        lows, highs = zip(*(axes.get_ylim() for axes in row), strict=True)
        for axes in row:
            axes.set_ylim(min(lows), max(highs))
        row[1].tick_params(labelleft=False)
        row[1].set_ylabel("")
    rank_axes(figure.add_subplot(grid[:, 2]), best)
    handles = [*panels[0, 0].get_legend_handles_labels()[0], Line2D([], [], color="0.65", lw=0.8, label="all others")]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def course_axes(axes: Axes, best: xr.Dataset, title: str) -> None:
    """F − f* against passes, each method at its best learning rate: geometric mean and range over seeds.

    Args:
        axes: Where to draw.
        best: Node `best` for one schedule.
        title: Title.
    """
    passes = best["pass"].values
    for name in _in_order(best):
        values, look = best["excess"].sel({"method": name}), method_look(name)
        middle = geometric(values.transpose("pass", "seed").values)[0]
        if name not in SHOWN:
            axes.plot(passes, middle, color="0.72", lw=0.5, zorder=1.5)
            continue
        axes.fill_between(passes, values.min("seed"), values.max("seed"), color=look.color, alpha=0.18, lw=0)
        axes.plot(passes, middle, color=look.color, ls=look.line, lw=1.3, label=look.label)
    _excess_axis(axes)
    axes.set(xlabel="passes over the data", ylabel="f − f* (nats)", title=title, xlim=(0, passes[-1]))


def rate_axes(axes: Axes, tune: xr.Dataset) -> None:
    """F − f* at the end against the learning rate, mean over the seeds of the tuning; the chosen ones are marked.

    Args:
        axes: Where to draw.
        tune: Node `tune` for one schedule.
    """
    means = tune["excess"].where(np.isfinite(tune["excess"]), np.inf).mean("tuning_seed")
    for name in _in_order(tune):
        rates, look = tune["learning_rate"].sel({"method": name}).values, method_look(name)
        heights = means.sel({"method": name}).values
        shown = name in SHOWN
        style = (
            {"color": look.color, "ls": look.line, "lw": 1.1} if shown else {"color": "0.72", "lw": 0.5, "zorder": 1.5}
        )
        axes.plot(rates, np.where(np.isfinite(heights), heights, np.nan), **style)
        if shown:
            place = heights.argmin()
            axes.plot(
                rates[place],
                heights[place],
                marker=look.marker,
                color=look.color,
                ms=6.5 if look.marker == "*" else 4.2,
            )
    ours = tune["learning_rate"].sel({"method": [name for name in SHOWN if name in tune["method"].values]})
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(numticks=6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(float(ours.min()) / 1.4, float(ours.max()) * 1.4)
    _excess_axis(axes)
    axes.set(xlabel="learning rate", ylabel="f − f* at the end (nats)")


def accuracy_axes(axes: Axes, runs: xr.Dataset, optimum: xr.Dataset, title: str) -> None:
    """Test accuracy of a few methods against passes: mean and range over seeds.

    Args:
        axes: Where to draw.
        runs: Node `untuned` or some methods of node `best`.
        optimum: Node `optimum`.
        title: Title.
    """
    for name in (str(name) for name in runs["method"].values):
        look = method_look(name)
        for schedule in (str(kind) for kind in runs["schedule"].values):
            one = runs.sel({"method": name, "schedule": schedule})
            right, constant = 1 - one["test_error"], schedule == "constant"
            label = f"{look.label}, α = {float(one['learning_rate']):g}" + ("" if constant else f", {schedule}")
            line = "-" if constant else DASHED
            axes.fill_between(one["pass"], right.min("seed"), right.max("seed"), color=look.color, alpha=0.15, lw=0)
            axes.plot(one["pass"], right.mean("seed"), color=look.color, ls=line, lw=1.2, label=label)
    best = 1 - float(optimum["test_error"][0])
    axes.axhline(best, color="0.45", lw=0.8, ls=DOTTED, zorder=1, label="at the minimum of f")
    axes.set_ylim(best - 0.16, best + 0.02)
    axes.yaxis.set_major_locator(MultipleLocator(0.05))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.legend(loc="lower right", fontsize=6.0, handlelength=2.2, labelspacing=0.25)
    axes.set(xlabel="passes over the data", ylabel="test accuracy", title=title, xlim=(0, runs["pass"].values[-1]))


def rank_axes(axes: Axes, best: xr.Dataset) -> None:
    """F − f* at the end of all methods, the lowest at the top: geometric means and their 95 % intervals.

    Args:
        axes: Where to draw.
        best: Node `best`.
    """
    schedules = [str(name) for name in best["schedule"].values]
    means = {name: geometric(best["excess"].sel({"method": name}).isel({"pass": -1}).values) for name in _names(best)}
    order = sorted(means, key=lambda name: float(np.nanmin(means[name][0])))
    for place, name in enumerate(order):
        look = method_look(name)
        color = look.color if name in SHOWN else "0.45"
        axes.axhline(place, color="0.93", lw=0.6, zorder=0.5)
        for number, schedule in enumerate(schedules):
            middle, low, high = (float(part[number]) for part in means[name])
            filled = schedule != "constant"
            axes.plot([low, high], [place, place], color=color, lw=1.3, solid_capstyle="butt", zorder=2)
            axes.plot(middle, place, "o", ms=4.0, color=color, mfc=color if filled else "white", mew=0.9, zorder=3)
    axes.set_yticks(range(len(order)), [method_look(name).label for name in order])
    for label, name in zip(axes.get_yticklabels(), order, strict=True):
        label.set_color(method_look(name).color if name in SHOWN else INK)
        label.set_fontweight("bold" if name in SHOWN else "normal")
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(order) - 0.4, -0.6)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    markers = [
        Line2D(
            [], [], ls="none", marker="o", ms=4.0, color="0.3", mfc="0.3" if name != "constant" else "white", label=name
        )
        for name in schedules
    ]
    axes.legend(handles=markers, loc="lower left", title="learning rate", alignment="left")
    passes = float(best["pass"].values[-1])
    axes.set(xlabel="f − f* (nats)", title=f"after {passes:g} passes, best learning rates")


def geometric(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Geometric mean over the last axis with its 95 % interval (Student's, of the logarithms).

    Args:
        values: Positive numbers, shape `(*, n)` with n of at least 2; where one is NaN, the results are.

    Returns:
        Mean, lower and upper end, each of shape `(*)`.
    """
    logs = np.log(values)
    count = logs.shape[-1]
    middle = logs.mean(-1)
    half = t.ppf(0.975, count - 1) * logs.std(-1, ddof=1) / np.sqrt(count)
    return np.exp(middle), np.exp(middle - half), np.exp(middle + half)


def _excess_axis(axes: Axes) -> None:
    """A logarithmic axis of f − f*, cut off above."""
    axes.set_yscale("log")
    axes.set_ylim(top=TOP)


def _names(data: xr.Dataset) -> list[str]:
    """The methods."""
    return [str(name) for name in data["method"].values]


def _in_order(data: xr.Dataset) -> list[str]:
    """The methods in the order in which they are drawn."""
    names = _names(data)
    return [name for name in names if name not in SHOWN] + [name for name in SHOWN if name in names]
