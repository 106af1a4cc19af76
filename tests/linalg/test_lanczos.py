"""Lanczos: the identities of the decomposition, prescribed spectra without a ghost, and true residuals."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from landscape.errors import RequestError, WorkError
from landscape.linalg.krylov import Krylov
from landscape.linalg.lanczos import lanczos, top_eigenpairs

shared = runpy.run_path(str(Path(__file__).with_name("spectra.py")))
network_like, product, seeded, symmetric = (shared[name] for name in ("network_like", "product", "seeded", "symmetric"))

SPECTRA = {
    "network": network_like(),
    "clusters": [1, 1 - 1e-6, 1 - 2e-6, 0.7, 0.7 - 1e-6, 0.5, *np.linspace(0.4, -0.2, 120)],
    "copies": [5, 5, 5, 5, 3, 2, 2, 2, *np.linspace(1, -1, 120)],
    "deficient": [3, 2, 1, -2, *np.zeros(120)],
    "negative": [*-np.linspace(0, 5, 120), 1],
    "zero": np.zeros(40),
    "identity": np.ones(40),
    "small": [2, 1, 1, -1, -3, 0, 0.5, 0.5, 1e-9, 4, 4, 4],
}
ENDS = ("largest", "smallest", "both", "magnitude")


def expected(eigenvalues, which, k):
    ordered = np.sort(eigenvalues)[::-1]
    if which == "both":
        return np.concatenate([ordered[:k], ordered[-k:]])
    if which == "magnitude":
        return ordered[np.argsort(-np.abs(ordered), kind="stable")][:k]
    return ordered[:k] if which == "largest" else ordered[::-1][:k]


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("steps", [1, 2, 30, 1000])
def test_decomposition(name, dtype, steps):
    """A Qᵀ = Qᵀ T + r e_mᵀ, Q Qᵀ = I, Q r = 0, also past an invariant subspace."""
    a = symmetric(SPECTRA[name], dtype=dtype)
    start = torch.randn(len(a), generator=seeded(3), dtype=dtype)
    found = lanczos(product(a), start, steps)
    m = len(found.alpha)
    assert m == min(steps, len(a))
    eps = torch.finfo(dtype).eps * 100
    norm = max(float(torch.linalg.matrix_norm(a, 2)), 1e-30)
    right = found.basis.T @ found.matrix().to(dtype)
    right[:, -1] += found.residual
    assert (a @ found.basis.T - right).abs().max() <= eps * norm
    assert (found.basis @ found.basis.T - torch.eye(m, dtype=dtype)).abs().max() <= eps
    assert (found.basis @ found.residual).abs().max() <= eps * norm
    torch.testing.assert_close(found.basis[0], start / start.norm())


@pytest.mark.parametrize("name", SPECTRA)
def test_all_steps_find_all_eigenvalues_with_their_multiplicity(name):
    a = symmetric(SPECTRA[name])
    found = lanczos(product(a), torch.randn(len(a), generator=seeded(0), dtype=a.dtype), len(a))
    assert not found.residual.any()
    ritz = torch.linalg.eigvalsh(found.matrix()).numpy()
    np.testing.assert_allclose(ritz, np.sort(SPECTRA[name]), rtol=0, atol=1e-12 * 20)


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("which", ENDS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-8), (torch.float64, 1e-3), (torch.float32, 1e-3)])
def test_prescribed_spectra_without_a_ghost(name, which, dtype, tolerance):
    """As many of each eigenvalue as there are, no more, no fewer; the residuals are true."""
    eigenvalues, k = np.asarray(SPECTRA[name], dtype=float), 6
    a = symmetric(eigenvalues, dtype=dtype)
    counted = []

    def matvec(vector):
        counted.append(1)
        return a @ vector

    found = top_eigenpairs(matvec, len(a), k, which=which, tolerance=tolerance, dtype=dtype)
    scale = max(np.abs(eigenvalues).max(), 1e-30)
    eps = torch.finfo(dtype).eps
    assert found.converged.all()
    assert found.exhaustive
    assert found.products == len(counted)
    count = 2 * k if which == "both" else k
    assert found.values.shape == (count,)
    assert found.vectors.shape == (count, len(a))
    # an eigenvalue's error is at most its residual, and of second order in it where it stands alone
    np.testing.assert_allclose(
        np.sort(np.abs(found.values.numpy())),
        np.sort(np.abs(expected(eigenvalues, which, k))),
        rtol=0,
        atol=scale * (0.01 * tolerance + 50 * eps),
    )
    gram = found.vectors @ found.vectors.T
    assert (gram - torch.eye(count, dtype=dtype)).abs().max() < 200 * eps
    v = found.vectors.double()
    rest = (v @ a.double() - found.values[:, None] * v).norm(dim=1)
    floor = torch.full_like(found.values, eps ** (1 / 3) * scale)
    true = rest / torch.maximum(found.values.abs(), floor)
    assert (true <= tolerance * 1.01 + 50 * eps ** (2 / 3)).all()
    torch.testing.assert_close(found.residuals, true, rtol=0.02, atol=50 * eps ** (2 / 3))


@pytest.mark.parametrize("which", ENDS)
def test_order(which):
    found = top_eigenpairs(product(symmetric(network_like())), 300, 4, which=which, tolerance=1e-6, dtype=torch.float64)
    np.testing.assert_allclose(found.values, expected(network_like(), which, 4), atol=1e-9)


@pytest.mark.parametrize("name", ["copies", "clusters"])
def test_copies_are_found_whatever_the_seed(name):
    """Confidence 99.9 % on each of 40 runs."""
    eigenvalues = SPECTRA[name]
    a = symmetric(eigenvalues)
    missed = 0
    for seed in range(40):
        found = top_eigenpairs(product(a), len(a), 3, dtype=torch.float64, generator=seeded(seed))
        missed += np.abs(found.values.numpy() - np.sort(eigenvalues)[::-1][:3]).max() > 1e-3
    assert missed <= 1


def test_without_the_second_run_copies_are_missed():
    a = symmetric(SPECTRA["copies"])
    single = top_eigenpairs(product(a), len(a), 3, dtype=torch.float64, confidence=0)
    assert not single.exhaustive
    assert single.values[1] < 0.9 * single.values[0]


def test_restarts_bound_the_memory_and_agree():
    a = symmetric(network_like())
    few = top_eigenpairs(product(a), 300, 5, which="smallest", dtype=torch.float64, tolerance=1e-6, basis_size=20)
    many = top_eigenpairs(product(a), 300, 5, which="smallest", dtype=torch.float64, tolerance=1e-6, basis_size=300)
    torch.testing.assert_close(few.values, many.values, rtol=1e-9, atol=0)
    assert few.converged.all()
    assert many.products < few.products


def test_the_second_run_restarts_too():
    """Its bound is carried over restarts: with a tiny basis it still proves what it proves with a large one."""
    a = symmetric(SPECTRA["copies"])
    found = top_eigenpairs(product(a), len(a), 4, dtype=torch.float64, basis_size=8)
    assert found.exhaustive
    torch.testing.assert_close(found.values, torch.full((4,), 5.0, dtype=torch.float64))


@pytest.mark.parametrize("edge", [1.0, 3.0])
def test_the_bound_on_what_was_missed_holds(edge):
    """An eigenvector's overlap with the start is below the bound, with and without restarts."""
    from landscape.linalg.restarted import Request, _apart, _restart

    eigenvalues = np.concatenate([[edge], np.linspace(-0.9, 0.9, 99)])
    a = symmetric(eigenvalues)
    top = torch.linalg.eigh(a).eigenvectors[:, -1]
    start = torch.randn(100, generator=seeded(1), dtype=torch.float64)
    start -= (1 - 1e-7) * top * (top @ start)  # nearly orthogonal, so that the top isn't seen
    overlap = abs(float(top @ start / start.norm()))
    request = Request("largest", 2, 1e-3, 1000, 12, 0.999)
    space = Krylov(product(a), start, 12, seeded(0))
    weights = {1: np.eye(1, 12)[0]}
    for _ in range(30):
        if space.full:
            _restart(space, request, {1: edge}, weights, 0)
        space.grow()
        values, vectors = space.ritz()
        parts = (vectors.T @ weights[1][: space.length]) * vectors[-1] * space.beta
        bound = abs(float((parts / _apart(edge - values)).sum()))
        assert overlap <= bound * (1 + 1e-6) + 1e-15
        if space.ritz()[0][-1] > 0.95:
            break


