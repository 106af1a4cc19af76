"""The Frobenius norm of the Hessian."""

from __future__ import annotations

import math

from torch import Tensor

from landscape.measures.curved import budget, trace_of
from landscape.measures.measured import Measured, Point
from landscape.objective.curvature import Hessian
from landscape.settings import Count, Positive


def hessian_frobenius(
    point: Point, *, relative_error: Positive = 0.02, max_products: Count = 1000, memory: Positive | None = None
) -> Measured:
    r""":math:`\|\nabla^2 L(\theta)\|_F = \sqrt{\operatorname{tr} H^2}`, with its standard error to first order.

    In units of the loss per squared distance in weight space. The trace of the square is Hutch++'s, two products with
    the Hessian for each of its own.

    Args:
        point: Where.
        relative_error: Stop when the standard error is at most this share of the norm.
        max_products: Products with the Hessian at most.
        memory: MiB that kept graphs may take; 2048 on the CPU by default.
    """
    hessian = Hessian(point.objective, point.theta, memory_budget=budget(memory))

    def square(vector: Tensor) -> Tensor:
        return hessian(hessian(vector))

    found = trace_of(point, square, hessian.dim, 2 * relative_error, max_products // 2)
    norm = math.sqrt(max(0.0, float(found.value)))
    return Measured.of(norm, float(found.stderr) / (2 * norm) if norm > 0 else 0.0)
