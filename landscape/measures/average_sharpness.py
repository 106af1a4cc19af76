"""Average-case sharpness."""

from __future__ import annotations

from landscape.measures.average import average_rise
from landscape.measures.measured import Measured, Point
from landscape.measures.sam_sharpness import RHOS
from landscape.settings import Draws, Positive


def average_sharpness(point: Point, *, rho: tuple[Positive, ...] = RHOS, pairs: Draws = 20) -> Measured:
    r"""The mean rise of the loss under normal perturbations.

    .. math:: \mathbb{E}\, L(\theta + \epsilon) - L(\theta), \qquad \epsilon \sim N(0, \tfrac{\rho^2}{D} I)

    In units of the loss, with the standard error over the draws; :math:`\frac{\rho^2}{2D} \operatorname{tr} \nabla^2 L`
    for small radii.

    Args:
        point: Where.
        rho: Root mean square lengths of the perturbation, distances in weight space.
        pairs: Pairs of draws, :math:`\epsilon` and :math:`-\epsilon`.
    """
    return average_rise(point, rho, pairs)
