"""`connect` by certified values: they hold, cost less, say what they cost, and leave exact runs as they were."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from landscape import figures
from landscape.errors import RequestError
from landscape.studies.connect import ConnectRecipe, CurveRecipe, connect
from landscape.sweeps.schema import Status

FIT = CurveRecipe(epochs=2, batch_size=64)


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(9)

    def split(count):
        labels = torch.arange(count) % 3
        inputs = torch.randn(count, 4, generator=generator, dtype=torch.float64)
        return inputs + nn.functional.one_hot(labels, 4), labels

    return {"train": split(1500), "test": split(700)}


def run(models, out, data, tolerance=None):
    recipe = ConnectRecipe(fit=FIT, points=33, tolerance=tolerance)
    return connect(models, out, recipe, data=data, progress=False)


@pytest.mark.parametrize("batchnorm", [False, True])
def test_values_along_curves_hold(networks, data, tmp_path, batchnorm):
    models = networks(2, batchnorm=batchnorm)
    certified = run(models, tmp_path / "c.zarr", data, 0.02)
    exact = run(models, tmp_path / "e.zarr", data)
    found, truth = (tree["connect"].to_dataset().load() for tree in (certified, exact))
    assert found["loss"].dims == found["samples"].dims == ("pair", "curve", "split", "t")
    assert found["status"].dims == ("pair", "curve", "t")
    assert (found["status"] == Status.DONE).all()
    counts = np.array([1500, 700])[None, None, :, None]
    full = (found["samples"] == counts).values
    assert full[..., ::4].all()
    assert not full.all()
    np.testing.assert_allclose(found["loss"].values[full], truth["loss"].values[full], rtol=1e-10)
    assert (found["loss_stderr"].values[full] == 0).all()
    stderr = found["loss_stderr"].values[~full]
    assert (stderr > 0).all()
    assert (stderr <= 0.02 * np.maximum(found["loss"].values[~full], 0.01)).all()
    inside = np.abs(found["loss"] - truth["loss"]).values[~full] < 1.96 * stderr
    assert 0.88 < inside.mean() <= 1
    assert found.attrs["sample_evaluations"] < found.attrs["dense_sample_evaluations"]
    assert found.attrs["dense_sample_evaluations"] == 2200 * 2 * 33
    assert ("statistics_evaluations" in found.attrs) == batchnorm
    if batchnorm:  # nothing of it is saved, and it is said
        assert found.attrs["dense_statistics_evaluations"] == 1500 * 2 * 33
        assert found.attrs["statistics_evaluations"] > found.attrs["dense_statistics_evaluations"]
        assert "which nothing saves" in figures.report(figures.summary(certified), "c.zarr")
    assert "tolerance" not in json.loads(exact.attrs["recipe"])


def test_resuming_gives_the_same_store(networks, data, tmp_path, monkeypatch):
    models = networks(2)
    whole = run(models, tmp_path / "a.zarr", data, 0.02)
    calls = []

    def once(*arguments, **settings):
        calls.append(arguments)
        if len(calls) > 3:
            raise KeyboardInterrupt
        return certify(*arguments, **settings)

    from landscape.studies.connect.certified import certify

    with monkeypatch.context() as patch:
        patch.setattr("landscape.studies.connect.certified.certify", once)
        with pytest.raises(KeyboardInterrupt):
            run(models, tmp_path / "b.zarr", data, 0.02)
    resumed = run(models, tmp_path / "b.zarr", data, 0.02)
    assert resumed["connect"].to_dataset().identical(whole["connect"].to_dataset())


def test_points_by_default():
    assert ConnectRecipe().num_points == 61
    assert ConnectRecipe(tolerance=0.01).num_points == 65


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"points": 61, "tolerance": 0.01}, r"2\^k \+ 1 points, got 61: choose 33 or 65"),
        ({"tolerance": 0.0}, "tolerance must lie between 0 and 1"),
        ({"tolerance": -1.0}, "tolerance must lie between 0 and 1"),
        ({"tolerance": float("nan")}, "tolerance must lie between 0 and 1"),
        ({"tolerance": 0.01, "samples": 100}, "samples and tolerance exclude each other"),
        ({"tolerance": 0.01, "batchnorm": "batch"}, "BatchNorm by the batch"),
    ],
)
def test_wrong_requests(settings, words):
    with pytest.raises(RequestError, match=words):
        ConnectRecipe(**settings)
