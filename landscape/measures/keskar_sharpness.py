"""Keskar's sharpness."""

from __future__ import annotations

from landscape.measures.measured import Measured, Point
from landscape.measures.worst import worst_losses
from landscape.settings import Count, NonNegativeCount, Positive


def keskar_sharpness(
    point: Point, *, epsilon: Positive = 1e-3, steps: Count = 10, restarts: NonNegativeCount = 1
) -> Measured:
    r"""The largest relative rise of the loss in a box around the weights.

    .. math:: 100 \cdot \frac{\max_{z \in C_\epsilon} L(\theta + z) - L(\theta)}{1 + L(\theta)}, \qquad
              C_\epsilon = \{z : |z_i| \le \epsilon (|\theta_i| + 1)\}

    A percentage, as the authors define it, in the full space. They maximise by ten iterations of L-BFGS-B; here it is
    projected steepest ascent, so the value is a lower bound as well.

    Args:
        point: Where.
        epsilon: Size of the box.
        steps: Steps from each start.
        restarts: Random starts beside the one-step point.

    References:
        Keskar et al., "On large-batch training for deep learning: generalization gap and sharp minima", arXiv
        1609.04836, metric 2.1.
    """
    own = point.objective.loss(point.theta)
    units = point.theta.abs() + 1
    (highest,) = worst_losses(point, (epsilon,), float("inf"), steps, restarts, units)
    return Measured.of(100 * (highest - own) / (1 + own))
