"""Least squares on features: theory on Gaussian data, the peak, the decomposition, and what is drawn how."""

import numpy as np
import pytest
import torch

from landscape.networks.datasets import load_data
from landscape.networks.sampling import mix
from landscape.studies.descent import FeaturesRecipe, descent
from landscape.studies.descent.decomposition import PARTS, decompose
from landscape.studies.descent.maps import MAPS, Features
from landscape.studies.descent.supervision import Gaussian, Labelled


def compute(tmp_path, **settings):
    return descent(FeaturesRecipe(**settings), tmp_path / "f.zarr", progress=False)["descent"].to_dataset().load()


def test_risks_on_gaussian_data_are_the_theorys(tmp_path):
    """200 training sets: within 3 standard errors on both sides, and ridge within 0.05 of its limit for large n."""
    capacities = (5, 15, 25, 35, 60, 100)
    data = compute(
        tmp_path,
        features="linear",
        data="gaussian",
        capacities=capacities,
        samples=30,
        dimension=100,
        noise=(0.4,),
        ridge=(0.0, 10.0),
        repetitions=200,
        draws=1,
    )
    loss = data["loss"].sel(split="test").isel(draw=0)
    stderr = loss.std("seed", ddof=1) / np.sqrt(200)
    off = (loss.mean("seed") - data["theory"]) / stderr
    assert (np.abs(off.sel(ridge=0)) < 3).all()
    assert (np.abs(loss.mean("seed") - data["theory"]).sel(ridge=10) < 0.05).all()
    assert (data["status"] == 1).all()


def test_the_risk_on_gaussian_data_is_that_of_fresh_samples(tmp_path):
    settings = {"data": "gaussian", "dimension": 12, "capacities": (6,), "samples": 20, "noise": (0.5,), "draws": 1}
    data = compute(tmp_path, features="linear", repetitions=1, **settings)
    drawn = Gaussian(12).draw(20, (0.5,), 0)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(mix(0, 3, 0)))[:6]
    weights = torch.linalg.lstsq(drawn.inputs[:, order], drawn.targets[:, 0]).solution
    fresh = Gaussian(12).draw(200_000, (0.5,), 99)
    risk = (fresh.inputs[:, order] @ weights - fresh.targets[:, 0]).square()
    found = float(data["loss"].sel(split="test").squeeze())
    assert abs(found - float(risk.mean())) < 4 * float(risk.std()) / 200_000**0.5


@pytest.mark.parametrize(("features", "threshold", "tamed"), [("fourier", 60, 0.05), ("relu", 80, 0.2)])
def test_the_peak_is_where_features_first_fit_all_samples(tmp_path, features, threshold, tamed):
    """As many as samples, but for ReLU features, some of which are zero on every sample: 63 are too few."""
    data = compute(
        tmp_path,
        features=features,
        samples=60,
        capacities=(10, 30, 50, 57, 58, 59, 60, 61, 62, 63, 80, 200, 600),
        repetitions=3,
        noise=(0.1,),
        ridge=(0.0, 0.1),
    )
    risk = data["loss"].sel(split="test", noise=0.1).median(("seed", "draw"))
    train = data["loss"].sel(split="train", ridge=0)
    fitted = int(data["capacity"][(train < 1e-10).all(("seed", "draw", "noise"))][0])
    assert int(risk.sel(ridge=0).idxmax("capacity")) == fitted
    assert fitted == threshold
    assert float(risk.sel(ridge=0, capacity=600)) < float(risk.sel(ridge=0, capacity=50))
    assert float(risk.sel(ridge=0.1).max()) < tamed * float(risk.sel(ridge=0).max())
    norm = data["norm"].isel(ridge=0, noise=0).median(("seed", "draw"))
    assert 60 <= int(norm.idxmax("capacity")) <= fitted  # some draws of ReLU features fit all samples earlier
    assert (train.sel(capacity=slice(fitted, None)) < 1e-10).all()
    assert (data["error"].sel(split="train", ridge=0, capacity=600) == 0).all()


