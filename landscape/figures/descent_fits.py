"""Fits of a function by degree: a grid of them above the risk curve, and an animation with the risk beside."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.animation import FuncAnimation, PillowWriter
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure

from landscape.errors import RequestError
from landscape.figures.analysis import dataset
from landscape.figures.descent import capacity_axes
from landscape.figures.descent_analysis import descent_data, landmarks
from landscape.figures.style import INK, PAGE, StyledFigure, in_style, new_figure, styled

COLUMNS, ROWS = 4, 2
FRAMES = 60
FRAMES_PER_SECOND = 6
DOTS_PER_INCH = 110
CURRENT: dict[str, Any] = {"color": "#d55e00"}


def one_basis(tree: xr.DataTree, basis: str | None) -> tuple[xr.Dataset, xr.Dataset]:
    """Risks and fits of one basis, the first by default.

    Raises:
        RequestError: If the store holds no fits.
    """
    if "/descent/fit" not in tree.groups:
        raise RequestError("the store holds no fits: only `landscape descent polynomial` keeps them")
    fits = dataset(tree, "descent/fit").load()
    name = basis or str(fits["basis"].values[0])
    risks = descent_data(tree, name).isel(basis=0, noise=0)
    return risks, fits.sel(basis=name)


@in_style
def fits_figure(tree: xr.DataTree, basis: str | None = None) -> StyledFigure:
    """Fits with a rising number of basis functions, and the risk curve below.

    Args:
        tree: A store of `landscape descent polynomial`.
        basis: The basis; the first by default.
    """
    risks, fits = one_basis(tree, basis)
    figure = new_figure(PAGE, 5.2)
    rows = figure.add_gridspec(2, 1, height_ratios=(1.9, 1.0))
    above, below = (figure.add_subfigure(rows[row]) for row in range(2))
    chosen = fits_grid(above, risks, fits)
    axes = below.subplots()
    capacity_axes(axes, risks.isel(ridge=[0]), "loss")
    for capacity in chosen:
        axes.plot(capacity, 0.0, marker="^", ms=4, clip_on=False, transform=axes.get_xaxis_transform(), **CURRENT)
    name = "" if risks["ridge"].values[0] == 0 else f", ridge λ = {risks['ridge'].values[0]:g}"
    axes.set(xlabel="basis functions (triangles: the fits above)", ylabel="squared error")
    axes.set_title(f"{risks['basis'].item()} basis{name}: median risk of all repetitions, test solid, train dashed")
    return figure


def fits_grid(figure: SubFigure, risks: xr.Dataset, fits: xr.Dataset) -> list[int]:
    """Panels with fits of a rising number of functions; returns these numbers.

    Args:
        figure: Where to draw.
        risks: Node `descent` at one basis, which says where the threshold is.
        fits: Node `descent/fit` at that basis.
    """
    chosen = shown_capacities(risks)
    panels = figure.subplots(ROWS, COLUMNS, sharex=True, sharey=True).ravel()
    for axes, capacity in zip(panels, chosen, strict=False):
        fit_axes(axes, fits, capacity)
    for axes in panels[len(chosen) :]:
        axes.set_visible(False)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3)
    return chosen


def shown_capacities(risks: xr.Dataset) -> list[int]:
    """Capacities whose fits tell the story: few functions, around the threshold, and many."""
    there = risks["capacity"].values
    found = landmarks(risks.isel(ridge=0))
    middle = found.theory if found.theory is not None else float(np.median(there))
    wanted = [
        there[0],
        found.classical or there[0],
        0.6 * middle,
        middle - 1,
        middle,
        middle + 3,
        2 * middle,
        there[-1],
    ]
    near = sorted({int(there[np.abs(there - value).argmin()]) for value in wanted})
    return near[: ROWS * COLUMNS]


def fit_axes(axes: Axes, fits: xr.Dataset, capacity: int) -> None:
    """Data, true function and one fit.

    Args:
        axes: Where to draw.
        fits: Node `descent/fit` at one basis.
        capacity: Number of basis functions.
    """
    x, truth = fits["x"].values, fits["truth"].values
    span = float(np.ptp(truth))
    axes.plot(x, truth, color="0.6", lw=0.9, label=f"true function {fits.attrs.get('formula', '')}")
    axes.plot(x, fits["fit"].sel(capacity=capacity), lw=1.2, label="fit", **CURRENT)
    axes.plot(fits["sample_x"], fits["sample_y"], ls="none", marker="o", ms=2.6, color=INK, label="data")
    axes.set_ylim(truth.min() - 0.5 * span, truth.max() + 0.5 * span)
    axes.set_xlim(x[0], x[-1])
    axes.set_title(f"{capacity} function{'s' if capacity > 1 else ''}")
    axes.spines[["top", "right"]].set_visible(False)


def fits_animation(tree: xr.DataTree, basis: str | None = None) -> bytes:
    """The fit for a rising number of basis functions, with the current one marked on the risk curve beside, as GIF.

    Args:
        tree: A store of `landscape descent polynomial`.
        basis: The basis; the first by default.

    Returns:
        The file's contents.
    """
    risks, fits = one_basis(tree, basis)
    there = risks["capacity"].values
    middle = landmarks(risks.isel(ridge=0)).theory or float(np.median(there))
    near = there[there <= 2 * middle]
    far = there[there > 2 * middle]
    rest = max(2, FRAMES - len(near))
    frames = [*near, *(far[np.unique(np.linspace(0, len(far) - 1, rest).round().astype(int))] if len(far) else [])]
    with styled():
        figure = new_figure(PAGE, 2.7)
        left, right = figure.subplots(1, 2)
        capacity_axes(right, risks.isel(ridge=[0]), "loss")
        right.set(xlabel="basis functions", ylabel="squared error", title="median risk, test solid, train dashed")
        mark = right.axvline(float(frames[0]), lw=1.2, **CURRENT)

        def show(capacity: int) -> list[Any]:
            left.clear()
            fit_axes(left, fits, int(capacity))
            left.legend(loc="upper left")
            mark.set_xdata([capacity, capacity])
            return []

        show(int(frames[0]))
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # the panels stay where they are
        animation = FuncAnimation(figure, show, frames=frames, init_func=list)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "fits.gif")
            animation.save(file, writer=PillowWriter(FRAMES_PER_SECOND), dpi=DOTS_PER_INCH)
            return _smaller(file.read_bytes())


def _smaller(contents: bytes) -> bytes:
    """The same GIF with 32 colours, a third of the size."""
    from PIL import Image, ImageSequence

    with Image.open(io.BytesIO(contents)) as image:
        frames = [frame.convert("RGB").quantize(32) for frame in ImageSequence.Iterator(image)]
    out = io.BytesIO()
    frames[0].save(
        out,
        format="GIF",
        save_all=True,
        append_images=frames[1:],
        duration=1000 // FRAMES_PER_SECOND,
        loop=0,
        optimize=True,
    )
    return out.getvalue()
