"""The largest eigenvalues of the Hessian."""

from __future__ import annotations

from landscape.errors import RequestError
from landscape.measures.curved import budget, top
from landscape.measures.measured import Measured, Point
from landscape.objective.curvature import Hessian
from landscape.settings import Count, Positive


def hessian_top(
    point: Point,
    *,
    k: Count = 5,
    tolerance: Positive = 1e-3,
    max_products: Count = 1000,
    memory: Positive | None = None,
) -> Measured:
    r""":math:`\lambda_1 \ge \dots \ge \lambda_k` of :math:`\nabla^2 L(\theta)`, copies of one included.

    In units of the loss per squared distance in weight space; with the relative residual of each pair as `residual`,
    and :math:`\lambda_1 / \lambda_k` (for k = 5 the :math:`\lambda_1 / \lambda_5` of the literature) as `ratio`.

    Args:
        point: Where.
        k: How many.
        tolerance: For the residuals.
        max_products: Products with the Hessian at most.
        memory: MiB that kept graphs may take; 2048 on the CPU by default.

    Raises:
        RequestError: If there are fewer parameters than k.
    """
    if k > len(point.theta):
        raise RequestError(
            f"measure 'hessian_top': {k} eigenvalues were asked for, but the network has {len(point.theta)} "
            "parameters: lower k"
        )
    hessian = Hessian(point.objective, point.theta, memory_budget=budget(memory))
    values, residuals = top(point, hessian, k, tolerance, max_products)
    return Measured.of(values, residual=residuals, ratio=values[0] / values[-1])
