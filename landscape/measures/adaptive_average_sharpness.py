"""Average-case adaptive sharpness."""

from __future__ import annotations

from landscape.measures.average import average_rise
from landscape.measures.measured import Measured, Point
from landscape.measures.sam_sharpness import RHOS
from landscape.settings import Draws, Positive


def adaptive_average_sharpness(point: Point, *, rho: tuple[Positive, ...] = RHOS, pairs: Draws = 20) -> Measured:
    r"""The mean rise of the loss where every weight moves by a normal step in units of its own size.

    .. math:: \mathbb{E}\, L(\theta + |\theta| \odot z) - L(\theta), \qquad z \sim N(0, \tfrac{\rho^2}{D} I)

    In units of the loss, with the standard error over the draws. As `adaptive_sharpness`, of which it is the average
    case, it doesn't see a rescaling of ReLU layers.

    Args:
        point: Where.
        rho: Root mean square lengths, relative to the weights.
        pairs: Pairs of draws, z and −z.

    References:
        Kwon et al., arXiv 2102.11600 (the unit of the weights).
    """
    return average_rise(point, rho, pairs, point.theta.abs())
