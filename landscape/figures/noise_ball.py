"""SGD with a constant step: paths on the contours, the noise ball, and floors of logistic regression."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Ellipse
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from landscape.figures.analysis import dataset
from landscape.figures.labels import Label, place_labels, settle
from landscape.figures.methods import DASHED, DOTTED, shades
from landscape.figures.scale import scale_of
from landscape.figures.style import INK, PAGE, StyledFigure, halo, in_style, log_axis, new_figure, number

SIGMAS = 2.0
"""Standard deviations at which the theory's ellipse is drawn."""
GD_LINE: dict[str, Any] = {"color": "#d55e00", "ls": DASHED, "lw": 1.0}
JOINED = 60
"""Iterates of SGD that are joined by a line; later ones are dots."""
LINES_SHOWN = (0, 5, 20)
"""Steps whose line is drawn through the data, and the last one."""


@in_style
def noise_ball_figure(tree: xr.DataTree, node: str) -> StyledFigure:
    """Paths and data above, distance and radius of the noise ball in the middle, logistic regression below.

    Args:
        tree: A store of the experiment `noise_ball`.
        node: Where it is in the store.

    Returns:
        The figure, as wide as a page.
    """
    loss, paths, ball, logistic = (dataset(tree, f"{node}/{n}").load() for n in ("loss", "path", "radius", "logistic"))
    figure = new_figure(PAGE, 6.1)
    rows = figure.add_gridspec(3, 1, height_ratios=(1.08, 1.0, 1.05))
    top, middle, bottom = (figure.add_subfigure(rows[row]) for row in range(3))
    count = paths.sizes["lr"]
    panels = top.subplots(1, count + 1)
    for axes, lr in zip(panels, paths["lr"].values, strict=False):
        path_axes(axes, loss, paths.sel(lr=lr))
    for axes in panels[1:count]:
        axes.sharey(panels[0])
        axes.tick_params(labelleft=False)
        axes.set_ylabel("")
    lines = line_axes(panels[count], loss, paths.isel(lr=count // 2).sel(optimizer="sgd"))
    left, right = middle.subplots(1, 2, width_ratios=(1.55, 1))
    distance_axes(left, paths)
    radius_axes(right, ball, paths["lr"].values)
    for position, axes in enumerate(bottom.subplots(1, 3)):
        logistic_axes(axes, logistic, ("excess", "distance", "operations")[position])
    settle(panels[count])
    place_labels(panels[count], *lines, fontsize=6.0)
    return figure


def path_axes(axes: Axes, loss: xr.Dataset, paths: xr.Dataset) -> None:
    """One run of SGD and of GD on the contours of the loss, with the ellipse that theory gives.

    Args:
        axes: Where to draw.
        loss: Node `loss`: `loss(intercept, slope)` and the `minimum`.
        paths: Node `path` at one step size.
    """
    scale = scale_of([loss["loss"].values], cap=None)
    heights = scale.height(loss["loss"].transpose("slope", "intercept").values)
    levels = np.ma.getdata(scale.height(scale.boundaries))
    levels[0] -= 1e-9
    x, y = loss["intercept"].values, loss["slope"].values
    colors = scale.mappable.get_cmap()(np.arange(len(levels) - 1))
    axes.contourf(x, y, heights, levels, colors=[0.35 * c + 0.65 for c in colors])
    axes.contour(x, y, heights, levels[1:], colors="0.2", linewidths=0.35, alpha=0.4)
    sgd, gd = (paths["theta"].sel(optimizer=name).values for name in ("sgd", "gd"))
    axes.plot(*sgd[:JOINED].T, color="#111111", lw=0.7, marker="o", ms=1.5, mew=0, zorder=3)
    axes.plot(*sgd[JOINED:].T, color="#111111", ls="none", marker="o", ms=1.6, mew=0, alpha=0.45, zorder=2.9)
    axes.plot(*gd.T, path_effects=halo(2.2), zorder=4, **GD_LINE)
    values, vectors = np.linalg.eigh(paths["covariance"].sel(optimizer="sgd").values)
    if np.isfinite(values).all():
        angle = float(np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1])))
        across, along = 2 * SIGMAS * np.sqrt(values)
        centre = tuple(loss["minimum"].values)
        ring = Ellipse(centre, along, across, angle=angle, fill=False, ec="#0072b2", lw=1.2, zorder=5)
        ring.set_path_effects(halo(2.4))
        axes.add_patch(ring)
    axes.plot(*loss["minimum"].values, marker="*", ms=5, mfc="white", mec="black", mew=0.6, zorder=6)
    axes.set(xlim=x[[0, -1]], ylim=y[[0, -1]], aspect="equal", title=f"α = {float(paths['lr']):g}")
    axes.set(xlabel="intercept w₁", ylabel="slope w₂")


