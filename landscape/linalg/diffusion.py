r"""How far a path gets: mean squared displacement against lag, and the exponent of its growth.

.. math:: \operatorname{MSD}(\tau) = \langle \|x_{t + \tau} - x_t\|^2 \rangle_t \sim \tau^\alpha

A random walk has :math:`\alpha = 1`, straight motion 2, and a walk that is held back (in a bowl, say) less than 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from landscape.errors import RequestError
from landscape.linalg.student import widened

SHORTEST = 20
"""Points of a path from which a growth can be fitted."""


class Sketch:
    r"""A random linear map to few dimensions that keeps squared lengths in the mean, :math:`E\|Sx\|^2 = \|x\|^2`.

    Each coordinate is added, with a random sign, to one random entry; the squared length has a relative standard
    deviation of at most :math:`\sqrt{2 / k}`. A path of a large network is kept by its sketches.

    Args:
        dim: Dimension of the vectors.
        size: k.
        generator: Randomness, on the CPU.

    References:
        Charikar, Chen & Farach-Colton, "Finding frequent items in data streams", ICALP 2002 (the count sketch).
    """

    def __init__(self, dim: int, size: int, generator: torch.Generator) -> None:
        self.size = size
        self._places = torch.randint(size, (dim,), generator=generator)
        self._signs = torch.randint(2, (dim,), generator=generator, dtype=torch.int8) * 2 - 1

    def __call__(self, vector: Tensor) -> Tensor:
        """The sketch of a vector, shape `(D,)` to `(k,)`."""
        places, signs = self._places.to(vector.device), self._signs.to(vector.device)
        return vector.new_zeros(self.size).index_add_(0, places, vector * signs)


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

    lags: Tensor
    displacement: Tensor
    exponent: float
    stderr: float


def lags_up_to(longest: int, count: int = 12) -> Tensor:
    """At most so many lags from 1 to the longest, evenly spread by their logarithm, shape `(L,)`."""
    spread = torch.logspace(0, math.log10(longest), count, dtype=torch.float64)
    return torch.tensor(sorted(set(spread.round().int().tolist())))


def diffusion(path: Tensor, *, blocks: int = 8, longest: float = 0.1) -> Diffusion:
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
    path = path.double()
    lags = lags_up_to(max(3, int(longest * count)))
    edges = torch.linspace(0, count, blocks + 1)[1:-1]
    sums = torch.zeros(blocks, len(lags), dtype=torch.float64)
    counts = torch.zeros_like(sums)
    for place, lag in enumerate(lags.tolist()):
        squares = (path[lag:] - path[:-lag]).square().sum(-1).cpu()
        block = torch.bucketize(torch.arange(len(squares)), edges, right=True)
        sums[:, place].index_add_(0, block, squares)
        counts[:, place].index_add_(0, block, torch.ones_like(squares))
    total, number = sums.sum(0), counts.sum(0)
    left_out = _slope(lags, (total - sums) / (number - counts))
    spread = ((blocks - 1) / blocks * (left_out - left_out.mean()).square().sum()).sqrt()
    slope = float(_slope(lags, total / number))
    return Diffusion(lags, total / number, slope, widened(blocks) * float(spread))


def _slope(lags: Tensor, displacement: Tensor) -> Tensor:
    """The least-squares slope of the logarithms, shape `(*, L)` to `(*)`."""
    x = lags.double().log()
    x = x - x.mean()
    slope: Tensor = (x * displacement.log()).sum(-1) / x.square().sum()
    return slope
