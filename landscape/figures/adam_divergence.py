"""Where adaptive methods fail and where they pay: Reddi et al.'s problems, the parabola's cycle, sparse features."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from landscape.figures.analysis import dataset
from landscape.figures.methods import DASHED, DOTTED, method_look
from landscape.figures.style import INK, PAGE, StyledFigure, halo, in_style, log_axis, new_figure, number

FIRST = 120
"""Iterates on the parabola that are drawn one by one."""
LAST = 60
"""Iterates at the end that the inset shows."""
FLOOR = 1e-30
"""Losses below this are drawn there."""


@in_style
def adam_divergence_figure(tree: xr.DataTree, node: str) -> StyledFigure:
    """Three rows: Reddi et al.'s problems; Adam on w²; AdaGrad against SGD.

    Args:
        tree: A store of the experiment `adam_divergence`.
        node: Where it is in the store.

    Returns:
        The figure, as wide as a page.
    """
    names = ("online", "stochastic", "parabola", "cycle", "features")
    online, stochastic, parabola, cycle, features = (dataset(tree, f"{node}/{name}").load() for name in names)
    figure = new_figure(PAGE, 6.0)
    panels = figure.subplots(3, 3)
    online_axes(panels[0, 0], online)
    regret_axes(panels[0, 1], online)
    stochastic_axes(panels[0, 2], stochastic)
    walk_axes(panels[1, 0], parabola)
    loss_axes(panels[1, 1], parabola)
    cycle_axes(panels[1, 2], cycle)
    kinds = [str(kind) for kind in features["data"].values]
    rates_axes(panels[2, 0], features.sel(data=kinds[0]))
    for axes, kind in zip(panels[2, 1:], kinds, strict=False):
        best_axes(axes, features.sel(data=kind), kind)
    low = min(axes.get_ylim()[0] for axes in panels[2])
    high = max(axes.get_ylim()[1] for axes in panels[2, 1:])
    for axes in panels[2]:
        axes.set_ylim(low, high)
    for axes in panels.flat:
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def online_axes(axes: Axes, online: xr.Dataset) -> None:
    """Iterates on the online sequence, with the best and the worst point."""
    for name in _names(online, "optimizer"):
        axes.plot(online["step"], online["x"].sel(optimizer=name), **_look(name))
    _ends(axes)
    axes.set_xscale("log")
    axes.set(xlabel="step t", ylabel="iterate x", title="online: slopes C, −1, −1, …")


def regret_axes(axes: Axes, online: xr.Dataset) -> None:
    """Mean regret against the best point on the online sequence."""
    for name in _names(online, "optimizer"):
        axes.plot(online["step"], np.maximum(online["regret"].sel(optimizer=name), 1e-9), **_look(name))
    axes.set_xscale("log")
    last = online["regret"].isel(step=-1)
    axes.set_ylim(float(last.min()) / 2, 2 * float(online["regret"].max()))
    log_axis(axes)
    axes.legend(loc="lower left", labelspacing=0.2)
    axes.set(xlabel="step t", ylabel="mean regret", title="online: regret against x = −1")


def stochastic_axes(axes: Axes, stochastic: xr.Dataset) -> None:
    """Mean iterate and 10-90 % range over runs on the stochastic variant."""
    steps = stochastic["step"].values / 1000
    for name in _names(stochastic, "optimizer"):
        one, look = stochastic.sel(optimizer=name), _look(name)
        low, high = (one["x_quantile"].sel(quantile=q).values for q in (0.1, 0.9))
        axes.fill_between(steps, low, high, color=look["color"], alpha=0.15, lw=0)
        axes.plot(steps, one["x"], **look)
    _ends(axes)
    axes.set(xlabel="step (thousands)", ylabel="iterate x", title="stochastic: C is rare")


def walk_axes(axes: Axes, parabola: xr.Dataset) -> None:
    """The first iterates on the parabola; those of the first Adam at the end as an inset."""
    for name in _names(parabola, "method"):
        axes.plot(parabola["w"].sel({"method": name}).values[: FIRST + 1], **_look(name))
    axes.axhline(0, color="0.7", lw=0.5, zorder=0)
    axes.legend(loc="upper right", labelspacing=0.2, fontsize=5.5)
    axes.set_ylim(-1.35, 1.1)
    adam = next((name for name in _names(parabola, "method") if name.startswith("adam")), None)
    if adam is not None:
        w = parabola["w"].sel({"method": adam}).values[-LAST:]
        inset = axes.inset_axes((0.42, 0.03, 0.57, 0.27))
        inset.plot(1000 * w, color=_look(adam)["color"], lw=0.6, marker="o", ms=1.2)
        inset.set(xticks=[])
        inset.margins(x=0.02)
        inset.set_title(f"β₂ = {adam.partition(':')[2]}, last {LAST} steps", fontsize=5.5, pad=1.5)
        inset.tick_params(labelsize=5, length=1.5, pad=1)
        inset.set_ylabel("10³ w", fontsize=5.5, labelpad=0)
    axes.set(xlabel="step", ylabel="iterate w", title="L(w) = w², constant step")


def loss_axes(axes: Axes, parabola: xr.Dataset) -> None:
    """The loss on the parabola along the whole run."""
    for name in _names(parabola, "method"):
        loss = np.maximum(parabola["w"].sel({"method": name}).values ** 2, FLOOR)
        look = {**_look(name), "lw": 0.6 if name.startswith("adam") else 1.2}
        axes.plot(np.arange(1, len(loss)), loss[1:], **look)
    axes.set(xscale="log", yscale="log", ylim=(FLOOR, 30), title="the loss along the whole run")
    axes.yaxis.set_major_locator(LogLocator(numticks=7))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set(xlabel="step", ylabel="loss w²")


def cycle_axes(axes: Axes, cycle: xr.Dataset, beta1: float = 0.9) -> None:
    """The size of Adam's final oscillation against the step size, from several starts, and the theory's."""
    lr = cycle["lr"].values
    axes.plot(lr, lr * (1 - beta1) / (2 * (1 + beta1)), color="0.45", lw=0.9, ls=DASHED, label="α (1 − β₁) / (2 + 2β₁)")
    marks = "osD^"
    for row, name in enumerate(_names(cycle, "method")):
        look = _look(name)
        for column, start in enumerate(cycle["start"].values):
            size = cycle["size"].sel({"method": name, "start": start})
            style: dict[str, Any] = {"mfc": "none" if column else look["color"], "mec": look["color"]}
            label = f"{look['label']}, from {start:g}"
            axes.plot(lr, size, ls="none", marker=marks[row], ms=3 + 3 * column, mew=0.8, label=label, **style)
    axes.set_xscale("log")
    log_axis(axes)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.legend(loc="upper left", labelspacing=0.2, fontsize=5.5, handlelength=1.8)
    axes.set_ylim(top=8 * float(cycle["size"].max()))
    axes.set(xlabel="step size α", ylabel="rms of late iterates", title="size of Adam's cycle")


def rates_axes(axes: Axes, features: xr.Dataset) -> None:
    """Final excess loss against the learning rate: median and range over seeds."""
    final = features["excess"].isel(step=-1)
    for name in _names(features, "method"):
        one = final.sel({"method": name})
        axes.plot(features["lr"], one.median("seed"), ms=3, **_look(name, marker=True))
        axes.vlines(features["lr"], one.min("seed"), one.max("seed"), color=_look(name)["color"], lw=0.6)
    axes.set_xscale("log")
    log_axis(axes)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set(xlabel="learning rate α", ylabel="f − f* at the end (nats)", title=f"{features['data'].item()} features")


def best_axes(axes: Axes, features: xr.Dataset, kind: str) -> None:
    """Excess loss by step at each method's best learning rate: median and range over seeds."""
    for name in _names(features, "method"):
        rate = best_rate(features, name)
        one = features["excess"].sel({"method": name, "lr": rate})
        look = _look(name)
        axes.fill_between(features["step"], one.min("seed"), one.max("seed"), color=look["color"], alpha=0.15, lw=0)
        axes.plot(features["step"], one.median("seed"), **{**look, "label": f"{look['label']} (α = {rate:g})"})
    log_axis(axes)
    axes.legend(loc="upper right", labelspacing=0.2, fontsize=5.5)
    axes.set(xlabel="step", ylabel="f − f* (nats)", title=f"{kind}, best learning rates")


