"""Traces of curvature matrices, as several measures need them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from landscape.linalg.lanczos import top_eigenpairs
from landscape.linalg.trace import Estimate, hutch_plus_plus
from landscape.measures.measured import Point, Remembered


def trace_of(
    point: Point, matvec: Callable[[Tensor], Tensor], dim: int, relative_error: float, max_products: int
) -> Estimate:
    """The trace of an operator by Hutch++; each product is kept in the point's journal."""
    return hutch_plus_plus(
        Remembered(matvec, point.journal),
        dim,
        relative_error=relative_error,
        max_products=max_products,
        generator=point.generator,
        dtype=point.objective.dtype,
        device=point.objective.device,
    )


def budget(mebibytes: float | None) -> float | None:
    """A memory budget in bytes."""
    return None if mebibytes is None else mebibytes * 2**20


def top(point: Point, matvec: Callable[[Tensor], Tensor], k: int, tolerance: float, max_products: int) -> torch.Tensor:
    """The k largest eigenvalues and the relative residuals of their pairs, float64, shape `(2, k)`."""
    pairs = top_eigenpairs(
        Remembered(matvec, point.journal),
        len(point.theta),
        k,
        tolerance=tolerance,
        max_products=max_products,
        generator=point.generator,
        dtype=point.objective.dtype,
        device=point.objective.device,
    )
    return torch.stack([pairs.values, pairs.residuals])
