"""The gradient noise scale."""

from __future__ import annotations

import math

import torch

from landscape.measures.measured import Measured, Point, State, widened
from landscape.objective.sample_gradients import deviations
from landscape.settings import Draws


def gradient_noise_scale(point: Point, *, draws: Draws = 500) -> Measured:
    r"""The batch size at which noise and gradient are equal, :math:`\operatorname{tr} \Sigma / \|G\|^2`.

    :math:`G` is the gradient over all samples, computed exactly, and :math:`\Sigma` the covariance of single samples'
    gradients. In samples (of tokens: in sequences). BatchNorm and dropout are as in evaluation. The trace is the mean
    of :math:`\|g_i - G\|^2` over random samples without replacement; the standard error carries the finite-population
    correction and is 0 where all were used. Infinite where the gradient is 0.

    Args:
        point: Where.
        draws: How many samples; all where there are fewer.

    Raises:
        RequestError: If the BatchNorm policy is `batch`, which single samples don't allow.

    References:
        McCandlish et al., "An empirical model of large-batch training", arXiv 1812.06162, equation 2.9.
    """
    objective, theta = point.objective, point.theta
    n = objective.num_samples
    count = min(draws, n)
    index = torch.randperm(n, generator=point.generator)[:count].sort().values
    _, gradient = point.slope(torch.zeros_like(theta))

    def compute() -> State:
        return {"squares": deviations(objective, theta, gradient, index)}

    squares = point.journal(compute)["squares"]
    strength = float(gradient.double().square().sum())
    stderr = widened(count) * float(squares.std()) / math.sqrt(count) * math.sqrt(1 - count / n) if count < n else 0.0
    if strength == 0:
        return Measured.of(math.inf)
    return Measured.of(float(squares.mean()) / strength, stderr / strength)
