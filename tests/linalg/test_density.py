"""Stochastic Lanczos quadrature against the smoothed density of prescribed spectra; resuming with the same bits."""

import math
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from landscape.errors import RequestError
from landscape.linalg.density import LanczosQuadrature, Spectrum

shared = runpy.run_path(str(Path(__file__).with_name("spectra.py")))
network_like, product, seeded, symmetric = (shared[name] for name in ("network_like", "product", "seeded", "symmetric"))


def smoothed(eigenvalues, grid, sigma):
    """The density itself, smoothed."""
    apart = (grid[:, None] - torch.as_tensor(np.asarray(eigenvalues))) / sigma
    return (-apart.square() / 2).exp().mean(1) / (sigma * math.sqrt(2 * math.pi))


def quadrature(a, seed=0, probes=10, steps=80):
    return LanczosQuadrature(
        product(a), len(a), num_probes=probes, num_steps=steps, generator=seeded(seed), dtype=a.dtype
    )


def test_each_probe_is_a_gauss_quadrature():
    """Moments up to 2m − 1 are those of the probe: v·A^p v."""
    a = symmetric(np.linspace(-1, 1, 60))
    run = quadrature(a, probes=2, steps=4)
    spectrum = run.run()
    assert spectrum.products == 8
    for seed, nodes, weights in zip(run.state_dict()["seeds"], spectrum.nodes, spectrum.weights, strict=True):
        v = torch.randn(60, generator=seeded(int(seed)), dtype=torch.float64)
        v /= v.norm()
        assert weights.sum() == pytest.approx(1, abs=1e-14)
        for power in range(8):
            exact = v @ torch.linalg.matrix_power(a, power) @ v
            assert (weights * nodes**power).sum() == pytest.approx(float(exact), abs=1e-13)
        assert (weights * nodes**8).sum() != pytest.approx(float(v @ torch.linalg.matrix_power(a, 8) @ v), abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_many_probes_give_the_density(dtype):
    eigenvalues = network_like(200)
    found = quadrature(symmetric(eigenvalues, dtype=dtype), probes=60, steps=50).run().density(sigma=0.3)
    truth = smoothed(eigenvalues, found.grid, found.sigma)
    assert (found.density - truth).abs().max() < 0.03 * truth.max()
    assert torch.trapezoid(found.density, found.grid) == pytest.approx(1, abs=1e-3)
    assert (found.low <= found.density).all()
    assert (found.density <= found.high).all()
    assert (found.low >= 0).all()


def test_band_and_moments_hold_the_truth():
    """Nominal 95 % intervals of 200 repetitions hold it in 90–99 %: trace, Frobenius norm, density at 20 points."""
    eigenvalues = np.concatenate([[3, 2.5, 2], np.random.default_rng(0).exponential(0.3, 60), -np.linspace(0, 0.3, 20)])
    a = symmetric(eigenvalues)
    grid = torch.linspace(-0.5, 3.5, 20, dtype=torch.float64)
    truth = smoothed(eigenvalues, grid, 0.25)
    held = {"density": [], "trace": [], "frobenius": []}
    for seed in range(200):
        spectrum = quadrature(a, seed, probes=6, steps=16).run()
        found = spectrum.density(grid, sigma=0.25)
        held["density"].append(((found.low <= truth) & (truth <= found.high)).double().mean())
        for name, power in (("trace", 1), ("frobenius", 2)):
            moment = spectrum.moment(power)
            held[name].append(abs(moment.value - (eigenvalues**power).sum()) <= 1.96 * moment.stderr)
    for name, values in held.items():
        assert 0.90 <= np.mean(values) <= 0.99, name


def test_one_eigenvalue_and_low_rank_end_early():
    """A probe's Krylov space is invariant after as many steps as there are different eigenvalues."""
    for eigenvalues, steps in ((np.ones(30), 1), (np.array([3.0, 2, 1, *np.zeros(40)]), 4)):
        spectrum = quadrature(symmetric(eigenvalues)).run()
        assert 10 * steps <= spectrum.products <= 10 * (steps + 1)  # rounding may hide the end for a step
        for row, weights in zip(spectrum.nodes, spectrum.weights, strict=True):
            apart = (row[weights > 1e-20][:, None] - torch.from_numpy(np.unique(eigenvalues))).abs()
            assert apart.min(1).values.max() < 1e-12
        assert torch.isfinite(spectrum.density().density).all()
        assert spectrum.moment(1).value == pytest.approx(eigenvalues.sum(), rel=1.0)
    assert quadrature(symmetric(np.zeros(20))).run().density().density.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("stop", [0, 1, 7, 10, 11, 25, 30])
def test_a_resumed_run_has_the_same_bits(dtype, stop, tmp_path):
    """Wherever it stops, within a probe or between two, and through a file."""
    a = symmetric(network_like(101), dtype=dtype)
    whole = quadrature(a, probes=3, steps=10).run()
    first = quadrature(a, probes=3, steps=10)
    for _ in range(stop):
        first.advance()
    assert first.finished == stop // 10
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second = quadrature(a, seed=99, probes=3, steps=10)
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    resumed = second.run()
    assert second.done
    assert torch.equal(resumed.nodes, whole.nodes)
    assert torch.equal(resumed.weights, whole.weights)
    assert resumed.products == whole.products == 30


def test_a_partial_spectrum_counts_finished_probes_only():
    run = quadrature(symmetric(network_like(50)), probes=3, steps=10)
    for _ in range(25):
        run.advance()
    assert run.spectrum().nodes.shape == (2, 10)
    assert run.spectrum().products == 20


def test_bad_requests():
    a = symmetric(np.ones(5))
    with pytest.raises(RequestError, match="2 probes"):
        quadrature(a, probes=1)
    with pytest.raises(RequestError, match="step"):
        quadrature(a, steps=0)
    with pytest.raises(RequestError, match="float32 or float64"):
        LanczosQuadrature(lambda v: v, 5, dtype=torch.bfloat16)
    with pytest.raises(RequestError, match="another density"):
        quadrature(a).load_state_dict(quadrature(a, probes=3).state_dict())
    spectrum = quadrature(a).run()
    for settings, message in (
        ({"sigma": 0.0}, "width"),
        ({"sigma": math.nan}, "width"),
        ({"confidence": 1.0}, "confid"),
    ):
        with pytest.raises(RequestError, match=message):
            spectrum.density(**settings)
    few = Spectrum(spectrum.nodes[:1], spectrum.weights[:1], 5, 1)
    with pytest.raises(RequestError, match="2 finished"):
        few.density()
    with pytest.raises(RequestError, match="2 finished"):
        few.moment(1)
