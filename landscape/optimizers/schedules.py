r"""Learning-rate schedules: the factor on the learning rate as a function of progress :math:`u \in [0, 1]`."""

from __future__ import annotations

import math
from collections.abc import Callable

from landscape.errors import unknown

Schedule = Callable[[float], float]


def constant(progress: float) -> float:
    """Always 1."""
    return 1.0


def cosine(progress: float) -> float:
    r"""Half a cosine, :math:`\tfrac12 (1 + \cos \pi u)`, from 1 to 0.

    References:
        Loshchilov & Hutter, "SGDR", arXiv 1608.03983, equation 5 without restarts.
    """
    return 0.5 * (1 + math.cos(math.pi * progress))


def piecewise(progress: float) -> float:
    """1 up to half the budget, then linear down to 0.01 at 90 %, and 0.01 to the end.

    References:
        Garipov et al., "Loss surfaces, mode connectivity, and fast ensembling of DNNs", arXiv 1802.10026.
    """
    if progress <= 0.5:
        return 1.0
    return max(0.01, 1.0 - 0.99 * (progress - 0.5) / 0.4)


def warmed(schedule: Schedule, updates: int, total: int) -> Schedule:
    r"""A schedule after a linear warm-up: its value times :math:`(i + 1) / n` at update i of the first n.

    Args:
        schedule: The schedule.
        updates: n; 0 for no warm-up.
        total: Updates of the whole training, of which progress is a share.
    """
    if not updates:
        return schedule
    return lambda progress: schedule(progress) * min(1.0, (progress * total + 1) / updates)


SCHEDULES: dict[str, Schedule] = {"constant": constant, "cosine": cosine, "piecewise": piecewise}


def find_schedule(name: str) -> Schedule:
    """A schedule by name; an unknown one raises `RequestError` naming the nearest."""
    if name not in SCHEDULES:
        raise unknown("schedule", name, SCHEDULES)
    return SCHEDULES[name]