def line_axes(axes: Axes, loss: xr.Dataset, path: xr.Dataset) -> tuple[list[Label], list[np.ndarray]]:
    """The data, their best line, and SGD's line after some steps.

    Args:
        axes: Where to draw.
        loss: Node `loss`: coordinates `place` and `height` of the data, and the `minimum`.
        path: Node `path` at one step size, method SGD.

    Returns:
        Labels that name the lines, and what they should keep clear of; to be placed when the layout is settled.
    """
    axes.plot(loss["place"], loss["height"], ls="none", marker="o", ms=2.4, mfc="0.75", mec="0.4", mew=0.4)
    ends, data = np.linspace(-1.05, 1.05, 43), loss["height"].values
    labels: list[Label] = []
    obstacles = [np.stack([loss["place"].values, data], axis=-1)[[k, k]] for k in range(len(data))]
    last = path.sizes["step"] - 1
    shown = [step for step in LINES_SHOWN if step < last] + [last]
    for color, step in zip(shades(len(shown)), shown, strict=True):
        intercept, slope = path["theta"].isel(step=step).values
        axes.plot(ends, intercept + slope * ends, color=color, lw=1.1)
        line = np.stack([ends, intercept + slope * ends], axis=-1)
        labels.append(Label(f"step {step}", line[3:-3], color, gap=2.0))
        obstacles.append(line)
    intercept, slope = loss["minimum"].values
    axes.plot(ends, intercept + slope * ends, color=INK, lw=0.9, ls=DOTTED)
    axes.set(xlabel="input", ylabel="target", title=f"the line, α = {float(path['lr']):g}", box_aspect=1)
    axes.set(xlim=ends[[0, -1]], ylim=(min(data.min(), -3.4) - 0.8, data.max() + 0.9))
    return labels, obstacles


def distance_axes(axes: Axes, paths: xr.Dataset) -> None:
    """Root mean square distance over runs, one run and GD, by iteration; the theory's radius at the right.

    Args:
        axes: Where to draw.
        paths: Node `path`.
    """
    steps = paths["step"].values
    final = paths["distance"].sel(optimizer="sgd").isel(step=-1)
    for color, lr in zip(shades(paths.sizes["lr"]), paths["lr"].values, strict=True):
        sgd, gd = (paths.sel(optimizer=name, lr=lr) for name in ("sgd", "gd"))
        axes.plot(steps, gd["distance"], color=color, lw=0.9, ls=DASHED)
        axes.plot(steps, sgd["distance"], color=color, lw=1.5, label=f"α = {float(lr):g}")
        trace = float(np.trace(sgd["covariance"].values))
        axes.axhline(np.sqrt(trace), color=color, lw=0.8, ls=DOTTED, zorder=1)
    handles, _ = axes.get_legend_handles_labels()
    grey: dict[str, Any] = {"color": "0.35"}
    handles += [
        Line2D([], [], ls="-", lw=1.5, label="SGD, batch 2 (rms of runs)", **grey),
        Line2D([], [], ls=DASHED, lw=0.9, label="GD", **grey),
        Line2D([], [], ls=DOTTED, lw=0.8, label="theory √tr Σ", **grey),
    ]
    axes.legend(handles=handles, ncols=2, loc="upper right", columnspacing=1.2)
    axes.set_ylim(float(final.min()) / 6, 2 * float(paths["distance"].max()))
    log_axis(axes)
    axes.set(xlabel="iteration", ylabel="‖w − w*‖", title="linear regression: distance to the optimum")
    _open(axes)


def radius_axes(axes: Axes, ball: xr.Dataset, marked: np.ndarray) -> None:
    """The measured radius of the noise ball against the step size, beside the theory.

    Args:
        axes: Where to draw.
        ball: Node `radius`.
        marked: Step sizes of the paths, marked in their colours.
    """
    lr = ball["lr"].values
    axes.plot(lr, ball["limit"], color="0.45", lw=0.9, ls=DASHED, label="theory, small α (∝ √α)")
    axes.plot(lr, ball["theory"], color="#0072b2", lw=1.1, label="theory, exact")
    error = 1.96 * ball["radius_stderr"].values
    axes.errorbar(
        lr, ball["radius"], error, fmt="o", ms=3.6, mfc="white", mec=INK, ecolor=INK, mew=0.8, label="measured"
    )
    for color, one in zip(shades(len(marked)), marked, strict=True):
        axes.plot(one, 0.0, marker="^", color=color, ms=4.5, clip_on=False, transform=axes.get_xaxis_transform())
    axes.set_xscale("log")
    log_axis(axes)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.legend(loc="upper left")
    axes.set(xlabel="step size α", ylabel="rms ‖w − w*‖", title="radius of the noise ball")
    _open(axes)


