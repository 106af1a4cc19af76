"""The main picture of a `connect` store: contour panels above the loss and the error along the curves."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase

from landscape.errors import RequestError
from landscape.figures import contour, curve
from landscape.figures.analysis import PlaneData, dataset, planes, select_pair, select_split
from landscape.figures.labels import settle, with_unit
from landscape.figures.scale import scale_of
from landscape.figures.style import PAGE, StyledFigure, in_style, new_figure

TALLEST, LOWEST = 2.7, 1.1


@in_style
def connect_figure(
    tree: xr.DataTree,
    *,
    pair: int | None = None,
    split: str | None = None,
    against: str = "t",
) -> StyledFigure:
    """Garipov et al.'s figure (arXiv 1802.10026) and the loss and error along the curves, as wide as a page.

    Args:
        tree: A `connect` store.
        pair: Label of the pair that is drawn, the first one if None.
        split: Split of the contour panels, `train` if None; the lines show all splits.
        against: Horizontal axis of the lines, `t` or `arc-length`.

    Returns:
        The figure; without planes in the store only the lines.

    Raises:
        RequestError: If the store has no such pair or split, or `against` is unknown.
    """
    chosen = select_pair(dataset(tree, "connect"), pair).load()
    split = select_split(chosen, split)
    shown = planes(tree, pair, split)
    variables = [variable for variable in ("loss", "error") if variable in chosen]
    if not shown:
        figure = new_figure(PAGE, 2.2)
        lines_part: FigureBase = figure
        grid: tuple[int, int] = (1, len(variables))
    elif len(shown) == 1:
        height = max(_row_height(shown, 0.56 * PAGE), 2.9)
        figure = new_figure(PAGE, height)
        left, lines_part = figure.subfigures(1, 2, squeeze=False, width_ratios=[0.56, 0.44])[0]
        grid = (len(variables), 1)
        panels = _draw_planes(left, shown, split)
    else:
        height = _row_height(shown, PAGE)
        figure = new_figure(PAGE, height + 2.0)
        top, lines_part = figure.subfigures(2, 1, squeeze=False, height_ratios=[height, 2.0])[:, 0]
        grid = (1, len(variables))
        panels = _draw_planes(top, shown, split)
    lines = list(np.ravel(lines_part.subplots(*grid, squeeze=False, sharex=True)))
    for axes, variable in zip(lines, variables, strict=True):
        curve.curve_axes(axes, chosen, variable, against)
    for axes in lines[:-1] if grid[0] > 1 else []:
        axes.set_xlabel("")
    columns = 1 if len(shown) == 1 else chosen.sizes["curve"]
    handles, title = curve.legend_handles(chosen), curve.legend_title(chosen)
    lines_part.legend(handles=handles, title=title, loc="outside lower center", ncols=columns)
    curve.label_panels(lines, chosen, variables, against)
    for axes, plane in zip(panels if shown else [], shown, strict=True):
        contour.label_points(axes, plane)
    return figure


@in_style
def planes_figure(tree: xr.DataTree, *, pair: int | None = None, split: str | None = None) -> StyledFigure:
    """The contour panels alone, as wide as a page.

    Args:
        tree: A `connect` store.
        pair: Label of the pair, the first one if None.
        split: Split that is drawn, `train` if None.

    Raises:
        RequestError: If the store has no plane, or no such pair or split.
    """
    split = select_split(dataset(tree, "connect"), split)
    shown = planes(tree, pair, split)
    if not shown:
        raise RequestError("the store has no plane to draw: expected one of `landscape connect … --plane 21`")
    figure = new_figure(PAGE, _row_height(shown, PAGE))
    panels = _draw_planes(figure, shown, split)
    settle(panels[0])
    for axes, plane in zip(panels, shown, strict=True):
        contour.label_points(axes, plane)
    return figure


def _draw_planes(part: FigureBase, shown: list[PlaneData], split: str) -> list[Axes]:
    """The panels side by side at equal height, with one colour bar."""
    scale = scale_of([np.where(plane.computed, plane.values.values, np.nan) for plane in shown])
    ratios = [_aspect(plane) for plane in shown]
    panels = list(part.subplots(1, len(shown), width_ratios=ratios, squeeze=False)[0])
    for axes, plane in zip(panels, shown, strict=True):
        contour.contour_axes(axes, plane, scale)
    panels[0].set_ylabel("distance in weight space")
    missing = any(contour.has_missing(plane) for plane in shown)
    width = 0.022 * sum(ratios) / ratios[-1] if len(ratios) > 1 else 0.045
    contour.colour_bar(panels[-1], scale, with_unit(f"{split} loss", shown[0].values), width=width, missing=missing)
    return panels


def _aspect(plane: PlaneData) -> float:
    """Width of a panel over its height."""
    across, upward = contour.limits(plane)
    return float(np.ptp(across) / np.ptp(upward))


def _row_height(shown: list[PlaneData], width: float) -> float:
    """Height of a row of panels at equal aspect, with room for the titles and labels; inches."""
    room = width - 0.5 - 0.3 * (len(shown) - 1) - 0.65
    height = room / sum(_aspect(plane) for plane in shown)
    return float(np.clip(height, LOWEST, TALLEST)) + 0.55
