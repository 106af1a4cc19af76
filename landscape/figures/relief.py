"""Surfaces in three dimensions, side by side: equal axes, one height and one colour scale."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr

from landscape.errors import RequestError
from landscape.figures import contour
from landscape.figures.scale import Scale
from landscape.figures.sections import sections
from landscape.figures.style import PAGE, StyledFigure, in_style, new_figure
from landscape.figures.surface import LETTERS, choose

VIEW: dict[str, float] = {"elev": 32.0, "azim": -58.0}
FINEST = 65
"""Lines of the grid that are drawn along an axis; a finer one would be black."""


@in_style
def relief_figure(
    tree: xr.DataTree, *, checkpoint: str | None = None, split: str | None = None, quantity: str | None = None
) -> StyledFigure:
    """The surface over the plane; height and colour are the same log-like scale.

    Args:
        tree: A `surface` store with two axes.
        checkpoint: Name of the checkpoint that is drawn; all if None.
        split: The split, `train` if None.
        quantity: `loss` if None, `error` or another metric.

    Raises:
        RequestError: If the store lacks what is asked for, or has another number of axes.
    """
    chosen = choose(tree, checkpoint, split, quantity)
    if len(chosen.axes) != 2:
        raise RequestError(f"a relief needs a surface with 2 axes, this one has {len(chosen.axes)}: draw 'all'")
    count = len(chosen.titles)
    columns = min(count, 3)
    rows = -(-count // columns)
    figure = new_figure(PAGE, rows * min((PAGE - 0.9) / columns, 3.6) + 0.2)
    for position in range(count):
        with mpl.rc_context({"grid.linewidth": 0.4, "grid.color": "0.85"}):
            axes: Any = figure.add_subplot(rows, columns, position + 1, projection="3d")
        values, computed = chosen.values.isel(checkpoint=position), chosen.computed[position]
        relief_axes(axes, values, computed, chosen.scale, chosen.titles[position])
    bar = figure.add_axes((0.88, 0.2, 0.016, 0.6))
    bar.set_axis_off()
    bar.set_in_layout(False)
    contour.colour_bar(bar, chosen.scale, chosen.label, width=1.0)
    figure.get_layout_engine().set(rect=(0, 0, 0.88, 1))  # type: ignore[union-attr, call-arg]
    return figure


def relief_axes(axes: Any, values: xr.DataArray, computed: np.ndarray, scale: Scale, title: str) -> None:
    """One surface; points that aren't finite or not computed leave holes.

    Args:
        axes: Where to draw, with `projection="3d"`.
        values: Dimensions `beta`, `alpha`.
        computed: Which points are done, same shape.
        scale: Colours, and heights up to its last level.
        title: Of the panel.
    """
    alpha, beta = (values[axis].values for axis in ("alpha", "beta"))
    shown = computed & np.isfinite(values.values)
    measured = np.where(shown, values.values, np.nan)
    heights = scale.relief(measured)
    corners = np.stack([measured[:-1, :-1], measured[1:, :-1], measured[:-1, 1:], measured[1:, 1:]])
    colours = scale.mappable.to_rgba(np.exp(np.log(np.maximum(corners, 1e-300)).mean(axis=0)))
    across, upward = np.meshgrid(alpha, beta)
    drawn: dict[str, Any] = {
        "edgecolor": (0.15, 0.15, 0.15, 0.35),
        "linewidth": 0.2,
        "antialiased": True,
        "shade": False,
    }
    stride = max(1, len(alpha) // FINEST)
    axes.plot_surface(across, upward, heights, facecolors=colours, rstride=stride, cstride=stride, **drawn)
    levels = scale.levels
    places = scale.height(levels).filled(0)
    kept = np.linspace(0, len(levels) - 1, min(5, len(levels))).round().astype(int)
    axes.set_zlim(0, places[-1])
    axes.set_zticks(places[kept], [f"{levels[k]:g}" for k in kept])
    axes.set_xlabel(LETTERS["alpha"])
    axes.set_ylabel(LETTERS["beta"])
    axes.set_title(title)
    axes.locator_params(axis="x", nbins=5)
    axes.locator_params(axis="y", nbins=5)
    axes.tick_params(pad=-2)
    axes.xaxis.labelpad = axes.yaxis.labelpad = -6
    axes.view_init(**VIEW)
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.pane.set_facecolor((1, 1, 1, 0))


@in_style
def sections_figure(tree: xr.DataTree, *, checkpoint: str | None = None, quantity: str | None = None) -> StyledFigure:
    """Lines along each axis through the centre, for all splits.

    Args:
        tree: A `surface` store.
        checkpoint: Name of the checkpoint that is drawn; all if None.
        quantity: `loss` if None, `error` or another metric.

    Raises:
        RequestError: If the store lacks what is asked for.
    """
    chosen = choose(tree, checkpoint, None, quantity)
    return sections(chosen.data, str(chosen.values.name), chosen.names, chosen.axis_label, chosen.marks)
