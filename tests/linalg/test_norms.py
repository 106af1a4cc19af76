"""Norms, their duals and their oracles in float64, over the whole registry."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from landscape.errors import RequestError
from landscape.linalg.norms import NORMS, Lp, make_norm

VECTOR = [make_norm(name) for name in ("l1", "l2", "linf")] + [Lp(p) for p in (1.1, 1.5, 3, 7.5, 50)]
MATRIX = [make_norm(name) for name in ("spectral", "nuclear", "frobenius", "row", "column")]


def name(norm):
    """A name that is the same in every process."""
    return "Spectral" if type(norm).__name__ == "Spectral" else str(norm)


SHAPES = [(1, 1), (1, 5), (5, 1), (3, 3), (4, 7), (7, 4), (2, 3, 5), (6, 2, 2)]


def draw(shape, seed=0, scale=1.0):
    return scale * torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def inner(norm, a, b):
    return (a * b).sum((-2, -1)) if norm.matrix else (a * b).sum()


def test_every_name_of_the_registry_is_covered():
    covered = {"l1", "l2", "linf", "lp", "spectral", "nuclear", "frobenius", "row", "column"}
    assert set(NORMS) == covered


@pytest.mark.parametrize("scale", [1e-150, 1e-8, 1.0, 1e150])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("norm", VECTOR + MATRIX, ids=name)
def test_oracle_attains_the_dual_norm_on_the_unit_sphere(norm, shape, scale):
    g = draw(shape, scale=scale)
    x = norm.lmo(g)
    dual = norm.dual_norm(g)
    assert x.shape == g.shape
    torch.testing.assert_close(norm.norm(x), torch.ones_like(dual), rtol=1e-10, atol=0)
    torch.testing.assert_close(inner(norm, g, x), -dual, rtol=1e-10, atol=0)


@pytest.mark.parametrize("norm", VECTOR + MATRIX, ids=name)
def test_no_other_point_of_the_sphere_does_better(norm):
    g = draw((4, 6))
    for seed in range(1, 200):
        x = draw((4, 6), seed)
        x = x / norm.norm(x)
        assert inner(norm, g, x) >= -norm.dual_norm(g) - 1e-12


@pytest.mark.parametrize("norm", VECTOR + MATRIX, ids=name)
def test_zero_gives_zero(norm):
    zero = torch.zeros(3, 4, dtype=torch.float64)
    assert torch.equal(norm.lmo(zero), zero)
    assert norm.norm(zero) == norm.dual_norm(zero) == 0


@pytest.mark.parametrize("norm", MATRIX, ids=name)
def test_rank_deficient_matrices(norm):
    g = draw((5, 2)) @ draw((2, 7), 1)
    x = norm.lmo(g)
    assert float(norm.norm(x)) == pytest.approx(1, abs=1e-10)
    assert float(inner(norm, g, x)) == pytest.approx(-float(norm.dual_norm(g)), rel=1e-10)


@pytest.mark.parametrize("norm", MATRIX, ids=name)
def test_a_batch_is_its_matrices(norm):
    g = draw((3, 4, 5))
    for matrix, one in zip(g, norm.lmo(g), strict=True):
        torch.testing.assert_close(norm.lmo(matrix), one, rtol=1e-12, atol=1e-12)


def test_matrix_norms_are_norms_of_the_singular_values():
    g = draw((4, 6))
    s = np.linalg.svd(g.numpy(), compute_uv=False)
    assert float(make_norm("spectral").norm(g)) == pytest.approx(s.max())
    assert float(make_norm("nuclear").norm(g)) == pytest.approx(s.sum())
    assert float(make_norm("frobenius").norm(g)) == pytest.approx(np.sqrt((s**2).sum()))
    assert float(make_norm("row").norm(g)) == pytest.approx(max(np.linalg.norm(row) for row in g.numpy()))
    assert float(make_norm("column").norm(g)) == pytest.approx(max(np.linalg.norm(c) for c in g.numpy().T))


@given(p=st.floats(1.01, 60), seed=st.integers(0, 99))
def test_lp_norms_against_numpy_and_duality(p, seed):
    g = draw(7, seed)
    norm = Lp(p)
    assert float(norm.norm(g)) == pytest.approx(np.linalg.norm(g.numpy(), p))
    assert 1 / norm.p + 1 / norm.q == pytest.approx(1)
    assert float(norm.dual_norm(g)) == pytest.approx(np.linalg.norm(g.numpy(), norm.q))


def test_limits_of_p():
    g = draw(9)
    torch.testing.assert_close(Lp(1e6).lmo(g), Lp(math.inf).lmo(g), rtol=0, atol=1e-4)
    torch.testing.assert_close(Lp(1 + 1e-6).lmo(g), Lp(1).lmo(g), rtol=0, atol=1e-4)


@pytest.mark.parametrize("p", [0.5, 0, -1, math.nan])
def test_p_below_one_is_refused(p):
    with pytest.raises(RequestError, match="p of at least 1"):
        make_norm("lp", p=p)


def test_unknown_norm_names_the_nearest():
    with pytest.raises(RequestError, match="did you mean 'spectral'"):
        make_norm("spectrall")
