r"""The mean loss around a point under a normal perturbation, as all average-case measures need it.

.. math:: \mathbb{E}_{\epsilon = T z}\, L(\theta + \epsilon) - L(\theta), \qquad z \sim N(0, \sigma^2 I),
          \qquad \sigma = \rho / \sqrt D,

so that :math:`T^{-1} \epsilon` has the root mean square length :math:`\rho`: comparable with a ball of that radius.
Draws come in pairs z and −z, which removes the linear term's variance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from landscape.measures.measured import Measured, Point, widened


def average_rise(point: Point, rhos: Sequence[float], pairs: int, units: Tensor | None = None) -> Measured:
    r"""The mean rise of the loss for each of some lengths; the same draws serve them all.

    Args:
        point: The centre.
        rhos: :math:`\rho`.
        pairs: How many pairs of draws.
        units: T, shape `(D,)`; None for 1.

    Returns:
        Values of shape `(rho,)` with the standard error over pairs.
    """
    own = point.objective.loss(point.theta)
    rises = np.empty((pairs, len(rhos)))
    for number in range(pairs):
        drawn = point.normal() / math.sqrt(len(point.theta))
        step = drawn if units is None else units * drawn
        for place, rho in enumerate(rhos):
            rises[number, place] = (point.rise(rho * step) + point.rise(-rho * step)) / 2 - own
    return Measured.of(rises.mean(0), widened(pairs) * rises.std(0, ddof=1) / math.sqrt(pairs))
