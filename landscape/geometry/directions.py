r"""Directions to look along from a point of parameter space: rows :math:`d_1, \dots, d_k` of shape `(k, D)`.

A network whose layers can be rescaled without changing its function has no natural unit of length. Before pictures of
two networks may be compared, random directions are therefore normalised by the weights: each filter of a direction
gets the norm of its counterpart.

References:
    Li et al., "Visualizing the loss landscape of neural nets", arXiv 1712.09913, section 4 (filter normalisation) and
    section 7 (PCA of a trajectory).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from landscape.errors import RequestError, unknown
from landscape.geometry.measure import gram
from landscape.objective.combination import combine
from landscape.objective.parameters import Layout

NORMALIZATIONS = ("none", "unit", "filter", "layer")
PARALLEL = 1e-4
"""Sine of the angle below which two directions count as parallel: they span no plane that rounding leaves alone."""

Axes = Sequence[int | None]


def gaussian(num_directions: int, theta: Tensor, generator: torch.Generator) -> Tensor:
    r"""Directions with independent standard normal entries, of length near :math:`\sqrt D`.

    Args:
        num_directions: k.
        theta: Tells dimension, dtype and device, shape `(D,)`.
        generator: A generator on the CPU, so that a seed means the same on every device and in every precision.

    Returns:
        Shape `(k, D)`.
    """
    return torch.stack([torch.randn(len(theta), generator=generator).to(theta) for _ in range(num_directions)])


def normalize(directions: Tensor, theta: Tensor, layout: Layout, axes: Axes, by: str) -> Tensor:
    r"""Rescale directions by the weights.

    Args:
        directions: Shape `(k, D)`.
        theta: The weights, shape `(D,)`.
        layout: The tensors that they are made of.
        axes: The filter axis of each tensor, None for one without filters; see `parameters.filter_axes`.
        by: `filter`: every filter i of a tensor becomes :math:`d_i \|\theta_i\| / \|d_i\|`; `layer`: so does every
            tensor as a whole (one without filters in either case); `unit`: the direction gets length 1; or `none`.

    Returns:
        Shape `(k, D)`. Where a filter of the direction is 0 it stays 0.

    Raises:
        RequestError: For an unknown normalisation.
    """
    if by not in NORMALIZATIONS:
        raise unknown("normalisation", by, NORMALIZATIONS)
    if by == "none":
        return directions
    if by == "unit":
        return torch.stack([d * _ratio(theta.new_ones(()), d.double().norm().to(d)) for d in directions])
    rows = []
    for direction in directions:
        tensors = []
        for part, weights, axis in zip(layout.split(direction), layout.split(theta), axes, strict=True):
            kept = [axis] if by == "filter" and axis is not None else []
            summed = [dim for dim in range(part.ndim) if dim not in kept]
            norms = [tensor.double().square().sum(summed, keepdim=True).sqrt().to(part) for tensor in (weights, part)]
            tensors.append(part * _ratio(*norms))
        rows.append(layout.flatten(tensors))
    return torch.stack(rows)


def without_biases(directions: Tensor, layout: Layout, axes: Axes) -> Tensor:
    """Directions that leave biases and the weights of normalisation layers alone.

    Args:
        directions: Shape `(k, D)`.
        layout: The tensors.
        axes: None for the tensors that become 0.
    """
    parts = zip(layout.names, layout.sizes, axes, strict=True)
    mask = torch.cat([directions.new_full((size,), float(axis is not None)) for _, size, axis in parts])
    return directions * mask


def difference(thetas: Tensor) -> Tensor:
    r"""From the first of some points to each other, so that coordinate 1 is reached there.

    Args:
        thetas: Two to four points, shape `(1 + k, D)`.

    Returns:
        :math:`\theta_j - \theta_0`, shape `(k, D)`.
    """
    return thetas[1:] - thetas[0]


@dataclass(frozen=True)
class PrincipalAxes:
    r"""The directions along which some points vary most, as seen from the last one.

    Args:
        directions: Orthonormal, shape `(k, D)`.
        explained: Share of the points' variance about their mean along each, shape `(k,)`.
        coordinates: Of each point, distances from the last, shape `(T, k)`, float64.
        residuals: Distance of each point from the slice, shape `(T,)`, float64.
    """

    directions: Tensor
    explained: Tensor
    coordinates: Tensor
    residuals: Tensor


def principal_axes(thetas: Tensor, num_directions: int) -> PrincipalAxes:
    """PCA of checkpoints.

    Args:
        thetas: Shape `(T, D)`, in the order of the training; the last is the origin.
        num_directions: k.

    Raises:
        RequestError: If the points don't vary along so many directions.
    """
    differences = thetas - thetas[-1]
    products = gram(differences)
    centring = torch.eye(len(thetas), dtype=torch.float64) - 1 / len(thetas)
    values, vectors = torch.linalg.eigh(centring @ products @ centring)
    values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
    rank = int((values > 1e-12 * max(float(values[0]), math.ulp(0.0))).sum())
    if num_directions > rank:
        raise RequestError(
            f"{len(thetas)} checkpoints vary along {rank} directions, too few for {num_directions} axes: "
            "give more different checkpoints, or fewer axes"
        )
    weights = vectors[:, :num_directions] / values[:num_directions].sqrt()
    weights = weights * torch.sign(weights[weights.abs().argmax(0), torch.arange(num_directions)])
    directions = orthonormal(combine((centring @ weights).T, differences))
    coordinates, residuals = project(differences, directions)
    return PrincipalAxes(directions, values[:num_directions] / values.sum(), coordinates, residuals)


def project(differences: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """Coordinates of points in a slice, by least squares, and their distances from it.

    Args:
        differences: The points less the origin, shape `(T, D)`.
        directions: Independent, shape `(k, D)`.

    Returns:
        Shapes `(T, k)` and `(T,)`, float64.
    """
    count = len(differences)
    products = gram(torch.cat([differences, directions]))
    coordinates = torch.linalg.solve(products[count:, count:], products[count:, :count]).T
    residuals = differences.double() - coordinates.to(differences.device) @ directions.double()
    return coordinates, residuals.norm(dim=1).cpu()


def orthonormal(directions: Tensor) -> Tensor:
    """Gram and Schmidt's orthonormal rows that span the same, computed in float64: `(k, D)` to `(k, D)`."""
    rows: list[Tensor] = []
    for direction in directions.double():
        direction = direction / direction.norm()
        for _ in range(2):  # twice is enough
            for row in rows:
                direction = direction - (direction @ row) * row
            direction = direction / direction.norm()
        rows.append(direction)
    return torch.stack(rows).to(directions)


