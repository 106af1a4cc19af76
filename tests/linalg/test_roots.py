"""Inverse roots against matrices with prescribed eigenvalues in float64."""

import numpy as np
import pytest
import torch

from landscape.errors import RequestError, WorkError
from landscape.linalg.roots import inverse_power, inverse_root


def symmetric(eigenvalues, seed=0):
    """A symmetric matrix with prescribed eigenvalues, and its eigenvectors."""
    n = len(eigenvalues)
    q, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((n, n)))
    return torch.from_numpy(q @ np.diag(eigenvalues) @ q.T), q


@pytest.mark.parametrize("order", [1, 2, 4, 6, 8])
@pytest.mark.parametrize("eps", [0.0, 0.3])
@pytest.mark.parametrize("relative", [False, True])
def test_prescribed_eigenvalues(order, eps, relative):
    eigenvalues = np.array([0.01, 0.5, 1.0, 7.0, 100.0])
    a, q = symmetric(eigenvalues)
    shift = eps * 100.0 if relative else eps
    expected = torch.from_numpy(q @ np.diag((eigenvalues + shift) ** (-1 / order)) @ q.T)
    found = inverse_root(a, order, eps=eps, relative=relative)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    if not eps:
        identity = torch.linalg.matrix_power(found, order) @ a
        torch.testing.assert_close(identity, torch.eye(5, dtype=torch.float64), rtol=0, atol=1e-10)


def test_a_batch_is_each_matrix_on_its_own():
    batch = torch.stack(
        [torch.stack([symmetric(np.arange(1.0, 5.0) * k, seed=k + 3 * j)[0] for k in (1, 2, 3)]) for j in range(2)]
    )
    found = inverse_root(batch, 4, eps=0.1, relative=True)
    for j in range(2):
        for k in range(3):
            torch.testing.assert_close(found[j, k], inverse_root(batch[j, k], 4, eps=0.1, relative=True))


@pytest.mark.parametrize("relative", [False, True])
def test_without_eps_zero_eigenvalues_stay_zero(relative):
    a, q = symmetric([0.0, 0.0, 4.0, 9.0])
    expected = torch.from_numpy(q @ np.diag([0, 0, 1 / 2, 1 / 3]) @ q.T)
    torch.testing.assert_close(inverse_root(a, 2, relative=relative), expected, rtol=0, atol=1e-13)
    assert torch.equal(inverse_root(torch.zeros(3, 3), 4, relative=relative), torch.zeros(3, 3))


def test_zero_is_shifted_by_an_absolute_eps_only():
    torch.testing.assert_close(inverse_root(torch.zeros(3, 3), 4, eps=1e-4), 10 * torch.eye(3))
    assert torch.equal(inverse_root(torch.zeros(3, 3), 4, eps=1e-4, relative=True), torch.zeros(3, 3))


def test_rounding_below_zero_counts_as_zero():
    found = inverse_root(torch.diag(torch.tensor([-1e-9, 1.0])), 2, eps=1e-8)
    torch.testing.assert_close(found, torch.diag(torch.tensor([1e4, 1.0])))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_dtype_is_kept(dtype):
    a = symmetric([1.0, 2.0, 3.0])[0].to(dtype)
    assert inverse_root(a, 4).dtype == dtype
    assert inverse_root(a[:0, :0], 4).shape == (0, 0)


def test_diagonal():
    values = torch.tensor([[0.0, 4.0, 16.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    assert inverse_power(values, 2).tolist() == [[0.0, 0.5, 0.25], [0.0, 0.0, 0.0]]
    torch.testing.assert_close(inverse_power(values, 4, eps=0.5), (values + 0.5) ** -0.25)


@pytest.mark.parametrize("failure", ["raises", "nan"])
def test_once_more_in_float64(monkeypatch, failure):
    """LAPACK and cuSOLVER now and then fail in float32; the root then comes from float64."""
    eigh, dtypes = torch.linalg.eigh, []

    def stubborn(a):
        dtypes.append(a.dtype)
        if a.dtype == torch.float64:
            return eigh(a)
        if failure == "raises":
            raise torch.linalg.LinAlgError("no convergence")
        values, vectors = eigh(a)
        return values, vectors * float("nan")

    a = torch.stack([symmetric([1.0, 4.0])[0], symmetric([9.0, 4.0], seed=1)[0]])
    monkeypatch.setattr(torch.linalg, "eigh", stubborn)
    found = inverse_root(a.float(), 2)
    assert dtypes == [torch.float32, torch.float64]
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, inverse_root(a, 2).float())


def test_failure_in_float64_ends_the_work(monkeypatch):
    def failing(a):
        raise torch.linalg.LinAlgError("no convergence")

    monkeypatch.setattr(torch.linalg, "eigh", failing)
    with pytest.raises(WorkError, match="in float64 too"):
        inverse_root(torch.eye(2), 2)


def test_bad_requests():
    with pytest.raises(RequestError, match=r"square matrices.*got \(2, 3\)"):
        inverse_root(torch.zeros(2, 3), 2)
    with pytest.raises(RequestError, match="finite matrices"):
        inverse_root(torch.tensor([[float("inf")]]), 2)
    with pytest.raises(RequestError, match="order"):
        inverse_root(torch.eye(2), 0)
    with pytest.raises(RequestError, match="eps"):
        inverse_root(torch.eye(2), 2, eps=-1e-3)