def test_parts_add_up_and_ensembles_are_means(tmp_path):
    data = compute(tmp_path, samples=40, capacities=(10, 80), repetitions=3, draws=3, noise=(0.0, 0.2), ridge=(0.01,))
    loss = data["loss"].sel(split="test").mean(("seed", "draw"))
    np.testing.assert_allclose(data["decomposition"].sum("part"), loss, rtol=1e-9)
    single = data["loss"].sel(split="test", draw=0).transpose("capacity", "seed", "noise", "ridge")
    np.testing.assert_allclose(data["ensemble_loss"].sel(member=1), single, rtol=1e-12)
    assert (data["ensemble_loss"].sel(member=3).mean("seed") < loss).all()


def test_parts_are_unbiased():
    """Predictions with known variances; 4 standard errors over 400 tables."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    tables = []
    for _ in range(400):
        parts = [0.7, 0.5 * normal(4, 1, 1, 1), 0.3 * normal(1, 3, 1, 1), 0.2 * normal(4, 3, 1, 1)]
        tables.append(decompose(sum(parts).expand(4, 3, 1, 1), torch.zeros(1, 1, dtype=torch.float64)))
    found = torch.stack(tables)
    off = (found.mean(0) - torch.tensor([0.49, 0.25, 0.09, 0.04])) / (found.std(0) / 20)
    assert off.abs().max() < 4
    assert len(PARTS) == 4
    with pytest.raises(ValueError, match="at least two"):
        decompose(torch.zeros(1, 3, 1, 1), torch.zeros(1, 1))


def test_one_draw_leaves_the_training_sets():
    values = torch.tensor([1.0, 3.0, 5.0], dtype=torch.float64).view(3, 1, 1, 1)
    parts = decompose(values, torch.zeros(1, 1, dtype=torch.float64))
    torch.testing.assert_close(parts, torch.tensor([9 - 4 / 3, 4.0, 0.0, 0.0], dtype=torch.float64))


@pytest.mark.parametrize("name", MAPS)
def test_fewer_features_are_the_first_of_more(name):
    x = torch.randn(7, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    many = MAPS[name](Features(9, 9, 2.0, 3.0, 5))(x, 9)
    few = MAPS[name](Features(9, 9, 2.0, 3.0, 5))(x, 4)
    scale = 1.0 if name == "linear" else (9 / 4) ** 0.5
    torch.testing.assert_close(few, scale * many[:, :4])


def test_fourier_features_approximate_the_gaussian_kernel():
    """Of 40,000 features, to 4 standard errors of their mean."""
    x = 0.4 * torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    features = MAPS["fourier"](Features(3, 40_000, 2.0, 1.0, 0))(x, 40_000)
    kernel = torch.exp(-2.0 * torch.cdist(x, x).square())  # width 1 / scale
    assert (features @ features.T - kernel).abs().max() < 4 / 40_000**0.5


def test_training_sets_and_noise_are_nested():
    supply = Labelled(load_data("digits"), signs=False)
    small, large = (supply.draw(count, (0.0, 0.1, 0.3), 4) for count in (50, 80))
    torch.testing.assert_close(small.inputs, large.inputs[:50])
    wrong = small.labels != small.labels[:, :1]
    assert wrong.sum(0).tolist() == [0, 5, 15]
    assert (wrong[:, 2] | ~wrong[:, 1]).all()
    other = supply.draw(50, (0.0,), 5)
    assert not torch.equal(other.inputs, small.inputs)
    signs = Labelled(load_data("digits"), signs=True).draw(50, (0.0,), 4)
    torch.testing.assert_close(signs.targets, 2 * small.targets[:, :1] - 1)
    assert (small.targets.sum(-1) == 1).all()


@pytest.mark.slow
def test_ridge_risk_nears_its_limit(tmp_path):
    """The distance from the limit falls as n grows, p/n and λ/n held."""
    distances = []
    for n in (20, 80):
        data = compute(
            tmp_path / str(n),
            features="linear",
            data="gaussian",
            capacities=(n // 2, n, 2 * n),
            samples=n,
            dimension=3 * n,
            noise=(0.5,),
            ridge=(n / 10,),
            repetitions=2000,
            draws=1,
        )
        loss = data["loss"].sel(split="test").mean("seed").isel(draw=0)
        distances.append(float(np.abs(loss - data["theory"]).max()))
    assert distances[1] < 0.6 * distances[0]
