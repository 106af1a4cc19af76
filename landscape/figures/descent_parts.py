"""Bias and variance against the capacity, and what ensembles of feature draws gain."""

from __future__ import annotations

import numpy as np
import xarray as xr

from landscape.errors import RequestError
from landscape.figures.descent import mark_thresholds, scale_axes, title
from landscape.figures.descent_analysis import descent_data, landmarks, over_repetitions
from landscape.figures.methods import shades
from landscape.figures.style import COLUMN, PAGE, StyledFigure, in_style, new_figure

COLORS = ("#111111", "#0072b2", "#e69f00", "#cc79a7")
MARKERS = ("o", "s", "^", "D")


@in_style
def parts_figure(tree: xr.DataTree) -> StyledFigure:
    """The parts of the test loss of the first ridge, above the loss of ensembles; a column for each noise.

    Args:
        tree: A store of `landscape descent features` with several training sets.

    Raises:
        RequestError: If the store holds no decomposition.
    """
    data = descent_data(tree)
    if "decomposition" not in data:
        raise RequestError("the store holds no decomposition: give --repetitions of at least 2, and no gaussian data")
    count, rows = data.sizes["noise"], 2 if "ensemble_loss" in data else 1
    figure = new_figure(COLUMN if count == 1 else PAGE, 0.9 + 1.7 * rows)
    panels = figure.subplots(rows, count, sharex=True, sharey="row", squeeze=False)
    for noise, column in enumerate(panels.T):
        part = data.isel(basis=0, noise=noise)
        found = landmarks(part.isel(ridge=0))
        capacity = part["capacity"].values
        column[0].set_title(title(data, 0, noise))
        for name, color, marker in zip(part["part"].values, COLORS, MARKERS, strict=True):
            values = part["decomposition"].isel(ridge=0).sel(part=name).values
            if (values == 0).all():
                continue
            label = "bias²" if name == "bias" else f"variance: {name}"
            positive = np.where(values > 0, values, np.nan)  # unbiased estimates of small parts can be negative
            column[0].plot(capacity, positive, color=color, marker=marker, ms=2.6, lw=1.0, label=label)
        if rows == 2:
            for member, color in zip(part["member"].values, shades(part.sizes["member"]), strict=True):
                middle, _, _ = over_repetitions(part["ensemble_loss"].isel(ridge=0).sel(member=member))
                label = "one draw of features" if member == 1 else f"mean of {member} draws"
                column[1].plot(capacity, middle, color=color, lw=1.1, label=label)
        for axes in column:
            mark_thresholds(axes, found)
            scale_axes(axes, part, "loss")
        low = float(np.nanmin(part["decomposition"].where(part["decomposition"] > 0).isel(ridge=0)))
        column[0].set_ylim(bottom=max(low, column[0].get_ylim()[1] * 1e-9))
        column[-1].set_xlabel(str(data.attrs["capacity_name"]))
    for row, label in zip(panels, ("part of squared error", "squared error of ensembles"), strict=False):
        row[0].set_ylabel(label)
    handles = [handle for row in panels for handle in row[0].get_legend_handles_labels()[0]]
    figure.legend(handles=handles, loc="outside lower center", ncols=2 if count == 1 else 4)
    return figure
