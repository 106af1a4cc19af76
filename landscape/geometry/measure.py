r"""Lengths along curves and planes through points, from inner products alone.

Curves have few control points in very many dimensions. Everything here works on their small Gram matrix
:math:`G_{ij} = \langle w_i - w_0, w_j - w_0 \rangle` in float64: :math:`\|\theta'(t)\|^2 = c'(t)^\top G\, c'(t)`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from landscape.errors import RequestError
from landscape.geometry.slices import Affine, Curve
from landscape.objective.combination import combine

QUADRATURE_NODES = 32
"""Gauss–Legendre nodes for each smooth stretch of a curve."""


def gram(vectors: Tensor, block: int = 1 << 22) -> Tensor:
    """Inner products in float64, read in blocks of columns: `(n, D)` to `(n, n)`."""
    result = torch.zeros(len(vectors), len(vectors), dtype=torch.float64, device=vectors.device)
    for start in range(0, vectors.shape[1], block):
        part = vectors[:, start : start + block].double()
        result += part @ part.T
    return result.cpu()


def arc_length(curve: Curve, t: Tensor) -> Tensor:
    r"""Distance travelled from the start, :math:`s(t) = \int_0^t \|\theta'(\tau)\|\, d\tau`.

    Args:
        curve: A curve in parameter space.
        t: Increasing values in [0, 1], shape `(P,)`.

    Returns:
        Shape `(P,)`, float64, in units of distance in weight space.
    """
    products = gram(curve.control_points - curve.control_points[0])
    t = t.double().cpu()
    cuts = torch.unique(torch.cat([torch.zeros(1, dtype=torch.float64), t, curve.knots()]))
    nodes, weights = (torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(QUADRATURE_NODES))
    starts, widths = cuts[:-1, None], (cuts[1:] - cuts[:-1])[:, None]
    velocity = curve.velocity_basis(starts + widths * (nodes + 1) / 2)
    speed = torch.einsum("...i,ij,...j->...", velocity, products, velocity).clamp_min(0).sqrt()
    pieces = (speed * weights * widths / 2).sum(-1)
    lengths = torch.cat([torch.zeros(1, dtype=torch.float64), pieces.cumsum(0)])
    return lengths[torch.searchsorted(cuts, t)]


@dataclass(frozen=True)
class FittedPlane:
    r"""An orthonormal plane near some points, whose coordinates are distances in weight space.

    The origin is the first point; the first axis leads to the last point.

    Args:
        plane: The plane.
        coordinates: Those of the points, shape `(n, 2)`, float64.
        products: Gram matrix of the points' differences to the first, shape `(n, n)`.
        residual_products: Gram matrix of their components orthogonal to the plane, shape `(n, n)`.
    """

    plane: Affine
    coordinates: Tensor
    products: Tensor
    residual_products: Tensor

    def project(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Project affine combinations of the points, such as `curve.basis(t)` of a curve through them.

        Args:
            weights: Coefficients that sum to 1, shape `(P, n)`; the identity for the points themselves.

        Returns:
            Coordinates `(P, 2)` and distances from the plane `(P,)`, float64.
        """
        weights = weights.double().cpu()
        squared = torch.einsum("pi,ij,pj->p", weights, self.residual_products, weights)
        return weights @ self.coordinates, squared.clamp_min(0).sqrt()


def fit_plane(points: Tensor) -> FittedPlane:
    r"""The plane through the first and the last point that is nearest to the others.

    Exact for three points. For more, the second axis is the leading principal direction of the points' components
    orthogonal to the first axis (least squares among the planes that hold both ends).

    Args:
        points: Shape `(n, D)`, at least two, the first and last of them distinct.

    Raises:
        RequestError: If the ends coincide.
    """
    differences = points - points[0]
    products = gram(differences)
    span = products[-1, -1].sqrt()
    if not span > 0:
        raise RequestError("the end points coincide: no plane is defined through them")
    first = torch.zeros(len(points), dtype=torch.float64)
    first[-1] = 1 / span
    along = products @ first
    # Differences minus their components along the first axis, as combinations of the differences.
    rejection = torch.eye(len(points), dtype=torch.float64) - along[:, None] * first[None]
    orthogonal = rejection @ products @ rejection.T
    values, vectors = torch.linalg.eigh(orthogonal)
    scale = torch.finfo(points.dtype).eps * products.diagonal().max()
    axis = F.normalize(differences[-1], dim=0)
    if len(points) > 2 and values[-1] > scale:
        weights = vectors[:, -1]
        weights = weights * torch.sign(weights[weights.abs().argmax()])
        direction = combine((weights @ rejection / values[-1].sqrt())[None], differences)[0]
        # Where the points are nearly on a line, rounding has left some of the first axis, and another length.
        direction = F.normalize(direction - (direction @ axis) * axis, dim=0)
    else:
        direction = _any_orthogonal(differences[-1])
    directions = torch.stack([axis, direction])
    coordinates = gram(torch.cat([differences, directions]))[:-2, -2:]
    rejections = differences - coordinates.to(directions) @ directions
    return FittedPlane(Affine(points[0], directions), coordinates, products, gram(rejections))


def _any_orthogonal(direction: Tensor) -> Tensor:
    """Some unit vector orthogonal to a direction, shape `(D,)`."""
    if len(direction) < 2:
        raise RequestError("a plane needs at least two parameters")
    other = torch.zeros_like(direction)
    other[direction.abs().argmin()] = 1
    other -= (direction @ other) / (direction @ direction) * direction
    return F.normalize(other, dim=0)