def test_same_seed_same_bits():
    a = symmetric(network_like(), dtype=torch.float32)
    one, two = (top_eigenpairs(product(a), 300, 3, generator=seeded(5)) for _ in range(2))
    assert torch.equal(one.values, two.values)
    assert torch.equal(one.vectors, two.vectors)


def test_a_start_nearby_saves_products():
    a = symmetric(network_like())
    cold = top_eigenpairs(product(a), 300, 3, dtype=torch.float64, confidence=0)
    warm = top_eigenpairs(product(a), 300, 3, dtype=torch.float64, confidence=0, start=cold.vectors.sum(0))
    assert warm.products < cold.products


def test_few_products_are_reported_as_they_are():
    a = symmetric(network_like())
    found = top_eigenpairs(product(a), 300, 5, dtype=torch.float64, max_products=14)
    assert found.products <= 14
    assert not found.converged.all()
    assert not found.exhaustive
    true = (a @ found.vectors.T - found.vectors.T * found.values).norm(dim=0) / found.values
    torch.testing.assert_close(found.residuals, true)


def test_costs_little_on_a_hessian_like_spectrum():
    """Each of the five to 1e-3 in a couple of dozen products, verification and second run included."""
    found = top_eigenpairs(product(symmetric(network_like())), 300, 5, dtype=torch.float64)
    assert found.converged.all()
    assert found.products <= 35


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k": 7}, "7 eigenvalues were asked for"),
        ({"k": 4, "which": "both"}, "4 eigenvalues from each end"),
        ({"k": 0}, "0 eigenvalues"),
        ({"tolerance": 0.0}, "tolerance"),
        ({"tolerance": float("nan")}, "tolerance"),
        ({"which": "larges"}, "did you mean 'largest'"),
        ({"max_products": 3}, "at least 5 products"),
        ({"confidence": 1.0}, "confidence"),
        ({"basis_size": 3}, "basis of at least 4"),
        ({"dtype": torch.float16}, "float32 or float64"),
        ({"start": torch.ones(5)}, "start"),
        ({"dim": 0}, "frozen"),
    ],
)
def test_bad_requests(settings, message):
    arguments = {"dim": 6, "k": 2} | settings
    with pytest.raises(RequestError, match=message):
        top_eigenpairs(lambda v: v, **arguments)


def test_bad_operators():
    with pytest.raises(RequestError, match="shape"):
        top_eigenpairs(lambda v: v[:2], 6, 1)
    with pytest.raises(RequestError, match="float64"):
        top_eigenpairs(lambda v: v.double(), 6, 1)
    with pytest.raises(WorkError, match="not finite"):
        top_eigenpairs(lambda v: v * float("nan"), 6, 1)
    with pytest.raises(RequestError, match="start"):
        lanczos(lambda v: v, torch.zeros(4), 2)
    with pytest.raises(RequestError, match="step"):
        lanczos(lambda v: v, torch.ones(4), 0)
