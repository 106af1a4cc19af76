"""What is drawn of a run that groks: its embedding's spectrum, restricted and excluded loss, its path, its LLC."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.ticker import MaxNLocator

from landscape.figures.diffusion import SHORTEST, diffusion
from landscape.figures.grokking import STEP
from landscape.figures.principal import principal
from landscape.figures.style import halo, log_axis

MEASURED = "measured_step"
LLC = "local_learning_coefficient"
AGREE = 1.1
"""R-hat from which chains are said not to agree."""
LINES: dict[str, tuple[str, str, Any]] = {
    "train": ("train", "#111111", "-"),
    "test": ("test", "#0072b2", (0, (3.2, 1.6))),
    "restricted_loss": ("restricted (test)", "#009e73", (0, (5.0, 1.2, 1.0, 1.2))),
    "excluded_loss": ("excluded (train)", "#d55e00", (0, (1.0, 1.2))),
}
EVENTS = {"memorised": ("s", "#111111"), "grokked": ("o", "#0072b2")}
"""Mark and colour of each moment."""
DOT: dict[str, Any] = {"ls": "none", "marker": "o", "ms": 2.6, "mec": "#111111", "mew": 0.7}


@dataclass(frozen=True)
class Panel:
    """A row of the figure.

    Args:
        draw: Draws one run into it.
        stored: Whether a node has what it needs.
        height: In inches.
        along: Whether its horizontal axis is the step.
    """

    draw: Callable[[Axes, xr.Dataset, Mapping[str, int]], Any]
    stored: Callable[[xr.Dataset], bool]
    height: float = 1.35
    along: bool = True


def spectrum_shares(power: xr.DataArray) -> xr.DataArray:
    """The share of each frequency in the embedding's power beside the constant's, as `embedding_power`.

    Args:
        power: Over `frequency`, the constant's 0 first, and others.

    Returns:
        Frequencies from 1 on, adding up to 1; NaN where there is no power.
    """
    periodic = power.sel(frequency=power["frequency"] > 0)
    return periodic / periodic.sum("frequency").where(lambda total: total > 0)


def _edges(centres: np.ndarray) -> np.ndarray:
    """The bounds between positive steps, halfway on a log scale."""
    logs = np.log(centres.astype(float))
    middle = (logs[1:] + logs[:-1]) / 2
    first, last = (middle[0] - logs[0], logs[-1] - middle[-1]) if len(middle) else (0.1, 0.1)
    edges: np.ndarray = np.exp(np.concatenate([[logs[0] - first], middle, [logs[-1] + last]]))
    return edges


def _spectrum(axes: Axes, run: xr.Dataset, moments: Mapping[str, int]) -> None:
    """Which frequencies the embedding has, at each step."""
    shares = 100 * spectrum_shares(run["embedding_power"]).transpose("frequency", STEP).sel({STEP: run[STEP] > 0})
    frequencies = shares["frequency"].values
    bounds = np.concatenate([frequencies - 0.5, frequencies[-1:] + 0.5])
    kept = np.isfinite(shares.values).any(0)
    if not kept.any():
        kept[:] = True
    values = np.ma.masked_invalid(shares.values[:, kept])
    axes.pcolormesh(_edges(shares[STEP].values[kept]), bounds, values, cmap="magma", rasterized=True)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    axes.set_ylabel("frequency of\nthe embedding")


def _losses(axes: Axes, run: xr.Dataset, moments: Mapping[str, int]) -> None:
    """Losses of both splits, of the key frequencies alone and without them."""
    for name, (label, colour, line) in LINES.items():
        if name in run:
            values = run[name]
        elif name in run["split"]:
            values = run["loss"].sel(split=name)
        else:
            continue
        kept = (values[STEP] > 0) & (values > 0) & np.isfinite(values)
        axes.plot(values[STEP][kept], values[kept], color=colour, ls=line, lw=1.1, label=label)
    log_axis(axes)
    axes.set_ylabel(f"loss ({run['loss'].attrs.get('units', '')})".replace(" ()", ""))


def _llc(axes: Axes, run: xr.Dataset, moments: Mapping[str, int]) -> None:
    """The local learning coefficient, open where its chains don't agree."""
    kept = np.isfinite(run[LLC].values) & (run[MEASURED].values > 0)
    steps, value, error = (run[name].values[kept] for name in (MEASURED, LLC, f"{LLC}_stderr"))
    agree = (run[f"{LLC}_r_hat"].values[kept] < AGREE) if f"{LLC}_r_hat" in run else np.ones(len(steps), bool)
    axes.fill_between(steps, value - 1.96 * error, value + 1.96 * error, color="#111111", alpha=0.18, lw=0)
    axes.plot(steps, value, color="#111111", lw=0.9)
    for which, face in ((agree, "#111111"), (~agree, "white")):
        axes.plot(steps[which], value[which], **DOT, mfc=face)
    axes.set_ylabel("local learning\ncoefficient")


