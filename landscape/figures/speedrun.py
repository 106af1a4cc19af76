"""A race between optimizers: loss against steps and seconds, the ranking, and the learning rates that were tried."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from landscape.figures.analysis import dataset
from landscape.figures.labels import Label, place_labels, settle, spread
from landscape.figures.methods import DASHED, MethodLook, method_look
from landscape.figures.style import INK, PAGE, StyledFigure, in_style, new_figure

HIGHLIGHTED = ("sgd", "momentum", "adamw", "shampoo-grafted", "muon", "spectral-gd", "sam")
"""The methods in colour; the others are grey."""
OTHERS = "0.62"
REACHED = 1
"""The outcome of a run that reached the target."""
HEADROOM = 0.45
"""Share of the way from the lowest to the first loss that the panels show."""


def last_losses(race: xr.Dataset) -> xr.DataArray:
    """The median over seeds of the last loss by method; infinite where a run of these has none.

    Args:
        race: Node `race`.
    """
    last = race["loss"].isel(step=-1)
    return last.where(np.isfinite(last), np.inf).median("seed")


@in_style
def speedrun_figure(tree: xr.DataTree, node: str) -> StyledFigure:
    """Validation loss against steps and seconds above; below the ranking and the learning rates.

    A race without a target has the loss at equal tokens and the pace in the place of the ranking, and the share of the
    device's peak where that is known; one without tuning has no learning rates.

    Args:
        tree: A store of the experiment `speedrun`.
        node: Where it is in the store.

    Returns:
        The figure, as wide as a page.
    """
    race = dataset(tree, f"{node}/race").load()
    tuned = f"/{node}/tuning" in tree.groups
    ranked = race.isel(optimizer=ranking(race))
    count = race.sizes["optimizer"]
    figure = new_figure(PAGE, 3.2 + max(1.6, 0.13 * count))
    rows = figure.add_gridspec(2, 1, height_ratios=(1.25, 1) if count > 8 else (1.5, 1))
    above, below = (figure.add_subfigure(rows[row]) for row in range(2))
    left, right = above.subplots(1, 2, sharey=True)
    loss_axes(left, race, seconds=False)
    loss_axes(right, race, seconds=True)
    left.set_ylabel("validation loss (nats per symbol)")
    names = [name for name in ("steps_to_target", "seconds_to_target") if name in race]
    if not names:
        names = [name for name in ("loss", "tokens_per_second", "peak_share") if name in race]
    panels = below.subplots(1, len(names) + tuned, width_ratios=[1.0] * len(names) + [1.35] * tuned, squeeze=False)[0]
    for position, (axes, name) in enumerate(zip(panels, names, strict=False)):
        dots_axes(axes, ranked, name)
        if position:
            axes.sharey(panels[0])
            axes.tick_params(labelleft=False)
    labels, lines = rate_axes(panels[-1], dataset(tree, f"{node}/tuning").load()) if tuned else ([], [])
    for axes in (left, right, *panels):
        axes.spines[["top", "right"]].set_visible(False)
    settle(left)
    label_ends(left, race)
    if tuned:
        place_labels(panels[-1], labels, lines, fontsize=6.0)
    return figure


def ranking(race: xr.Dataset) -> np.ndarray:
    """The methods' positions, best first: by mean steps to the target; those with a run that missed it by last loss."""
    last = last_losses(race).values
    if "outcome" not in race:
        return np.argsort(last, kind="stable")
    missed = (race["outcome"] != REACHED).any("seed").values
    steps = race["steps_to_target"].mean("seed").values
    return np.lexsort((np.where(missed, last, steps), missed))


