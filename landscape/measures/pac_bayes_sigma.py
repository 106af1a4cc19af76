"""The perturbation that a network bears: PAC-Bayes' sigma."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from landscape.errors import RequestError
from landscape.measures.measured import Array, Measured, Point, State, widened
from landscape.settings import Draws, Positive

DOUBLINGS = 40
"""From the first guess the bracket is sought so far to either side."""
PRECISION = 5e-3
"""Of the solution, relative; far below the standard error that a few draws leave."""
NEARBY = 1.1
"""Factor between the sigmas from which the slope is taken."""


def pac_bayes_sigma(
    point: Point,
    *,
    increase: Positive = 0.1,
    draws: Draws = 15,
    quantity: Literal["error", "loss"] | None = None,
) -> Measured:
    r"""The :math:`\sigma` at which normal perturbations raise the error by so much in the mean.

    .. math:: \mathbb{E}_{z \sim N(0, I)}\, E(\theta + \sigma z) - E(\theta) = 0.1

    A distance in weight space for each coordinate: large in a wide minimum, and :math:`1/\sigma^2` is the complexity of
    a PAC-Bayes bound. The same draws serve every :math:`\sigma`; the standard error is that of the mean rise over the
    slope by :math:`\sigma`. Infinite where no perturbation raises the error so much.

    Args:
        point: Where.
        increase: Of the error, in [0, 1], or of the loss.
        draws: Random directions.
        quantity: `error`, or `loss`; by default the error where the objective has one.

    Raises:
        RequestError: If the objective has no error.

    References:
        Dziugaite & Roy, "Computing nonvacuous generalization bounds for deep (stochastic) neural networks", arXiv
        1703.11008; Jiang et al., "Fantastic generalization measures and where to find them", arXiv 1912.02178 (sigma by
        the fall of the accuracy by 0.1).
    """
    known = point.objective.metrics
    name = quantity or ("error" if "error" in known else "loss")
    if name == "error" and "error" not in known:
        raise RequestError("measure 'pac_bayes_sigma': the loss has no error beside it; set quantity=loss")
    directions = [point.seed() for _ in range(draws)]
    own = point.objective.evaluate(point.theta)[name]

    def rises(sigma: float) -> Array:
        def compute() -> State:
            found = [
                point.objective.evaluate(point.theta + sigma * _direction(seed, point))[name] for seed in directions
            ]
            return {"values": torch.tensor(found, dtype=torch.float64)}

        values: Array = point.journal(compute)["values"].numpy() - own
        return np.where(np.isfinite(values), values, np.inf)

    low = high = float(point.theta.double().norm()) / math.sqrt(len(point.theta)) * 0.1 or 1e-2
    for _ in range(DOUBLINGS):
        if rises(high).mean() >= increase:
            break
        low, high = high, 2 * high
    else:
        return Measured.of(math.inf)
    for _ in range(DOUBLINGS if low == high else 0):
        low, high = low / 2, low
        if rises(low).mean() < increase:
            break
    while high / low > 1 + PRECISION:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if rises(middle).mean() < increase else (low, middle)
    sigma = math.sqrt(low * high)
    slope = (rises(sigma * NEARBY).mean() - rises(sigma / NEARBY).mean()) / (sigma * (NEARBY - 1 / NEARBY))
    scatter = widened(draws) * float(rises(sigma).std(ddof=1)) / math.sqrt(draws)
    return Measured.of(sigma, scatter / slope if slope > 0 else math.inf)


def _direction(seed: int, point: Point) -> Tensor:
    """A direction drawn again from its seed: all together may not fit into memory."""
    return torch.randn(len(point.theta), generator=torch.Generator().manual_seed(seed)).to(point.theta)
