"""`surface` by certified values: what is stored, that it holds, what a kill leaves, and what is refused."""

import multiprocessing
import os
import signal
import time

import numpy as np
import pytest
import torch
import xarray
from torch import nn

import landscape
from landscape.errors import RequestError
from landscape.studies.surface import SurfaceRecipe, surface
from landscape.studies.surface.stages import Stages


def make_data(train=700, test=400):
    generator = torch.Generator().manual_seed(9)

    def split(count):
        labels = torch.arange(count) % 3
        inputs = torch.randn(count, 4, generator=generator, dtype=torch.float64)
        return inputs + nn.functional.one_hot(labels, 4), labels

    return {"train": split(train), "test": split(test)}


@pytest.fixture
def data():
    return make_data()


def run(checkpoints, out, data, recipe=None, **options):
    return surface(checkpoints, out, recipe, data=data, progress=False, **options)


@pytest.fixture
def pair(networks, data, tmp_path):
    """A certified surface around two networks, and the exact one."""
    models = networks(2, batchnorm=True)
    found = run(models, tmp_path / "c.zarr", data, SurfaceRecipe(size=(17, 9), seed=3, tolerance=0.02))
    exact = run(models, tmp_path / "e.zarr", data, SurfaceRecipe(size=(17, 9), seed=3, exact=True))
    return found["surface"].to_dataset().load(), exact["surface"].to_dataset().load()


def test_what_is_stored_holds(pair, tmp_path):
    certified, exact = pair
    assert certified["loss"].dims == ("checkpoint", "split", "beta", "alpha")
    assert (certified["status"] == 1).all()
    assert (certified["reached"] == 1).all()
    counts = np.array([700, 400])[None, :, None, None]
    coarse = (certified["samples"] == counts).values
    on_grid = coarse[:, :, :, ::2]
    assert on_grid.all()
    for name in ("loss", "error"):
        np.testing.assert_allclose(certified[name].values[coarse], exact[name].values[coarse], rtol=1e-12)
        assert (certified[f"{name}_stderr"].values[coarse] == 0).all()
        assert (certified[f"{name}_stderr"].values[~coarse] > 0).all()
    assert (~coarse).sum() > 250
    apart = np.abs(certified["loss"] - exact["loss"]).values[~coarse]
    stderr = certified["loss_stderr"].values[~coarse]
    assert (stderr <= 0.02 * np.maximum(certified["loss"].values[~coarse], 0.01)).all()
    assert 0.9 < (apart < 1.96 * stderr).mean() < 0.99
    attrs = certified.attrs
    assert (attrs["method"], attrs["tolerance"], attrs["not_reached"]) == ("certified", 0.02, 0)
    assert attrs["dense_sample_evaluations"] == 2 * 17 * 9 * 1100
    assert int(certified["evaluations"].sum()) < attrs["sample_evaluations"] < attrs["dense_sample_evaluations"]
    assert exact.attrs["method"] == "exact"
    assert list(tmp_path.glob(".*")) == []


def test_processes_and_resuming_give_the_same_store(networks, data, tmp_path, monkeypatch):
    models = networks(1)
    recipe = SurfaceRecipe(size=(17,), tolerance=0.02)
    whole = run(models, tmp_path / "whole.zarr", data, recipe)["surface"].to_dataset().load()
    for stage in ("_coarse_sweep", "_write_files", "_decide", "cost"):

        def stop(*_, **__):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(Stages, stage, stop)
            with pytest.raises(KeyboardInterrupt):
                run(models, tmp_path / "stopped.zarr", data, recipe)
        landscape.open(tmp_path / "stopped.zarr")
    resumed = run(models, tmp_path / "stopped.zarr", data, recipe)["surface"].to_dataset().load()
    xarray.testing.assert_identical(whole, resumed)
    together = run(models, tmp_path / "p.zarr", data, recipe, engine="processes", workers=1)["surface"].to_dataset()
    xarray.testing.assert_identical(whole, together.load())


def compute(out, seed):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    run([model], out, make_data(3000, 2000), SurfaceRecipe(size=(33,), tolerance=0.02))


def test_a_kill_at_any_moment_is_resumed_to_the_same_store(tmp_path):
    compute(tmp_path / "whole.zarr", 5)
    start, kills = 1.0, 0
    for delay in (0.2, 0.6, 1.2, 2.0):
        child = multiprocessing.get_context("fork").Process(target=compute, args=(tmp_path / "killed.zarr", 5))
        child.start()
        time.sleep(start * delay)
        if child.is_alive():
            os.kill(child.pid, signal.SIGKILL)
            kills += 1
        child.join()
    compute(tmp_path / "killed.zarr", 5)
    assert kills
    one, other = (landscape.open(tmp_path / f"{name}.zarr")["surface"].to_dataset() for name in ("whole", "killed"))
    xarray.testing.assert_identical(one.load(), other.load())


