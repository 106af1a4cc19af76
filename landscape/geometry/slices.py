r"""Slices of parameter space: maps from coordinates to parameters.

Every slice here is a linear combination of a few points :math:`w_0, \dots, w_n \in \mathbb{R}^D`,

.. math:: \theta(x) = \sum_j c_j(x)\, w_j,

so a slice is its points and its basis functions :math:`c_j`. The gradient of any loss with respect to a point is then
:math:`c_j(x) \nabla L(\theta(x))`: one ordinary gradient, whatever the slice.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from landscape.errors import RequestError, unknown
from landscape.objective.combination import combine


class Slice(ABC):
    """A map from coordinates, shape `(*, k)` (or `(*)` for curves), to parameters, shape `(*, D)`."""

    @property
    @abstractmethod
    def points(self) -> Tensor:
        """The points :math:`w_j`, shape `(n + 1, D)`."""

    @abstractmethod
    def basis(self, coordinates: Tensor) -> Tensor:
        """The coefficients :math:`c_j`, shape `(*, n + 1)`, in the coordinates' dtype."""

    def __call__(self, coordinates: Tensor | float) -> Tensor:
        """Map coordinates (a number is as good as a tensor) to parameters, shape `(*, D)`, in the points' dtype.

        A point that has coefficient 1 while all others have 0 is returned bit for bit.
        """
        if not isinstance(coordinates, Tensor):
            coordinates = torch.tensor(coordinates, dtype=torch.float64)
        return combine(self.basis(coordinates), self.points)


@dataclass(frozen=True)
class Affine(Slice):
    r"""A line, plane or space through an origin: :math:`\theta(x) = w_0 + \sum_j x_j d_j`.

    Args:
        origin: :math:`w_0`, shape `(D,)`.
        directions: :math:`d_1, \dots, d_k`, shape `(k, D)`, one to three of them; any lengths and angles.

    Raises:
        RequestError: If the shapes don't fit.
    """

    origin: Tensor
    directions: Tensor

    def __post_init__(self) -> None:
        shape = tuple(self.directions.shape)
        if len(shape) != 2 or shape[1:] != tuple(self.origin.shape) or not 1 <= shape[0] <= 3:
            raise RequestError(
                f"directions of shape {shape} don't fit an origin of shape {tuple(self.origin.shape)}: "
                "expected one to three rows (k, D) beside (D,)"
            )

    @property
    def points(self) -> Tensor:
        """The origin and the directions, shape `(1 + k, D)`."""
        return torch.cat([self.origin[None], self.directions])

    def basis(self, coordinates: Tensor) -> Tensor:
        r"""Coordinates :math:`x`, shape `(*, k)`, to :math:`(1, x_1, \dots, x_k)`, shape `(*, 1 + k)`."""
        return torch.cat([torch.ones_like(coordinates[..., :1]), coordinates], dim=-1)


@dataclass(frozen=True)
class Curve(Slice):
    r"""A curve :math:`\theta(t)`, :math:`t \in [0, 1]`, from the first control point to the last.

    Args:
        control_points: :math:`w_0, \dots, w_n`, shape `(n + 1, D)`, at least two.
    """

    control_points: Tensor

    def __post_init__(self) -> None:
        if self.control_points.ndim != 2 or len(self.control_points) < 2:
            raise ValueError(f"expected control points (n + 1, D), n >= 1; got {tuple(self.control_points.shape)}")

    @property
    def points(self) -> Tensor:
        """The control points."""
        return self.control_points

    @property
    def order(self) -> int:
        """The number n of segments of the control polygon."""
        return len(self.control_points) - 1

    @abstractmethod
    def velocity_basis(self, t: Tensor) -> Tensor:
        r"""Coefficients of :math:`\theta'(t) = \sum_j c_j'(t) w_j`, shape `(*, n + 1)`."""

    @abstractmethod
    def knots(self) -> Tensor:
        """The t between which the curve is smooth, from 0 to 1, float64."""


