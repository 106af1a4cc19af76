"""The history of a training run: loss, error and measures against steps."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from landscape.figures.along import along, drawn_along, measure_axes
from landscape.figures.analysis import dataset
from landscape.figures.labels import Label, place_labels, settle, with_unit
from landscape.figures.style import COLUMN, StyledFigure, in_style, log_axis, new_figure, split_line

COLORS = {"train": "#111111", "test": "#0072b2"}
MARKERS = {"train": "o", "test": "s"}
LOG_FROM = 30.0
"""The loss gets a log axis when its largest value is this many times its smallest."""


@in_style
def train_figure(tree: xr.DataTree) -> StyledFigure:
    """Loss, error and the measures taken on the way against the step, one above the other, as wide as a column.

    Args:
        tree: A store of `landscape train`.

    Returns:
        The figure; a regression has no error, so only the loss. Densities are another picture, `spectrum`.

    Raises:
        RequestError: If the store has no node `train`.
    """
    history = dataset(tree, "train").load()
    shown = [variable for variable in ("loss", "error") if variable in history]
    measured = along(tree)
    measures = [] if measured is None else drawn_along(measured)
    number = len(shown) + len(measures)
    figure = new_figure(COLUMN, 0.4 + 1.45 * number)
    panels = figure.subplots(number, 1, sharex=True, squeeze=False)[:, 0]
    for axes, variable in zip(panels, shown, strict=False):
        history_axes(axes, history, variable)
    for axes, name in zip(panels[len(shown) :], measures, strict=True):
        assert measured is not None
        measure_axes(axes, measured, name)
    for axes in panels[:-1]:
        axes.set_xlabel("")
    figure.align_ylabels(list(panels))
    settle(panels[0])
    for axes, variable in zip(panels, shown, strict=False):
        lines = _lines(history, variable)
        labels = [
            Label(split, np.stack([x, y], axis=-1)[len(x) // 8 :: max(len(x) // 40, 1)], _color(split), gap=2.5)
            for split, x, y in lines
        ]
        place_labels(axes, labels, [np.stack([x, y], axis=-1) for _, x, y in lines], fontsize=6.5)
    return figure


def history_axes(axes: Axes, history: xr.Dataset, variable: str = "loss") -> None:
    """Draw one variable against the step, a line for each split.

    Args:
        axes: Where to draw.
        history: Node `train` of a store.
        variable: `loss`, in nats, or `error`, drawn in percent.
    """
    for split, x, y in _lines(history, variable):
        axes.plot(
            x,
            y,
            color=_color(split),
            ls=split_line(split),
            marker=MARKERS.get(split, "^"),
            markevery=max(len(x) // 8, 1),
            mfc="white" if split != "train" else None,
            mew=0.7,
            ms=3.2,
            lw=1.1,
        )
    values = history[variable].values
    finite = values[np.isfinite(values)]
    if variable == "loss" and finite.size and finite.min() > 0 and finite.max() > LOG_FROM * finite.min():
        log_axis(axes)
    else:
        axes.set_ylim(bottom=0)
    axes.set_xlabel("step")
    axes.set_ylabel(with_unit("loss", history["loss"]) if variable == "loss" else "error (%)")
    axes.margins(x=0.015)
    axes.spines[["top", "right"]].set_visible(False)


def _lines(history: xr.Dataset, variable: str) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Split, steps and values of each line, only where they were measured; the error in percent."""
    lines = []
    for split in (str(label) for label in history["split"].values):
        y = history[variable].sel(split=split).values * (100.0 if variable == "error" else 1.0)
        x = np.asarray(history["step"].values, float)
        finite = np.isfinite(y)
        lines.append((split, x[finite], y[finite]))
    return [line for line in lines if len(line[1])]


def _color(split: str) -> str:
    """Colour of a split."""
    return COLORS.get(split, "#999999")
