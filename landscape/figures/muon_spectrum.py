"""What Muon does to a gradient: its singular values, shares of the update, condition and stable rank along training."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from landscape.figures.analysis import dataset
from landscape.figures.methods import DASHED, DOTTED, method_look
from landscape.figures.style import PAGE, StyledFigure, in_style, log_axis, new_figure, number

FLOOR = 1e-7
"""Relative singular values and shares below this are not shown."""
NEAR = 0.2
"""Singular values of Muon's update that differ from 1 by at most this are counted as near 1."""
STAGES: tuple[tuple[str, str, Any], ...] = (
    ("gradient", "#111111", DASHED),
    ("moment", "#d98200", DOTTED),
    ("update", "#c23b5a", "-"),
)
NAMES = {"gradient": "gradient g, over its largest", "moment": "g + μm, over its largest", "update": "Muon's update"}


@in_style
def spectrum_figure(tree: xr.DataTree, node: str) -> StyledFigure:
    """Above: one step's singular values, and shares of the update. Below: condition number and stable rank.

    Args:
        tree: A store of the experiment `muon_spectrum`.
        node: Where it is in the store.

    Returns:
        The figure, as wide as a page.
    """
    data = dataset(tree, node).load()
    figure = new_figure(PAGE, 4.5)
    panels = figure.subplots(2, 2)
    values_axes(panels[0, 0], data.sel({"method": "muon"}).isel(step=-1))
    share_axes(panels[0, 1], data.isel(step=-1))
    course_axes(panels[1, 0], data, "condition", "σ₁ / σᵣ of the update", "condition number along training")
    course_axes(panels[1, 1], data, "stable_rank", "Σ σᵢ² / σ₁² of the update", "stable rank along training")
    panels[1, 1].axhline(data.sizes["direction"], color="0.6", lw=0.8, ls=DOTTED, zorder=1)
    handles = [Line2D([], [], lw=1.4, color=method_look(name).color, label=_label(data, name)) for name in _names(data)]
    handles += [Line2D([], [], lw=0.8, ls=DASHED, color="0.4", label="the gradient in the same run")]
    panels[1, 0].legend(handles=handles, loc="upper left", labelspacing=0.25)
    panels[1, 0].set_ylim(1, panels[1, 0].get_ylim()[1] * 300)
    for axes in panels.flat:
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def values_axes(axes: Axes, step: xr.Dataset) -> None:
    """Singular values of the gradient, of what Muon makes the update from, and of the update itself.

    Args:
        axes: Where to draw.
        step: One step of Muon's runs; median and range over seeds are drawn.
    """
    for stage, color, line in STAGES:
        values = step["singular_value"].sel(matrix=stage)
        if stage != "update":
            values = values / values.isel(direction=0)
        _band(axes, values, "direction", color, line, label=NAMES[stage])
    axes.axhline(1, color="0.6", lw=0.8, ls=DOTTED, zorder=1)
    axes.set_yscale("log")
    axes.set_ylim(FLOOR, 4)
    axes.legend(loc="lower left", labelspacing=0.25)
    axes.set(xlabel="singular direction", ylabel="singular value", title=f"Muon, step {int(step['step'])}")


def share_axes(axes: Axes, step: xr.Dataset) -> None:
    """The share of the update's squared norm in each of its own singular directions.

    Args:
        axes: Where to draw.
        step: One step of all runs.
    """
    for name in _names(step):
        look = method_look(name)
        _band(
            axes,
            step["share"].sel({"method": name, "matrix": "update"}),
            "direction",
            look.color,
            "-",
            label=look.label,
        )
    axes.axhline(1 / step.sizes["direction"], color="0.6", lw=0.8, ls=DOTTED, zorder=1, label="all the same")
    axes.set_yscale("log")
    axes.set_ylim(FLOOR, 2)
    axes.legend(loc="lower left", labelspacing=0.25)
    title = f"share of the update, step {int(step['step'])}"
    axes.set(xlabel="singular direction of the update", ylabel="σᵢ² / Σ σⱼ²", title=title)


