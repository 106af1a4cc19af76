"""Minimum-norm and ridge solutions beside LAPACK's, the pseudo-inverse and closed forms, in float64."""

import numpy as np
import pytest
import torch

from landscape.linalg.least_squares import LeastSquares

SHAPES = [(9, 4), (9, 9), (4, 9), (5, 11), (1, 1), (1, 7), (7, 1)]


def draw(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("n", "p"), SHAPES)
def test_without_ridge_it_is_lapacks_minimum_norm_solution(n, p):
    design, targets = draw(n, p), draw(n, 3, seed=1)
    found = LeastSquares.factor(design)
    weights = found.solve(targets, torch.zeros(1))[:, 0]
    expected = np.linalg.lstsq(design.numpy(), targets.numpy(), rcond=None)[0]
    np.testing.assert_allclose(weights, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(weights, torch.linalg.pinv(design) @ targets, rtol=1e-10, atol=1e-12)
    assert int(found.rank) == min(n, p)


@pytest.mark.parametrize(("n", "p"), SHAPES)
def test_the_ridge_path_solves_the_normal_equations(n, p):
    design, targets, ridge = draw(n, p), draw(n, 2, seed=1), torch.tensor([1e-3, 0.5, 20.0], dtype=torch.float64)
    path = LeastSquares.factor(design).solve(targets, ridge)
    for lam, weights in zip(ridge, path.unbind(1), strict=True):
        normal = design.T @ design + lam * torch.eye(p, dtype=torch.float64)
        torch.testing.assert_close(weights, torch.linalg.solve(normal, design.T @ targets), rtol=1e-9, atol=1e-11)


def test_a_batch_is_its_members():
    design, targets = draw(3, 2, 5, 8), draw(3, 2, 5, 1, seed=1)
    ridge = torch.tensor([0.0, 0.1])
    batch = LeastSquares.factor(design).solve(targets, ridge)
    assert batch.shape == (3, 2, 8, 2, 1)
    one = LeastSquares.factor(design[2, 1]).solve(targets[2, 1], ridge)
    torch.testing.assert_close(batch[2, 1], one, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("n", "p"), [(12, 5), (5, 12), (6, 8)])
def test_rank_deficiency_is_seen_and_the_norm_is_least(n, p):
    design = draw(n, 3) @ draw(3, p, seed=1)
    found = LeastSquares.factor(design)
    assert int(found.rank) == 3
    targets = draw(n, 1, seed=2)
    weights = found.solve(targets, torch.zeros(1))[:, 0]
    torch.testing.assert_close(weights, torch.linalg.pinv(design, rtol=1e-10) @ targets, rtol=1e-8, atol=1e-10)
    _, _, basis = torch.linalg.svd(design)
    other = weights + 0.1 * basis[3:].T.sum(1, keepdim=True)  # along the null space: it fits as well, and is longer
    torch.testing.assert_close(design @ other, design @ weights, rtol=1e-9, atol=1e-10)
    assert other.norm() > weights.norm()


def test_the_norm_is_that_of_the_coordinates():
    design, targets, ridge = draw(6, 20), draw(6, 2, seed=1), torch.tensor([0.0, 0.3])
    found = LeastSquares.factor(design)
    norms = found.coordinates(targets, ridge).square().sum((0, 2))
    torch.testing.assert_close(norms, found.solve(targets, ridge).square().sum((0, 2)), rtol=1e-12, atol=0)
    assert norms[1] < norms[0]


def test_its_error_grows_with_the_condition_not_with_its_square():
    """Singular values down to 1e-9: normal equations in float64 would have nothing right, this has six digits."""
    left, right = (torch.linalg.qr(draw(20, 20, seed=seed))[0] for seed in (0, 1))
    values = torch.logspace(0, -9, 20, dtype=torch.float64)
    truth = draw(20, 1, seed=2)
    design = left @ torch.diag(values) @ right.T
    found = LeastSquares.factor(design).solve(design @ truth, torch.zeros(1))[:, 0]
    assert (found - truth).norm() < 1e-5 * truth.norm()


def test_no_column_is_refused():
    with pytest.raises(ValueError, match="rows and columns"):
        LeastSquares.factor(torch.ones(3, 0))
