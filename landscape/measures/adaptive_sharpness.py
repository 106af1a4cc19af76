"""Worst-case adaptive sharpness."""

from __future__ import annotations

import numpy as np

from landscape.measures.measured import Measured, Point
from landscape.measures.sam_sharpness import RHOS
from landscape.measures.worst import worst_losses
from landscape.settings import Count, Exponent, NonNegativeCount, Positive


def adaptive_sharpness(
    point: Point,
    *,
    rho: tuple[Positive, ...] = RHOS,
    p: Exponent = 2.0,
    steps: Count = 10,
    restarts: NonNegativeCount = 1,
) -> Measured:
    r"""The largest rise of the loss where every weight moves in units of its own size.

    .. math:: \max_{\|T^{-1} \epsilon\|_p \le \rho} L(\theta + \epsilon) - L(\theta), \qquad T = |\theta|

    In units of the loss. Rescaling two layers of a ReLU network against each other changes neither the network nor
    this. A lower bound of the maximum, found as `pgd_sharpness` is.

    Args:
        point: Where.
        rho: Radii, relative to the weights (ASAM trains with 0.5 to 2).
        p: Exponent of the ball's norm, from 1 to infinity.
        steps: Steps from each start.
        restarts: Random starts beside the one-step point.

    References:
        Kwon et al., "ASAM: adaptive sharpness-aware minimization for scale-invariant learning of deep neural
        networks", arXiv 2102.11600.
    """
    own = point.objective.loss(point.theta)
    return Measured.of(np.array(worst_losses(point, rho, float(p), steps, restarts, point.theta.abs())) - own)
