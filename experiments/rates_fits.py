r"""From curves to rates: steps to :math:`\epsilon`, their growth with :math:`1/\epsilon`, and bootstrap intervals.

For one instance the curve is the mean over seeds, and :math:`N(\epsilon)` the first step at which it is at most
:math:`\epsilon`. A power of :math:`1/\epsilon` is the slope of :math:`\log N` against :math:`\log 1/\epsilon`; a linear
rate is the slope of N against :math:`\log 1/\epsilon`. What is reported is the mean over instances; its interval
resamples instances with replacement and, inside each, seeds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def steps_to(curves: Array, steps: Array, epsilons: Array) -> Array:
    """First step at which a curve is at most epsilon.

    Between two recorded steps the curve is a straight line in log-log coordinates.

    Args:
        curves: Positive values, shape `(*, K)`.
        steps: Positive steps at which they were recorded, rising, shape `(K,)`.
        epsilons: Shape `(E,)`.

    Returns:
        Shape `(*, E)`; NaN where epsilon isn't reached, or where it is reached at the first record already.
    """
    found = np.full((*curves.shape[:-1], len(epsilons)), np.nan)
    log_steps = np.log(steps)
    with np.errstate(divide="ignore"):
        logs = np.log(curves)
    for place, epsilon in enumerate(np.log(epsilons)):
        below = logs <= epsilon
        first = below.argmax(-1)
        usable = below.any(-1) & (first > 0)
        index = np.where(usable, first, 1)[..., None]
        high = np.take_along_axis(logs, index - 1, -1)[..., 0]
        low = np.take_along_axis(logs, index, -1)[..., 0]
        with np.errstate(invalid="ignore"):
            share = np.where(np.isfinite(low), (high - epsilon) / (high - low), 1.0)
        before, after = log_steps[index[..., 0] - 1], log_steps[index[..., 0]]
        found[..., place] = np.exp(np.where(usable, before + share * (after - before), np.nan))
    return found


def first_steps(curves: Array, epsilons: Array) -> Array:
    """First step at which a curve that was recorded at every step from 0 on is at most epsilon.

    Args:
        curves: Shape `(*, K)`.
        epsilons: Shape `(E,)`.

    Returns:
        Shape `(*, E)`; NaN where epsilon isn't reached.
    """
    below = curves[..., None, :] <= epsilons[:, None]
    return np.where(below.any(-1), below.argmax(-1), np.nan)


def slopes(counts: Array, epsilons: Array, linear: bool, least: float) -> Array:
    r"""Growth of the steps with :math:`1/\epsilon`, by least squares.

    Args:
        counts: Steps to each epsilon, shape `(*, E)`; NaN are left out.
        epsilons: Shape `(E,)`.
        linear: Steps against the logarithm of :math:`1/\epsilon`; else the logarithm of the steps.
        least: Fewer steps than this are left out: no rate shows in them.

    Returns:
        Shape `(*)`; NaN where fewer than three points are left.
    """
    used = np.isfinite(counts) & (np.nan_to_num(counts) >= least)
    number = used.sum(-1)
    x = np.where(used, -np.log(epsilons), 0.0)
    safe = np.where(used, counts, 1.0)
    y = np.where(used, safe if linear else np.log(safe), 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_x, mean_y = (v.sum(-1, keepdims=True) / number[..., None] for v in (x, y))
        away = np.where(used, x - mean_x, 0.0)
        found = (away * (y - mean_y)).sum(-1) / np.square(away).sum(-1)
    return np.where(number >= 3, found, np.nan)


def interval(means: Array, instances: int) -> tuple[float, float]:
    r"""The 95 % interval from bootstrap values.

    Plain percentiles are too narrow for few instances: the bootstrap's variance is short by :math:`(n-1)/n`, and
    its tails are the normal distribution's and not Student's. The expanded percentiles
    :math:`\Phi(\pm\sqrt{n/(n-1)}\,t_{0.975,\,n-1})` mend both.

    Args:
        means: Shape `(B,)`.
        instances: n, from which each was resampled.

    Returns:
        The ends of the interval.

    References:
        Hesterberg, "What teachers should know about the bootstrap", The American Statistician 69, 2015.
    """
    from scipy.special import ndtr, stdtrit

    tail = ndtr(-np.sqrt(instances / (instances - 1)) * stdtrit(instances - 1, 0.975))
    low, high = np.quantile(means, (tail, 1 - tail))
    return float(low), float(high)


def over_instances(values: Array, resamples: int, seed: int) -> tuple[float, float, float]:
    """Mean of a value per instance, shape `(I,)`, and its bootstrap interval."""
    drawn = np.random.default_rng(seed).integers(len(values), size=(resamples, len(values)))
    return float(values.mean()), *interval(values[drawn].mean(-1), len(values))


def over_seeds(
    curves: Array, steps: Array, epsilons: Array, least: float, resamples: int, seed: int
) -> tuple[float, float, float]:
    """Power of 1/epsilon of the steps of stochastic runs, and its bootstrap interval over instances and seeds.

    Args:
        curves: Shape `(I, S, K)`.
        steps: Recorded steps, shape `(K,)`.
        epsilons: Shape `(E,)`.
        least: See `slopes`.
        resamples: Number of bootstrap samples.
        seed: Of the resampling.

    Returns:
        The power, and the ends of its interval.
    """
    instances, seeds, _ = curves.shape
    generator = np.random.default_rng(seed)
    value = slopes(steps_to(curves.mean(1), steps, epsilons), epsilons, False, least).mean()
    means = np.empty(resamples)
    for sample in range(resamples):
        chosen = generator.integers(instances, size=instances)
        weights = generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=instances) / seeds
        curve = np.einsum("is,isk->ik", weights, curves[chosen])
        means[sample] = slopes(steps_to(curve, steps, epsilons), epsilons, False, least).mean()
    return float(value), *interval(means, instances)


def power_of(x: Array, y: Array, resamples: int, seed: int) -> tuple[float, float, float]:
    """Slope of log y against log x over instances, both of shape `(I,)`, and its bootstrap interval."""
    drawn = np.random.default_rng(seed).integers(len(x), size=(resamples, len(x)))
    drawn = drawn[x[drawn].std(-1) > 0]  # a slope needs two different instances
    a, b = np.log(x)[drawn], np.log(y)[drawn]
    a = a - a.mean(-1, keepdims=True)
    means = (a * b).sum(-1) / np.square(a).sum(-1)
    value = np.polyfit(np.log(x), np.log(y), 1)[0]
    return float(value), *interval(means, len(x))
