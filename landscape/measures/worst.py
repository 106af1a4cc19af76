r"""The largest loss in a ball around a point, as all worst-case measures need it.

.. math:: \max_{\|T^{-1} \epsilon\|_p \le \rho} L(\theta + \epsilon)

with the unit T of each weight: 1, or :math:`|\theta|`, so that the ball scales with the weights. Projected steepest
ascent finds a point of the ball, so what it returns is a lower bound of the maximum, and never below what one step
reaches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from landscape.linalg.balls import project
from landscape.linalg.norms import Lp
from landscape.measures.measured import Point

SMALLEST = 2.0**-6
"""Share of the radius below which steps are not halved any further."""


def one_step(gradient: Tensor, units: Tensor | None, rho: float, norm: Lp) -> Tensor:
    r""":math:`\hat\epsilon = -\rho\, T\, \mathrm{LMO}_p(T g)`, the worst step for the linear model, shape `(D,)`."""
    if units is None:
        return -rho * norm.lmo(gradient)
    return -rho * units * norm.lmo(units * gradient)


def worst_losses(
    point: Point, rhos: Sequence[float], p: float, steps: int, restarts: int, units: Tensor | None = None
) -> list[float]:
    r"""The largest loss found in each of some balls.

    From the one-step point, from the worst point of the next smaller ball, and from `restarts` random points of the
    sphere, each step goes along the steepest ascent of the norm and is projected back into the ball. It begins with the
    radius, and is halved where the loss would not rise.

    Args:
        point: The centre.
        rhos: Radii.
        p: Exponent of the norm.
        steps: Gradients for each start.
        restarts: Random starts for each radius.
        units: T, shape `(D,)`, not negative; None for 1.

    Returns:
        A loss for each radius, never less than the centre's or than that of a smaller ball; infinite or NaN
        where the loss is somewhere.
    """
    norm = Lp(float(p))
    scale = torch.ones_like(point.theta) if units is None else units
    own, slope = point.slope(torch.zeros_like(point.theta))
    best, where = own, torch.zeros_like(point.theta)
    found: dict[float, float] = {}
    for rho in sorted(set(rhos)):
        starts = [one_step(slope * scale, None, rho, norm)]
        if where.any():
            starts.append(where * (rho / float(norm.norm(where))))
        for _ in range(restarts):
            drawn = point.normal()
            starts.append(drawn * (rho / float(norm.norm(drawn))))
        for start in starts:
            value, place = _climb(point, start, scale, rho, norm, steps)
            if math.isfinite(best) and not value <= best:  # a loss that isn't finite is the worst
                best, where = value, place
        found[rho] = best
    return [found[rho] for rho in rhos]


def _climb(point: Point, start: Tensor, scale: Tensor, rho: float, norm: Lp, steps: int) -> tuple[float, Tensor]:
    """Climb from one start, in units of the scale; the highest loss and where it is."""
    place, size = start, rho
    value, slope = point.slope(scale * place)
    for _ in range(steps):
        if not size > SMALLEST * rho or not value < float("inf"):
            break
        trial = project(place - size * norm.lmo(scale * slope), rho, norm.p)
        higher, steeper = point.slope(scale * trial)
        if higher <= value:
            size /= 2
        else:
            place, value, slope = trial, higher, steeper
    return value, place
