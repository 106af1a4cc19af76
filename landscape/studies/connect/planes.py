"""The planes that `connect` draws: one through each fitted curve, and one through the first three checkpoints.

And the curve between equal checkpoints, which spans none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape.geometry.measure import FittedPlane, fit_plane
from landscape.geometry.slices import Curve, Line
from landscape.sweeps import store
from landscape.sweeps.schema import Variable

DISTANCE = {"units": "distance in weight space"}
MARGIN = 0.25
"""Margin beyond what a plane shows, as a share of the distance between the end points."""


class Still(Line):
    """A curve between equal points, which stays at the first one bit for bit."""

    def basis(self, t: Tensor) -> Tensor:
        """:math:`(1, 0)`."""
        return torch.stack([torch.ones_like(t), torch.zeros_like(t)], dim=-1)


def settled(curve: Curve) -> Curve:
    """The curve itself; where all its control points are equal, one on which rounding changes nothing."""
    points = curve.control_points
    return Still(points[[0, -1]]) if bool((points == points[0]).all()) else curve


@dataclass(frozen=True)
class PlaneGrid:
    """A plane for each pair on common axes, and what is marked on it.

    Args:
        name: The curve's name, or `optima`.
        planes: One for each pair; None where both ends are the same point. The plane of the optima is the only one.
        curves: The curve in each plane, or None for the plane of the optima.
        t: Where the curves' projections are kept, shape `(T,)`.
        size: Grid points on each axis.
    """

    name: str
    planes: Sequence[FittedPlane | None]
    curves: Sequence[Curve] | None
    t: np.ndarray
    size: int

    @property
    def num_points(self) -> int:
        """Number of points that span a plane."""
        return max(len(plane.products) for plane in self.planes if plane is not None)

    def points(self) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates `(pairs, num_points, 2)` of the spanning points, and their distances from the plane."""
        return self._project([torch.eye(self.num_points, dtype=torch.float64)] * len(self.planes))

    def projections(self) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates `(pairs, T, 2)` of the curves, and their distances `(pairs, T)` from the plane."""
        assert self.curves is not None
        t = torch.from_numpy(self.t)
        return self._project([curve.basis(t) for curve in self.curves])

    def _project(self, weights: Sequence[Tensor]) -> tuple[np.ndarray, np.ndarray]:
        coordinates, residuals = [], []
        for plane, weight in zip(self.planes, weights, strict=True):
            if plane is None:
                coordinates.append(np.full((len(weight), 2), np.nan))
                residuals.append(np.full(len(weight), np.nan))
                continue
            projected, residual = plane.project(weight)
            coordinates.append(projected.numpy())
            residuals.append(residual.numpy())
        return np.stack(coordinates), np.stack(residuals)

    def axes(self) -> tuple[np.ndarray, np.ndarray]:
        """The labels of `alpha` and `beta`: all points and curves of all pairs, with a margin."""
        shown = self.points()[0].reshape(-1, 2)
        if self.curves is not None:
            shown = np.concatenate([shown, self.projections()[0].reshape(-1, 2)])
        low, high = np.nanmin(shown, axis=0), np.nanmax(shown, axis=0)
        margin = MARGIN * max(float(plane.products[-1, -1]) ** 0.5 for plane in self.planes if plane is not None)
        alpha, beta = (np.linspace(low[i] - margin, high[i] + margin, self.size) for i in (0, 1))
        return alpha, beta


def _span_a_plane(points: Tensor) -> bool:
    """Whether the ends differ and all distances are finite, which they aren't after a fit that diverged."""
    distances = (points - points[0]).double().square().sum(1)
    return bool(distances[-1] > 0 and distances.isfinite().all())


def plane_grids(thetas: Tensor, curves: Mapping[str, Sequence[Curve]], t: np.ndarray, size: int) -> list[PlaneGrid]:
    """The planes of a study.

    Args:
        thetas: The checkpoints, shape `(C, D)`.
        curves: For each fitted curve's name, one curve for each pair.
        t: Where the curves' projections are kept.
        size: Grid points on each axis; 0 for no planes.

    Returns:
        The plane of the optima first, if there are three different ones; pairs of equal ends span no plane.
    """
    if not size:
        return []
    grids = []
    if len(thetas) >= 3 and not torch.equal(thetas[0], thetas[2]):
        grids.append(PlaneGrid("optima", [fit_plane(thetas[:3])], None, t, size))
    for name, fitted in curves.items():
        points = [curve.control_points for curve in fitted]
        planes = [fit_plane(p) if _span_a_plane(p) else None for p in points]
        if any(plane is not None for plane in planes):
            grids.append(PlaneGrid(name, planes, fitted, t, size))
    return grids


def write_marks(path: Path, grid: PlaneGrid) -> None:
    """Store a plane's control points and its curve in the plane's coordinates, and how far they are from it."""
    points, distances = grid.points()
    values = {"point_alpha": points[..., 0], "point_beta": points[..., 1], "point_residual": distances}
    coords: dict[str, Any] = {"pair": np.arange(len(grid.planes)), "point": np.arange(grid.num_points), "t": grid.t}
    if grid.curves is None:
        values = {name: value[0] for name, value in values.items()}
        dims: dict[str, tuple[str, ...]] = dict.fromkeys(values, ("point",))
        del coords["pair"], coords["t"]
    else:
        dims = dict.fromkeys(values, ("pair", "point"))
        curve, residual = grid.projections()
        along = {"curve_alpha": curve[..., 0], "curve_beta": curve[..., 1], "residual": residual}
        values |= along
        dims |= dict.fromkeys(along, ("pair", "t"))
    node = f"connect/plane/{grid.name}"
    store.add_node(path, node, coords, {name: Variable(dims[name], attrs=DISTANCE) for name in values})
    for name, value in values.items():
        store.write(path, node, name, value)