def best_rate(features: xr.Dataset, method: str) -> float:
    """The learning rate with the lowest median excess loss at the end."""
    final = features["excess"].sel({"method": method}).isel(step=-1)
    median = final.where(np.isfinite(final), np.inf).median("seed")
    return float(features["lr"][int(median.argmin("lr"))])


def adam_divergence_caption(tree: xr.DataTree, node: str) -> str:
    """What the figure shows, with the store's own figures."""
    names = ("online", "stochastic", "cycle", "features")
    online, stochastic, cycle, features = (dataset(tree, f"{node}/{name}").load() for name in names)
    ends = ", ".join(
        f"{method_look(name).label} {float(online['x'].sel(optimizer=name)[-3:].mean()):.2f}".replace("-", "−")
        for name in _names(online, "optimizer")
    )
    means = ", ".join(
        f"{method_look(name).label} {float(stochastic['x'].sel(optimizer=name)[-1]):.2f}".replace("-", "−")
        for name in _names(stochastic, "optimizer")
    )
    sizes = cycle["size"] / (cycle["lr"] * 0.1 / 3.8)
    cycles = "; ".join(
        f"{_look(name)['label']}: {float(ratio.min()):.2f} to {float(ratio.max()):.2f}"
        for name in _names(cycle, "method")
        for ratio in [sizes.sel({"method": name})]
    )
    parts = []
    for kind in _names(features, "data"):
        ours = features.sel(data=kind)
        finals = {
            _look(name)["label"]: ours["excess"].sel({"method": name, "lr": best_rate(ours, name)}).isel(step=-1)
            for name in _names(ours, "method")
        }
        parts.append(f"{kind}: " + ", ".join(f"{label} {number(float(f.median()))}" for label, f in finals.items()))
    return (
        "Top: Reddi et al.'s convex problems, whose best point is −1. Last period of the online sequence (step α/√t): "
        f"{ends}. Stochastic variant, constant step, mean over runs at the end: {means} (bands: 10–90 % of runs). "
        "Middle: w² with one constant step for all methods. SGD and momentum converge, Adam does not: for β₂ = 0.95 it "
        "ends in a regular oscillation of fixed size, for the default 0.999 in bursts with long quiet between them "
        f"(losses below {FLOOR:g} stand on the floor). "
        "Root mean square of the late iterates in units of "
        f"α(1 − β₁)/(2 + 2β₁), where theory puts the edge of stability, over step sizes and starts: {cycles}. Bottom: "
        "logistic regression, learning rates from one grid for all; the one with the best median at the end, chosen on "
        "the seeds that are shown (bands and bars: their range). Median f − f* at the end in nats, "
        f"{'; '.join(parts)}."
    )


