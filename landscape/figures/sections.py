"""Sections: the value along each axis of a surface, through its centre, with a band where it is estimated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.lines import Line2D

from landscape.figures.labels import with_unit
from landscape.figures.style import COLUMN, LOOKS, OTHERS, PAGE, StyledFigure, log_axis, new_figure, split_line
from landscape.figures.surface_summary import axes_of

COLOURS = ("#0072b2", "#e69f00", *(colour for colour, _ in OTHERS), LOOKS["linear"].color)
Z = 1.96
"""Standard errors to each side of a 95 % band."""
DOT: dict[str, Any] = {"marker": "o", "mfc": "white", "mec": "black", "mew": 0.7, "ms": 4.2}
LOG = 30.0
"""Ratio of the largest to the least value from which on the vertical axis is logarithmic."""


def sections(
    data: xr.Dataset,
    quantity: str,
    titles: Sequence[str],
    axis_label: Callable[[str], str],
    marks: xr.Dataset | None = None,
) -> StyledFigure:
    """Lines along each axis, the other coordinates as near to 0 as the grid has them.

    Args:
        data: Node `surface` of a store.
        quantity: What is drawn.
        titles: What to call each checkpoint.
        axis_label: Says what an axis measures.
        marks: Checkpoints on the only axis, drawn as dots at their own values.

    Returns:
        A panel for each axis; a colour for each checkpoint, a line style for each split; bands are 95 % intervals.
    """
    names = axes_of(data)
    splits = [str(split) for split in data["split"].values]
    dots = marks if len(names) == 1 else None
    figure = new_figure(COLUMN if len(names) == 1 else PAGE, 2.5 if len(names) == 1 else 2.3)
    panels = figure.subplots(1, len(names), squeeze=False, sharey=True)[0]
    drawn = []
    for axes, axis in zip(panels, names, strict=True):
        for position in range(data.sizes["checkpoint"]):
            colour = COLOURS[position % len(COLOURS)]
            for split in splits:
                one = through_centre(data.isel(checkpoint=position).sel(split=split), axis)
                value = one[quantity].where(one["status"] > 0).values
                stderr = one[f"{quantity}_stderr"].values
                x = one[axis].values
                axes.plot(x, value, color=colour, ls=split_line(split))
                if np.nanmax(stderr, initial=0) > 0:
                    axes.fill_between(x, value - Z * stderr, value + Z * stderr, color=colour, alpha=0.25, lw=0)
                drawn.append(value[np.isfinite(value)])
        if dots is not None:
            for split in splits:
                own = dots[quantity].sel(split=split)
                filled = {"mfc": COLOURS[0] if split == splits[0] else "white"}
                axes.plot(dots["point_alpha"], own, ls="none", **{**DOT, **filled})
        axes.set_xlabel(axis_label(axis))
        axes.set_xlim(*data[axis].values[[0, -1]])
        axes.axvline(0, color="0.6", lw=0.5, zorder=0)
    flat = np.concatenate(drawn)
    if len(flat) and flat.min() > 0 and flat.max() > LOG * flat.min():
        log_axis(panels[0])
    panels[0].set_ylabel(with_unit(quantity, data[quantity]))
    handles = [Line2D([], [], color=COLOURS[k % len(COLOURS)], label=title) for k, title in enumerate(titles)]
    handles += [Line2D([], [], color="0.3", ls=split_line(split), label=split) for split in splits]
    if dots is not None:
        handles.append(Line2D([], [], ls="none", label="checkpoints, own statistics", **DOT))
    figure.legend(handles=handles, loc="outside lower center", ncols=2 if len(names) == 1 else 4)
    return figure


def through_centre(data: xr.Dataset, axis: str) -> xr.Dataset:
    """The line along one axis that passes nearest to the origin of all others."""
    others = [other for other in axes_of(data) if other != axis]
    return data.isel({other: int(np.abs(data[other].values).argmin()) for other in others})
