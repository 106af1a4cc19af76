"""Power et al.'s figure 1 with sharpness: do the weights drift to a wider minimum after they have memorised?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from landscape.figures.analysis import dataset
from landscape.figures.contour import colour_bar, draw_bands
from landscape.figures.grokking import milestones
from landscape.figures.methods import DASHED, DOTTED, shades
from landscape.figures.scale import scale_of
from landscape.figures.style import INK, PAGE, StyledFigure, in_style, log_axis, look, new_figure, number, split_line
from landscape.figures.widening import MEASURED, WIDTHS, interval, paths, ratios, widths

TRANSFORMER = "transformer"
COLOURS = {"transformer": "#111111"}
SPLITS = ("train", "test")
GUIDES = {1: ("random walk", DOTTED), 2: ("straight", DASHED)}
"""Exponents of displacement that have a name."""


class Groups:
    """The runs by network and weight decay, each with name and colour.

    Args:
        tree: The experiment's store.
        node: Its node.
    """

    def __init__(self, tree: xr.DataTree, node: str) -> None:
        self.transformer = dataset(tree, f"{node}/transformer").load()
        self.quadratic = dataset(tree, f"{node}/quadratic").load()
        decays = self.quadratic["weight_decay"].values
        self.colours = dict(zip(decays.tolist(), shades(len(decays) + 1)[:-1], strict=True))

    def __iter__(self) -> Iterator[tuple[str, str, xr.Dataset]]:
        """Name, colour and runs of each."""
        yield "transformer", COLOURS["transformer"], self.transformer
        for decay, colour in self.colours.items():
            yield f"quadratic, decay {decay:g}", colour, self.quadratic.sel(weight_decay=decay, drop=True)


@in_style
def widths_figure(tree: xr.DataTree, node: str) -> StyledFigure:
    """The whole figure.

    Args:
        tree: The experiment's store.
        node: Its node, with `transformer`, `quadratic`, `surface` and `between` below it.
    """
    groups = Groups(tree, node)
    figure = new_figure(PAGE, 8.0)
    rows = figure.subfigures(4, 1, height_ratios=(1.05, 1.05, 1.35, 1.15), squeeze=False)[:, 0]
    _accuracies(rows[0], groups)
    _sharpness(rows[1], groups)
    left, right = rows[2].subplots(1, 2, width_ratios=(1.25, 1))
    ratio_axes(left, groups)
    walk_axes(right, groups)
    _minima(rows[3], dataset(tree, f"{node}/surface").load(), dataset(tree, f"{node}/between").load())
    return figure


def _accuracies(row: SubFigure, groups: Groups) -> None:
    """Accuracy against steps: each run of the transformer; medians and ranges of the quadratic network's."""
    left, right = row.subplots(1, 2, sharey=True)
    for split in SPLITS:
        for seed in groups.transformer["seed"].values:
            one = groups.transformer["accuracy"].sel(split=split, seed=seed)
            left.plot(
                one["step"], 100 * one, color=INK if split == "train" else "#0072b2", lw=1.0, ls=split_line(split)
            )
    handles = [
        Line2D([], [], color=colour, ls=split_line(split), label=split)
        for split, colour in zip(SPLITS, (INK, "#0072b2"), strict=True)
    ]
    left.legend(handles=handles, loc="center left")
    left.set(title="one-layer transformer", ylabel="accuracy (%)")
    for decay, colour in groups.colours.items():
        for split in SPLITS:
            band_axes(right, 100 * groups.quadratic["accuracy"].sel(split=split, weight_decay=decay), colour, split)
    handles = [Line2D([], [], color=colour, label=f"decay {decay:g}") for decay, colour in groups.colours.items()]
    right.legend(handles=handles, loc="center left")
    right.set_title("quadratic network")
    for axes in (left, right):
        axes.set(xscale="log", xlabel="step", yticks=(0, 50, 100))
        _open(axes)


def band_axes(axes: Axes, values: xr.DataArray, colour: str, split: str = "train") -> None:
    """The median over seeds, with a band from the least to the greatest where there are several."""
    dim = next(str(one) for one in values.dims if one != "seed")
    table, steps = values.transpose("seed", dim).values, values[dim].values
    kept = np.isfinite(table).all(0) & (steps > 0)
    table, steps = table[:, kept], steps[kept]
    if len(table) > 1:
        axes.fill_between(steps, table.min(0), table.max(0), color=colour, alpha=0.15, lw=0)
    axes.plot(steps, np.median(table, 0), color=colour, lw=1.1, ls=split_line(split))


