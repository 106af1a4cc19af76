r"""Thick-restart Lanczos for the ends of a spectrum, and the proof that nothing was missed there.

One start :math:`q` sees a single vector of each eigenspace, and rounding alone decides when a second copy appears. So
the pairs found are locked and a second run is made in their orthogonal complement from a random unit vector. There, a
unit eigenvector u with eigenvalue :math:`\lambda` satisfies, with the decomposition of `krylov`,

.. math:: |\langle q, u \rangle| \le \beta\, |e_1^\top (\lambda - T)^{-1} e_m| = 1 / |p_m(\lambda)|,

:math:`p_m` the Lanczos polynomial, which grows beyond the Ritz values. But a random q has an overlap below
:math:`\delta` with a fixed u with a probability of at most :math:`\delta \sqrt{2 n / \pi}` only (n the dimension). Once
the bound falls below that :math:`\delta`, no such eigenvalue exists, with the confidence that was asked for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from landscape.linalg.krylov import Array, Counted, Krylov, random_vector

ENDS = ("largest", "smallest", "both", "magnitude")

STRICTER = (0.9, 0.3, 0.1)
"""Estimated residuals go down to these shares of the tolerance until the true ones are below it."""

SLACK = 10.0
"""What lies beyond the last pair by less than this many tolerances isn't looked for."""


@dataclass(frozen=True)
class Eigenpairs:
    r"""Eigenpairs at the ends of a spectrum.

    Args:
        values: :math:`\lambda`, float64, shape `(k,)`, in the order asked for.
        vectors: Orthonormal, rows of shape `(k, D)`.
        residuals: True ones, :math:`\|A v - \lambda v\| / \max(|\lambda|, \sqrt[3]{\epsilon}\, \|A\|)`, float64, shape
            `(k,)`.
        converged: Which of them reached the tolerance, shape `(k,)`.
        products: How many products with the operator were made, checks included.
        exhaustive: Whether a second run excluded, with the confidence asked for, that an eigenvalue or a copy of one is
            missing.
    """

    values: Tensor
    vectors: Tensor
    residuals: Tensor
    converged: Tensor
    products: int
    exhaustive: bool


