r"""What least squares risks on isotropic Gaussian data, by theory.

Data are :math:`x \sim N(0, I)`, :math:`y = x \cdot \beta + \sigma \epsilon`, and a model sees p of the coordinates.
What it doesn't see is noise to it: its noise level is :math:`\tau^2 = \sigma^2 + \|\beta_{\text{unseen}}\|^2`, its
signal :math:`\|\beta_{\text{seen}}\|^2`. Risks are expected squared errors on new data, noise included.

References:
    M. Belkin, D. Hsu and J. Xu, Two models of double descent for weak features, arXiv 1903.07571, theorem 1 (exact for
    every n and p); T. Hastie et al., Surprises in high-dimensional ridgeless least squares interpolation,
    arXiv 1903.08560, corollary 5 (ridge, as n and p grow in proportion).
"""

from __future__ import annotations

import math


def minimum_norm_risk(num_samples: int, num_features: int, signal: float, noise: float) -> float:
    r"""The expected risk of the minimum-norm solution, exact for every n and p.

    .. math:: \tau^2 \frac{n - 1}{n - p - 1} \quad (p \le n - 2), \qquad
              \|\beta\|^2 \left(1 - \frac np\right) + \tau^2 \frac{p - 1}{p - n - 1} \quad (p \ge n + 2).

    Args:
        num_samples: n.
        num_features: p, at least 1.
        signal: :math:`\|\beta\|^2` of the coordinates that the model sees.
        noise: :math:`\tau^2`.

    Returns:
        The risk; infinite for :math:`|p - n| \le 1`, where it has no expectation.
    """
    n, p = num_samples, num_features
    if p <= n - 2:
        return noise * (1 + p / (n - p - 1))
    if p <= n + 1:
        return math.inf
    return signal * (1 - n / p) + noise * (1 + n / (p - n - 1))


def stieltjes(penalty: float, aspect: float) -> tuple[float, float]:
    r"""Stieltjes' transform of the Marchenko-Pastur law and its derivative.

    With F the limit of the distribution of the eigenvalues of :math:`X^\top X / n` and :math:`\gamma = p / n`,
    :math:`m(-\mu) = \int (s + \mu)^{-1} dF(s)` solves :math:`\gamma \mu m^2 + (1 - \gamma + \mu) m = 1`.

    Args:
        penalty: :math:`\mu > 0`.
        aspect: :math:`\gamma > 0`.

    Returns:
        :math:`m(-\mu)` and :math:`m'(-\mu) = \int (s + \mu)^{-2} dF(s)`.
    """
    linear = 1 - aspect + penalty
    root = math.sqrt(linear**2 + 4 * aspect * penalty)
    value = 2 / (linear + root) if linear > 0 else (root - linear) / (2 * aspect * penalty)
    return value, value * (aspect * value + 1) / root  # the equation's own derivative


def ridge_risk(num_samples: int, num_features: int, ridge: float, signal: float, noise: float) -> float:
    r"""The risk of ridge regression in the limit of n and p that grow in proportion.

    .. math:: \|\beta\|^2 \mu^2 m'(-\mu) + \tau^2 \left(1 + \gamma [m(-\mu) - \mu m'(-\mu)]\right), \quad
              \mu = \lambda / n.

    Args:
        num_samples: n.
        num_features: p.
        ridge: :math:`\lambda > 0` of :math:`\|Xw - y\|^2 + \lambda \|w\|^2`.
        signal: As for `minimum_norm_risk`.
        noise: As for `minimum_norm_risk`.

    Returns:
        The limit; at finite n it is off by O(1/n).
    """
    aspect, penalty = num_features / num_samples, ridge / num_samples
    value, slope = stieltjes(penalty, aspect)
    return signal * penalty**2 * slope + noise * (1 + aspect * (value - penalty * slope))
