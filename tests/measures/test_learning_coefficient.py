"""The local learning coefficient where it is known: regular, singular, and by quadrature."""

import math

import pytest
import torch
from torch import nn

from landscape.errors import RequestError
from landscape.measures.registry import measure
from landscape.objective.objective import Objective
from landscape.testing import LinearRegression

NAME = "local_learning_coefficient"


def seeded(seed):
    return torch.Generator().manual_seed(seed)


class Monomial(nn.Module):
    """The function w₁^p w₂^q … x of one input: whatever its exponents, the truth is 0 where a weight is."""

    def __init__(self, weights, exponents):
        super().__init__()
        self.weights = nn.Parameter(torch.tensor(weights, dtype=torch.float64))
        self.exponents = exponents

    def forward(self, x):
        return math.prod(w**e for w, e in zip(self.weights, self.exponents, strict=True)) * x


def singular(weights, exponents):
    """Loss (w₁^p w₂^q)² exactly, of a thousand samples."""
    data = torch.ones(2, 1).double(), torch.zeros(2, 1).double()
    return Objective(Monomial(weights, exponents), data, "mse", population=1000)


def agrees(found, expected):
    return abs(float(found.value) - expected) < 4 * float(found.stderr)


def by_quadrature(exponents, scale, localization, centre):
    """n β E[L] under the tempered posterior, on a grid over two weights."""
    grid = torch.linspace(-6, 6, 1501, dtype=torch.float64) / math.sqrt(localization)
    a, b = torch.meshgrid(centre[0] + grid, centre[1] + grid, indexing="ij")
    loss = (a ** exponents[0] * b ** exponents[1]) ** 2
    away = (a - centre[0]) ** 2 + (b - centre[1]) ** 2
    weight = (-scale * loss - localization / 2 * away).exp()
    return scale * float((weight * loss).sum() / weight.sum())


def test_half_the_parameters_of_a_regular_minimum():
    problem = LinearRegression.random(2000, 8, seeded(0))
    objective = Objective(problem.model(), (problem.inputs, problem.targets), "mse", batch_size=2000)
    found = measure(NAME, objective, problem.minimum(), draws=500, localization=0.1)
    assert agrees(found, 4)
    assert float(found.stderr) < 0.6
    assert found.more["chain"].mean() == pytest.approx(float(found.value))
    assert found.more["r_hat"] < 1.1
    assert (found.more["finite"], found.more["negative"], found.more["shortened"]) == (1, 0, 0)


def test_a_strong_localization_takes_its_share():
    """Known for a quadratic, whatever the step: the sum over directions of half their share n β h / (n β h + γ)."""
    problem = LinearRegression.random(500, 5, seeded(1))
    objective = Objective(problem.model(), (problem.inputs, problem.targets), "mse", batch_size=500)
    curvatures = 500 / math.log(500) * torch.linalg.eigvalsh(problem.hessian())
    expected = float((curvatures / (curvatures + 200) / 2).sum())
    for step in (0.3, 1.5):
        found = measure(NAME, objective, problem.minimum(), draws=400, localization=200, step=step)
        assert agrees(found, expected)
        assert float(found.stderr) < 0.2 * expected


@pytest.mark.parametrize(("weights", "exponents", "expected"), [((0.0,), (2,), 0.25), ((1.0, 0.0), (1, 1), 0.5)])
def test_singular_minima(weights, exponents, expected):
    """w⁴ has coefficient 1/4; the valley (w₁ w₂)² along w₁ has 1/2, though it has two parameters."""
    found = measure(NAME, singular(weights, exponents), draws=700, localization=10 if len(weights) > 1 else 0.1)
    assert agrees(found, expected)
    assert float(found.stderr) < 0.35 * expected


@pytest.mark.slow
def test_where_two_valleys_cross():
    """The origin of (w₁ w₂)²: coefficient 1/2 with a logarithm, so that for any n it is less; by quadrature."""
    expected = by_quadrature((1, 1), 1000 / math.log(1000), 10.0, (0.0, 0.0))
    assert 0.1 < expected < 0.45
    found = measure(NAME, singular((0.0, 0.0), (1, 1)), draws=1000, localization=10)
    assert agrees(found, expected)
    assert float(found.stderr) < 0.3 * expected


def test_off_a_minimum_it_is_negative_and_says_so():
    problem = LinearRegression.random(300, 4, seeded(2))
    objective = Objective(problem.model(), (problem.inputs, problem.targets), "mse", batch_size=300)
    found = measure(NAME, objective, problem.minimum() + 1, localization=1)
    assert float(found.value) < 0
    assert found.more["negative"] == 1


def test_steps_that_are_too_long_are_halved():
    """At the crossing the curvature is 0, so that the first step suits the localization alone."""
    found = measure(NAME, singular((0.0, 0.0), (2, 2)), draws=20, localization=0.5)
    assert found.more["shortened"] > 0
    assert found.more["finite"] == 1
    one = Objective(Monomial((0.0,), (1,)), (torch.ones(2, 1).double(), torch.zeros(2, 1).double()), "mse")
    with pytest.raises(RequestError, match="at least 3 samples"):
        measure(NAME, one)


@pytest.mark.slow
def test_standard_errors_hold():
    problem = LinearRegression.random(200, 3, seeded(3))
    objective = Objective(problem.model(), (problem.inputs, problem.targets), "mse", batch_size=200)
    curvatures = 200 / math.log(200) * torch.linalg.eigvalsh(problem.hessian())
    truth = float((curvatures / (curvatures + 50) / 2).sum())
    held = 0
    for seed in range(40):
        found = measure(
            NAME, objective, problem.minimum(), seeded(seed), checked=True, draws=30, burn_in=15, localization=50
        )
        held += abs(float(found.value) - truth) <= 1.96 * float(found.stderr)
    assert 34 <= held <= 40
