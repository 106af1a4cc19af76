"""The trace of the generalised Gauss-Newton matrix."""

from __future__ import annotations

from landscape.measures.curved import budget, trace_of
from landscape.measures.measured import Measured, Point
from landscape.objective.curvature import GaussNewton
from landscape.settings import Count, Positive


def ggn_trace(
    point: Point, *, relative_error: Positive = 0.02, max_products: Count = 1000, memory: Positive | None = None
) -> Measured:
    r""":math:`\operatorname{tr} \frac1n \sum_i J_i^\top \nabla_z^2 \ell_i J_i` by Hutch++, with its standard error.

    In units of the loss per squared distance in weight space. Weight decay adds :math:`\lambda D`.

    Args:
        point: Where.
        relative_error: Stop when the standard error is at most this share of the value.
        max_products: Products with the matrix at most.
        memory: MiB that kept graphs may take; 2048 on the CPU by default.
    """
    matrix = GaussNewton(point.objective, point.theta, memory_budget=budget(memory))
    found = trace_of(point, matrix, matrix.dim, relative_error, max_products)
    return Measured.of(found.value, found.stderr)