def logistic_axes(axes: Axes, logistic: xr.Dataset, what: str) -> None:
    """One panel of the logistic regression.

    Args:
        axes: Where to draw.
        logistic: Node `logistic`.
        what: `excess` or `distance` by iteration, or `operations`: the excess by operations.
    """
    variable = "distance" if what == "distance" else "excess"
    steps = logistic["step"].values.astype(float)
    largest = int(logistic["batch"].max())
    for color, batch in zip(shades(logistic.sizes["batch"]), logistic["batch"].values, strict=True):
        one = logistic.sel(batch=batch)
        x = steps * (float(one["operations"]) if what == "operations" else 1.0)
        low, high = (one[f"{variable}_quantile"].sel(quantile=q).values for q in (0.1, 0.9))
        shown = x > 0 if what == "operations" else x >= 0
        if batch < largest:
            axes.fill_between(x[shown], low[shown], high[shown], color=color, alpha=0.22, lw=0)
        y = one[variable].values
        axes.plot(
            x[shown],
            y[shown],
            color=color,
            lw=1.2,
            ls=DASHED if batch == largest else "-",
            label=_batch(batch, largest),
        )
        if what == "excess" and batch < largest:
            axes.plot(
                0.98,
                float(one["floor"]),
                marker="<",
                ms=4,
                color=color,
                clip_on=False,
                transform=axes.get_yaxis_transform(),
            )
    if what == "operations":
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
    axes.set_yscale("log")
    least = float(logistic[variable].where(logistic["batch"] < largest).min())
    axes.set_ylim(least * (1e-4 if variable == "excess" else 1e-2), 2 * float(logistic[variable].max()))
    axes.yaxis.set_major_locator(LogLocator(numticks=7))
    axes.yaxis.set_minor_locator(NullLocator())
    labels = {
        "excess": ("iteration", "|f − f*| (nats)", "logistic regression: loss"),
        "distance": ("iteration", "‖x − x*‖", "distance to the optimum"),
        "operations": ("arithmetic operations", "|f − f*| (nats)", "loss by work"),
    }
    xlabel, ylabel, title = labels[what]
    axes.set(xlabel=xlabel, ylabel=ylabel, title=title)
    if what != "operations":
        axes.set_xlim(right=1.06 * steps[-1])
    if what == "distance":
        axes.legend(loc="lower left", handlelength=1.8, labelspacing=0.2, fontsize=6.0)
    _open(axes)


def noise_ball_caption(tree: xr.DataTree, node: str) -> str:
    """What the figure shows, with the store's own figures."""
    paths, ball, logistic = (dataset(tree, f"{node}/{n}").load() for n in ("path", "radius", "logistic"))
    off = float(np.abs(ball["radius"] / ball["theory"] - 1).max())
    slope = float(np.polyfit(np.log(ball["lr"]), np.log(ball["radius"]), 1)[0])
    largest = int(logistic["batch"].max())
    small = logistic.sel(batch=logistic["batch"] < largest)
    late = slice(3 * logistic.sizes["step"] // 4, None)
    late_excess, predicted = small["excess"].isel(step=late).mean("step").values, small["floor"].values
    floors = ", ".join(f"{number(a)} ({number(b)})" for a, b in zip(late_excess, predicted, strict=True))
    gd = float(logistic["excess"].sel(batch=largest).isel(step=-1))
    rates = ", ".join(f"{lr:g}" for lr in paths["lr"].values)
    return (
        "SGD with a constant step, batches drawn with replacement. Top: one run of SGD (batch 2, black) and of GD "
        f"(dashed) on the mean squared error of a straight line for α = {rates}; star: optimum, ellipse: {SIGMAS:g} "
        "standard deviations of SGD's stationary distribution by theory. Middle: root mean square distance over runs; "
        "stationary radius against α with 95 % intervals. The radius differs from the exact theory √tr Σ by at most "
        f"{off:.1%} and grows as α^{slope:.2f} over the range drawn, steeper than √α, the limit for small steps. "
        "Bottom: logistic regression, one step size for all; mean and 10–90 % range of runs. Mean f − f* over the "
        f"last quarter of the iterations for batches {', '.join(map(str, small['batch'].values))}, in brackets the "
        f"theory for small steps α tr C/(4b) (triangles): {floors}; GD is at {gd:.0e} and goes on."
    )


def _batch(batch: int, largest: int) -> str:
    """What a batch size is called."""
    return "GD" if batch == largest else f"SGD, batch {batch}"


def _open(axes: Axes) -> None:
    """No frame at the top and the right."""
    axes.spines[["top", "right"]].set_visible(False)
