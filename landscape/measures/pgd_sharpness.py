"""SAM's sharpness by projected gradient ascent."""

from __future__ import annotations

import numpy as np

from landscape.measures.measured import Measured, Point
from landscape.measures.sam_sharpness import RHOS
from landscape.measures.worst import worst_losses
from landscape.settings import Count, Exponent, NonNegativeCount, Positive


def pgd_sharpness(
    point: Point,
    *,
    rho: tuple[Positive, ...] = RHOS,
    p: Exponent = 2.0,
    steps: Count = 10,
    restarts: NonNegativeCount = 1,
) -> Measured:
    r"""The largest rise of the loss found in a ball.

    .. math:: \max_{\|\epsilon\|_p \le \rho} L(\theta+\epsilon) - L(\theta)

    In units of the loss, on all samples at once. A lower bound of the maximum, at least what one step reaches
    (`sam_sharpness`), and never less for a larger radius. `landscape.measures.worst` says how it is found.

    Args:
        point: Where.
        rho: Radii, distances in weight space.
        p: Exponent of the ball's norm, from 1 to infinity.
        steps: Steps from each start.
        restarts: Random starts beside the one-step point.

    References:
        Foret et al., arXiv 2010.01412 (the sharpness); Madry et al., "Towards deep learning models resistant to
        adversarial attacks", arXiv 1706.06083 (projected ascent with restarts).
    """
    own = point.objective.loss(point.theta)
    return Measured.of(np.array(worst_losses(point, rho, float(p), steps, restarts)) - own)
