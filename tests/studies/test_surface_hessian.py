"""Surfaces along eigenvectors: of linear regression, whose Hessian is known, and after a stop."""

import numpy as np
import pytest
import torch
from torch import nn

import landscape
from landscape.errors import RequestError
from landscape.studies.surface import SurfaceRecipe, surface


@pytest.fixture
def regression():
    """A linear layer without bias on data whose covariance has distinct eigenvalues."""
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(60, 6, generator=generator, dtype=torch.float64) * torch.arange(1, 7)
    model = nn.Linear(6, 1, bias=False, dtype=torch.float64)
    data = {"train": (inputs, inputs.sum(1, keepdim=True).sin())}
    return model, data, torch.linalg.eigh(2 * inputs.T @ inputs / len(inputs))


def test_curvature_along_the_axes_is_the_eigenvalue(regression, tmp_path):
    model, data, (values, vectors) = regression
    recipe = SurfaceRecipe(directions="hessian", axes=3, size=(3,))
    tree = surface(model, tmp_path / "s.zarr", recipe, data=data, progress=False)
    directions, loss = tree["surface/directions"], tree["surface"]["loss"][0, 0]
    np.testing.assert_allclose(directions["eigenvalue"].values[0], values.flip(0)[:3], rtol=1e-5)
    np.testing.assert_allclose(directions["norm"], 1, rtol=1e-12)
    assert (directions["eigenvalue_residual"] < 1e-3).all()
    overlap = np.abs(directions["vector"].values[0] @ vectors.flip(1)[:, :3].numpy())
    np.testing.assert_allclose(overlap, np.eye(3), atol=1e-3)
    for axis in ("alpha", "beta", "gamma"):
        line = loss.sel({other: 0 for other in ("alpha", "beta", "gamma") if other != axis}).values
        bend = line[0] - 2 * line[1] + line[2]
        assert bend == pytest.approx(directions["eigenvalue"].sel(direction=axis).item(), rel=1e-5)


def test_several_checkpoints_have_eigenvectors_of_their_own(networks, data, tmp_path):
    recipe = SurfaceRecipe(directions="hessian", axes=1, size=(3,))
    tree = surface(networks(2), tmp_path / "s.zarr", recipe, data=data, progress=False)
    vectors = tree["surface/directions"]["vector"].values[:, 0]
    assert abs(vectors[0] @ vectors[1]) < 0.99
    again = surface(networks(2), tmp_path / "again.zarr", recipe, data=data, progress=False)
    assert np.array_equal(again["surface/directions"]["vector"].values[:, 0], vectors)


def test_found_eigenvectors_are_not_sought_again(networks, data, tmp_path, monkeypatch):
    """A run that stopped after they were found goes on with them."""
    recipe = SurfaceRecipe(directions="hessian", size=(3,))
    path = tmp_path / "s.zarr"
    with monkeypatch.context() as patch:
        patch.setattr("landscape.studies.surface.study.slice_sweep", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            surface(networks(1), path, recipe, data=data, progress=False)
    assert landscape.open(path)["surface/directions"]["vector"].notnull().all()
    monkeypatch.setattr("landscape.studies.surface.hessian.top_eigenpairs", lambda *_, **__: 1 / 0)
    tree = surface(networks(1), path, recipe, data=data, progress=False)
    assert tree.attrs["complete"] == 1


def test_more_directions_than_parameters(tmp_path):
    class One(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1, dtype=torch.float64))

        def forward(self, inputs):
            return inputs * self.weight

    data = (torch.ones(3, 1, dtype=torch.float64), torch.zeros(3, 1, dtype=torch.float64))
    with pytest.raises(RequestError, match=r"1 parameters?"):
        surface(One(), tmp_path / "s.zarr", SurfaceRecipe(directions="hessian", size=(3,)), data=data, progress=False)
    assert list(tmp_path.iterdir()) == []
