"""Polar factors against the singular value decomposition in float64."""

import numpy as np
import pytest
import torch

from landscape.errors import RequestError
from landscape.linalg.polar import METHODS, polar_factor
from landscape.linalg.workspace import Workspace


def draw(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def exact(g):
    u, _, vh = np.linalg.svd(g.double().numpy(), full_matrices=False)
    return torch.from_numpy(u @ vh)


@pytest.mark.parametrize("shape", [(6, 6), (4, 9), (9, 4), (1, 5), (5, 1), (3, 4, 7), (2, 2, 5, 3)], ids=str)
def test_svd_is_exact(shape):
    g = draw(*shape)
    torch.testing.assert_close(polar_factor(g, method="svd"), exact(g), rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(24, 24), (16, 40), (40, 16), (3, 12, 20)], ids=str)
def test_polar_express_converges_to_the_exact_factor(shape):
    g = draw(*shape)
    torch.testing.assert_close(polar_factor(g, steps=20), exact(g), rtol=0, atol=1e-12)


def test_exact_to_1e_6_on_request():
    g = draw(256, 256, dtype=torch.float32)
    for request in ({"method": "svd", "dtype": torch.float64}, {"steps": 20, "dtype": torch.float64}):
        error = (polar_factor(g, **request).double() - exact(g)).norm() / 16
        assert error < 1e-6


@pytest.mark.parametrize("seed", range(20))
def test_five_steps_of_polar_express_in_float32(seed):
    """Within 0.12 relative Frobenius error on Gaussian 256² matrices; the paper's coefficients reach 0.098."""
    g = draw(256, 256, seed=seed, dtype=torch.float32)
    assert float((polar_factor(g, steps=5).double() - exact(g)).norm() / 16) < 0.12


def test_jordans_quintic_never_settles():
    g = draw(256, 256)
    errors = [
        float((polar_factor(g, method="newton-schulz", steps=n) - exact(g)).norm() / 16) for n in (5, 10, 15, 20, 40)
    ]
    assert all(0.15 < error < 0.4 for error in errors)
    s = torch.linalg.svdvals(polar_factor(g, method="newton-schulz", steps=10))
    assert 0.6 < float(s.min()) < float(s.max()) < 1.3


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_shape_dtype_and_zero(method, dtype):
    g = draw(3, 5, 4).to(dtype)
    g[1] = 0
    factor = polar_factor(g, method=method)
    assert factor.dtype == dtype
    assert factor.shape == g.shape
    assert torch.equal(factor[1], torch.zeros_like(g[1]))
    assert factor.isfinite().all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_scale_does_not_matter(method, scale):
    g = draw(6, 8)
    torch.testing.assert_close(polar_factor(scale * g, method=method), polar_factor(g, method=method))


def test_zero_singular_values_stay_zero():
    g = draw(6, 2) @ draw(2, 8, seed=1)
    for request in ({"method": "svd"}, {"steps": 30}):
        s = torch.linalg.svdvals(polar_factor(g, **request))
        torch.testing.assert_close(s, torch.tensor([1.0, 1, 0, 0, 0, 0], dtype=torch.float64), rtol=0, atol=1e-6)


def test_unknown_method_names_the_nearest():
    with pytest.raises(RequestError, match="did you mean 'newton-schulz'"):
        polar_factor(draw(2, 2), method="newton-schultz")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(5, 4), (3, 4, 6)], ids=str)
@pytest.mark.parametrize("scale", [-3.0, 0.02, 1e6])
def test_a_scale_and_kept_memory_change_nothing_else(method, shape, scale):
    workspace = Workspace()
    for seed in range(3):
        g = draw(*shape, seed=seed)
        found = polar_factor(g, method=method, scale=scale, workspace=workspace)
        torch.testing.assert_close(found, scale * polar_factor(g, method=method), rtol=1e-12, atol=1e-12 * abs(scale))


def test_norms_that_underflow_give_no_overflow():
    g = 1e-30 * draw(6, 8).float()
    assert float(polar_factor(g).abs().max()) < 1
