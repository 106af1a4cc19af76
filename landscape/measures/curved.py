"""Traces and eigenvalues of curvature matrices, as several measures need them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from landscape.linalg.lanczos import top_eigenpairs
from landscape.linalg.trace import Estimate, hutch_plus_plus
from landscape.measures.measured import Measured, Point, Remembered
from landscape.measures.sampled_trace import sampled_trace
from landscape.objective.operator import Curvature

METHODS = ("hutch++", "sampled")
"""How a trace was found; their places in this list are what is stored."""


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


def curvature_trace(
    point: Point,
    build: Callable[[], Curvature],
    *,
    residual: bool = False,
    empirical: bool = False,
    decay: float,
    relative_error: float,
    max_products: int,
    memory: float | None,
) -> Measured:
    """The trace of a curvature matrix with probes of each sample's own, or by Hutch++ where samples aren't independent.

    Args:
        point: Where.
        build: Makes the matrix, for Hutch++.
        residual: Whether it is the Hessian, which has more than the Gauss-Newton matrix.
        empirical: Whether it is the empirical Fisher matrix.
        decay: How much of weight decay's part of the trace counts: lambda, or 0.
        relative_error: Stop when the standard error is at most this share of the value.
        max_products: Products, or probes of each sample, at most.
        memory: MiB that graphs may take.

    Returns:
        The trace; `method` is a place in `METHODS`.
    """
    decayed = decay * len(point.theta)
    goal: dict[str, Any] = {"relative_error": relative_error, "max_products": max_products}
    sampled = sampled_trace(point, residual=residual, empirical=empirical, known=decayed, memory=budget(memory), **goal)
    if sampled is not None:
        return Measured.of(sampled.value, math.sqrt(sampled.variance), method=METHODS.index("sampled"))
    matrix = build()
    undecayed = (decay - matrix.weight_decay) * matrix.dim
    found = trace_of(point, matrix, matrix.dim, **goal)
    return Measured.of(found.value + undecayed, found.stderr, method=METHODS.index("hutch++"))


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
