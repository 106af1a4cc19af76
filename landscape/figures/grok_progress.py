"""What happens inside a run that groks: its embedding's spectrum, restricted and excluded loss, its path, its LLC."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from landscape.errors import RequestError
from landscape.figures.analysis import dataset
from landscape.figures.diffusion import SHORTEST, diffusion
from landscape.figures.grokking import STEP, chosen, milestones, swept_dims
from landscape.figures.principal import principal
from landscape.figures.style import COLUMN, PAGE, StyledFigure, halo, in_style, log_axis, new_figure
from landscape.figures.tables import setting, words

MOST_COLUMNS = 4
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


@in_style
def progress_figure(tree: xr.DataTree, at: Mapping[str, Any] | None = None) -> StyledFigure:
    """Progress measures of a run at each point of the sweep; see `draw_progress`.

    Args:
        tree: A store of `landscape grok`.
        at: The value of each setting, and the seed, that is to be drawn; all values, and the first seed, by default.

    Raises:
        RequestError: If it has no node `grok`, nothing of this was recorded, `at` names what there isn't, or there are
            too many points.
    """
    return draw_progress(chosen(dataset(tree, "grok").load(), at or {}))


def draw_progress(data: xr.Dataset) -> StyledFigure:
    """Draw what was recorded of: the embedding's spectrum, losses, the local learning coefficient, and the path.

    Each point of the sweep has a column, for its first seed. Rows are: the share of each frequency in the embedding's
    power; train, test, restricted and excluded loss; the local learning coefficient with 95 % of its error over chains,
    open where they don't agree; the weights' path in its two principal axes; and, of records at equal distances, its
    mean squared displacement from memorisation on. Thin lines and marks are the steps of memorisation and grokking.

    Args:
        data: Node `grok` of a store.

    Raises:
        RequestError: If none of it was recorded, no run is stored yet, or there are more than four points.
    """
    rows = {name: panel for name, panel in PANELS.items() if panel.stored(data)}
    if set(rows) == {"losses"}:
        raise RequestError(
            "no progress measures are recorded: take modular arithmetic with a network that embeds symbols, add "
            f"--sketch N for the path, or --measure {LLC}"
        )
    dims = swept_dims(data)
    points = list(itertools.product(*(data[dim].values for dim in dims)))
    if len(points) > MOST_COLUMNS:
        raise RequestError(
            f"{len(points)} points of the sweep don't fit side by side, {MOST_COLUMNS} do: choose by "
            + " ".join(f"--at {dim}={setting(data[dim].values[0])}" for dim in dims)
        )
    runs = data.isel(seed=0)
    if not np.isfinite(runs["accuracy"]).any():
        raise RequestError("no run is stored yet: repeat the command that writes the store, or choose by --at seed=N")
    heights = [panel.height for panel in rows.values()]
    figure = new_figure(min(PAGE, max(COLUMN, 0.9 + 1.9 * len(points))), sum(heights) + 0.55)
    panels = figure.subplots(len(rows), len(points), squeeze=False, gridspec_kw={"height_ratios": heights})
    events = milestones(runs)
    for column, values in enumerate(points):
        place = dict(zip(dims, values, strict=True))
        run, found = runs.sel(place), events.sel(place)
        moments = {name: int(found[f"{name}_step"]) for name in EVENTS if bool(found[name])}
        for row, panel in enumerate(rows.values()):
            axes = panels[row, column]
            panel.draw(axes, run, moments)
            axes.spines[["top", "right"]].set_visible(False)
            if panel.along:
                _along(axes, run, moments)
        panels[0, column].set_title(", ".join(f"{words(dim)} {setting(value)}" for dim, value in place.items()))
    _finish(figure, panels, list(rows), [name for name in EVENTS if bool(events[name].any())])
    return figure


def _along(axes: Axes, run: xr.Dataset, moments: Mapping[str, int]) -> None:
    """The axis of steps, and the moments on it."""
    recorded = run[STEP].values[run["accuracy"].notnull().all("split").values]
    axes.set_xscale("log")
    shown = recorded[recorded > 0]
    axes.set_xlim(shown.min(initial=max(shown.max(initial=1) // 2, 1)), shown.max(initial=2))
    axes.set_xlabel("step")
    for name, step in moments.items():
        axes.axvline(step, color=EVENTS[name][1], lw=0.7, zorder=3, path_effects=halo(1.6))


def _finish(figure: StyledFigure, panels: np.ndarray, rows: list[str], reached: list[str]) -> None:
    """Shared vertical axes, labels at the left only, the bar of the spectrum and the legend."""
    for row, name in enumerate(rows):
        if name in ("losses", "llc", "displacement"):
            low, high = (f([axes.get_ylim()[end] for axes in panels[row]]) for end, f in enumerate((min, max)))
            for axes in panels[row]:
                axes.set_ylim(low, high)
        for axes in panels[row, 1:] if name != "path" else []:
            axes.set_ylabel("")
            axes.set_yticklabels([])
        if PANELS[name].along and row + 1 < len(rows) and PANELS[rows[row + 1]].along:
            for axes in panels[row]:
                axes.set_xlabel("")
                axes.set_xticklabels([])
    if "spectrum" in rows:
        row = rows.index("spectrum")
        meshes = [axes.collections[0] for axes in panels[row]]
        shared = Normalize(0, max(float(mesh.get_array().max()) for mesh in meshes))
        for mesh in meshes:
            mesh.set_norm(shared)
        bar = figure.colorbar(meshes[-1], ax=list(panels[row]), pad=0.01, aspect=12)
        bar.outline.set_visible(False)
        bar.set_label("share of the power (%)")
    handles = [Line2D([], [], color=colour, ls=line, label=label) for label, colour, line in LINES.values()]
    drawn = {line.get_label() for axes in panels.flat for line in axes.lines}
    handles = [one for one in handles if one.get_label() in drawn]
    handles += [
        Line2D([], [], color=EVENTS[name][1], marker=EVENTS[name][0], lw=0.7, ms=3.4, label=name) for name in reached
    ]
    if "llc" in rows:
        handles.append(Line2D([], [], **DOT, mfc="white", label=f"chains disagree (R̂ ≥ {AGREE:g})"))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(4, 1 + panels.shape[1]))
    figure.align_ylabels(list(panels[:, 0]))


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
