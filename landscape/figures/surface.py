"""Surfaces around checkpoints: filled contours side by side, on equal axes and one colour scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.ticker import MaxNLocator

from landscape.errors import RequestError, unknown
from landscape.figures import contour
from landscape.figures.analysis import dataset, select_split
from landscape.figures.labels import Label, place_labels, settle, shorten, with_unit
from landscape.figures.scale import Scale, scale_of
from landscape.figures.sections import sections
from landscape.figures.style import PAGE, StyledFigure, halo, in_style, new_figure, number, plain
from landscape.figures.surface_summary import axes_of

CAP = 50.0
"""Losses above this many nats share the last colour."""
BANDS = 10
FLATTEST, TALLEST = 0.4, 2.5
"""Ratios of the axes between which a panel keeps their true proportions."""
LETTERS = {"alpha": "α", "beta": "β", "gamma": "γ"}
SHOWN = 6
"""Surfaces that fit side by side."""


@dataclass(frozen=True)
class Chosen:
    """The part of a surface that is drawn.

    Args:
        values: The quantity, dimensions `checkpoint`, (`gamma`,) (`beta`,) `alpha`.
        computed: Which points are done, same shape.
        data: The whole node, the checkpoints chosen.
        split: The split.
        titles: What to call each checkpoint.
        scale: Colours, for all of them.
        marks: The checkpoints that span the slice, if any do.
        explained: Share of the variance along each axis, if these are principal ones.
    """

    values: xr.DataArray
    computed: np.ndarray
    data: xr.Dataset
    split: str
    titles: list[str]
    scale: Scale
    marks: xr.Dataset | None
    explained: xr.DataArray | None

    @property
    def axes(self) -> list[str]:
        """The axes, alpha first."""
        return axes_of(self.data)

    @property
    def names(self) -> list[str]:
        """The checkpoints, shortened."""
        return [plain(name) for name in shorten([str(name) for name in self.data["checkpoint"].values], 24)]

    @property
    def label(self) -> str:
        """What the colours mean."""
        note = ", interpolated" if self.data.attrs.get("method") == "interpolated" else ""
        return with_unit(f"{self.split} {self.values.name}{note}", self.values)

    def axis_label(self, axis: str) -> str:
        """What an axis measures."""
        normalize, kind = self.data.attrs.get("normalize"), self.data.attrs.get("directions")
        letter = LETTERS[axis]
        if self.explained is not None:
            return f"{letter} (distance; {float(self.explained.sel(direction=axis)):.0%} of the variance)"
        if normalize == "unit" or (normalize == "none" and kind == "hessian"):
            return f"{letter} (distance in weight space)"
        if normalize in ("filter", "layer"):
            return f"{letter} ({normalize}-normalised direction)"
        if kind == "difference" and self.marks is not None:
            names = shorten([str(name) for name in self.marks["name"].values])
            return f"{letter} (at 1: {plain(names[1 + self.axes.index(axis)])})"
        return f"{letter} (in units of the direction)"


def choose(
    tree: xr.DataTree, checkpoint: str | None, split: str | None, quantity: str | None, limit: int | None = SHOWN
) -> Chosen:
    """Choose what is drawn.

    Args:
        tree: A `surface` store.
        checkpoint: Name of a checkpoint; all if None.
        split: Name of a split; `train` if None.
        quantity: `loss` (if None), `error` or another metric.
        limit: Largest number of checkpoints, None for all.

    Raises:
        RequestError: If the store lacks one of them.
    """
    data = dataset(tree, "surface").load()
    split, quantity = select_split(data, split), quantity or "loss"
    stored = [str(name) for name in data.data_vars if f"{name}_stderr" in data and not str(name).startswith("check")]
    if quantity not in stored:
        raise unknown("quantity", quantity, stored)
    names = [str(name) for name in data["checkpoint"].values]
    if checkpoint is not None and checkpoint not in names:
        raise unknown("checkpoint", checkpoint, names)
    data = data.sel(checkpoint=names if checkpoint is None else [checkpoint]).isel(checkpoint=slice(limit))
    order = ("checkpoint", *reversed(axes_of(data)))
    values = data[quantity].sel(split=split).transpose(*order)
    computed = data["status"].transpose(*order).values > 0
    if not computed.any():
        raise RequestError("no point of the surface has been computed yet: repeat the command that writes it")
    node = next((node for node in ("trajectory", "points") if f"/surface/{node}" in tree.groups), None)
    marks = None if node is None else dataset(tree, f"surface/{node}").load()
    drawn = [np.where(computed, values.values, np.nan)]
    if marks is not None and quantity in marks:
        drawn.append(marks[quantity].sel(split=split).values)
    directions = dataset(tree, "surface/directions") if "/surface/directions" in tree.groups else {}
    explained = directions["explained_variance"].load() if "explained_variance" in directions else None
    scale = scale_of(drawn, cap=CAP if quantity == "loss" else None, bands=BANDS)
    names = shorten([str(name) for name in data["checkpoint"].values], 24)
    titles = [f"{plain(name)}{_own(data, quantity, split, position)}" for position, name in enumerate(names)]
    return Chosen(values, computed, data, split, titles, scale, marks, explained)


def _own(data: xr.Dataset, quantity: str, split: str, position: int) -> str:
    """A checkpoint's own value, for its title."""
    name = f"checkpoint_{quantity}"
    if name not in data:
        return ""
    return f": {quantity} {number(float(data[name].isel(checkpoint=position).sel(split=split)), 3)}"