def course_axes(axes: Axes, data: xr.Dataset, variable: str, ylabel: str, title: str) -> None:
    """A number of each update along training, and of the gradient in the same run.

    Args:
        axes: Where to draw.
        data: Node `muon_spectrum`.
        variable: `condition` or `stable_rank`.
        ylabel: Label of the vertical axis.
        title: Title.
    """
    for name in _names(data):
        look, one = method_look(name), data[variable].sel({"method": name})
        _band(axes, one.sel(matrix="update"), "step", look.color, "-", marker=look.marker)
        if name != "sgd":  # whose update is the gradient
            axes.plot(one["step"], one.sel(matrix="gradient").median("seed"), color=look.color, lw=0.8, ls=DASHED)
    axes.set_xscale("log")
    axes.set_yscale("log")
    if variable == "stable_rank":
        log_axis(axes)
    axes.set(xlabel="step", ylabel=ylabel, title=title)


def spectrum_caption(tree: xr.DataTree, node: str) -> str:
    """What the figure shows, with the store's own figures."""
    data = dataset(tree, node).load()
    last, count = data.isel(step=-1), data.sizes["direction"]
    updates = last.sel(matrix="update")
    values = updates["singular_value"].sel({"method": "muon"}).values
    near = float((np.abs(values - 1) <= NEAR).mean())
    condition, stable, top = (
        {name: float(found.sel({"method": name}).median("seed")) for name in _names(data)}
        for found in (updates["condition"], updates["stable_rank"], updates["share"].isel(direction=0))
    )
    gradient = last.sel({"matrix": "gradient", "method": "muon"})
    kinds = {"sgd": "SGD", "adam": "Adam", "muon": "Muon"}
    rates, losses, errors = (
        [float(value) for value in data[name].mean([dim for dim in data[name].dims if dim != "method"])]
        for name in ("learning_rate", "loss", "test_error")
    )
    ends = [
        f"{kinds.get(name, name)} (α = {rate:g}) {loss:.3f} nats and {error:.1%}"
        for name, rate, loss, error in zip(_names(data), rates, losses, errors, strict=True)
    ]

    def listed(found: dict[str, float]) -> str:
        return ", ".join(f"{kinds.get(name, name)} {number(value, 2)}" for name, value in found.items())

    return (
        f"One hidden {count} × {count} matrix of a network trained by each method from the same weights on the same "
        f"batches; median and range of {data.sizes['seed']} seeds. Top left: singular values in step "
        f"{int(last['step'])} of Muon's runs. {near:.0%} of those of the update (over α) are within {NEAR:g} of 1, the "
        f"least is {number(float(values.min()), 2)}; those of the gradient fall by a factor of "
        f"{number(float(gradient['condition'].median('seed')), 2)}, and what the few steps of Polar Express can't lift "
        "to 1 is below about a thousandth of the largest. Top right: the share of the update in each of its own "
        f"singular directions; in the first: {listed(top)}; {1 / count:.3f} if all were the same. Bottom: condition "
        "number σ₁/σᵣ of the update, r the numerical rank in float64, ruled by the very least singular values; at the "
        f"end {listed(condition)}. The stable rank is not: {listed(stable)}, at most {count}. Training loss and test "
        f"error at the end: {'; '.join(ends)}."
    )


def _band(axes: Axes, values: xr.DataArray, along: str, color: str, line: Any, **style: Any) -> None:
    """Median over seeds as a line, their range as a band."""
    low, middle, high = values.min("seed"), values.median("seed"), values.max("seed")
    axes.fill_between(values[along], low, high, color=color, alpha=0.18, lw=0)
    axes.plot(values[along], middle, color=color, ls=line, lw=1.3, **{"ms": 3.2, **style})


def _names(data: xr.Dataset) -> list[str]:
    """The methods."""
    return [str(name) for name in data["method"].values]


def _label(data: xr.Dataset, name: str) -> str:
    """A method with its learning rate."""
    return f"{method_look(name).label} (α = {float(data['learning_rate'].sel({'method': name})):g})"