def loss_axes(axes: Axes, race: xr.Dataset, seconds: bool) -> None:
    """Median over seeds of the validation loss along the race; the seeds of highlighted methods are thin lines.

    Args:
        axes: Where to draw.
        race: Node `race`.
        seconds: Against the time of training, else against steps.
    """
    for name in _back_to_front(race):
        one, look, style = race.sel(optimizer=name), _look(name), _line(name)
        pace = float(one["batch_seconds"].mean()) if seconds else 1.0
        x = one["step"].values * pace
        if name in HIGHLIGHTED and one.sizes["seed"] > 1:
            axes.plot(x, one["loss"].transpose("step", "seed"), color=look.color, lw=0.5, alpha=0.55, zorder=2.5)
        axes.plot(x, one["loss"].median("seed", skipna=False), **style)
    if "target" in race.attrs:
        axes.axhline(race.attrs["target"], color=INK, lw=0.6, ls=DASHED, zorder=1)
        place: dict[str, Any] = {"xy": (0.012, race.attrs["target"]), "xycoords": ("axes fraction", "data")}
        place |= {"xytext": (0, -2.5), "textcoords": "offset points", "va": "top"}
        axes.annotate(f"target {race.attrs['target']:g}", **place, fontsize=6.0)
    finite = race["loss"].where(np.isfinite(race["loss"]))
    least, first = float(finite.min()), float(finite.isel(step=0).mean())
    axes.set_ylim(least - 0.03 * (first - least), least + HEADROOM * (first - least))
    last = float(race["step"][-1])
    if seconds:
        strong = [k for k, name in enumerate(race["optimizer"].values) if name in HIGHLIGHTED]
        known = race.isel(optimizer=strong) if strong else race
        axes.set_xlim(0, 1.04 * last * float(known["batch_seconds"].mean("seed").max()))
        axes.set_xlabel("seconds of training")
        axes.set_title("… and against time")
    else:
        axes.set_xlim(0, last)
        axes.set_xlabel(f"steps ({race.attrs['batch_tokens']:,} symbols each)")
        axes.set_title("validation loss, each with its best learning rate")


def label_ends(axes: Axes, race: xr.Dataset) -> None:
    """Name each line at its end, in the order of the ends, without overlap.

    Args:
        axes: Of `loss_axes`, laid out.
        race: Node `race`.
    """
    low, high = axes.get_ylim()
    ends = {str(name): float(end) for name, end in zip(race["optimizer"].values, last_losses(race), strict=True)}
    names = sorted(ends, key=lambda name: ends[name])
    shown = np.minimum([ends[name] for name in names], high)
    heights = (shown - low) / (high - low)
    gap = 6.6 / (axes.get_window_extent().height * 72 / axes.get_figure(root=True).dpi)  # type: ignore[union-attr]
    for name, height, place in zip(names, heights, spread(heights, gap, 0.0, 1.0), strict=True):
        strong = name in HIGHLIGHTED
        axes.annotate(
            _look(name).label + (" ↑" if ends[name] > high else ""),
            xy=(1.0, height),
            xycoords="axes fraction",
            xytext=(1.06, place),
            textcoords="axes fraction",
            va="center",
            fontsize=6.0,
            color=_look(name).color if strong else "0.35",
            arrowprops={"arrowstyle": "-", "lw": 0.4, "color": _look(name).color, "relpos": (0, 0.5), "shrinkB": 0},
            annotation_clip=False,
        )