@pytest.mark.parametrize("axes", [1, 3])
def test_lines_and_spaces(networks, data, tmp_path, axes):
    models = networks(1)
    recipe = {"axes": axes, "size": (65,) if axes == 1 else (17, 3, 5), "splits": ("test",)}
    found = run(models, tmp_path / "c.zarr", data, SurfaceRecipe(**recipe, tolerance=0.05))["surface"]
    exact = run(models, tmp_path / "e.zarr", data, SurfaceRecipe(**recipe, exact=True))["surface"]
    random = found["loss_stderr"].values > 0
    assert random.any()
    z = (found["loss"].values - exact["loss"].values)[random] / found["loss_stderr"].values[random]
    assert (np.abs(z) < 1.96).mean() > 0.85


def test_statistics_that_are_recomputed_are_told_as_cost(networks, data, tmp_path):
    models = networks(1, batchnorm=True)
    recipe = SurfaceRecipe(size=(17,), axes=1, batchnorm="recompute", tolerance=0.05)
    found = run(models, tmp_path / "c.zarr", data, recipe)["surface"]
    exact = run(
        models, tmp_path / "e.zarr", data, SurfaceRecipe(size=(17,), axes=1, batchnorm="recompute", exact=True)
    )["surface"]
    assert found.attrs["statistics_evaluations"] >= 17 * 700
    random = found["loss_stderr"].values > 0
    z = (found["loss"].values - exact["loss"].values)[random] / found["loss_stderr"].values[random]
    assert np.abs(z).max() < 4.5


def test_a_quick_look_says_that_nobody_knows(networks, data, tmp_path):
    models = networks(1)
    found = run(models, tmp_path / "q.zarr", data, SurfaceRecipe(size=(17,), quick=True))["surface"]
    exact = run(models, tmp_path / "e.zarr", data, SurfaceRecipe(size=(17,), exact=True))["surface"]
    assert found.attrs["method"] == "interpolated"
    assert (found["status"] == 1).all()
    np.testing.assert_allclose(found["loss"][..., ::2, ::2], exact["loss"][..., ::2, ::2], rtol=1e-12)
    np.testing.assert_allclose(found["loss"], exact["loss"], rtol=0.02)
    assert np.isnan(found["loss_stderr"][..., 1::2, :]).all()
    assert (found["samples"][..., 1::2, :] == 0).all()
    assert found.attrs["sample_evaluations"] == 81 * 1100


def test_a_diverging_corner_is_stored_as_it_is(networks, data, tmp_path):
    models = networks(1)
    recipe = SurfaceRecipe(directions="gaussian", size=(17,), extent=((-1, 1e308),), axes=1, tolerance=0.05)
    found = run(models, tmp_path / "c.zarr", data, recipe)["surface"]
    finite = np.isfinite(found["loss"]).all(("checkpoint", "split")).values
    assert np.array_equal(found["status"].values[0] == 2, ~finite)


def test_every_default():
    assert SurfaceRecipe().method == "certified"
    assert SurfaceRecipe().certainty == 0.01
    assert SurfaceRecipe().per_axis("size", 2) == (65, 65)
    assert SurfaceRecipe().per_axis("size", 3) == (33, 33, 33)
    assert SurfaceRecipe(exact=True).per_axis("size", 1) == (33,)
    for exact in ({"size": (9,)}, {"size": (21,)}, {"samples": 100}, {"batchnorm": "batch"}):
        assert SurfaceRecipe(**exact).method == "exact"
        assert SurfaceRecipe(**exact).certainty is None
    assert SurfaceRecipe(size=(9,), tolerance=0.1).method == "certified"
    assert SurfaceRecipe().recipe(2) == SurfaceRecipe(tolerance=0.01, size=(65,)).recipe(2)
    assert "method" not in SurfaceRecipe(exact=True).recipe(2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tolerance": 0.0}, "tolerance must lie between 0 and 1, got 0"),
        ({"tolerance": -0.1}, "tolerance must lie between 0 and 1"),
        ({"tolerance": float("nan")}, "tolerance must lie between 0 and 1"),
        ({"tolerance": 0.01, "exact": True}, "tolerance and exact exclude each other"),
        ({"quick": True, "exact": True}, "exact and quick exclude each other"),
        ({"tolerance": 0.01, "size": (21,)}, r"sides of 2\^k \+ 1 points, got 21: choose 17 or 33"),
        ({"quick": True, "size": (64,)}, "got 64: choose 33 or 65"),
        ({"tolerance": 0.01, "samples": 10}, "samples and tolerance exclude each other"),
        ({"tolerance": 0.01, "batchnorm": "batch"}, "with BatchNorm by the batch"),
    ],
)
def test_wrong_requests(settings, message):
    with pytest.raises(RequestError, match=message):
        SurfaceRecipe(**settings)
