"""The first term of the generalisation bound behind SAM."""

from __future__ import annotations

from landscape.measures.measured import Measured, Point
from landscape.measures.sam_sharpness import RHOS
from landscape.measures.worst import worst_losses
from landscape.settings import Count, NonNegativeCount, Positive


def sam_bound(
    point: Point, *, rho: tuple[Positive, ...] = RHOS, steps: Count = 10, restarts: NonNegativeCount = 1
) -> Measured:
    r""":math:`\max_{\|\epsilon\|_2 \le \rho} L_S(\theta + \epsilon)`, the first term of SAM's bound.

    .. math:: L_D(\theta) \le \max_{\|\epsilon\|_2 \le \rho} L_S(\theta + \epsilon) + h(\|\theta\|^2 / \rho^2)

    In units of the loss; found as `pgd_sharpness` finds it, so a lower bound of the maximum. The second term, whose h
    is only known to increase, is not part of it.

    Args:
        point: Where.
        rho: Radii, distances in weight space.
        steps: Steps from each start.
        restarts: Random starts beside the one-step point.

    References:
        Foret et al., "Sharpness-aware minimization for efficiently improving generalization", arXiv 2010.01412.
    """
    return Measured.of(worst_losses(point, rho, 2.0, steps, restarts))