@dataclass(frozen=True)
class Bezier(Curve):
    r"""Bézier curve :math:`\theta(t) = \sum_j \binom{n}{j} (1-t)^{n-j} t^j w_j`.

    Args:
        control_points: :math:`w_0, \dots, w_n`, shape `(n + 1, D)`; the curve starts in the first and ends in the last.
    """

    def basis(self, t: Tensor) -> Tensor:
        """Bernstein polynomials at t, shape `(*)`, as `(*, n + 1)`."""
        return _bernstein(self.order, t)

    def velocity_basis(self, t: Tensor) -> Tensor:
        r""":math:`c_j' = n (B_{j-1}^{n-1} - B_j^{n-1})`."""
        lower = _bernstein(self.order - 1, t)
        edge = torch.zeros_like(lower[..., :1])
        return self.order * (torch.cat([edge, lower], -1) - torch.cat([lower, edge], -1))

    def knots(self) -> Tensor:
        """A polynomial is smooth throughout."""
        return torch.tensor([0.0, 1.0], dtype=torch.float64)


@dataclass(frozen=True)
class Polyline(Curve):
    r"""Polygonal chain through its control points, each segment taking the same share of t.

    Args:
        control_points: Ends and bends, shape `(n + 1, D)`; with one bend :math:`w_1` is reached at :math:`t = 1/2`.
    """

    def basis(self, t: Tensor) -> Tensor:
        """Hat functions at t, shape `(*)`, as `(*, n + 1)`."""
        position = t[..., None] * self.order - torch.arange(self.order + 1, device=t.device, dtype=t.dtype)
        return (1 - position.abs()).clamp_min(0)

    def velocity_basis(self, t: Tensor) -> Tensor:
        """The slopes of the hats; at a bend those of the segment that follows."""
        segment = (t * self.order).floor().clamp(0, self.order - 1).long()
        eye = torch.eye(self.order + 1, device=t.device, dtype=t.dtype)
        return self.order * (eye[segment + 1] - eye[segment])

    def knots(self) -> Tensor:
        """The ends and the bends."""
        return torch.linspace(0, 1, self.order + 1, dtype=torch.float64)


@dataclass(frozen=True)
class Line(Polyline):
    r"""Straight line :math:`\theta(t) = (1 - t)\,w_0 + t\,w_1`.

    Args:
        control_points: The two ends, shape `(2, D)`.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.control_points) != 2:
            raise ValueError(f"a line has two ends, got {len(self.control_points)} control points; use a polyline")

    def basis(self, t: Tensor) -> Tensor:
        """:math:`(1 - t, t)`; t may lie outside of [0, 1]."""
        return torch.stack([1 - t, t], dim=-1)


CURVES: dict[str, type[Curve]] = {"bezier": Bezier, "polyline": Polyline}
"""Curves that can be fitted, by name."""


def make_curve(name: str, control_points: Tensor) -> Curve:
    """A curve by its name in `CURVES` (or `linear`) through control points `(n + 1, D)`."""
    if name == "linear":
        return Line(control_points)
    if name not in CURVES:
        raise unknown("curve", name, CURVES)
    return CURVES[name](control_points)


def straight_control_points(start: Tensor, end: Tensor, bends: int) -> Tensor:
    """Control points at equal distances on the straight line, where the fit of a curve starts.

    Args:
        start: First end, shape `(D,)`.
        end: Last end, shape `(D,)`.
        bends: Number of points between them, at least 1.

    Returns:
        Shape `(bends + 2, D)`, the ends exact.
    """
    if bends < 1:
        raise RequestError(f"a curve needs at least one bend, got {bends}")
    t = torch.linspace(0, 1, bends + 2, dtype=torch.float64)
    return Line(torch.stack([start, end]))(t)


def _bernstein(degree: int, t: Tensor) -> Tensor:
    terms = [math.comb(degree, j) * (1 - t) ** (degree - j) * t**j for j in range(degree + 1)]
    return torch.stack(terms, dim=-1)
