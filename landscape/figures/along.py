"""Measures along a training run: each against the step."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib.axes import Axes

from landscape.figures.analysis import dataset
from landscape.figures.labels import with_unit
from landscape.figures.sharpness_summary import measures_of
from landscape.figures.style import log_axis, split_line
from landscape.figures.tables import words

Z = 1.96
LOG_FROM = 30.0
"""A measure gets a log axis when its largest value is this many times its smallest."""
SYMBOLS = {"rho": "ρ"}


def along(tree: xr.DataTree) -> xr.Dataset | None:
    """The measures that a run took on its way; None if it took none."""
    if "/sharpness" not in tree.groups or "step" not in tree["sharpness"].dims:
        return None
    return dataset(tree, "sharpness").load()


def drawn_along(data: xr.Dataset) -> list[str]:
    """The measures that are lines: all but densities."""
    return [name for name in measures_of(data) if "eigenvalue" not in data[name].dims]


def measure_axes(axes: Axes, data: xr.Dataset, name: str) -> None:
    """Draw one measure against the step, with its 95 % interval: a line for each split and label of its own dimension.

    Args:
        axes: Where to draw.
        data: Node `sharpness` of a run's store.
        name: The measure.
    """
    steps = np.asarray(data["step"].values, float)
    own = [str(dim) for dim in data[name].dims if dim not in ("step", "split")]
    labels = data[own[0]].values if own else [None]
    for split in map(str, data["split"].values):
        for number, label in enumerate(labels):
            at = {"split": split, **({own[0]: label} if own else {})}
            value, stderr = (data[part].sel(at).values for part in (name, f"{name}_stderr"))
            colour = colormaps["viridis"](0.85 * number / max(len(labels) - 1, 1)) if own else "#111111"
            if np.nanmax(stderr, initial=0.0) > 0:
                axes.fill_between(steps, value - Z * stderr, value + Z * stderr, color=colour, alpha=0.2, lw=0)
            text = None if label is None or split != str(data["split"].values[0]) else f"{label:g}"
            mark = "o" if len(steps) < 40 else None
            axes.plot(steps, value, color=colour, ls=split_line(split), marker=mark, ms=2.2, lw=1.0, label=text)
    values = data[name].values
    finite = values[np.isfinite(values)]
    if finite.size and finite.min() > 0 and finite.max() > LOG_FROM * finite.min():
        log_axis(axes)
    elif finite.size and finite.min() >= 0:
        axes.set_ylim(bottom=0)
    if own:
        title = SYMBOLS.get(own[0], own[0])
        axes.legend(
            title=title, fontsize=6, title_fontsize=6, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False
        )
    axes.set_xlabel("step")
    text = words(name).replace(" sharpness", "\nsharpness")
    axes.set_ylabel(with_unit(f"{text}\n", data[name]).replace("\n (", "\n("))
    axes.margins(x=0.015)
    axes.spines[["top", "right"]].set_visible(False)
