"""The trace of the Hessian."""

from __future__ import annotations

from landscape.measures.curved import budget, curvature_trace
from landscape.measures.measured import Measured, Point
from landscape.objective.curvature import Hessian
from landscape.settings import Count, Positive


def hessian_trace(
    point: Point, *, relative_error: Positive = 0.02, max_products: Count = 1000, memory: Positive | None = None
) -> Measured:
    r""":math:`\operatorname{tr} \nabla^2 L(\theta)`, with its standard error.

    In units of the loss per squared distance in weight space. Weight decay adds :math:`\lambda D`. The trace is the sum
    of the Gauss-Newton matrix' and of what the network's own curvature adds, which is 0 where the network is piecewise
    linear; each is averaged over samples, with probes of their own (`landscape.measures.sampled_trace`). Where samples
    influence each other, as with the BatchNorm policy `batch`, it is Hutch++'s: `method` says which.

    Args:
        point: Where.
        relative_error: Stop when the standard error is at most this share of the value.
        max_products: Probes of each sample, or products with the Hessian, at most; where they end first, the standard
            error says so.
        memory: MiB that graphs may take; 2048 on the CPU by default.
    """
    return curvature_trace(
        point,
        lambda: Hessian(point.objective, point.theta, memory_budget=budget(memory)),
        residual=True,
        decay=point.objective.weight_decay,
        relative_error=relative_error,
        max_products=max_products,
        memory=memory,
    )
