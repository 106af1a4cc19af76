"""Loss and error along the curves between two checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.text import Text

from landscape.errors import unknown
from landscape.figures.analysis import barrier, dataset, select_pair
from landscape.figures.labels import Label, place_labels, settle, with_unit
from landscape.figures.style import (
    COLUMN,
    StyledFigure,
    halo,
    in_style,
    log_axis,
    look,
    new_figure,
    number,
    split_line,
    whole,
)

AGAINST = {"t": "t", "arc-length": "arc length (distance in weight space)"}
LOG_FROM = 40.0
"""The loss gets a log axis when its largest value is this many times its median."""


def curve_axes(axes: Axes, pair: xr.Dataset, variable: str = "loss", against: str = "t") -> None:
    """Draw a variable along all curves of one pair, train solid and test dashed.

    Args:
        axes: Where to draw.
        pair: Node `connect` of a store with one pair chosen.
        variable: `loss`, in nats, or `error`, drawn in percent.
        against: `t` or `arc-length`, the distance walked from the start.

    Raises:
        RequestError: If `against` is neither.
    """
    if against not in AGAINST:
        raise unknown("axis", against, AGAINST)
    for curve, split, x, y in _lines(pair, variable, against):
        style = look(curve, _position(pair, curve))
        every = max(len(x) // 10, 1)
        axes.plot(
            x,
            y,
            color=style.color,
            ls=split_line(split),
            marker=style.marker,
            markevery=(_position(pair, curve) * every // 3, every),
            ms=3.2,
            mfc=style.color if split == "train" else "white",
            mew=0.7,
            lw=1.1,
            zorder=style.zorder,
            clip_on=True,
        )
    if not np.isfinite(pair[variable].values).any():
        axes.text(0.5, 0.5, "nothing computed yet", transform=axes.transAxes, ha="center", va="center")
        axes.set_yticks([])
    elif variable == "loss" and _is_steep(pair):
        log_axis(axes)
    elif axes.get_ylim()[0] < axes.get_ylim()[1] * 0.3:
        axes.set_ylim(bottom=0)
    low, top = axes.get_ylim()
    axes.set_ylim(top=low * (top / low) ** 1.12 if axes.get_yscale() == "log" else low + 1.1 * (top - low))
    axes.set_xlabel(AGAINST[against])
    axes.set_ylabel(with_unit("loss", pair["loss"]) if variable == "loss" else "error (%)")
    if against == "t":
        axes.set_xlim(float(pair["t"].min()) - 0.015, float(pair["t"].max()) + 0.015)
    else:
        axes.margins(x=0.015)
    axes.spines[["top", "right"]].set_visible(False)
    _mark_missing(axes, pair, variable, against)


def label_panels(panels: Sequence[Axes], pair: xr.Dataset, variables: Sequence[str], against: str) -> None:
    """Name the splits where their lines end and the curves at their lines; call it last.

    Args:
        panels: One axes for each variable, drawn by `curve_axes`.
        pair: As given to `curve_axes`.
        variables: What each panel shows.
        against: As given to `curve_axes`.
    """
    drawn = [_lines(pair, variable, against) for variable in variables]
    settle(panels[0])
    splits = [_label_splits(axes, lines) for axes, lines in zip(panels, drawn, strict=True)]
    settle(panels[0])
    for axes, lines, standing in zip(panels, drawn, splits, strict=True):
        if all(np.ptp(x) == 0 for _, _, x, _ in lines):  # the same checkpoint twice: no length to label
            continue
        labels = []
        for curve in [str(c) for c in pair["curve"].values]:
            anchors = np.concatenate([_anchors(x, y) for c, _, x, y in lines if c == curve])
            style = look(curve, _position(pair, curve))
            labels.append(Label(style.label, anchors, _text_color(style.color), gap=2.0))
        obstacles = [np.stack([x, y], axis=-1) for _, _, x, y in lines]
        place_labels(axes, labels, obstacles, standing, fontsize=6.5)


def legend_handles(pair: xr.Dataset) -> list[Line2D]:
    """One entry for each curve, which states its loss barrier on each split; "≥" where points are missing."""
    heights = barrier(pair.expand_dims("pair")).isel(pair=0)
    handles = []
    for position, curve in enumerate(str(c) for c in pair["curve"].values):
        style = look(curve, position)
        bound = "≥ " if not np.isfinite(pair["loss"].sel(curve=curve).values).all() else ""
        stated = " / ".join(
            (bound if np.isfinite(height) else "") + number(float(height)) for height in heights.sel(curve=curve).values
        )
        label = f"{style.label}: {stated}"
        handles.append(Line2D([], [], color=style.color, marker=style.marker, ms=3.2, lw=1.1, label=label))
    return handles


def legend_title(pair: xr.Dataset) -> str:
    """What the numbers in the legend are."""
    splits = " / ".join(str(split) for split in pair["split"].values)
    title = f"{with_unit('loss barrier', pair['loss'])}, {splits}"
    if "status" not in pair:
        return title
    if (pair["status"] == 2).any():
        title += "; ×: not finite"
    if (pair["status"] > 0).all():
        return title
    return f"unfinished, {int((pair['status'] > 0).sum())} of {pair['status'].size} points done: {title}"


@in_style
def curve_figure(tree: xr.DataTree, *, pair: int | None = None, against: str = "t") -> StyledFigure:
    """Loss above error along all curves and splits of one pair, as wide as a column.

    Args:
        tree: A `connect` store.
        pair: Label of the pair, the first one if None.
        against: `t` or `arc-length`.

    Returns:
        The figure; a regression has no error, so only the loss.

    Raises:
        RequestError: If there is no such pair or axis.
    """
    chosen = select_pair(dataset(tree, "connect"), pair).load()
    shown = [variable for variable in ("loss", "error") if variable in chosen]
    figure = new_figure(COLUMN, 0.75 + 1.45 * len(shown))
    panels = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    for axes, variable in zip(panels, shown, strict=True):
        curve_axes(axes, chosen, variable, against)
    for axes in panels[:-1]:
        axes.set_xlabel("")
    figure.legend(handles=legend_handles(chosen), loc="outside lower center", ncols=1, title=legend_title(chosen))
    label_panels(list(panels), chosen, shown, against)
    return figure


def _lines(pair: xr.Dataset, variable: str, against: str) -> list[tuple[str, str, np.ndarray, np.ndarray]]:
    """Curve, split, x and y of each line; the error in percent."""
    lines = []
    for curve in pair["curve"].values:
        x = pair["t"] if against == "t" else pair["arc_length"].sel(curve=curve)
        for split in pair["split"].values:
            values = pair[variable].sel(curve=curve, split=split).values
            finite = np.where(np.isfinite(values), values, np.nan) * (100 if variable == "error" else 1)
            lines.append((str(curve), str(split), np.asarray(x.values, float), finite))
    return lines


def _position(pair: xr.Dataset, curve: str) -> int:
    """Place of a curve among those of the store."""
    return [str(c) for c in pair["curve"].values].index(curve)


def _is_steep(pair: xr.Dataset) -> bool:
    """Whether the losses span so much that a linear axis would hide the low ones."""
    values = pair["loss"].values[np.isfinite(pair["loss"].values)]
    return bool(values.size and values.min() > 0 and values.max() > LOG_FROM * np.median(values))


def _anchors(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Places along a line where its name may stand, those near the middle first."""
    inside = np.arange(len(x))[len(x) // 12 : len(x) - len(x) // 12] if len(x) > 6 else np.arange(len(x))
    order = inside[np.argsort(np.abs(inside - len(x) / 2), kind="stable")][:: max(len(x) // 40, 1)]
    return np.stack([x[order], y[order]], axis=-1)


def _text_color(color: str) -> str:
    """A darker shade for text, which is thinner than a line."""
    return {"#e69f00": "#a86b00"}.get(color, color)


def _label_splits(axes: Axes, lines: Sequence[tuple[str, str, np.ndarray, np.ndarray]]) -> list[Text]:
    """Name each split where its longest line ends, to the right of it."""
    scale, frame = whole(axes).dpi / 72, axes.get_window_extent()
    ends: dict[str, np.ndarray] = {}
    for _, split, x, y in lines:
        finite = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
        if finite.size:
            end = axes.transData.transform((x[finite[-1]], y[finite[-1]]))
            if split not in ends or end[0] > ends[split][0] + 1:
                ends[split] = end
    names = sorted(ends, key=lambda split: ends[split][1])
    heights = np.array([ends[name][1] for name in names])
    if len(names) > 1 and np.diff(heights).min() < 8 * scale:  # keep the names one line apart
        heights = heights.mean() + 8 * scale * (np.arange(len(names)) - (len(names) - 1) / 2)
        heights += max(0.0, frame.y0 + 3 * scale - heights.min())
    texts = []
    for name, height in zip(names, heights, strict=True):
        x, y = axes.transAxes.inverted().transform((ends[name][0] + 6 * scale, height))
        style: dict[str, Any] = {"va": "center", "ha": "left", "fontsize": 6.5}
        texts.append(axes.text(float(x), float(y), name, transform=axes.transAxes, **style))
    return texts


def _mark_missing(axes: Axes, pair: xr.Dataset, variable: str, against: str) -> None:
    """A cross at the top of the axes where a computed value isn't finite."""
    for position, curve in enumerate(pair["curve"].values):
        one = pair.sel(curve=curve)
        done = one["status"].values > 0 if "status" in one else np.ones(one.sizes["t"], bool)
        bad = done & ~np.isfinite(one[variable].values).all(axis=one[variable].dims.index("split"))
        x = (one["t"] if against == "t" else one["arc_length"]).values[bad]
        if not len(x):
            continue
        style = look(str(curve), position)
        axes.plot(
            x,
            np.full(len(x), 0.985),
            transform=axes.get_xaxis_transform(),
            ls="none",
            marker="x",
            ms=3.5,
            mew=0.9,
            color=style.color,
            path_effects=halo(),
            label="_not finite",
            clip_on=False,
        )