def _names(data: xr.Dataset, dim: str) -> list[str]:
    """The labels of a dimension."""
    return [str(name) for name in data[dim].values]


def _look(method: str, marker: bool = False) -> dict[str, Any]:
    """Line of a method, such as `adam:0.95` (its beta2) or `sgd:decay` (a falling step)."""
    name, _, setting = method.partition(":")
    look = method_look(name)
    line: dict[str, Any] = {"color": look.color, "ls": look.line, "lw": 1.2, "label": look.label}
    if name == "adam" and setting:
        line["label"] += f", β₂ = {setting}"
        if setting == "0.999":
            line |= {"color": "#56b4e9", "ls": DOTTED}
    elif setting == "decay":
        line |= {"color": "#d98200", "ls": DASHED, "label": f"{look.label} ∝ 1/√t"}
    return line | ({"marker": "D" if setting == "decay" else look.marker} if marker else {})


def _ends(axes: Axes) -> None:
    """The best and the worst point of the interval."""
    axes.set_ylim(-1.12, 1.12)
    for value, name, side in ((-1.0, "best", "bottom"), (1.0, "worst", "top")):
        axes.axhline(value, color="0.7", lw=0.6, zorder=0)
        across = axes.get_yaxis_transform()
        label = axes.text(0.02, 0.95 * value, name, fontsize=6.0, va=side, color=INK, transform=across)
        label.set_path_effects(halo())
