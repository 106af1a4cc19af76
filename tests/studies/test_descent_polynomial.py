"""Polynomial descent beside numpy's own bases and solver, and its peak."""

import numpy as np
import pytest
import torch

from landscape.errors import RequestError
from landscape.studies.descent import PolynomialRecipe, descent
from landscape.studies.descent.bases import BASES
from landscape.studies.descent.polynomial import draw_points
from landscape.studies.descent.targets import TARGETS, find_target

POINTS = torch.linspace(-1, 1, 23, dtype=torch.float64)
NUMPY = {
    "legendre": np.polynomial.legendre.legvander,
    "chebyshev": np.polynomial.chebyshev.chebvander,
    "monomial": np.polynomial.polynomial.polyvander,
}


@pytest.mark.parametrize("name", NUMPY)
def test_polynomials_are_numpys(name):
    for count in (1, 2, 3, 40):
        np.testing.assert_allclose(BASES[name](POINTS, count), NUMPY[name](POINTS.numpy(), count - 1), atol=1e-13)


def test_fouriers_functions():
    values = BASES["fourier"](POINTS, 6).numpy()
    x = np.pi * POINTS.numpy()
    expected = [np.ones(23), np.cos(x), np.sin(x), np.cos(2 * x), np.sin(2 * x), np.cos(3 * x)]
    np.testing.assert_allclose(values, np.stack(expected, -1), atol=1e-13)


@pytest.mark.parametrize("name", BASES)
def test_the_first_functions_are_those_of_a_smaller_basis_in_any_shape(name):
    points = POINTS[:22].view(2, 11)
    whole = BASES[name](points, 9)
    assert whole.shape == (2, 11, 9)
    torch.testing.assert_close(BASES[name](points, 4), whole[..., :4])
    assert (whole[..., 0] == 1).all()


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    recipe = PolynomialRecipe(
        bases=("legendre", "fourier"),
        capacities=tuple(range(1, 26)),
        samples=9,
        repetitions=12,
        noise=(0.0, 0.3),
        ridge=(0.0, 0.05),
        grid=101,
    )
    return recipe, descent(recipe, tmp_path_factory.mktemp("p") / "p.zarr", progress=False)


@pytest.mark.parametrize("capacity", [1, 4, 9, 20])
def test_risks_are_those_of_numpys_solver_on_the_grid(tree, capacity):
    recipe, store = tree
    data = store["descent"].to_dataset().load().sel(basis="legendre", seed=11, capacity=capacity)
    points, targets = draw_points(recipe, 11)
    design = NUMPY["legendre"](points.numpy(), capacity - 1)
    grid = np.linspace(-1, 1, 101)
    truth = 2 * grid + np.cos(25 * grid)
    for level, noise in enumerate(recipe.noise):
        y = targets[:, level].numpy()
        for ridge in recipe.ridge:
            if ridge:
                weights = np.linalg.solve(design.T @ design + ridge * np.eye(capacity), design.T @ y)
            else:
                weights = np.linalg.lstsq(design, y, rcond=None)[0]
            found = data.sel(noise=noise, ridge=ridge)
            test = ((NUMPY["legendre"](grid, capacity - 1) @ weights - truth) ** 2).mean()
            np.testing.assert_allclose(found["loss"].sel(split="test"), test, rtol=1e-6)
            train = ((design @ weights - y) ** 2).mean()
            np.testing.assert_allclose(found["loss"].sel(split="train"), train, rtol=1e-6, atol=1e-16)
            np.testing.assert_allclose(found["norm"], np.linalg.norm(weights), rtol=1e-7)


def test_noise_is_that_of_the_targets_alone(tree):
    recipe, _ = tree
    points, targets = draw_points(recipe, 3)
    clean = find_target("cosine")[0](points)
    torch.testing.assert_close(targets[:, 0], clean)
    assert 0.1 < (targets[:, 1] - clean).std() < 0.6
    assert (points.abs() <= 1).all()


def test_fits_are_the_first_repetitions(tree):
    recipe, store = tree
    fits = store["descent/fit"].to_dataset().load()
    points, targets = draw_points(recipe, 0)
    np.testing.assert_array_equal(fits["sample_x"], points)
    weights = np.linalg.lstsq(NUMPY["legendre"](points.numpy(), 5), targets[:, 0].numpy(), rcond=None)[0]
    expected = NUMPY["legendre"](fits["x"].values, 5) @ weights
    np.testing.assert_allclose(fits["fit"].sel(basis="legendre", capacity=6), expected, rtol=1e-5, atol=1e-5)
    exact = fits["fit"].sel(basis="fourier", capacity=25)
    np.testing.assert_allclose(np.interp(points, fits["x"], exact), targets[:, 0], atol=0.15)  # it interpolates


@pytest.mark.parametrize("basis", ["legendre", "chebyshev"])
def test_the_peak_is_where_there_are_as_many_functions_as_points(tmp_path, basis):
    recipe = PolynomialRecipe(bases=(basis,), capacities=tuple(range(1, 61)))
    loss = descent(recipe, tmp_path / "p.zarr", progress=False)["descent"]["loss"].load()
    risk = loss.sel(split="test").median("seed").squeeze()
    assert int(risk.idxmax("capacity")) == 15
    train = loss.sel(split="train").median("seed").squeeze()
    assert (train.sel(capacity=slice(15, None)) < 1e-10).all()
    assert (train.sel(capacity=slice(None, 14)) > 1e-6).all()


def test_a_target_of_ones_own(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "curves.py").write_text("def cubic(x):\n    return x**3\ndef wrong(x):\n    return x[:1]\n")
    recipe = PolynomialRecipe(
        bases=("monomial",), capacities=(4,), samples=8, repetitions=2, target="curves:cubic", grid=50
    )
    loss = descent(recipe, tmp_path / "p.zarr", progress=False)["descent"]["loss"].load()
    assert (loss < 1e-20).all()
    with pytest.raises(RequestError, match="as many finite values"):
        find_target("curves:wrong")
    assert "cosine" in TARGETS


def test_a_finished_store_is_left_alone_and_another_recipe_refused(tree, tmp_path):
    recipe = PolynomialRecipe(bases=("legendre",), capacities=(1, 2), repetitions=1, grid=10)
    first = descent(recipe, tmp_path / "p.zarr", progress=False)
    before = (tmp_path / "p.zarr" / "zarr.json").stat().st_mtime_ns
    again = descent(recipe, tmp_path / "p.zarr", progress=False)
    assert first.identical(again)
    assert (tmp_path / "p.zarr" / "zarr.json").stat().st_mtime_ns == before
    with pytest.raises(RequestError, match="ridge"):
        descent(
            PolynomialRecipe(bases=("legendre",), capacities=(1, 2), repetitions=1, grid=10, ridge=(0.1,)),
            tmp_path / "p.zarr",
            progress=False,
        )