@dataclass(frozen=True)
class Request:
    """What is asked for; `top_eigenpairs` explains it."""

    which: str
    count: int
    tolerance: float
    max_products: int
    size: int
    confidence: float

    def order(self, values: Array) -> NDArray[np.intp]:
        """Indices of ascending values, those asked for first."""
        n = len(values)
        if self.which == "largest":
            return np.arange(n, dtype=np.intp)[::-1]
        if self.which == "smallest":
            return np.arange(n, dtype=np.intp)
        if self.which == "magnitude":
            return np.argsort(-np.abs(values), kind="stable")
        return np.array([n - 1 - i // 2 if i % 2 == 0 else i // 2 for i in range(n)], dtype=np.intp)

    def pick(self, values: Array) -> NDArray[np.intp]:
        """Indices of those asked for, in the order in which they are given back."""
        chosen = self.order(values)[: self.count]
        return np.sort(chosen)[::-1] if self.which == "both" else chosen

    def edges(self, values: Array, slack: Array) -> dict[int, float]:
        """Beyond which values nothing may be missing, by side: 1 above, -1 below; values as picked."""
        above, below = values + slack, values - slack
        if self.which == "largest":
            return {1: float(above[-1])}
        if self.which == "smallest":
            return {-1: float(below[-1])}
        if self.which == "magnitude":
            edge = abs(values[-1]) + slack[-1]
            return {1: float(edge), -1: -float(edge)}
        half = self.count // 2
        return {1: float(above[half - 1]), -1: float(below[half])}


@dataclass(frozen=True)
class _Pairs:
    """Orthonormal vectors, rows `(r, D)`, and their products with the operator."""

    vectors: Tensor
    products: Tensor

    def rotated(self, request: Request, scale: float) -> tuple[_Pairs, Array, Array]:
        """The Ritz pairs asked for within their span, with values and residual norms over max(|value|, floor)."""
        gram = (self.vectors.double() @ self.products.double().T).cpu().numpy()
        values, rotation = np.linalg.eigh((gram + gram.T) / 2)
        chosen = request.pick(values)
        turn = torch.from_numpy(rotation[:, chosen].T.copy()).to(self.vectors)
        pairs = _Pairs(turn @ self.vectors, turn @ self.products)
        values = values[chosen]
        rest = pairs.products - torch.from_numpy(values).to(self.vectors)[:, None] * pairs.vectors
        norms = torch.linalg.vector_norm(rest, dim=1, dtype=torch.float64).cpu().numpy()
        return pairs, values, norms / _size(values, scale, self.vectors.dtype)


def _size(values: Array, scale: float, dtype: torch.dtype) -> Array:
    """What residuals are relative to: the eigenvalue, or a small part of the operator's norm where that is more."""
    floor = torch.finfo(dtype).eps ** (1 / 3) * scale
    size: Array = np.maximum(np.abs(values), floor if floor > 0 else 1.0)
    return size


def solve(
    operator: Counted,
    request: Request,
    generator: torch.Generator,
    dtype: torch.dtype,
    device: torch.device | str,
    start: Tensor | None = None,
) -> Eigenpairs:
    """Find the pairs, verify them, and look for what was missed; `top_eigenpairs` has checked the arguments."""

    def fresh() -> Tensor:
        return random_vector(operator.dim, generator, dtype, device)

    first = fresh() if start is None else start.to(device, dtype)
    space = Krylov(operator, first, request.size, generator)
    for share in STRICTER:
        _search(space, operator, request, share * request.tolerance)
        pairs, values, residuals = _verified(space, operator, request)
        done = bool((residuals <= request.tolerance).all())
        if done or space.complete or operator.products + request.count >= request.max_products:
            break
    scale, exhaustive = space.scale, space.complete
    del space  # its memory serves the second run
    while done and not exhaustive and request.confidence > 0 and operator.products < request.max_products:
        slack = SLACK * request.tolerance * _size(values, scale, dtype)
        other = Krylov(operator, fresh(), request.size, generator, locked=pairs.vectors)
        found, exhaustive = _examine(other, operator, request, request.edges(values, slack), scale)
        if found is None:
            break
        joined = _Pairs(torch.cat([pairs.vectors, found.vectors]), torch.cat([pairs.products, found.products]))
        pairs, values, residuals = joined.rotated(request, scale)
        exhaustive = exhaustive and other.complete
    return Eigenpairs(
        values=torch.from_numpy(values.copy()),
        vectors=pairs.vectors,
        residuals=torch.from_numpy(residuals),
        converged=torch.from_numpy(residuals <= request.tolerance),
        products=operator.products,
        exhaustive=exhaustive,
    )


def _search(space: Krylov, operator: Counted, request: Request, tolerance: float) -> None:
    """Grow the basis until the estimated residuals of the pairs asked for reach a tolerance."""
    budget = request.max_products - request.count  # the rest verifies
    while True:
        if space.length >= request.count:
            values, vectors = space.ritz()
            chosen = request.pick(values)
            errors = space.beta * np.abs(vectors[-1, chosen]) / _size(values[chosen], space.scale, space.residual.dtype)
            if space.complete or operator.products >= budget or (errors <= tolerance).all():
                return
            if space.full:
                keep = request.order(values)[: _kept(request.count, space.size)]
                space.restart(values[keep], vectors[:, keep])
        space.grow()


def _kept(wanted: int, size: int) -> int:
    """How many Ritz vectors survive a restart: those asked for and some beyond, which speed up the next cycle."""
    return min(wanted + (size - wanted) // 2, size - 2) if size - 2 > wanted else wanted


def _verified(space: Krylov, operator: Counted, request: Request) -> tuple[_Pairs, Array, Array]:
    """The pairs asked for with their products."""
    values, vectors = space.ritz()
    lifted = space.lift(vectors[:, request.pick(values)])
    lifted = torch.linalg.qr(lifted.T).Q.T.contiguous()  # rounding of the lift
    return _Pairs(lifted, torch.stack([operator(v) for v in lifted])).rotated(request, space.scale)


def _examine(
    space: Krylov, operator: Counted, request: Request, edges: dict[int, float], scale: float
) -> tuple[_Pairs | None, bool]:
    """Look for eigenvalues beyond some edges in the complement of what was found.

    Returns:
        What was found there, or None, and whether more than that is excluded.
    """
    delta = (1 - request.confidence) * math.sqrt(math.pi / (2 * space.room))
    weights = {side: np.eye(1, space.size)[0] for side in edges}  # the start as seen from the basis and each edge
    while True:
        space.grow()
        values, vectors = space.ritz()
        beyond = np.zeros(len(values), dtype=bool)
        overlaps = []
        for side, edge in edges.items():
            beyond |= side * (values - edge) > 0
            parts = (vectors.T @ weights[side][: space.length]) * vectors[-1] * space.beta
            overlaps.append(abs(float((parts / _apart(edge - values)).sum())))
        errors = space.beta * np.abs(vectors[-1]) / _size(values, scale, space.residual.dtype)
        settled = bool((errors[beyond] <= STRICTER[-1] * request.tolerance).all())
        if beyond.any() and settled:
            lifted = space.lift(vectors[:, beyond])
            return _Pairs(lifted, torch.stack([operator(v) for v in lifted])), space.complete
        if not beyond.any() and (space.complete or max(overlaps) <= delta):
            return None, True
        if operator.products + int(beyond.sum()) >= request.max_products:
            return None, False
        if space.full:
            _restart(space, request, edges, weights, int(beyond.sum()))


def _restart(space: Krylov, request: Request, edges: dict[int, float], weights: dict[int, Array], beyond: int) -> None:
    """Restart, and carry over how the start is seen: an eigenvector's share in a dropped one follows from that in v."""
    values, vectors = space.ritz()
    order = request.order(values)
    count = min(max(beyond + 2, space.size // 2), space.size - 1)
    keep, drop = order[:count], order[count:]
    for side, edge in edges.items():
        shares = vectors.T @ weights[side]
        seen = np.zeros(space.size)
        seen[:count] = shares[keep]
        seen[count] = space.beta * float((shares[drop] * vectors[-1, drop] / _apart(edge - values[drop])).sum())
        weights[side] = seen
    space.restart(values[keep], vectors[:, keep])


def _apart(gaps: Array) -> Array:
    """Gaps that can be divided by."""
    return np.where(gaps == 0, np.finfo(np.float64).tiny, gaps)