def dots_axes(axes: Axes, race: xr.Dataset, name: str) -> None:
    """One figure of each method: all seeds as dots, their mean as a stroke; open where the target wasn't reached.

    Args:
        axes: Where to draw.
        race: Node `race`, the methods ranked.
        name: Which variable; of `loss` the last one.
    """
    values = race[name].isel(step=-1) if name == "loss" else race[name]
    scale = 100.0 if name == "peak_share" else 1.0
    for row, method in enumerate(str(method) for method in race["optimizer"].values):
        one, color = values.sel(optimizer=method).values * scale, _look(method).color
        timed = name.endswith("_target")
        known = race["outcome"].sel(optimizer=method).values == REACHED if timed else np.isfinite(one)
        axes.plot(one[known], np.full(known.sum(), row), ls="none", marker="o", ms=3.0, mfc=color, mew=0, alpha=0.75)
        if timed and not known.all():
            axes.plot(
                one[~known],
                np.full((~known).sum(), row),
                ls="none",
                marker=">",
                ms=3.4,
                mfc="white",
                mec=color,
                mew=0.7,
            )
        elif known.all():
            axes.plot(one.mean(), row, marker="|", ms=7, mec=color, mew=1.3)
    axes.set_yticks(
        range(race.sizes["optimizer"]), [_look(str(name)).label for name in race["optimizer"].values], fontsize=6.0
    )
    for tick, method in zip(axes.get_yticklabels(), race["optimizer"].values, strict=True):
        tick.set_color(_look(str(method)).color if str(method) in HIGHLIGHTED else "0.35")
    axes.set_ylim(race.sizes["optimizer"] - 0.4, -0.6)
    axes.grid(axis="y", lw=0.3, color="0.9")
    axes.tick_params(axis="y", length=0)
    titles = {
        "steps_to_target": ("steps", f"steps to {race.attrs.get('target', 0):g} nats"),
        "seconds_to_target": ("seconds", f"seconds to {race.attrs.get('target', 0):g} nats"),
        "loss": ("nats per symbol", "loss at equal tokens"),
        "tokens_per_second": ("thousands", "tokens per second"),
        "peak_share": ("%", "share of the device's peak"),
    }
    xlabel, title = titles[name]
    axes.set(xlabel=xlabel, title=title)
    if name == "tokens_per_second":
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 1000:g}"))
    if name != "loss":
        axes.set_xlim(0, 1.06 * float((values * scale).max()))
    if name.endswith("_target"):
        handles: list[Any] = [
            Line2D([], [], ls="none", marker="o", ms=3.0, mfc="0.35", mew=0, label="a seed"),
            Line2D([], [], ls="none", marker="|", ms=7, mec="0.35", mew=1.3, label="mean"),
            Line2D([], [], ls="none", marker=">", ms=3.4, mfc="white", mec="0.35", mew=0.7, label="not reached"),
        ]
        if name == "seconds_to_target":
            axes.legend(handles=handles, loc="upper right", fontsize=6.0, handletextpad=0.2, labelspacing=0.25)


def rate_axes(axes: Axes, tuning: xr.Dataset) -> tuple[list[Label], list[np.ndarray]]:
    """The last loss against the learning rate, the best one marked.

    Args:
        axes: Where to draw.
        tuning: Node `tuning`: `loss(optimizer, rate)` and `learning_rate(optimizer, rate)`.

    Returns:
        Labels of the highlighted methods and what they should keep clear of, to be placed when the layout is settled.
    """
    finite = tuning["loss"].where(np.isfinite(tuning["loss"]))
    best = finite.min("rate")
    low = float(best.min())
    high = low + 1.35 * (float(best.max()) - low) if float(best.max()) > low else low + 1.0
    labels, lines = [], []
    for name in _back_to_front(tuning):
        rates, losses = (tuning[key].sel(optimizer=name).values for key in ("learning_rate", "loss"))
        drawn = np.where(np.isfinite(losses), np.minimum(losses, 10 * high), 10 * high)
        look, style = _look(name), _line(name)
        axes.plot(rates, drawn, **style)
        k = int(np.argmin(drawn))
        axes.plot(rates[k], drawn[k], marker="o", ms=4.0, color=style["color"], mec="white", mew=0.5, zorder=4)
        lines.append(np.stack([np.log10(rates), drawn], axis=-1))
        if name in HIGHLIGHTED:
            labels.append(Label(look.label, np.array([[rates[k], drawn[k]]]), look.color, gap=2.5))
    axes.set_xscale("log")
    axes.set_ylim(low - 0.06 * (high - low), high)
    axes.set(
        xlabel="learning rate", title="learning rates tried, the best marked", ylabel="last validation loss (nats)"
    )
    return labels, [np.stack([10 ** line[:, 0], np.minimum(line[:, 1], high)], axis=-1) for line in lines]


def _look(name: str) -> MethodLook:
    """The look of a method; grey where it isn't highlighted."""
    look = method_look(name)
    return look if name in HIGHLIGHTED else MethodLook(look.label, OTHERS, "-", look.marker)


def _line(name: str) -> dict[str, Any]:
    """How a method's line is drawn."""
    strong = name in HIGHLIGHTED
    return {"color": _look(name).color, "ls": "-", "lw": 1.3 if strong else 0.6, "zorder": 3.0 if strong else 2.0}


def _back_to_front(data: xr.Dataset) -> list[str]:
    """The methods, highlighted ones last."""
    return sorted((str(name) for name in data["optimizer"].values), key=lambda name: name in HIGHLIGHTED)