@in_style
def surface_figure(
    tree: xr.DataTree, *, checkpoint: str | None = None, split: str | None = None, quantity: str | None = None
) -> StyledFigure:
    """Contour panels, one for each checkpoint (or for planes of a space), or the sections of a line.

    Args:
        tree: A `surface` store.
        checkpoint: Name of the checkpoint that is drawn; all if None.
        split: The split, `train` if None.
        quantity: `loss` if None, `error` or another metric.

    Returns:
        The figure. The checkpoints that span a slice are marked; those of a run with their own values as colours, and
        their distance from the plane beside it.

    Raises:
        RequestError: If the store lacks what is asked for.
    """
    chosen = choose(tree, checkpoint, split, quantity)
    if len(chosen.axes) == 1:
        return sections(chosen.data, str(chosen.values.name), chosen.names, chosen.axis_label, chosen.marks)
    panels = _panels(chosen)
    path = chosen.marks is not None and chosen.data.attrs.get("directions") == "pca"
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    ratio = _ratio(panels[0][0])
    share = 0.62 if path else 1.0
    width = (share * PAGE - 1.05 - 0.12 * (columns - 1)) / columns
    height = min(width / ratio, 3.4)
    figure = new_figure(PAGE, max(rows * (height + 0.22) + 0.35, 1.9))
    figure.get_layout_engine().set(wspace=0.05)  # type: ignore[union-attr, call-arg]
    part: FigureBase = figure
    if path:
        part, beside = figure.subfigures(1, 2, width_ratios=[share, 1 - share], squeeze=False)[0]
        _distances(beside.subplots(), chosen)
    grid = part.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axes, (values, computed, title) in zip(grid.flat, panels, strict=False):
        _panel(axes, chosen, values, computed, title, ratio)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    for axes in grid[-1]:
        axes.set_xlabel(chosen.axis_label("alpha"))
    for axes in grid[:, 0]:
        axes.set_ylabel(chosen.axis_label("beta"))
    missing = bool((chosen.computed & ~np.isfinite(chosen.values.values)).any())
    contour.colour_bar(grid[0, -1], chosen.scale, chosen.label, width=0.05, missing=missing)
    if chosen.marks is not None:
        _name_marks(grid[0, 0], chosen, path)
    return figure


