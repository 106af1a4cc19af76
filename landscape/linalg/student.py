"""Standard errors of few draws."""

from __future__ import annotations

from scipy.special import stdtrit


def widened(count: int) -> float:
    """Factor of a standard error of few draws: with it 1.96 of them hold 95 %, as Student's t says."""
    return float(stdtrit(count - 1, 0.975)) / 1.96
