"""The trace of the Fisher information matrix."""

from __future__ import annotations

from typing import Literal

from landscape.measures.curved import budget, curvature_trace
from landscape.measures.measured import Measured, Point
from landscape.objective.curvature import Fisher
from landscape.objective.fisher import check_kind
from landscape.settings import Count, Positive


def fisher_trace(
    point: Point,
    *,
    kind: Literal["exact", "empirical"] = "exact",
    relative_error: Positive = 0.02,
    max_products: Count = 1000,
    memory: Positive | None = None,
) -> Measured:
    r""":math:`\operatorname{tr} F`, the mean squared length of a sample's gradient, with its standard error.

    Per squared distance in weight space, in squared nats. `exact` takes targets from the model's own distribution (for
    cross-entropy and mse the trace is then that of the Gauss-Newton matrix), `empirical` those of the data, which takes
    one pass and is exact. Weight decay is no part of it. By Hutch++ where samples influence each other: `method` says
    which.

    Args:
        point: Where.
        kind: Where targets come from.
        relative_error: Stop when the standard error is at most this share of the value.
        max_products: Probes of each sample, or products with the matrix, at most.
        memory: MiB that graphs may take; 2048 on the CPU by default.

    References:
        Kunstner, Balles & Hennig, "Limitations of the empirical Fisher approximation for natural gradient descent",
        arXiv 1905.12558 (the kinds).
    """
    check_kind(kind, point.objective.loss_function)
    return curvature_trace(
        point,
        lambda: Fisher(point.objective, point.theta, kind, memory_budget=budget(memory)),
        empirical=kind == "empirical",
        decay=0.0,
        relative_error=relative_error,
        max_products=max_products,
        memory=memory,
    )
