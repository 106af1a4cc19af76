"""The trace of the Hessian."""

from __future__ import annotations

from landscape.measures.curved import budget, trace_of
from landscape.measures.measured import Measured, Point
from landscape.objective.curvature import Hessian
from landscape.settings import Count, Positive


def hessian_trace(
    point: Point, *, relative_error: Positive = 0.02, max_products: Count = 1000, memory: Positive | None = None
) -> Measured:
    r""":math:`\operatorname{tr} \nabla^2 L(\theta)` by Hutch++, with its standard error.

    In units of the loss per squared distance in weight space. Weight decay adds :math:`\lambda D`.

    Args:
        point: Where.
        relative_error: Stop when the standard error is at most this share of the value.
        max_products: Products with the Hessian at most; where they end first, the standard error says so.
        memory: MiB that kept graphs may take; 2048 on the CPU by default.
    """
    hessian = Hessian(point.objective, point.theta, memory_budget=budget(memory))
    found = trace_of(point, hessian, hessian.dim, relative_error, max_products)
    return Measured.of(found.value, found.stderr)
