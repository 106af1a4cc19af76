"""The Fisher-Rao norm."""

from __future__ import annotations

import math
from typing import Literal

from landscape.measures.curved import budget
from landscape.measures.measured import Measured, Point, Remembered
from landscape.objective.curvature import Fisher
from landscape.settings import Positive


def fisher_rao_norm(
    point: Point, *, kind: Literal["exact", "empirical"] = "exact", memory: Positive | None = None
) -> Measured:
    r""":math:`\|\theta\|_{fr} = \sqrt{\theta^\top F(\theta)\, \theta}`, the length of the weights in Fisher's metric.

    In nats: how far the outputs' distribution moves, to first order, if all weights grow by their own size. It is the
    same for all weights that make the same network by a smooth map, rescaled ReLU layers among them. Weight decay is no
    part of F.

    Args:
        point: Where.
        kind: Whether targets come from the model's own distribution (`exact`) or are the data's (`empirical`).
        memory: MiB that kept graphs may take; 2048 on the CPU by default.

    References:
        Liang et al., "Fisher-Rao metric, geometry, and complexity of neural networks", arXiv 1711.01530 (its square,
        definition 1).
    """
    theta = point.theta
    matrix = Fisher(point.objective, theta, kind, memory_budget=budget(memory))
    image = Remembered(matrix, point.journal)(theta) - point.objective.weight_decay * theta
    return Measured.of(math.sqrt(max(0.0, float(theta.double() @ image.double()))))
