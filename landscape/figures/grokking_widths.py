"""Power et al.'s figure 1 with sharpness: do the weights drift to a wider minimum after they have memorised?"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from landscape.figures.analysis import dataset
from landscape.figures.contour import colour_bar, draw_bands
from landscape.figures.grokking import milestones
from landscape.figures.methods import DASHED, DOTTED, MIXED, shades
from landscape.figures.scale import scale_of
from landscape.figures.style import PAGE, StyledFigure, in_style, log_axis, look, new_figure, split_line
from landscape.figures.widening import MEASURED, WIDTHS, paths, ratios, widths

NETWORKS: dict[str, tuple[str, str, Any]] = {
    "transformer": ("one-layer transformer", "o", "-"),
    "quadratic": ("quadratic network", "s", DASHED),
}
"""Name in words, mark and line of each network."""
SPLITS = ("train", "test")
GUIDES: dict[int, tuple[str, Any]] = {1: ("random walk", DOTTED), 2: ("straight", MIXED)}
"""Exponents of displacement that have a name."""


@dataclass(frozen=True)
class Group:
    """The runs of a network at one weight decay.

    Args:
        network: One of `NETWORKS`.
        decay: The weight decay.
        colour: That of the decay.
        runs: The runs, by seed.
    """

    network: str
    decay: float
    colour: str
    runs: xr.Dataset

    @property
    def name(self) -> str:
        """Network and decay."""
        return f"{self.network}, decay {self.decay:g}"


class Groups:
    """All runs, by network and weight decay.

    Args:
        tree: The experiment's store.
        node: Its node.
    """

    def __init__(self, tree: xr.DataTree, node: str) -> None:
        found = {name: dataset(tree, f"{node}/{name}").load() for name in tree[node].children}
        decays = sorted({float(one.attrs["weight_decay"]) for one in found.values() if "accuracy" in one})
        colours = dict(zip(decays, shades(len(decays) + 1)[:-1], strict=True))

        def group(network: str, runs: xr.Dataset) -> Group:
            decay = float(runs.attrs["weight_decay"])
            return Group(network, decay, colours[decay], runs)

        self.of = {
            network: [group(network, one) for name, one in sorted(found.items()) if name.startswith(f"{network}_")]
            for network in NETWORKS
        }
        self.slow = group("quadratic", found["slow"])

    def __iter__(self) -> Iterator[Group]:
        """Those that are measured, network by network."""
        return itertools.chain.from_iterable(self.of.values())


@in_style
def widths_figure(tree: xr.DataTree, node: str) -> StyledFigure:
    """The whole figure.

    Args:
        tree: The experiment's store.
        node: Its node, with `transformer_0` … and `quadratic_0` … for each weight decay, `slow`, `surface` and
            `between` below it.
    """
    groups = Groups(tree, node)
    figure = new_figure(PAGE, 9.4)
    rows = figure.subfigures(3, 1, height_ratios=(3.0, 1.6, 1.2), squeeze=False)[:, 0]
    columns = rows[0].subplots(3, 2, sharex="col", sharey="row").T
    for panels, (network, (title, _, _)) in zip(columns, NETWORKS.items(), strict=True):
        _accuracies(panels[0], [*([groups.slow] if network == groups.slow.network else []), *groups.of[network]])
        _sharpness(panels[1:], groups.of[network])
        panels[0].set_title(title)
        panels[-1].set(xscale="log", xlabel="step")
        for axes in panels:
            _open(axes)
    for axes, label in zip(columns[0], ("accuracy (%)", "λmax", "λmax / training loss"), strict=True):
        axes.set_ylabel(label)
    rows[0].align_ylabels(list(columns[0]))
    left, right = rows[1].subplots(1, 2, width_ratios=(1.25, 1))
    ratio_axes(left, list(groups))
    walk_axes(right, list(groups))
    _minima(rows[2], dataset(tree, f"{node}/surface").load(), dataset(tree, f"{node}/between").load())
    return figure


def _accuracies(axes: Axes, groups: Sequence[Group]) -> None:
    """Accuracy against steps: medians and ranges of the seeds."""
    for one in groups:
        for split in SPLITS:
            band_axes(axes, 100 * one.runs["accuracy"].sel(split=split), one.colour, split_line(split))
    handles = [Line2D([], [], color=one.colour, label=f"decay {one.decay:g}") for one in groups]
    handles += [Line2D([], [], color="0.3", ls=split_line(split), label=split) for split in SPLITS]
    axes.legend(handles=handles, loc="center left")
    axes.set(yticks=(0, 50, 100))


def band_axes(axes: Axes, values: xr.DataArray, colour: str, line: Any = "-") -> None:
    """The median over seeds, with a band from the least to the greatest, as long as half of the runs go on."""
    dim = next(str(one) for one in values.dims if one != "seed")
    table, steps = values.transpose("seed", dim).values, values[dim].values
    kept = (2 * np.isfinite(table).sum(0) >= len(table)) & np.isfinite(table).any(0) & (steps > 0)
    table, steps = table[:, kept], steps[kept]
    if len(table) > 1:
        axes.fill_between(steps, np.nanmin(table, 0), np.nanmax(table, 0), color=colour, alpha=0.15, lw=0)
    axes.plot(steps, np.nanmedian(table, 0), color=colour, lw=1.1, ls=line)


def _sharpness(panels: Sequence[Axes], groups: Sequence[Group]) -> None:
    """λmax, as it is and over the training loss; dotted lines where the median run generalises."""
    for one in groups:
        runs = one.runs
        loss = runs["loss"].sel(split="train", step=runs[MEASURED].values, drop=True).rename({"step": MEASURED})
        band_axes(panels[0], runs["hessian_max"], one.colour)
        band_axes(panels[1], runs["hessian_max"] / loss, one.colour)
        events = milestones(runs)
        if bool(events["grokked"].all()):
            for axes in panels:
                axes.axvline(float(events["grokked_step"].median()), color=one.colour, lw=0.6, ls=DOTTED, zorder=0)
    for axes in panels:
        axes.set_yscale("log")
        log_axis(axes)


def ratio_axes(axes: Axes, groups: Sequence[Group]) -> None:
    """How each kind of sharpness has changed since memorisation, with 95 % intervals."""
    names = list(WIDTHS)
    for position, one in enumerate(groups):
        found, mark = widths(one.runs), NETWORKS[one.network][1]
        for row, name in enumerate(names):
            ratio = ratios(found[name])
            place = row + 0.76 * ((position + 0.5) / len(groups) - 0.5)
            for moment, filled in (("grokked", "white"), ("end", one.colour)):
                low, middle, high = ratio.sel(moment=moment).values
                axes.plot([low, high], [place, place], color=one.colour, lw=0.9, zorder=2)
                axes.plot(
                    middle, place, marker=mark, ms=3.0, color=one.colour, mfc=filled, mew=0.8, ls="none", zorder=3
                )
    axes.axvline(1, color="0.4", lw=0.7, zorder=0)
    axes.set(xscale="log", yticks=range(len(names)), yticklabels=list(WIDTHS.values()), ylim=(len(names) - 0.45, -0.55))
    axes.set(xlabel="ratio to memorisation", title="sharpness since memorisation")
    handles = [
        Line2D(
            [],
            [],
            color=one.colour,
            marker=NETWORKS[one.network][1],
            ms=3.0,
            ls=NETWORKS[one.network][2],
            label=one.name,
        )
        for one in groups
    ]
    handles += [
        Line2D([], [], color="0.3", marker="o", mfc=fill, ls="none", ms=3.4, label=name)
        for name, fill in (("when grokked", "white"), ("at the end", "0.3"))
    ]
    axes.figure.legend(handles=handles, loc="outside lower center", ncols=4, columnspacing=1.0)
    _open(axes)


def walk_axes(axes: Axes, groups: Sequence[Group]) -> None:
    """Mean squared displacement against lag since memorisation, beside a random walk and straight motion."""
    longest = 1.0
    for one in groups:
        found = paths(one.runs)
        if not found.sizes["seed"]:
            continue
        values = found["displacement"].mean("seed")
        lags = found["lag"].values / float(found["lag"].values[0])
        _, mark, line = NETWORKS[one.network]
        axes.plot(lags, values, color=one.colour, lw=1.1, ls=line, marker=mark, ms=2.2)
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


def _open(axes: Axes) -> None:
    """No frame at the top and the right, and numbers at whole powers alone."""
    for axis in (axes.xaxis, axes.yaxis):
        if axis.get_scale() == "log":
            axis.set_minor_formatter(NullFormatter())
    axes.spines[["top", "right"]].set_visible(False)