def _sharpness(row: SubFigure, groups: Groups) -> None:
    """λmax along all runs, as it is and over the training loss."""
    left, right = row.subplots(1, 2)
    for _, colour, runs in groups:
        loss = runs["loss"].sel(split="train", step=runs[MEASURED].values, drop=True).rename({"step": MEASURED})
        band_axes(left, runs["hessian_max"], colour)
        band_axes(right, runs["hessian_max"] / loss, colour)
        events = milestones(runs)
        median = float(events["grokked_step"].median("seed"))
        if bool(events["grokked"].all()):
            for axes in (left, right):
                axes.axvline(median, color=colour, lw=0.6, ls=DOTTED, zorder=0)
    left.set(title="largest eigenvalue of the Hessian", ylabel="λmax")
    right.set(title="the same over the training loss", ylabel="λmax / loss")
    for axes in (left, right):
        axes.set(xscale="log", xlabel="step")
        axes.set_yscale("log")
        log_axis(axes)
        _open(axes)


def ratio_axes(axes: Axes, groups: Groups) -> None:
    """How each kind of sharpness has changed since memorisation, with 95 % intervals."""
    names, group_list = list(WIDTHS), list(groups)
    for position, (_, colour, runs) in enumerate(group_list):
        found = widths(runs)
        for row, name in enumerate(names):
            ratio = ratios(found[name])
            place = row + 0.17 * (position - (len(group_list) - 1) / 2)
            for moment, filled in (("grokked", "white"), ("end", colour)):
                low, middle, high = ratio.sel(moment=moment).values
                axes.plot([low, high], [place, place], color=colour, lw=0.9, zorder=2)
                axes.plot(middle, place, marker="o", ms=3.4, color=colour, mfc=filled, mew=0.8, ls="none", zorder=3)
    axes.axvline(1, color="0.4", lw=0.7, zorder=0)
    axes.set(xscale="log", yticks=range(len(names)), yticklabels=list(WIDTHS.values()), ylim=(len(names) - 0.45, -0.55))
    axes.set(xlabel="ratio to memorisation", title="sharpness since memorisation")
    handles = [Line2D([], [], color=colour, label=name) for name, colour, _ in group_list]
    handles += [
        Line2D([], [], color="0.3", marker="o", mfc=fill, ls="none", ms=3.4, label=name)
        for name, fill in (("when grokked", "white"), ("at the end", "0.3"))
    ]
    axes.figure.legend(handles=handles, loc="outside lower left", ncols=3, columnspacing=1.0)
    _open(axes)


def walk_axes(axes: Axes, groups: Groups) -> None:
    """Mean squared displacement against lag since memorisation, beside a random walk and straight motion."""
    longest = 1.0
    for _, colour, runs in groups:
        found = paths(runs)
        if not found.sizes["seed"]:
            continue
        values = found["displacement"].mean("seed")
        lags = found["lag"].values / float(found["lag"].values[0])
        axes.plot(lags, values, color=colour, lw=1.1, marker="o", ms=2.2)
        longest = max(longest, float(lags[-1]))
    ends = np.array([1.0, longest])
    for exponent, (name, line) in GUIDES.items():
        axes.plot(ends, ends**exponent, color="0.5", lw=0.8, ls=line, label=f"{name}, exponent {exponent}")
    axes.set(xscale="log", yscale="log", xlabel="lag (records)", ylabel="MSD / MSD at lag 1")
    axes.set_title("displacement after zero training error")
    axes.legend(loc="upper left")
    _open(axes)


