"""Theory of least squares on isotropic Gaussian data beside integrals, simulated data and its own limits."""

import math

import numpy as np
import pytest
from scipy.integrate import quad

from landscape.linalg.isotropic import minimum_norm_risk, ridge_risk, stieltjes


def integral(function, aspect):
    """Of a function over the Marchenko-Pastur law, by quadrature over its density, with its mass at 0."""
    low, high = (1 - math.sqrt(aspect)) ** 2, (1 + math.sqrt(aspect)) ** 2

    def integrand(angle):  # s = mid + half cos(angle) takes the square roots at both ends away
        half = (high - low) / 2
        s = (high + low) / 2 + half * math.cos(angle)
        return function(s) * (half * math.sin(angle)) ** 2 / (2 * math.pi * aspect * s)

    return quad(integrand, 0, math.pi, epsabs=1e-13, epsrel=1e-12)[0] + max(0.0, 1 - 1 / aspect) * function(0.0)


@pytest.mark.parametrize("aspect", [0.2, 0.9, 1.1, 4.0])
@pytest.mark.parametrize("penalty", [0.01, 0.3, 5.0])
def test_stieltjes_transform_is_its_integral(aspect, penalty):
    value, slope = stieltjes(penalty, aspect)
    assert value == pytest.approx(integral(lambda s: 1 / (s + penalty), aspect), rel=1e-8)
    assert slope == pytest.approx(integral(lambda s: 1 / (s + penalty) ** 2, aspect), rel=1e-8)


@pytest.mark.parametrize(("n", "p"), [(20, 4), (20, 15), (20, 25), (20, 60)])
def test_minimum_norm_risk_is_the_expectation_of_simulated_risks(n, p):
    """2,000 fits by the pseudo-inverse; the risk given the weights is exact, the mean is within 4 standard errors."""
    random = np.random.default_rng(p)
    beta, sigma = np.full(p, math.sqrt(2.0 / p)), 0.6
    inputs = random.standard_normal((2000, n, p))
    targets = inputs @ beta + sigma * random.standard_normal((2000, n))
    weights = (np.linalg.pinv(inputs) @ targets[..., None])[..., 0]
    risks = ((weights - beta) ** 2).sum(-1) + sigma**2
    off = risks.mean() - minimum_norm_risk(n, p, 2.0, sigma**2)
    assert abs(off) < 4 * risks.std() / math.sqrt(2000)


def test_ridge_risk_is_what_large_samples_give():
    """n = 300: off by O(1/n). Given the inputs, the mean over signals and noise is a sum over their eigenvalues."""
    random = np.random.default_rng(0)
    for p, ridge in ((150, 30.0), (300, 30.0), (600, 3.0)):
        risks, penalty = [], ridge / 300
        for _ in range(6):
            inputs = random.standard_normal((300, p))
            eigenvalues = np.linalg.eigvalsh(inputs.T @ inputs / 300)
            bias = penalty**2 * np.mean(1 / (eigenvalues + penalty) ** 2)
            variance = 0.25 * (1 + np.sum(eigenvalues / (eigenvalues + penalty) ** 2) / 300)
            risks.append(bias + variance)
        assert np.mean(risks) == pytest.approx(ridge_risk(300, p, ridge, 1.0, 0.25), abs=1 / 300)


@pytest.mark.parametrize("p", [50, 200, 5000])
def test_limits(p):
    assert ridge_risk(1000, p, 1e-6, 3.0, 0.7) == pytest.approx(minimum_norm_risk(1000, p, 3.0, 0.7), rel=3e-3)
    assert ridge_risk(1000, p, 1e12, 3.0, 0.7) == pytest.approx(3.7, rel=1e-6)  # nothing is fitted


def test_there_is_no_expectation_at_the_threshold():
    risks = [minimum_norm_risk(30, p, 1.0, 0.1) for p in range(20, 41)]
    assert [math.isinf(risk) for risk in risks] == [29 <= p <= 31 for p in range(20, 41)]
