"""One plane through weight space as filled contours, in the manner of Garipov et al. (arXiv 1802.10026)."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path

from landscape.figures.analysis import PlaneData
from landscape.figures.labels import Label, place_labels
from landscape.figures.scale import Scale
from landscape.figures.style import halo, look, plain

MISSING: dict[str, Any] = {"facecolor": "0.86", "edgecolor": "0.45", "hatch": "//////", "linewidth": 0}
NARROWEST, WIDEST = 0.6, 2.2
"""Bounds of the ratio of a panel's width to its height."""
TITLES = {"optima": "independent optima"}


def contour_axes(axes: Axes, plane: PlaneData, scale: Scale) -> None:
    """Draw a plane: bands of the loss, the straight segments, the fitted curve, end points and bends.

    Points that were computed but aren't finite leave hatched grey cells, points not yet computed white
    ones: nothing is interpolated over them.

    Args:
        axes: Where to draw; gets an equal aspect.
        plane: The plane.
        scale: Colour scale, shared by all panels of a figure.
    """
    draw_bands(axes, plane.values, plane.computed, scale)
    _draw_path(axes, plane)
    across, upward = limits(plane)
    axes.set_xlim(*across)
    axes.set_ylim(*upward)
    axes.set_aspect("equal", adjustable="box")
    axes.set_xlabel("distance in weight space")
    axes.locator_params(nbins=5)
    axes.set_title(title_of(plane))


def draw_bands(axes: Axes, values: xr.DataArray, computed: np.ndarray, scale: Scale) -> None:
    """Fill the bands of a scale and draw the lines between them.

    Args:
        axes: Where to draw.
        values: Dimensions `beta`, `alpha`.
        computed: Which points are done, same shape; those that aren't stay white, those that aren't finite are hatched.
        scale: The levels.
    """
    alpha, beta = (np.asarray(values[dim].values, float) for dim in ("alpha", "beta"))
    measured = np.where(computed, values.values, np.nan)
    heights = scale.height(measured)
    levels = np.ma.getdata(scale.height(scale.boundaries))
    if scale.capped:
        levels[-1] = max(float(heights.max()) if heights.count() else 0.0, levels[-1]) + 1.0
    colors = scale.mappable.get_cmap()(np.arange(len(levels) - 1))
    missing = computed & ~np.isfinite(measured)
    if missing.any():
        axes.add_patch(PathPatch(_cells(alpha, beta, missing), **MISSING, zorder=0.5))
    if heights.count() and min(heights.shape) > 1:
        levels[0] = min(levels[0], 0.0) - 1e-9  # the minimum itself belongs to the first band
        axes.contourf(alpha, beta, heights, levels, colors=colors, zorder=1)
        inner = levels[1:-1] if scale.capped else levels[1:]
        axes.contour(alpha, beta, heights, inner, colors="0.2", linewidths=0.35, alpha=0.55, zorder=1.1)


def limits(plane: PlaneData) -> tuple[np.ndarray, np.ndarray]:
    """Limits of a panel: those of the grid, with white margins where it is too flat or too tall for a page."""
    alpha, beta = (plane.values[dim].values[[0, -1]].astype(float) for dim in ("alpha", "beta"))
    aspect = np.ptp(alpha) / np.ptp(beta)
    wider, higher = max(NARROWEST / aspect, 1.0), max(aspect / WIDEST, 1.0)
    return (alpha.mean() + wider * (alpha - alpha.mean()), beta.mean() + higher * (beta - beta.mean()))


def title_of(plane: PlaneData) -> str:
    """Name of a panel; says how far the curve leaves the plane if it does by more than 1 % of its length."""
    title = TITLES.get(plane.name, look(plane.name).label)
    if plane.curve is not None:
        length = float(np.nansum(np.hypot(*np.diff(plane.curve, axis=0).T)))
        if plane.residual > 0.01 * length:
            title += f" (leaves the plane by ≤ {plane.residual:.2g})"
    return title


