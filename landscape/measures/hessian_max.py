"""The largest eigenvalue of the Hessian."""

from __future__ import annotations

from landscape.measures.curved import budget, top
from landscape.measures.measured import Measured, Point
from landscape.objective.curvature import Hessian
from landscape.settings import Count, Positive


def hessian_max(
    point: Point, *, tolerance: Positive = 1e-3, max_products: Count = 1000, memory: Positive | None = None
) -> Measured:
    r""":math:`\lambda_{\max}(\nabla^2 L(\theta))`, in units of the loss per squared distance in weight space.

    The largest in value, not in magnitude, with the relative residual :math:`\|Hv - \lambda v\| / |\lambda|` of its
    pair as `residual`.

    Args:
        point: Where.
        tolerance: For the residual.
        max_products: Products with the Hessian at most.
        memory: MiB that kept graphs may take; 2048 on the CPU by default.
    """
    hessian = Hessian(point.objective, point.theta, memory_budget=budget(memory))
    values, residuals = top(point, hessian, 1, tolerance, max_products)
    return Measured.of(values[0], residual=residuals[0])
