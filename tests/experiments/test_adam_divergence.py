"""Adam where it fails, AdaGrad where it pays, from the recipe to the figure."""

import numpy as np
import pytest
import torch
from landscape.experiments import mechanism
from landscape.experiments.adam_runs import draw_features
from landscape.experiments.iterates import follow

from landscape.sweeps import store

OPTIONS = mechanism.Options(engine="serial", progress=False)


@pytest.fixture(scope="module")
def experiment():
    return mechanism.load("adam_divergence")


@pytest.fixture(scope="module")
def tree(experiment, tmp_path_factory):
    path = tmp_path_factory.mktemp("adam") / "smoke.zarr"
    experiment.compute(experiment.preset("smoke"), path, OPTIONS)
    return store.open(path)


def test_adam_ends_at_the_wrong_end_and_amsgrad_near_the_right_one(tree):
    online = tree["adam_divergence/online"].to_dataset().load()
    last = online["x"].isel(step=slice(-30, None))
    assert (last.sel(optimizer="adam") > 0.9).all()
    assert (last.sel(optimizer="amsgrad") < -0.9).all()
    assert (last.sel(optimizer="sgd") < -0.8).all()
    regret = online["regret"].isel(step=-1)
    assert float(regret.sel(optimizer="adam")) > 1  # of (C - 2) / 3 per unit of distance
    assert float(regret.sel(optimizer="amsgrad")) < 0.2


def test_adam_is_higher_in_the_stochastic_variant(tree):
    x = tree["adam_divergence/stochastic"]["x"].isel(step=-1)
    assert float(x.sel(optimizer="adam")) > float(x.sel(optimizer="amsgrad")) + 0.2


def test_on_the_parabola_only_adam_does_not_converge(tree):
    w = np.abs(tree["adam_divergence/parabola"]["w"].isel(step=slice(-100, None)))
    assert float(w.sel({"method": "sgd"}).max()) < 1e-10
    assert float(w.sel({"method": "momentum"}).max()) < 1e-10
    assert float(w.sel({"method": "adam:0.95"}).max()) > 1e-3
    size = tree["adam_divergence/cycle"]["size"].sel({"method": "adam:0.95"}).isel(start=0)
    np.testing.assert_allclose(size / (size["lr"] * 0.1 / 3.8), 1.065, rtol=0.05)


def test_features_are_sparse_and_the_rare_ones_tell_most(experiment):
    features = experiment.preset("cpu").features
    problem = draw_features(features, "sparse", 0)
    share = (problem.inputs != 0).double().mean(0)
    assert abs(float(share[0]) - features.shares[0]) < 0.05
    assert float(share[-1]) < 3 * features.shares[-1]
    minimum = problem.minimum()
    assert float(problem.gradient(minimum).norm()) < 1e-12
    assert float(minimum[-10:].abs().mean()) > 2 * float(minimum[:10].abs().mean())
    assert (draw_features(features, "dense", 0).inputs != 0).all()


def test_excess_loss_is_measured_from_the_optimum(experiment, tree):
    features = experiment.preset("smoke").features
    excess = tree["adam_divergence/features"]["excess"]
    assert excess.dims == ("data", "method", "lr", "step", "seed")
    assert (excess > 0).all()
    problem = draw_features(features, "sparse", 1)
    start = np.log(2) - float(problem.loss(problem.minimum()))
    np.testing.assert_allclose(excess.sel(data="sparse", step=0, seed=1), start, rtol=1e-12)


def test_follow_projects_schedules_and_starts_at_the_start():
    start = torch.tensor([0.5, -0.5], dtype=torch.float64)
    walk = follow(
        "sgd",
        start,
        lambda x, step: torch.ones_like(x),
        2,
        hyperparameters={"lr": 0.4},
        schedule=lambda step: 1 / (step + 1),
        interval=(-0.8, 1.0),
    )
    points = [point.tolist() for point in walk]
    np.testing.assert_allclose(points, [[0.5, -0.5], [0.1, -0.8], [-0.1, -0.8]])
    assert start.tolist() == [0.5, -0.5]


@pytest.mark.parametrize("name", ["sgd", "adam", "adagrad"])
def test_several_learning_rates_at_once_are_those_one_by_one(name):
    start = torch.linspace(-1, 1, 6, dtype=torch.float64).view(2, 3)
    settings = {"schedule": lambda step: 1 / (step + 1), "interval": (-0.9, 0.9)}

    def gradient(x, step):
        return x**3 - 0.1 * step

    lrs = (0.03, 0.5)
    both = [x.clone() for x in follow(name, start, gradient, 20, hyperparameters={}, lrs=lrs, **settings)]
    for row, lr in enumerate(lrs):
        one = follow(name, start[row], gradient, 20, hyperparameters={"lr": lr}, **settings)
        assert all(torch.equal(x[row], y) for x, y in zip(both, one, strict=True))


def test_figure_and_caption(experiment, tree):
    assert len(experiment.figure(tree).axes) >= 9
    caption = experiment.caption(tree)
    assert "nan" not in caption
    assert "beta" not in caption
    assert "whose best point is −1" in caption
