"""Direct labels: text put beside what it names, where it covers nothing."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.text import Text

from landscape.figures.style import halo, whole

DIRECTIONS = [(0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)]


@dataclass(frozen=True)
class Label:
    """A text and the places that it may stand beside.

    Args:
        text: The text.
        anchors: Points that it may name, in data coordinates, shape `(n, 2)`, the preferred ones first.
        color: Colour of the text.
        gap: Distance from anchor to text, points; 2 at least, for the text keeps 1.5 points clear of lines.
    """

    text: str
    anchors: np.ndarray
    color: str = "black"
    gap: float = 3.0


def settle(axes: Axes) -> None:
    """Lay out the figure of these axes, so that every place in it is known; labels don't change it."""
    whole(axes).draw_without_rendering()


def place_labels(
    axes: Axes,
    labels: Sequence[Label],
    obstacles: Sequence[np.ndarray],
    standing: Sequence[Text] = (),
    **style: Any,
) -> None:
    """Put each label beside one of its anchors where it hides least of the obstacles and other labels.

    The places are tried one by one, in the figure's final layout (call `settle` first): the one whose box
    holds the shortest piece of drawn line, no other label, and nothing outside the axes wins; earlier anchors win ties.

    Args:
        axes: Where to write; its limits must be final.
        labels: The labels, the most important first.
        obstacles: Lines to keep clear of, each of shape `(n, 2)` in data coordinates.
        standing: Texts that stand already and must stay readable.
        **style: Further properties of the text.
    """
    scale = whole(axes).dpi / 72
    frame = axes.get_window_extent()
    drawn = np.concatenate([np.empty((0, 2)), *(_dense(axes, line) for line in obstacles)])
    room = np.array([[-1.5], [1.5]]) * scale
    taken: list[np.ndarray] = [text.get_window_extent().get_points() for text in standing]
    for label in labels:
        anchors = axes.transData.transform(label.anchors[np.isfinite(label.anchors).all(axis=1)])
        if not len(anchors):
            continue
        text = axes.annotate(
            label.text,
            xy=(0, 0),
            xycoords="data",
            xytext=(0, 0),
            textcoords="offset points",
            ha="center",
            va="center",
            color=label.color,
            path_effects=halo(),
            annotation_clip=False,
            zorder=6,
            **style,
        )
        text.set_in_layout(False)
        extent = text.get_window_extent()
        half = np.array([extent.width, extent.height]) / 2
        best = (np.inf, anchors[0], np.zeros(2))
        for order, anchor in enumerate(anchors):
            for rank, direction in enumerate(DIRECTIONS):
                offset = np.array(direction) * (half + label.gap * scale * (0.75 if all(direction) else 1.0))
                box = np.array([anchor + offset - half, anchor + offset + half])
                cost = _hidden(box + room, drawn) + 500 * sum(_overlap(box + room, other) for other in taken)
                cost += 1000 * _outside(box, frame) + 0.5 * order + 2 * rank
                if cost < best[0]:
                    best = (cost, anchor, offset)
        _, anchor, offset = best
        text.xy = tuple(axes.transData.inverted().transform(anchor))
        text.set_position(tuple(offset / scale))
        taken.append(np.array([anchor + offset - half, anchor + offset + half]))


def _dense(axes: Axes, line: np.ndarray) -> np.ndarray:
    """A line in display coordinates with a point every pixel or so; gaps (NaN) stay gaps."""
    points = axes.transData.transform(line)
    pieces = [points[np.isfinite(points).all(axis=1)]]
    for a, b in itertools.pairwise(points):
        if np.isfinite([a, b]).all():
            count = int(min(np.abs(b - a).max(), 4000)) + 1
            pieces.append(a + np.linspace(0, 1, count)[:, None] * (b - a))
    return np.concatenate(pieces)


def _hidden(box: np.ndarray, drawn: np.ndarray) -> float:
    """Number of drawn pixels inside a box."""
    return float(((drawn > box[0]) & (drawn < box[1])).all(axis=1).sum())


def _overlap(box: np.ndarray, other: np.ndarray) -> bool:
    """Whether two boxes meet."""
    return bool((box[0] < other[1]).all() and (other[0] < box[1]).all())


def _outside(box: np.ndarray, frame: Any) -> bool:
    """Whether a box leaves the axes."""
    return bool(box[0, 0] < frame.x0 or box[0, 1] < frame.y0 or box[1, 0] > frame.x1 or box[1, 1] > frame.y1)


def with_unit(text: str, values: xr.DataArray) -> str:
    """A label with the unit of what it labels, "train loss (nats)"; a loss whose unit has no name goes without."""
    unit = str(values.attrs.get("units", ""))
    return text if unit in ("", "1", "units of the loss") else f"{text} ({unit})"


def shorten(names: Sequence[str], limit: int = 14) -> list[str]:
    """Names short enough for a figure: without what they begin with in common, or with their middle left out.

    Args:
        names: Distinct names.
        limit: Largest number of letters.

    Returns:
        As many distinct names; numbers where shortening would make two of them equal.
    """
    short = list(names)
    if max(map(len, short), default=0) > limit and len(short) > 1:
        first, last = min(short), max(short)
        common = next((k for k, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
        cut = max(first.rfind(mark, 0, common) for mark in "-_./ ") + 1
        short = [name[cut:] for name in short]
    short = [name if len(name) <= limit else f"{name[: limit // 2 - 1]}…{name[-limit // 2 :]}" for name in short]
    if len(set(short)) < len(set(names)) or not all(short):
        return [str(place + 1) for place in range(len(short))]
    return short


def spread(places: np.ndarray, gap: float, low: float = -np.inf, high: float = np.inf) -> np.ndarray:
    """Move places on a line apart, as little as possible in the mean square, until neighbours keep a gap.

    Args:
        places: Ascending, shape `(n,)`.
        gap: Least distance of neighbours, in the same units.
        low: Least place; `high` gives way where there isn't room for all.
        high: Greatest place.

    Returns:
        Shape `(n,)`: the regression under that order, by pooling neighbours that would come too close.
    """
    blocks: list[tuple[float, int]] = []  # sum and number of the places, each less its share of the gaps
    for k, place in enumerate(places):
        total, count = float(place) - k * gap, 1
        while blocks and blocks[-1][0] / blocks[-1][1] >= total / count:
            before = blocks.pop()
            total, count = total + before[0], count + before[1]
        blocks.append((total, count))
    levels = np.repeat([total / count for total, count in blocks], [count for _, count in blocks])
    levels = np.maximum(np.minimum(levels, high - gap * (len(places) - 1)), low)
    return np.asarray(levels + gap * np.arange(len(places)))
