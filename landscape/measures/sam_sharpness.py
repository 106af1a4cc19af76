"""SAM's sharpness by its one ascent step."""

from __future__ import annotations

import torch

from landscape.linalg.norms import Lp
from landscape.measures.measured import Measured, Point
from landscape.measures.worst import one_step
from landscape.settings import Exponent, Positive

RHOS = (0.02, 0.05, 0.1, 0.2)
"""Default radii, around the 0.05 with which networks are trained."""


def sam_sharpness(point: Point, *, rho: tuple[Positive, ...] = RHOS, p: Exponent = 2.0) -> Measured:
    r"""The rise of the loss by the first-order worst step in a ball.

    .. math:: L(\theta + \hat\epsilon) - L(\theta), \qquad
              \hat\epsilon = \rho \operatorname{sign}(g) |g|^{q-1} / (\|g\|_q^q)^{1/p}, \qquad g = \nabla L(\theta)

    In units of the loss, on all samples at once: what SAM's training sees on one batch, taken over the whole split. At
    a maximum or where the loss is steep beyond first order it may be negative.

    Args:
        point: Where.
        rho: Radii, distances in weight space.
        p: Exponent of the ball's norm, from 1 to infinity.

    References:
        Foret et al., "Sharpness-aware minimization for efficiently improving generalization", arXiv 2010.01412.
    """
    norm = Lp(float(p))
    own, slope = point.slope(torch.zeros_like(point.theta))
    return Measured.of([point.rise(one_step(slope, None, radius, norm)) - own for radius in rho])