def orthogonalize(directions: Tensor) -> Tensor:
    """Make each direction orthogonal to those before it, and keep its length; the first stays bit for bit.

    Args:
        directions: Independent (see `check`), shape `(k, D)`.
    """
    lengths = directions.double().norm(dim=1, keepdim=True).to(directions)
    return torch.cat([directions[:1], (orthonormal(directions) * lengths)[1:]])


def angles(directions: Tensor) -> Tensor:
    """Angles between directions in degrees, shape `(k, k)`, float64, 0 on the diagonal."""
    products = gram(directions)
    lengths = products.diagonal().sqrt()
    cosines = (products / lengths[:, None] / lengths[None]).clamp(-1, 1)
    return torch.rad2deg(torch.arccos(cosines)).fill_diagonal_(0)


def check(directions: Tensor, names: Sequence[str]) -> Tensor:
    """Refuse directions that span no slice.

    Args:
        directions: Shape `(k, D)`.
        names: What to call each in an error.

    Returns:
        The same.

    Raises:
        RequestError: If one is zero or not finite, or they are linearly dependent.
    """
    for direction, name in zip(directions, names, strict=True):
        if not bool(direction.isfinite().all()):
            raise RequestError(f"direction '{name}' holds values that are not finite: nothing can be drawn along it")
        if not bool(direction.any()):
            raise RequestError(f"direction '{name}' is zero: expected one that leads away from the checkpoint")
    products = gram(directions)
    lengths = products.diagonal().sqrt()
    correlations = products / lengths[:, None] / lengths[None]
    for second in range(1, len(directions)):
        before = correlations[:second, :second]
        explained = float(correlations[second, :second] @ torch.linalg.solve(before, correlations[:second, second]))
        if 1 - explained < PARALLEL**2:
            what = (
                f"'{names[0]}' and '{names[1]}' are parallel" if second == 1 else f"'{names[second]}' lies in a plane"
            )
            tail = "" if second == 1 else " with those before it"
            raise RequestError(f"directions {what}{tail}: expected independent ones, which span the slice")
    return directions


def _ratio(wanted: Tensor, length: Tensor) -> Tensor:
    """What to multiply by to get another length; 0 where there is nothing to multiply."""
    return torch.where(length > 0, wanted / length, torch.zeros_like(length))
