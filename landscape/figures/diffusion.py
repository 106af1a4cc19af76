r"""How far a path gets: mean squared displacement against lag, and the exponent of its growth.

.. math:: \operatorname{MSD}(\tau) = \langle \|x_{t + \tau} - x_t\|^2 \rangle_t \sim \tau^\alpha

A random walk has :math:`\alpha = 1`, straight motion 2, and a walk that is held back (in a bowl, say) less than 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from landscape.errors import RequestError

Array = NDArray[np.float64]
SHORTEST = 20
"""Points of a path from which a growth can be fitted."""


@dataclass(frozen=True)
class Diffusion:
    r"""How a path's displacement grows.

    Args:
        lags: :math:`\tau`, in steps of the path, shape `(L,)`.
        displacement: Mean squared displacement, shape `(L,)`.
        exponent: :math:`\alpha`, the slope of its logarithm; NaN for a path that stands still.
        stderr: Standard error of the exponent by the jackknife over blocks of time, for few blocks widened so that
            1.96 of them hold 95 %. It says how well this path determines the exponent, not how much others differ.
    """

    lags: NDArray[np.int64]
    displacement: Array
    exponent: float
    stderr: float


def lags_up_to(longest: int, count: int = 12) -> NDArray[np.int64]:
    """At most so many lags from 1 to the longest, evenly spread by their logarithm, shape `(L,)`."""
    return np.unique(np.geomspace(1, longest, count).round().astype(np.int64))


def diffusion(path: Array, *, blocks: int = 8, longest: float = 0.1) -> Diffusion:
    """The mean squared displacement of a path and its exponent.

    Args:
        path: Positions at equal distances in time, shape `(T, k)`.
        blocks: Blocks of starting times for the standard error.
        longest: The longest lag as a share of the path: where it is longer, starting times overlap so much that the
            standard error is too small.

    Raises:
        RequestError: If the path is too short.
    """
    count = len(path)
    if count < SHORTEST:
        raise RequestError(f"a diffusion exponent needs a path of at least {SHORTEST} points, got {count}")
    path = np.asarray(path, np.float64)
    lags = lags_up_to(max(3, int(longest * count)))
    block = np.arange(count) * blocks // count
    sums, counts = np.zeros((blocks, len(lags))), np.zeros((blocks, len(lags)))
    for place, lag in enumerate(lags):
        squares = ((path[lag:] - path[:-lag]) ** 2).sum(-1)
        sums[:, place] = np.bincount(block[: count - lag], squares, blocks)
        counts[:, place] = np.bincount(block[: count - lag], minlength=blocks)
    total, number = sums.sum(0), counts.sum(0)
    if not (total > 0).all():
        return Diffusion(lags, total / number, np.nan, np.nan)
    left_out = _slope(lags, (total - sums) / (number - counts))
    spread = np.sqrt((blocks - 1) / blocks * ((left_out - left_out.mean()) ** 2).sum())
    widening = float(stdtrit(blocks - 1, 0.975)) / 1.96
    return Diffusion(lags, total / number, float(_slope(lags, total / number)), widening * float(spread))


def _slope(lags: NDArray[np.int64], displacement: Array) -> Array:
    """The least-squares slope of the logarithms, shape `(*, L)` to `(*)`."""
    x = np.log(lags) - np.log(lags).mean()
    slope: Array = (x * np.log(displacement)).sum(-1) / (x**2).sum()
    return slope
