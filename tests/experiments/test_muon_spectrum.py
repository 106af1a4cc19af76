"""Spectra of gradients and updates, from the recipe to the figure."""

import numpy as np
import pytest
import torch
from landscape.experiments import mechanism
from landscape.experiments.muon_spectrum import moment, spectrum

from landscape.optimizers.registry import make_optimizer
from landscape.sweeps import store

OPTIONS = mechanism.Options(engine="serial", progress=False)


@pytest.fixture(scope="module")
def experiment():
    return mechanism.load("muon_spectrum")


@pytest.fixture(scope="module")
def spectra(experiment, tmp_path_factory):
    path = tmp_path_factory.mktemp("spectrum") / "smoke.zarr"
    experiment.compute(experiment.preset("smoke"), path, OPTIONS)
    return store.open(path)


def test_a_spectrum_ends_at_the_numerical_rank():
    turned, _ = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    found = spectrum(turned @ torch.diag(torch.tensor([2.0, 4.0, 0.0, 1.0], dtype=torch.float64)))
    np.testing.assert_allclose(found["singular_value"], [4, 2, 1, 0], atol=1e-14)
    np.testing.assert_allclose(found["share"], np.array([16, 4, 1, 0]) / 21, atol=1e-14)
    assert (found["rank"], found["condition"]) == (3, pytest.approx(4))
    assert found["stable_rank"] == pytest.approx(21 / 16)
    assert np.isnan(spectrum(torch.full((2, 3), torch.nan))["condition"])


def test_moments_are_what_the_update_is_made_from():
    gradients = torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = {
        "sgd": gradients[1],
        "adam": 0.1 * (0.9 * gradients[0] + gradients[1]),
        "muon": gradients[1] + 0.95 * (0.95 * gradients[0] + gradients[1]),
    }
    for name, value in expected.items():
        weight = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
        optimizer = make_optimizer(name, [weight])
        for gradient in gradients:
            weight.grad = gradient.clone()
            optimizer.step()
        torch.testing.assert_close(moment(optimizer, weight), value)


def test_only_muons_update_is_flat(spectra):
    data = spectra["muon_spectrum"].to_dataset().load()
    np.testing.assert_allclose(data["share"].sum("direction"), 1)
    first = data["singular_value"].isel(step=0).sel(matrix="gradient")
    np.testing.assert_allclose(first, np.broadcast_to(first[:1], first.shape), rtol=1e-12)  # one start for all
    sgd = data["singular_value"].sel({"method": "sgd"})
    np.testing.assert_allclose(sgd.sel(matrix="update"), sgd.sel(matrix="gradient"), atol=1e-12)
    muon = data.sel({"method": "muon"})
    assert (muon["singular_value"].sel(matrix="update") < 1.3).all()
    assert float(muon["singular_value"].sel(matrix="update").median()) == pytest.approx(1, abs=0.2)
    ranks = data["stable_rank"].sel(matrix="update")
    assert (ranks.sel({"method": "muon"}) > 2 * ranks.sel({"method": "sgd"})).all()
    assert (ranks.sel({"method": "muon"}) > 2 * muon["stable_rank"].sel(matrix="moment")).all()


def test_figure_and_caption(experiment, spectra):
    assert len(experiment.figure(spectra).axes) == 4
    caption = experiment.caption(spectra)
    assert "nan" not in caption
    assert "One hidden 24 × 24 matrix" in caption
