"""Steps to memorise and to grok by training fraction and weight decay, and by optimizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from landscape.figures.analysis import dataset
from landscape.figures.grokking import best_place, milestones, over_seeds
from landscape.figures.methods import shades
from landscape.figures.style import INK, PAGE, StyledFigure, in_style, new_figure

EVENTS = {"memorised_step": ("s", "memorised"), "grokked_step": ("o", "grokked")}
COMPARED = ("decayed", "undecayed")


@dataclass(frozen=True)
class Tuned:
    """A method at its best learning rate.

    Args:
        name: The method's.
        lr: The learning rate.
        settled: Whether it grokked at that rate when it was tuned, and the rate lies inside of those tried.
        found: The events of the further runs, over seeds.
    """

    name: str
    lr: float
    settled: bool
    found: xr.Dataset

    @property
    def grokked(self) -> float:
        """Median step of generalisation; infinite where it was not reached."""
        median = self.found.sel(bound="median")
        return float(median["grokked_step"]) if bool(median["grokked_step_reached"]) else np.inf

    @property
    def test(self) -> float:
        """Median of the final test accuracy."""
        return float(self.found["final_accuracy"].sel(split="test"))

    @property
    def collapsed(self) -> float:
        """Largest share of training samples whose loss rounded to zero."""
        return float(self.found["collapsed"])


def tuned(tuning: xr.Dataset, measured: xr.Dataset) -> list[Tuned]:
    """Each method at the learning rate that its tuning chose.

    Args:
        tuning: Runs over `method`, `rate` and `seed`.
        measured: Further runs over `method` and `seed`.

    Returns:
        The methods, the fastest first; then those that didn't grok, by test accuracy.
    """
    chosen = []
    events = over_seeds(milestones(measured.drop_vars("lr")))
    for place, name in enumerate(measured["method"].values):
        runs = tuning.isel(method=place).drop_vars("lr")
        best = best_place(runs, "rate")
        inside = 0 < best < runs.sizes["rate"] - 1
        grokked = bool(milestones(runs)["grokked"].isel(rate=best).any())
        lr = float(measured["lr"].values[place])
        chosen.append(Tuned(str(name), lr, inside and grokked, events.isel(method=place)))
    return sorted(chosen, key=lambda one: (one.grokked, -one.test))


def compared(tree: xr.DataTree, node: str, name: str) -> list[Tuned]:
    """The methods of one of the comparisons."""
    tuning, measured = (dataset(tree, f"{node}/{one}").load() for one in (f"{name}_tuning", name))
    return tuned(tuning, measured)


@in_style
def sweeps_figure(tree: xr.DataTree, node: str) -> StyledFigure:
    """The grid, and both comparisons.

    Args:
        tree: The experiment's store.
        node: Its node, with `grid`, `decayed`, `undecayed` and their tuning below it.
    """
    figure = new_figure(PAGE, 4.2)
    chosen = {name: compared(tree, node, name) for name in COMPARED}
    panels = figure.subplot_mosaic(
        [["grid", one] for one in COMPARED], width_ratios=(1, 0.95), height_ratios=[len(one) for one in chosen.values()]
    )
    grid_axes(panels["grid"], dataset(tree, f"{node}/grid").load())
    for name, title in zip(COMPARED, ("with decay", "without decay"), strict=True):
        attrs = dataset(tree, f"{node}/{name}").attrs
        methods_axes(panels[name], chosen[name])
        panels[name].set_title(f"{title} (share {attrs['fraction']:g}, scale {attrs['init_scale']:g})")
    above, below = (panels[name] for name in COMPARED)
    above.sharex(below)
    above.tick_params(labelbottom=False)
    above.set_xlabel("")
    handles = [
        Line2D([], [], color="0.3", marker=mark, ls="none", ms=3.6, label=name) for mark, name in EVENTS.values()
    ]
    handles.append(Line2D([], [], color="0.3", marker="^", mfc="white", ls="none", ms=4, label="not within the budget"))
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def grid_axes(axes: Axes, grid: xr.Dataset) -> None:
    """Steps to grok against the fraction, a line for each weight decay; dots are medians over seeds."""
    found = over_seeds(milestones(grid))
    fractions, decays = grid["fraction"].values, grid["weight_decay"].values
    for number, (decay, colour) in enumerate(zip(decays, shades(len(decays)), strict=True)):
        one = found.sel(weight_decay=decay)
        places = fractions * (1 + 0.006 * (number - (len(decays) - 1) / 2))
        for event, (mark, _) in EVENTS.items():
            low, median, high = (one[event].sel(bound=bound).values for bound in ("low", "median", "high"))
            there, ended = (one[f"{event}_reached"].sel(bound=bound).values for bound in ("median", "high"))
            style: dict[str, Any] = {"color": colour, "ms": 3.4}
            line = "-" if event == "grokked_step" else "none"
            axes.plot(places, np.where(there, median, np.nan), marker=mark, lw=1.0, ls=line, **style)
            axes.vlines(places[there], low[there], high[there], color=colour, lw=0.8)
            axes.plot(places[there & ~ended], high[there & ~ended], ls="none", marker="^", mfc="white", **style)
            axes.plot(places[~there], median[~there], ls="none", marker="^", mfc="white", **style)
        axes.plot([], [], color=colour, label=f"decay {decay:g}")
    axes.set(xscale="log", yscale="log", xlabel="share of equations trained on", ylabel="steps")
    axes.set_xticks(fractions, [f"{one:g}" for one in fractions])
    axes.minorticks_off()
    top = axes.get_ylim()[1]
    columns = min(3, (len(decays) + 1) // 2 if len(decays) > 3 else len(decays))
    rows = -(-len(decays) // columns)
    axes.set_ylim(top=top * 1.7**rows)  # room for the legend above the slowest runs
    axes.legend(loc="upper right", ncols=columns, columnspacing=0.8, handlelength=1.2)
    axes.set_title("AdamW, by training fraction and weight decay")
    axes.spines[["top", "right"]].set_visible(False)


def methods_axes(axes: Axes, chosen: list[Tuned]) -> None:
    """Each method at its best learning rate, the fastest on top."""
    for place, one in enumerate(chosen):
        for event, (mark, _) in EVENTS.items():
            low, median, high = one.found[event].values
            there, ended = one.found[f"{event}_reached"].values[1:]
            if there:
                axes.plot([low, high], [place, place], color=INK, lw=0.9)
                axes.plot(median, place, marker=mark, color=INK, ms=4, ls="none")
            if not ended:
                axes.plot(high, place, marker="^", color=INK, mfc="white", ms=4, ls="none")
        if not np.isfinite(one.grokked):
            words = f"test {one.test:.0%}" + (f", {one.collapsed:.0%} collapsed" if one.collapsed else "")
            last = float(one.found["grokked_step"].sel(bound="high"))
            axes.annotate(words.replace("%", " %"), (last, place), (-6, 0), textcoords="offset points",
                          ha="right", va="center", fontsize="x-small")  # fmt: skip
    names = [f"{one.name} (lr {one.lr:g}{'' if one.settled or np.isinf(one.grokked) else '*'})" for one in chosen]
    axes.set(xscale="log", xlabel="steps", yticks=range(len(chosen)), yticklabels=names)
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(len(chosen) - 0.5, -0.5)
    axes.spines[["top", "right"]].set_visible(False)
