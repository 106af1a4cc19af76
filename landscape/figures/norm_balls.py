"""Unit balls of norms with a gradient and its linear minimisation oracle."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from landscape.figures.analysis import dataset
from landscape.figures.methods import DASHED, DOTTED, MIXED, shades
from landscape.figures.style import INK, PAGE, StyledFigure, in_style, new_figure

GRADIENT, ORACLE = "#d55e00", "#0072b2"
NAMES = {"nuclear": "nuclear, |s₁| + |s₂|", "frobenius": "Frobenius, √(s₁² + s₂²)", "spectral": "spectral, max |sᵢ|"}
COLORS = {"nuclear": "#d98200", "frobenius": "#b0405a", "spectral": ORACLE}
LINES = ("-", DASHED, MIXED, DOTTED, (0, (6.0, 1.0)))
REACH = 1.3
"""Half the width of a panel."""


@in_style
def norm_balls_figure(tree: xr.DataTree, node: str) -> StyledFigure:
    """Balls of vectors in p-norms above; below balls of matrices, directions of steps and singular values.

    Args:
        tree: A store of the experiment `norm_balls`.
        node: Where it is in the store.

    Returns:
        The figure, as wide as a page.
    """
    vector, matrix = (dataset(tree, f"{node}/{name}").load() for name in ("vector", "matrix"))
    figure = new_figure(PAGE, 3.25)
    rows = figure.add_gridspec(2, 1, height_ratios=(1.0, 1.06))
    top, bottom = (figure.add_subfigure(rows[row]) for row in range(2))
    for axes, name in zip(top.subplots(1, vector.sizes["norm"]), vector["norm"].values, strict=True):
        ball_axes(axes, vector.sel(norm=name), "g", "x")
        axes.set_title(f"p = {name}".replace("inf", "∞"))
    count = matrix.sizes["norm"]
    panels = bottom.subplots(1, count + 2, width_ratios=(*[1.0] * count, 1.05, 1.05))
    for axes, name in zip(panels, matrix["norm"].values, strict=False):
        ball_axes(axes, matrix.sel(norm=name), "G", "s")
        axes.set_title(NAMES.get(str(name), str(name)))
    direction_axes(panels[-2], vector)
    spectrum_axes(panels[-1], matrix)
    return figure


def ball_axes(axes: Axes, ball: xr.Dataset, gradient: str, coordinate: str) -> None:
    """One ball, the gradient and its oracle as arrows, and the line that touches the ball at the oracle.

    Args:
        axes: Where to draw.
        ball: `boundary(angle, axis)`, `lmo(axis)`, `dual_norm` and the coordinate `gradient(axis)`.
        gradient: What the gradient is called.
        coordinate: Letter of the axes.
    """
    g, oracle = ball["gradient"].values, ball["lmo"].values
    axes.axhline(0, color="0.8", lw=0.5, zorder=0)
    axes.axvline(0, color="0.8", lw=0.5, zorder=0)
    axes.fill(*ball["boundary"].values.T, facecolor="0.93", edgecolor=INK, lw=1.0, zorder=1)
    across = np.array([-g[1], g[0]]) / np.hypot(*g)
    line = oracle + np.array([[-4.0], [4.0]]) * across
    axes.plot(*line.T, color=ORACLE, lw=0.8, ls=DOTTED, zorder=2)
    for end, color, text in ((g, GRADIENT, gradient), (oracle, ORACLE, f"LMO({gradient})")):
        arrow: dict[str, Any] = {"arrowstyle": "-|>,head_width=0.16,head_length=0.32", "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", (end[0], end[1]), (0, 0), arrowprops={**arrow, "color": color, "lw": 1.3}, zorder=4)
        upward = np.array([-end[1], end[0]]) * np.sign(end[0]) / np.hypot(*end)
        slope = np.degrees(np.arctan2(end[1], end[0])) % 180
        how: dict[str, Any] = {"ha": "center", "va": "center", "rotation": (slope + 90) % 180 - 90}
        x, y = 0.45 * end + 0.19 * upward
        axes.text(x, y, text, color=color, fontsize=6.0, zorder=5, **how)
    axes.plot(0, 0, "o", ms=2, color=INK, zorder=5)
    axes.plot(*oracle, "o", ms=3.2, mfc=ORACLE, mec="white", mew=0.5, zorder=5)
    axes.set(xlim=(-REACH, REACH), ylim=(-REACH, REACH), aspect="equal", xticks=[-1, 0, 1], yticks=[-1, 0, 1])
    axes.set_xlabel(f"{coordinate}₁")
    axes.set_ylabel(f"{coordinate}₂", labelpad=-1)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def direction_axes(axes: Axes, vector: xr.Dataset) -> None:
    """The direction of the step against that of the gradient for a quarter turn, one line for each p.

    Args:
        axes: Where to draw.
        vector: `turned(norm, angle)`, radians.
    """
    degrees = np.degrees(vector["angle"].values)
    quarter = (degrees > -1e-9) & (degrees < 90 + 1e-9)
    names = [str(name) for name in vector["norm"].values]
    for color, line, name in zip(shades(len(names)), LINES, names, strict=False):
        turned = np.degrees(vector["turned"].sel(norm=name).values[quarter])
        axes.plot(degrees[quarter], turned, color=color, ls=line, lw=1.1, label=f"p = {name}".replace("inf", "∞"))
    axes.set(
        xlabel="direction of g (°)",
        ylabel="direction of −LMO (°)",
        xticks=[0, 45, 90],
        yticks=[0, 45, 90],
        box_aspect=1,
    )
    axes.set_title("step by gradient")
    axes.legend(loc="lower right", handlelength=1.8, labelspacing=0.0, fontsize=5.2, borderaxespad=0.0)
    axes.spines[["top", "right"]].set_visible(False)


def spectrum_axes(axes: Axes, matrix: xr.Dataset) -> None:
    """Singular values of a larger gradient and of its oracle in each matrix norm, beside each other.

    Args:
        axes: Where to draw.
        matrix: `values(norm, singular)` and the coordinate `spectrum(singular)`.
    """
    number = np.arange(1, matrix.sizes["singular"] + 1)
    axes.plot(number, matrix["spectrum"], color="0.45", marker="o", ms=2.8, lw=1.0, label="gradient")
    names = [str(name) for name in matrix["norm"].values]
    for line, mark, name in zip(LINES[1:], "^sD", names, strict=False):
        values = matrix["values"].sel(norm=name)
        axes.plot(
            number,
            values,
            color=COLORS.get(name, INK),
            ls=line,
            marker=mark,
            ms=2.8,
            lw=1.0,
            label=f"LMO, {name.replace('frob', 'Frob')}",
        )
    axes.set(xlabel="index", ylabel="singular value", xticks=number, box_aspect=1)
    axes.set_title("larger gradient")
    axes.legend(loc="upper right", handlelength=2.2, labelspacing=0.1, fontsize=5.5, bbox_to_anchor=(1.02, 0.93))
    axes.spines[["top", "right"]].set_visible(False)
