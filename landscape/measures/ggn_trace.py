"""The trace of the generalised Gauss-Newton matrix."""

from __future__ import annotations

from landscape.measures.curved import budget, curvature_trace
from landscape.measures.measured import Measured, Point
from landscape.objective.curvature import GaussNewton
from landscape.settings import Count, Positive


def ggn_trace(
    point: Point, *, relative_error: Positive = 0.02, max_products: Count = 1000, memory: Positive | None = None
) -> Measured:
    r""":math:`\operatorname{tr} \frac1n \sum_i J_i^\top \nabla_z^2 \ell_i J_i`, with its standard error.

    In units of the loss per squared distance in weight space. Weight decay adds :math:`\lambda D`. Averaged over
    samples, with probes of their own, or exact where as many passes as there are outputs cost no more; by Hutch++ where
    samples influence each other: `method` says which.

    Args:
        point: Where.
        relative_error: Stop when the standard error is at most this share of the value.
        max_products: Probes of each sample, or products with the matrix, at most.
        memory: MiB that graphs may take; 2048 on the CPU by default.
    """
    return curvature_trace(
        point,
        lambda: GaussNewton(point.objective, point.theta, memory_budget=budget(memory)),
        decay=point.objective.weight_decay,
        relative_error=relative_error,
        max_products=max_products,
        memory=memory,
    )
