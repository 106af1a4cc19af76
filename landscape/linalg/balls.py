r"""Euclidean projection onto balls of lp norms, :math:`\operatorname*{argmin}_{\|x\|_p \le \rho} \|x - y\|_2`."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from landscape.errors import RequestError
from landscape.linalg.norms import Lp

STEPS = 60
"""Bisections for a general p: as many as float64 has digits."""


def project(y: Tensor, rho: float, p: float) -> Tensor:
    r"""The nearest point of a ball around 0.

    For 1 < p < ∞, and but for p = 2, where a scaling does it, stationarity asks for
    :math:`|x_i| + \lambda |x_i|^{p-1} = |y_i|` with a :math:`\lambda \ge 0` that is found by bisection, as is each
    :math:`x_i`.

    Args:
        y: Any shape, taken as one vector.
        rho: Radius :math:`\rho > 0`.
        p: From 1 to infinity.

    Returns:
        The projection, shaped as y; y itself if it lies in the ball.

    Raises:
        RequestError: If the radius isn't positive or p is less than 1.
    """
    if not rho > 0:
        raise RequestError(f"the radius rho of a ball must be positive, got {rho}")
    norm = Lp(p)
    length = float(norm.norm(y))
    if length <= rho:
        return y
    if math.isinf(p):
        return y.clamp(-rho, rho)
    if p == 2:
        return y * (rho / length)
    size = y.abs().double()
    if p == 1:
        x = _simplex(size.reshape(-1), rho).view_as(size)
    else:
        low, high = 0.0, 1.0
        while float(norm.norm(_shrunk(size, high, p))) > rho:
            low, high = high, 4 * high
        for _ in range(STEPS):
            middle = (low + high) / 2
            low, high = (middle, high) if float(norm.norm(_shrunk(size, middle, p))) > rho else (low, middle)
        x = _shrunk(size, high, p)
    return (x * y.sign()).to(y)


def _simplex(size: Tensor, rho: float) -> Tensor:
    """Sizes lowered by one threshold so that they add up to rho, shape `(D,)`."""
    ordered = size.sort(descending=True).values
    excess = (ordered.cumsum(0) - rho) / torch.arange(1, len(size) + 1, device=size.device)
    last = int((ordered > excess).nonzero()[-1])
    return (size - excess[last]).clamp(min=0)


def _shrunk(size: Tensor, weight: float, p: float) -> Tensor:
    """The solution x of x + weight x^(p-1) = size, element by element, by bisection."""
    low, high = torch.zeros_like(size), size.clone()
    for _ in range(STEPS):
        middle = (low + high) / 2
        above = middle + weight * middle.pow(p - 1) > size
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return (low + high) / 2
