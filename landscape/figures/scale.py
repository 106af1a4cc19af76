r"""The log-like discrete colour scale that contour panels share, from the minimum to "> maximum"."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, Colormap, LinearSegmentedColormap, ListedColormap

from landscape.figures.style import number

CAP = 5.0
"""Losses above this many nats share the last colour (Garipov et al.'s figures end near there too)."""
BANDS = 8
RAMP = ("#fffbe3", "#f7e7a1", "#c5dc9b", "#84c6a4", "#48a5b0", "#2f7fae", "#30579a", "#33327c", "#231f52")
"""Light for low, dark for high: grey value falls evenly, and a black curve shows in the valleys."""


def palette(count: int) -> Colormap:
    """So many colours, from light to dark with evenly falling grey value."""
    ramp = LinearSegmentedColormap.from_list("landscape", RAMP)
    return ListedColormap(ramp(np.linspace(0, 1, count)), name="landscape")


@dataclass(frozen=True)
class Scale:
    r"""Levels whose distance from the minimum grows geometrically, and one more band above the last.

    Args:
        levels: Boundaries :math:`l_0 < \dots < l_n`; :math:`l_0` is at most the minimum. Values above
            :math:`l_n` belong to the last colour.
        capped: Whether there are values above the last level.
    """

    levels: np.ndarray
    capped: bool = True

    @property
    def gap(self) -> float:
        """Width of the lowest band."""
        return float(self.levels[1] - self.levels[0])

    @property
    def boundaries(self) -> np.ndarray:
        """Boundaries of the colours: the levels, and the top of the open band if there is one."""
        return np.append(self.levels, 2 * self.levels[-1] - self.levels[-2]) if self.capped else self.levels

    def height(self, values: np.ndarray) -> np.ma.MaskedArray[Any, Any]:
        r"""Values on the scale on which the bands are about equally wide.

        :math:`\log(1 + (v - l_0)/(l_1 - l_0))`; masked where the value isn't finite. Contours are found
        on this scale, so that a huge value beside a small one doesn't squeeze them together.
        """
        finite = np.isfinite(values)
        excess = np.clip(np.where(finite, values, self.levels[0]) - self.levels[0], 0, None)
        masked: np.ma.MaskedArray[Any, Any] = np.ma.masked_where(~finite, np.log1p(excess / self.gap))
        return masked

    def relief(self, values: np.ndarray, height: str = "log") -> np.ndarray:
        """Heights of a relief, at most that of the last level; NaN where the value isn't finite.

        Args:
            values: Values.
            height: `log` for those of `height`, `linear` for the values themselves.
        """
        lowered = np.where(np.isfinite(values), np.minimum(values, self.levels[-1]), np.nan)
        return lowered if height == "linear" else np.asarray(self.height(lowered).filled(np.nan))

    @property
    def mappable(self) -> ScalarMappable:
        """Colours and boundaries, for the colour bar."""
        boundaries = self.boundaries
        colors = palette(len(boundaries) - 1)
        return ScalarMappable(BoundaryNorm(boundaries, colors.N), colors)

    def ticks(self) -> tuple[list[float], list[str]]:
        """Where the colour bar is labelled, and with what: each level, and "> maximum" for the open band."""
        places, names = [float(v) for v in self.levels], [f"{v:.6g}" for v in self.levels]
        if self.levels[-1] >= 1e4:
            names = [number(float(v)) for v in self.levels]
        if self.capped:
            places[-1], names[-1] = float(self.boundaries[-2:].mean()), f"> {names[-1]}"
        return places, names


def scale_of(values: Iterable[np.ndarray], *, cap: float | None = CAP, bands: int = BANDS) -> Scale:
    r"""Choose the levels from the data of all panels that share the scale.

    With the minimum :math:`m` of all finite values and the top :math:`M` (the maximum, but at most `cap`),
    :math:`l_k = m + (M - m)\,r^{k - n}`: the distance from the minimum grows geometrically, as in Garipov
    et al. (arXiv 1802.10026). The lowest band is as wide as the lowest 4 % of the values are high above the
    minimum, but between 1/1000 and 1/20 of the whole. Levels are rounded to one or two digits, so that the
    numbers on the colour bar are the levels.

    Args:
        values: One array per panel, in nats (or as shares for errors, then with `cap=None`).
        cap: Values above this share the last colour; raised to three times the minimum if that is larger.
            None for no cap.
        bands: Number of bands up to the top.

    Returns:
        The scale.
    """
    flat = np.concatenate([np.ravel(v) for v in values])
    finite = flat[np.isfinite(flat)]
    if finite.size == 0:
        return Scale(np.linspace(0.0, 1.0, bands + 1), capped=False)
    low, top = float(finite.min()), float(finite.max())
    if cap is not None:
        top = min(top, max(cap, 3 * low))
    span = top - low
    if span <= 1e-9 * max(1.0, abs(low)):
        width = max(abs(low), 1.0) * 1e-3
        return Scale(low + width * np.arange(bands + 1), capped=False)
    first = float(np.clip(np.quantile(finite - low, 0.04), span / 1000, span / 20))
    excess = first * (span / first) ** (np.arange(bands) / (bands - 1))
    levels = [_round(low, first, down=True), *(_round(low + e, e) for e in excess[:-1])]
    capped = top < finite.max()
    # the last level holds the maximum below it, unless it is the cap
    levels.append(top if capped and top == cap else -_round(-top, excess[-1] / 10, down=True))
    return Scale(np.unique(levels), capped=capped)


def steps_of(values: np.ndarray, *, bands: int = 8) -> Scale:
    """Levels for values that begin at zero: 0, then 1, 2, 5, 10, … times a power of ten up to the maximum.

    Args:
        values: Values, such as barriers; at most zero counts as zero.
        bands: Largest number of bands; the lowest steps are left out first.

    Returns:
        The scale, on which no value is above the last level.
    """
    positive = values[np.isfinite(values) & (values > 0)]
    if positive.size == 0:
        return Scale(np.array([0.0, 0.5, 1.0]), capped=False)
    decades = np.arange(np.floor(np.log10(positive.min())), np.ceil(np.log10(positive.max())) + 1)
    steps = np.array([float(f"{m}e{int(d)}") for d in decades for m in (1, 2, 5)])
    last = int(np.searchsorted(steps, positive.max()))
    first = max(int(np.searchsorted(steps, positive.min(), side="right")) - 1, last - bands + 1, 0)
    return Scale(np.concatenate([[0.0], steps[first : last + 1]]), capped=False)


def _round(value: float, resolution: float, down: bool = False) -> float:
    """Round to the decimal place of the resolution's first digit."""
    decimals = int(-np.floor(np.log10(resolution)))
    factor = 10.0**decimals
    return round(float(np.floor(value * factor) if down else np.round(value * factor)) / factor, max(decimals, 0))
