"""What is read off a risk curve: thresholds, the best classical model, the peak, and the best beyond it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from landscape.errors import unknown
from landscape.figures.analysis import dataset

BAND = (0.1, 0.9)
"""Quantiles over repetitions between which a band is drawn."""
PROMINENCE = 1.1
"""A peak is this many times as high as the lowest risk on either of its sides."""
LINES = ("basis", "noise", "ridge")
"""The dimensions that tell risk curves apart."""
RISKS = ("loss", "error")
"""The quantities whose curves are read."""


@dataclass(frozen=True)
class Landmarks:
    """What is read off a median risk curve, as capacities; None where there is nothing to read.

    Args:
        theory: Where theory puts the interpolation threshold.
        measured: Where the training error was first below epsilon (for more and more samples: last).
        classical: The best model before the peak; of all, where there is none.
        peak: Where the risk stands highest above the lowest on both sides, and is never higher beyond.
        modern: The best model beyond the peak.
    """

    theory: float | None
    measured: float | None
    classical: float | None
    peak: float | None
    modern: float | None


def descent_data(tree: xr.DataTree, basis: str | None = None, node: str = "descent") -> xr.Dataset:
    """The risks of a sweep, loaded, with all of its line dimensions; points that aren't done are missing.

    Args:
        tree: A store of `landscape descent`.
        basis: Keep this basis only.
        node: Where they are in the store.

    Raises:
        RequestError: If the store has no such node or basis.
    """
    data = dataset(tree, node).load()
    if "status" in data:
        done = data["status"].isin((1, 2))
        data = data.map(
            lambda values: (
                values.where(done) if values.dtype.kind == "f" and set(done.dims) <= set(values.dims) else values
            )
        )
    if basis is not None:
        names = [str(name) for name in data["basis"].values] if "basis" in data.dims else []
        if basis not in names:
            raise unknown("basis", basis, names or ["none in this store"])
        data = data.sel(basis=[basis])
    return data.expand_dims([dim for dim in LINES if dim not in data.dims])


def parts_of(tree: xr.DataTree) -> list[xr.Dataset]:
    """The risks of each sweep of an experiment made of several, by the order of their names."""
    name = tree.attrs["experiment"]
    return [descent_data(tree, node=f"{name}/{part}") for part in json.loads(tree.attrs["recipe"])["recipe"]]


def lines(data: xr.Dataset) -> Iterator[tuple[dict[str, Any], xr.Dataset]]:
    """Each risk curve with its labels; dimensions without labels have none."""
    sizes = [data.sizes[dim] for dim in LINES]
    for place in np.ndindex(*sizes):
        at = dict(zip(LINES, place, strict=True))
        labels: dict[str, Any] = {dim: data[dim].values[index] for dim, index in at.items() if dim in data.coords}
        yield {dim: str(label) if dim == "basis" else float(label) for dim, label in labels.items()}, data.isel(at)


def over_repetitions(values: xr.DataArray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Median and the band's ends over repetitions, each of shape `(capacity)`.

    Args:
        values: Dimensions `capacity`, `seed` and possibly `draw`.
    """
    table = values.transpose("capacity", ...).values.reshape(values.sizes["capacity"], -1)
    found = np.full((3, len(table)), np.nan)
    for row, column in zip(table, found.T, strict=True):
        if not np.isnan(row).all():
            column[:] = np.nanquantile(row, (0.5, *BAND), method="inverted_cdf" if np.isinf(row).any() else "linear")
    return found[0], found[1], found[2]


def landmarks(line: xr.Dataset, name: str = "loss") -> Landmarks:
    """Read a risk curve.

    Args:
        line: `loss` and possibly `error`, with dimensions `capacity`, `seed`, `split` and possibly `draw`.
        name: Which of the two is the risk.
    """
    capacity = line["capacity"].values.astype(float)
    risk = over_repetitions(line[name].sel(split="test"))[0]
    theory = line.attrs.get("threshold")
    below = training_error(line) < float(line.attrs["epsilon"])
    measured = None
    if below.any():
        order = -1 if line.attrs.get("family") == "samples" else 0
        measured = float(capacity[below][order])
    known = np.flatnonzero(np.isfinite(risk) & (risk > 0))
    if not len(known):
        return Landmarks(theory, measured, None, None, None)
    places, heights = capacity[known], np.log(risk[known])
    before, after = np.minimum.accumulate(heights), np.minimum.accumulate(heights[::-1])[::-1]
    highest = heights >= np.maximum.accumulate(heights[::-1])[::-1]  # a rise that goes on is no peak
    prominence = np.where(highest, np.minimum(heights - before, heights - after), 0.0)
    peak = int(prominence.argmax())
    if prominence[peak] < math.log(PROMINENCE):
        return Landmarks(theory, measured, float(places[heights.argmin()]), None, None)
    classical, modern = int(heights[:peak].argmin()), peak + 1 + int(heights[peak + 1 :].argmin())
    return Landmarks(theory, measured, float(places[classical]), float(places[peak]), float(places[modern]))


def training_error(line: xr.Dataset) -> np.ndarray:
    """The median training error of each capacity; of a regression, its loss in units of the targets' variance."""
    if "error" in line:
        return over_repetitions(line["error"].sel(split="train"))[0]
    return over_repetitions(line["loss"].sel(split="train"))[0] / float(line.attrs["target_variance"])