def _minima(row: SubFigure, surface: xr.Dataset, between: xr.Dataset) -> None:
    """The training loss around both points on one scale, and along the straight line and the curve between them."""
    panels = row.subplots(1, 3, width_ratios=(1, 1, 1.25))
    loss = surface["loss"].sel(split="train")
    scale = scale_of([loss.values])
    for axes, place, title in zip(panels, (0, -1), ("memorised", "generalised"), strict=False):
        values = loss.isel(checkpoint=place).transpose("beta", "alpha")
        draw_bands(axes, values, np.ones(values.shape, bool), scale)
        axes.plot(0, 0, marker="+", color="black", ms=5)
        axes.set(title=f"training loss, {title}", xlabel="α", ylabel="β", aspect="equal")
    colour_bar(panels[1], scale, "nats", width=0.06)
    pair = between.isel(pair=0)
    for curve in pair["curve"].values:
        for split in SPLITS:
            shown = look(str(curve))
            panels[2].plot(
                pair["t"], pair["loss"].sel(curve=curve, split=split), color=shown.color, ls=split_line(split)
            )
    handles = [Line2D([], [], color=look(str(c)).color, label=look(str(c)).label) for c in pair["curve"].values]
    handles += [Line2D([], [], color="0.3", ls=split_line(split), label=split) for split in SPLITS]
    panels[2].legend(handles=handles, loc="best", fontsize=5.8)
    panels[2].set(title="from memorising to generalising", xlabel="t", ylabel="loss (nats)")
    _open(panels[2])


def widths_caption(tree: xr.DataTree, node: str) -> str:
    """What the figure shows, with the store's own figures."""
    groups = Groups(tree, node)
    said = []
    for name, _, runs in groups:
        events = milestones(runs)
        found = widths(runs)
        text = {key: _factor(ratios(found[key]).sel(moment="end").values) for key in WIDTHS}
        walk = paths(runs)
        exponents = walk["exponent"].values
        spread = _factor(interval(exponents, np.mean)) if len(exponents) else "not fitted"
        cosine = float(walk["cosine"].mean())
        turns = f"{cosine:.2f}" if np.isfinite(cosine) else "not to be had of so few records"
        steps = " and ".join(f"{float(events[f'{event}_step'].median()):.0f}" for event in ("memorised", "grokked"))
        said.append(
            f"{name} ({int(events['grokked'].sum())} of {runs.sizes['seed']} seeds grokked; median steps of "
            f"memorisation and generalisation {steps}): from memorisation to the end λmax changed by a factor of "
            f"{text['hessian_max']}, SAM sharpness {text['sam_sharpness']}, λmax ‖w‖² {text['times_norm']}, λmax over "
            f"the loss {text['over_loss']}; exponent {spread}, mean cosine of successive ways {turns}"
        )
    between = dataset(tree, f"{node}/between").load().isel(pair=0)
    barrier = {str(c): float(between["barrier"].sel(curve=c, split="train")) for c in between["curve"].values}
    heights = ", ".join(f"{look(c).label} {value:.2g}" for c, value in barrier.items())
    return (
        "Addition modulo a prime by AdamW. Top: accuracy; the transformer's runs one by one, the quadratic network's "
        "medians and ranges of seeds. Then λmax of the training loss along the same runs (dotted: median step of "
        "generalisation). Then sharpness in ratio to that at memorisation (95 % bootstrap over seeds) and mean squared "
        "displacement after it. Bottom: training loss around the transformer's memorising and generalising point along "
        "one pair of filter-normalised directions, equal axes and levels, and on the way between them (barrier in "
        f"nats: {heights}). In numbers (95 % intervals). " + ". ".join(said) + ". "
        "The lecture's drift to a wider minimum holds where these factors are below 1; λmax over the loss says how "
        "much of it is more than the loss's own fall. A random walk would have exponent 1 and cosine 0. Power et al. "
        "trained a two-layer transformer on division mod 97 from half of the table, which memorised before 10³ steps "
        "and generalised after 10⁵; that plateau of two decades was not reproduced here: addition, one layer and "
        "weight decay 1 make it short."
    )


def _factor(bounds: np.ndarray) -> str:
    """A mean with its interval, where there are runs enough for one."""
    low, middle, high = bounds
    if not np.isfinite(middle):
        return "unknown, for no run grokked"
    return f"{number(middle)} ({number(low)} to {number(high)})" if np.isfinite(low) else f"{number(middle)} (one run)"


def _open(axes: Axes) -> None:
    """No frame at the top and the right, and numbers at whole powers alone."""
    for axis in (axes.xaxis, axes.yaxis):
        if axis.get_scale() == "log":
            axis.set_minor_formatter(NullFormatter())
    axes.spines[["top", "right"]].set_visible(False)