def _draw_path(axes: Axes, plane: PlaneData) -> None:
    """The straight segments dashed, the fitted curve solid, optima as discs and bends as diamonds."""
    optima = plane.points if plane.curve is None else plane.points[[0, -1]]
    dashed = np.concatenate([optima, optima[:1]]) if plane.curve is None else optima
    axes.plot(*dashed.T, color="white", lw=1.5, zorder=2.9)
    axes.plot(*dashed.T, color="black", lw=0.9, ls=(0, (4, 2.5)), zorder=3)
    if plane.curve is not None:
        axes.plot(*plane.curve.T, color="black", lw=1.5, path_effects=halo(2.7), zorder=4)
        marks: dict[str, Any] = {"marker": "D", "ms": 3.6, "mfc": "white", "mec": "black", "mew": 0.8}
        axes.plot(*plane.points[1:-1].T, ls="none", **marks, zorder=5)
    axes.plot(*optima.T, ls="none", marker="o", ms=4.6, mfc="black", mec="white", mew=0.7, zorder=5)


def label_points(axes: Axes, plane: PlaneData) -> None:
    """Name the end points and the bends; call it last, when the layout of the figure is settled."""
    labels = [
        Label(plain(name), point[None], gap=4.0) for name, point in zip(plane.names, plane.points, strict=False) if name
    ]
    optima = plane.points if plane.curve is None else plane.points[[0, -1]]
    dashed = np.concatenate([optima, optima[:1]]) if plane.curve is None else optima
    obstacles = [dashed, *([plane.curve] if plane.curve is not None else [])]
    place_labels(axes, labels, obstacles, fontsize=6.5)


def colour_bar(axes: Axes, scale: Scale, label: str, *, width: float, missing: bool = False) -> Colorbar:
    """The colour bar that all panels share, beside the last one and as high as it.

    One block for each band, each level labelled, "> maximum" on top; a hatched block beneath if asked for.

    Args:
        axes: The last panel.
        scale: The scale.
        label: What is measured, with its unit.
        width: Width of the bar as a share of the panel's.
        missing: Whether to explain the hatching.
    """
    left = 1 + 0.9 * width
    bottom = 0.13 if missing else 0.0
    ticks, names = scale.ticks()
    place = axes.inset_axes((left, bottom, width, 1 - bottom))
    bar = axes.figure.colorbar(scale.mappable, cax=place, spacing="uniform", ticks=ticks)
    bar.ax.set_yticklabels(names)
    bar.ax.tick_params(which="both", length=0, pad=3)
    bar.set_label(label)
    bar.outline.set_linewidth(0.5)
    for level in scale.boundaries[1:-1]:
        bar.ax.axhline(level, color="0.2", lw=0.35, alpha=0.55)
    if missing:
        box = axes.inset_axes((left, 0.0, width, 0.07))
        box.add_patch(Rectangle((0, 0), 1, 1, **MISSING))
        box.set(xlim=(0, 1), ylim=(0, 1), xticks=[], yticks=[0.5], yticklabels=["not finite"])
        box.yaxis.tick_right()
        box.tick_params(length=0, pad=3)
    return bar


def has_missing(plane: PlaneData) -> bool:
    """Whether a plane has computed points that aren't finite."""
    return bool((plane.computed & ~np.isfinite(plane.values.values)).any())


def _cells(alpha: np.ndarray, beta: np.ndarray, missing: np.ndarray) -> Path:
    """All squares of the grid that touch a missing point, as one path."""
    squares = missing[:-1, :-1] | missing[1:, :-1] | missing[:-1, 1:] | missing[1:, 1:]
    boxes = []
    for row, column in zip(*np.nonzero(squares), strict=True):
        (a, b), (c, d) = alpha[column : column + 2], beta[row : row + 2]
        boxes.append(Path([(a, c), (b, c), (b, d), (a, d), (a, c)], closed=True))
    return Path.make_compound_path(*boxes)
