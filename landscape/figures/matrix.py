"""The barrier matrix: how high the loss rises between every two checkpoints, for each kind of curve."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import FigureBase

from landscape.errors import RequestError
from landscape.figures.analysis import barrier_matrix, dataset, select_split
from landscape.figures.contour import MISSING
from landscape.figures.labels import shorten, with_unit
from landscape.figures.scale import Scale, steps_of
from landscape.figures.style import COLUMN, PAGE, StyledFigure, in_style, look, new_figure, number, plain, whole


@in_style
def matrix_figure(tree: xr.DataTree, *, split: str | None = None) -> StyledFigure:
    """Barriers of all pairs as lower triangles with numbers, one panel for each kind of curve.

    Args:
        tree: A `connect` store of more than two checkpoints.
        split: Split of the loss, `train` if None.

    Returns:
        The figure: a column wide for one curve, else a page.

    Raises:
        RequestError: If the store holds a single pair, or no such split.
    """
    connect = dataset(tree, "connect")
    split = select_split(connect, split)
    matrix = barrier_matrix(tree).sel(split=split)
    if matrix.sizes["checkpoint"] < 3:
        raise RequestError("a barrier matrix needs three checkpoints or more: this store connects only two")
    curves = [str(curve) for curve in matrix["curve"].values]
    size = matrix.sizes["checkpoint"] - 1
    width = COLUMN if len(curves) == 1 else PAGE
    longest = max(map(len, shorten([str(name) for name in matrix["checkpoint"].values])))
    steep = longest * 4.2 / 72 > (width - 1.2) / len(curves) / size
    room = width - 0.9 - min(0.055 * longest, 1.0) - 0.15 * len(curves)
    cell = float(np.clip(room / len(curves) / size, 0.16, 0.62))
    figure = new_figure(width, cell * size + 0.5 + (0.055 * longest if steep else 0.12))
    panels = list(figure.subplots(1, len(curves), sharey=True, squeeze=False)[0])
    scale = steps_of(matrix.values)
    for position, (axes, curve) in enumerate(zip(panels, curves, strict=True)):
        matrix_axes(axes, matrix.sel(curve=curve), scale, steep=steep)
        axes.set_title(look(curve, position).label)
    _colour_bar(figure, panels, scale, with_unit(f"{split} loss barrier", matrix))
    return figure


def matrix_axes(axes: Axes, matrix: xr.DataArray, scale: Scale, *, steep: bool = False) -> None:
    """Draw the lower triangle of one symmetric matrix, each cell with its number.

    Args:
        axes: Where to draw.
        matrix: Barriers with dimensions `checkpoint`, `other`.
        scale: Colour scale, shared by the panels.
        steep: Whether to write the names below at a right angle.
    """
    values = matrix.transpose("checkpoint", "other").values
    names = [plain(name) for name in shorten([str(name) for name in matrix["checkpoint"].values])]
    colors = scale.mappable
    size = len(names) - 1
    font = float(np.clip(whole(axes).get_figwidth() * 40 / (3.2 * size), 3.5, 7))
    for row in range(size):
        for column in range(row + 1):
            value = float(values[row + 1, column])
            finite = np.isfinite(value)
            ground = colors.to_rgba(np.array([value]))[0][:3] if finite else to_rgb(MISSING["facecolor"])
            axes.fill_between(
                [column - 0.5, column + 0.5],
                row - 0.5,
                row + 0.5,
                facecolor=ground,
                edgecolor="white" if finite else MISSING["edgecolor"],
                hatch=None if finite else MISSING["hatch"],
                lw=0.8 if finite else 0,
            )
            ink = "white" if np.dot(ground, (0.299, 0.587, 0.114)) < 0.55 else "black"
            text = number(value) if finite else ""
            axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=font)
    axes.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5), aspect="equal")
    axes.set_xticks(range(size), names[:-1], rotation=90 if steep else 0)
    axes.set_yticks(range(size), names[1:])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _colour_bar(figure: FigureBase, panels: list[Axes], scale: Scale, label: str) -> None:
    """The colour bar beside the last panel."""
    place = panels[-1].inset_axes((1.06, 0, 0.05, 1))
    ticks, names = scale.ticks()
    bar = figure.colorbar(scale.mappable, cax=place, spacing="uniform", ticks=ticks)
    bar.ax.set_yticklabels(names)
    bar.ax.tick_params(which="both", length=0, pad=3)
    bar.set_label(label)
    bar.outline.set_linewidth(0.5)