def _panels(chosen: Chosen) -> list[tuple[xr.DataArray, np.ndarray, str]]:
    """Values, what is computed, and title of each panel; of a space the first, the middle and the last plane."""
    panels = []
    for position, title in enumerate(chosen.titles):
        values, computed = chosen.values.isel(checkpoint=position), chosen.computed[position]
        if "gamma" not in values.dims:
            panels.append((values, computed, title))
            continue
        gamma = values["gamma"].values
        middle = int(np.abs(gamma).argmin()) if gamma[0] < 0 < gamma[-1] else len(gamma) // 2
        for place in sorted({0, middle, len(gamma) - 1}):
            at = f"γ = {number(float(gamma[place]), 3)}"
            name = title if place == middle else title.partition(": ")[0]
            panels.append((values.isel(gamma=place), computed[place], f"{name}, {at}"))
    return panels


def _ratio(values: xr.DataArray) -> float:
    """Width of a panel over its height."""
    alpha, beta = (float(np.ptp(values[axis].values)) for axis in ("alpha", "beta"))
    ratio = alpha / beta
    return ratio if FLATTEST <= ratio <= TALLEST else 1.25


def _panel(axes: Axes, chosen: Chosen, values: xr.DataArray, computed: np.ndarray, title: str, ratio: float) -> None:
    """One plane with what lies in it."""
    contour.draw_bands(axes, values, computed, chosen.scale)
    alpha, beta = (values[axis].values for axis in ("alpha", "beta"))
    axes.set_xlim(alpha[0], alpha[-1])
    axes.set_ylim(beta[0], beta[-1])
    axes.set_box_aspect(1 / ratio)
    axes.set_title(title)
    axes.locator_params(nbins=5)
    if chosen.marks is None:
        if values.coords.get("gamma") is None or float(values["gamma"]) == 0:
            axes.plot(0, 0, marker="+", ms=6, mew=1.1, color="black", path_effects=halo(2.2), zorder=4)
        return
    points = np.stack([chosen.marks["point_alpha"].values, chosen.marks["point_beta"].values], axis=-1)
    own = chosen.marks[str(chosen.values.name)].sel(split=chosen.split).values
    if chosen.data.attrs.get("directions") == "pca":
        axes.plot(*points.T, color="black", lw=0.8, path_effects=halo(2.0), zorder=3)
    _dots(axes, points[:, 0], points[:, 1], chosen, own)


def _dots(axes: Axes, x: np.ndarray, y: np.ndarray, chosen: Chosen, own: np.ndarray) -> None:
    """Checkpoints in the colours of their own values."""
    colours: Any = chosen.scale.mappable.to_rgba(own)
    axes.scatter(x, y, c=colours, s=20, edgecolors="black", linewidths=0.7, zorder=4, clip_on=False)


def _name_marks(axes: Axes, chosen: Chosen, path: bool) -> None:
    """Name the checkpoints in the first panel; of a path its ends."""
    assert chosen.marks is not None
    settle(axes)
    points = np.stack([chosen.marks["point_alpha"].values, chosen.marks["point_beta"].values], axis=-1)
    names = shorten([str(name) for name in chosen.marks["name"].values])
    kept: Sequence[int] = (0, len(names) - 1) if path else range(len(names))
    labels = [Label(plain(names[place]), points[[place]], gap=4.0) for place in kept]
    place_labels(axes, labels, [points] if path else [], fontsize=6.5)


def _distances(axes: Axes, chosen: Chosen) -> None:
    """How far each checkpoint of a path lies from the plane that it is drawn on."""
    assert chosen.marks is not None
    marks = chosen.marks
    own = marks[str(chosen.values.name)].sel(split=chosen.split).values
    position = np.arange(1, len(own) + 1)
    residual = marks["residual"].values
    axes.plot(position, residual, color="0.4", lw=0.8)
    _dots(axes, position, residual, chosen, own)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("checkpoint")
    axes.set_ylabel("distance from the plane")
    axes.set_title(f"colour: each one's own {chosen.split} {chosen.values.name}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
