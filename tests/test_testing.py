"""The problems with known answers have them."""

import math

import pytest
import torch

from landscape.testing import LinearRegression, LogisticRegression


@pytest.fixture
def linear():
    return LinearRegression.random(7, 3, torch.Generator().manual_seed(1))


@pytest.fixture
def logistic():
    return LogisticRegression.random(30, 4, 0.3, torch.Generator().manual_seed(2))


@pytest.mark.parametrize(("lr", "batch"), [(1e-3, 1), (0.02, 1), (0.05, 2), (0.1, 7)])
def test_the_stationary_covariance_reproduces_itself(linear, lr, batch):
    """One step from every pair of error and batch of one, or mean and variance of them, gives the covariance again."""
    found = linear.stationary_covariance(lr, batch)
    minimum, hessian = linear.minimum(), linear.hessian()
    after, mean_square = torch.zeros_like(found), hessian @ found @ hessian
    noise = torch.zeros_like(found)
    for x, y in zip(linear.inputs, linear.targets[:, 0], strict=True):
        curvature, force = 2 * torch.outer(x, x), 2 * (y - x @ minimum) * x
        noise += torch.outer(force, force) / 7
        after += curvature @ found @ curvature / 7
    second = mean_square + (after - mean_square) / batch  # of a mean of independent draws
    expected = found - lr * (hessian @ found + found @ hessian) + lr**2 * (second + noise / batch)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-14)
    assert (torch.linalg.eigvalsh(found) > 0).all()
    torch.testing.assert_close(found, found.T, rtol=1e-10, atol=1e-14)


def test_small_steps_give_lyapunovs_equation_and_large_ones_nothing(linear):
    small, smaller = (linear.stationary_covariance(lr, 2) / lr for lr in (1e-5, 1e-6))
    torch.testing.assert_close(small, smaller, rtol=1e-3, atol=1e-6)
    hessian = linear.hessian()
    each = [2 * (y - x @ linear.minimum()) * x for x, y in zip(linear.inputs, linear.targets[:, 0], strict=True)]
    noise = torch.stack([torch.outer(g, g) for g in each]).mean(0)
    torch.testing.assert_close(hessian @ smaller + smaller @ hessian, noise / 2, rtol=1e-4, atol=1e-6)
    assert (linear.stationary_covariance(10.0, 2) == math.inf).all()


def test_logistic_regression_is_its_formula(logistic):
    theta = torch.linspace(-1, 1, 4, dtype=torch.float64, requires_grad=True)
    margins = logistic.targets * (logistic.inputs @ theta)
    loss = torch.log1p(torch.exp(-margins)).mean() + 0.15 * (theta @ theta)
    torch.testing.assert_close(logistic.loss(theta), loss)
    (gradient,) = torch.autograd.grad(loss, theta)
    point = theta.detach()
    torch.testing.assert_close(logistic.gradient(point), gradient)
    torch.testing.assert_close(logistic.gradient(point, torch.arange(30)), gradient)
    torch.testing.assert_close(logistic.hessian(point), torch.autograd.functional.hessian(logistic.loss, point))


def test_batches_of_several_runs_are_unbiased(logistic):
    thetas = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    samples = torch.arange(30).reshape(10, 3, 1).expand(10, 3, 1)
    for theta, full in zip(thetas, logistic.gradient(thetas), strict=True):
        each = logistic.gradient(theta.expand(30, 4), torch.arange(30)[:, None])
        torch.testing.assert_close(each.mean(0), full)
    assert logistic.gradient(thetas, samples[0]).shape == (3, 4)


def test_the_minimum_of_logistic_regression_is_one(logistic):
    minimum = logistic.minimum()
    assert logistic.gradient(minimum).norm() < 1e-14
    around = minimum + 1e-3 * torch.randn(50, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert (logistic.loss(around) > logistic.loss(minimum)).all()
