"""What happens inside runs that grok, side by side."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.lines import Line2D

from landscape.errors import RequestError
from landscape.figures.analysis import dataset
from landscape.figures.grok_panels import AGREE, DOT, EVENTS, LINES, LLC, PANELS
from landscape.figures.grokking import STEP, chosen, milestones, swept_dims
from landscape.figures.style import COLUMN, PAGE, StyledFigure, halo, in_style, new_figure
from landscape.figures.tables import setting, words

MOST_COLUMNS = 4


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
    """Draw what was recorded along the first seed's run at each point of the sweep; see `draw_runs`.

    Args:
        data: Node `grok` of a store.

    Raises:
        RequestError: If none of it was recorded, no run is stored yet, or there are more than four points.
    """
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
    columns = {}
    for values in points:
        place = dict(zip(dims, values, strict=True))
        title = ", ".join(f"{words(dim)} {setting(value)}" for dim, value in place.items())
        columns[title] = runs.sel(place)
    return draw_runs(columns)


def draw_runs(columns: Mapping[str, xr.Dataset]) -> StyledFigure:
    """Draw what was recorded of: the embedding's spectrum, losses, the local learning coefficient, and the path.

    Each run has a column. Rows are: the share of each frequency in the embedding's power; train, test, restricted and
    excluded loss; the local learning coefficient with 95 % of its error over chains, open where they don't agree; the
    weights' path in its two principal axes; and, of records at equal distances, its mean squared displacement from
    memorisation on. Thin lines and marks are the steps of memorisation and grokking.

    Args:
        columns: Runs with the same kinds of records by their titles, each of one seed and one point of a sweep.

    Raises:
        RequestError: If none of it was recorded.
    """
    rows = {name: panel for name, panel in PANELS.items() if all(map(panel.stored, columns.values()))}
    if set(rows) == {"losses"}:
        raise RequestError(
            "no progress measures are recorded: take modular arithmetic with a network that embeds symbols, add "
            f"--sketch N for the path, or --measure {LLC}"
        )
    heights = [panel.height for panel in rows.values()]
    figure = new_figure(min(PAGE, max(COLUMN, 0.9 + 1.9 * len(columns))), sum(heights) + 0.55)
    panels = figure.subplots(len(rows), len(columns), squeeze=False, gridspec_kw={"height_ratios": heights})
    reached = set()
    for column, (title, run) in enumerate(columns.items()):
        found = milestones(run)
        moments = {name: int(found[f"{name}_step"]) for name in EVENTS if bool(found[name])}
        reached |= set(moments)
        for row, panel in enumerate(rows.values()):
            axes = panels[row, column]
            panel.draw(axes, run, moments)
            axes.spines[["top", "right"]].set_visible(False)
            if panel.along:
                _along(axes, run, moments)
        panels[0, column].set_title(title)
    _finish(figure, panels, list(rows), [name for name in EVENTS if name in reached])
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
        if name in ("losses", "displacement") or (name == "llc" and _alike([one.get_ylim()[1] for one in panels[row]])):
            low, high = (f([axes.get_ylim()[end] for axes in panels[row]]) for end, f in enumerate((min, max)))
            for axes in panels[row]:
                axes.set_ylim(low, high)
        for axes in panels[row, 1:] if name != "path" else []:
            axes.set_ylabel("")
            if axes.get_ylim() == panels[row, 0].get_ylim():
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


def _alike(tops: Sequence[float]) -> bool:
    """Whether numbers are within a factor of 3: on one axis all can be read."""
    return max(tops) < 3 * min(tops)
