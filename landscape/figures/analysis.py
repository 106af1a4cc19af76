"""Labelled data in, labelled data out: barriers, their matrix, and the planes of a `connect` store."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from landscape.errors import RequestError, unknown
from landscape.figures.labels import shorten


def dataset(tree: xr.DataTree, node: str) -> xr.Dataset:
    """The data of one node of a store.

    Raises:
        RequestError: If the store has no such node.
    """
    if node not in tree.groups and f"/{node}" not in tree.groups:
        raise RequestError(f"the store has no '{node}': expected one that `landscape {node.split('/')[0]}` wrote")
    found = tree[node]
    assert isinstance(found, xr.DataTree)
    data = found.to_dataset()
    if not data.data_vars:
        raise RequestError(f"the store's '{node}' is empty yet: repeat the command that writes it")
    return data


def checkpoints(connect: xr.Dataset) -> list[str]:
    """Names of the checkpoints of all pairs, in the order in which they were given."""
    names: dict[str, None] = {}
    for name in connect["start"].values:
        names.setdefault(str(name))
    for name in connect["end"].values:
        names.setdefault(str(name))
    return list(names)


def barrier(connect: xr.Dataset, variable: str = "loss") -> xr.DataArray:
    r"""Height of the barrier along each curve.

    .. math:: \max_t \left[ L(t) - (1 - t) L(0) - t L(1) \right]

    Args:
        connect: Node `connect` of a store.
        variable: `loss` (nats) or `error` (share of the samples).

    Returns:
        The barrier with dimensions `pair`, `curve`, `split`, in the variable's units. Points that were not
        computed or are not finite don't count, so it is a lower bound then; NaN where an end point is missing.
        It is 0 at least, for the end points themselves are on the curve.

    References:
        Frankle et al., Linear mode connectivity and the lottery ticket hypothesis, arXiv 1912.05671.
    """
    values = connect[variable]
    t = connect["t"]
    first, last = values.isel(t=0, drop=True), values.isel(t=-1, drop=True)
    # Written so that rounding leaves it exact at both ends, and everywhere if they are equal.
    ends: xr.DataArray = (first + t * (last - first)).where(t < 0.5, last - (1 - t) * (last - first))
    excess = values.where(np.isfinite(values)) - ends.where(np.isfinite(ends))
    result: xr.DataArray = excess.max("t").rename("barrier").assign_attrs(values.attrs)
    result.attrs["long_name"] = f"{variable} barrier"
    return result.transpose("pair", "curve", "split")


def barrier_matrix(tree: xr.DataTree, variable: str = "loss") -> xr.DataArray:
    """Barriers between all checkpoints of a `connect` store.

    Args:
        tree: The store.
        variable: `loss` or `error`.

    Returns:
        Symmetric matrix with dimensions `curve`, `split`, `checkpoint`, `other`; 0 on the diagonal, NaN for
        pairs that were not connected.
    """
    connect = dataset(tree, "connect")
    heights = barrier(connect, variable)
    names = checkpoints(connect)
    shape = (connect.sizes["curve"], connect.sizes["split"], len(names), len(names))
    matrix = np.full(shape, np.nan)
    matrix[..., np.arange(len(names)), np.arange(len(names))] = 0.0
    for position in range(connect.sizes["pair"]):
        pair = heights.isel(pair=position)
        row, column = (names.index(str(pair[end].item())) for end in ("start", "end"))
        matrix[..., row, column] = matrix[..., column, row] = pair.transpose("curve", "split").values
    coords = {"curve": connect["curve"], "split": connect["split"], "checkpoint": names, "other": names}
    dims = ("curve", "split", "checkpoint", "other")
    return xr.DataArray(matrix, coords, dims, name="barrier", attrs=heights.attrs)


def select_pair(connect: xr.Dataset, pair: int | None) -> xr.Dataset:
    """One pair of a `connect` node by its label; the first one if none is given.

    Raises:
        RequestError: If there is no such pair.
    """
    if pair is None:
        return connect.isel(pair=0)
    if pair not in connect["pair"].values:
        raise unknown("pair", str(pair), [str(label) for label in connect["pair"].values])
    return connect.sel(pair=pair)


def select_split(data: xr.Dataset, split: str | None) -> str:
    """A split that the data have; `train`, or else their first one, if none is given.

    Raises:
        RequestError: If the data don't have it.
    """
    splits = [str(label) for label in data["split"].values]
    if split is None:
        return "train" if "train" in splits else splits[0]
    if split not in splits:
        raise unknown("split", split, splits)
    return split


@dataclass(frozen=True)
class PlaneData:
    """What is drawn of one plane through weight space.

    Args:
        name: `optima` or the curve's name.
        values: The measured value, dimensions `beta`, `alpha`; coordinates are distances in weight space.
        computed: Which points are done, same shape.
        points: Control points or optima in the plane, shape `(n, 2)`, as (alpha, beta).
        names: What each point is called in a figure, shortened.
        curve: The fitted curve in the plane, shape `(t, 2)`, or None for the plane of the optima.
        residual: Largest distance of the curve from the plane, or 0.
    """

    name: str
    values: xr.DataArray
    computed: np.ndarray
    points: np.ndarray
    names: list[str]
    curve: np.ndarray | None
    residual: float


def planes(tree: xr.DataTree, pair: int | None, split: str, variable: str = "loss") -> list[PlaneData]:
    """The planes of a store for one pair: that of the optima first, then those of the curves.

    Args:
        tree: A `connect` store.
        pair: Label of the pair, the first one if None.
        split: Split of the data.
        variable: `loss` or `error`.

    Returns:
        The planes that hold at least one computed point and aren't degenerate.
    """
    connect = dataset(tree, "connect")
    names = checkpoints(connect)
    ends = [str(select_pair(connect, pair)[end].item()) for end in ("start", "end")]
    if "connect/plane" not in tree.groups and "/connect/plane" not in tree.groups:
        return []
    called = dict(zip(names, shorten(names), strict=True))
    order = ["optima", *(str(curve) for curve in connect["curve"].values)]
    children = [str(child) for child in tree["connect/plane"].children]
    found = []
    for name in sorted(children, key=lambda child: (order.index(child) if child in order else 99, child)):
        data = dataset(tree, f"connect/plane/{name}")
        if not {variable, "point_alpha", "point_beta"} <= data.keys() or split not in data["split"].values:
            continue  # the run has not come that far
        if "pair" in data[variable].dims:
            data = select_pair(data, pair)
        values = data[variable].sel(split=split).transpose("beta", "alpha").load()
        computed = np.ones(values.shape, bool)
        if "status" in data:
            computed = data["status"].transpose("beta", "alpha").values > 0
        flat = any(np.ptp(values[dim].values) <= 0 for dim in ("alpha", "beta"))  # the same checkpoint twice
        if flat or not computed.any():
            continue
        points = np.stack([data["point_alpha"].values, data["point_beta"].values], axis=-1)
        curve = None
        if "curve_alpha" in data:
            curve = np.stack([data["curve_alpha"].values, data["curve_beta"].values], axis=-1)
        bends = ["bend"] if len(points) == 3 else [f"bend {k + 1}" for k in range(len(points) - 2)]
        these = [called[name] for name in (names[: len(points)] if curve is None else ends)]
        these = these if curve is None else [these[0], *bends, these[1]]
        residual = float(np.nanmax(data["residual"].values)) if "residual" in data else 0.0
        found.append(PlaneData(name, values, computed, points, these, curve, residual))
    return found