def _path(axes: Axes, run: xr.Dataset, moments: Mapping[str, int]) -> None:
    """The way of the weights in its two principal axes, from dark to light along the log of the step."""
    table = run["sketch"].transpose(STEP, "bucket").values
    kept = np.isfinite(table).all(1)
    if kept.sum() < 2:
        return
    steps, seen = run[STEP].values[kept], principal(table[kept])
    x, y = seen.coordinates.T
    axes.plot(x, y, color="0.75", lw=0.6, zorder=1)
    norm = LogNorm(1, max(2, steps.max()))
    axes.scatter(x, y, c=np.maximum(steps, 1), cmap="viridis", norm=norm, s=7, lw=0, zorder=2)
    for place, text in ((0, "start"), (-1, "end")):
        axes.annotate(text, (x[place], y[place]), (3, 3), textcoords="offset points", fontsize=6, path_effects=halo())
    for name, step in moments.items():
        mark, colour = EVENTS[name]
        place = int(np.searchsorted(steps, step))
        axes.plot(x[place], y[place], mark, color=colour, mec="white", mew=0.6, ms=5.5, zorder=3)
    axes.set_xlabel(f"first axis: {100 * seen.share[0]:.0f} % of the variance")
    axes.set_ylabel(f"second axis: {100 * seen.share[1]:.0f} %")
    axes.margins(0.1)


def _walk(run: xr.Dataset, moments: Mapping[str, int]) -> np.ndarray | None:
    """The path from memorisation on, shape `(T, k)`; None if it is too short."""
    if "memorised" not in moments:
        return None
    table = run["sketch"].sel({STEP: run[STEP] >= moments["memorised"]}).transpose(STEP, "bucket").values
    table = table[np.isfinite(table).all(1)]
    return table if len(table) >= SHORTEST else None


def _displacement(axes: Axes, run: xr.Dataset, moments: Mapping[str, int]) -> None:
    """How far the weights get in how many steps, between a random walk's and straight motion's growth."""
    path = _walk(run, moments)
    axes.set(xlabel="lag (steps)", ylabel="mean squared\ndisplacement")
    if path is None:
        axes.text(0.5, 0.5, "too few records\nafter memorisation", ha="center", va="center", transform=axes.transAxes)
        return
    spacing = int(run[STEP].values[1] - run[STEP].values[0])
    walk = diffusion(path)
    lags = walk.lags * spacing
    axes.plot(lags, walk.displacement, color="#111111", marker="o", ms=2.4)
    for power, line in ((1, (0, (1.0, 1.4))), (2, (0, (3.2, 1.6)))):
        axes.plot(lags, walk.displacement[0] * (lags / lags[0]) ** power, color="0.6", ls=line, lw=0.8, zorder=1)
    log_axis(axes)
    log_axis(axes, horizontal=True)
    axes.text(
        0.03,
        0.97,
        f"exponent {walk.exponent:.2f} ± {1.96 * walk.stderr:.2f}\n(1 random walk, 2 straight)",
        va="top",
        fontsize=6,
        transform=axes.transAxes,
    )


def _equally_spaced(data: xr.Dataset) -> bool:
    """Whether a displacement has a lag in steps: there is a sketch, of records at equal distances."""
    return "sketch" in data and data.sizes[STEP] > SHORTEST and len(set(np.diff(data[STEP].values))) == 1


PANELS: dict[str, Panel] = {
    "spectrum": Panel(_spectrum, lambda data: "embedding_power" in data),
    "losses": Panel(_losses, lambda data: True),
    "llc": Panel(_llc, lambda data: LLC in data, 1.1),
    "path": Panel(_path, lambda data: "sketch" in data, 1.7, along=False),
    "displacement": Panel(_displacement, _equally_spaced, 1.4, along=False),
}
"""The rows, from top to bottom."""
