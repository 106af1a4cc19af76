"""SGD's noise ball, from its recipe to its figure."""

import numpy as np
import pytest
import torch
from landscape.experiments import mechanism

from landscape.sweeps import store

OPTIONS = mechanism.Options(engine="serial", progress=False)


@pytest.fixture(scope="module")
def experiment():
    return mechanism.load("noise_ball")


@pytest.fixture(scope="module")
def tree(experiment, tmp_path_factory):
    path = tmp_path_factory.mktemp("noise") / "smoke.zarr"
    experiment.compute(experiment.preset("smoke"), path, OPTIONS)
    return store.open(path)


def test_the_radius_is_the_theorys(tree):
    """Within four standard errors and 2 % for what is left of the start."""
    ball = tree["noise_ball/radius"].to_dataset().load()
    off = np.abs(ball["radius"] - ball["theory"])
    assert (off < 4 * ball["radius_stderr"] + 0.02 * ball["theory"]).all()
    assert (ball["radius_stderr"] < 0.05 * ball["theory"]).all()
    assert (np.diff(ball["radius"]) > 0).all()
    assert (ball["theory"] > ball["limit"]).all()
    np.testing.assert_allclose(ball["limit"] ** 2 / ball["lr"], ball["limit"][0] ** 2 / ball["lr"][0])


def test_gd_contracts_as_its_closed_form_and_sgd_stays_away(experiment, tree):
    from landscape.experiments.noise_runs import line_problem

    line = experiment.preset("smoke").line
    problem = line_problem(line)
    paths = tree["noise_ball/path"].to_dataset().load()
    for lr in line.lrs:
        step = torch.eye(2, dtype=torch.float64) - lr * problem.hessian()
        start = torch.tensor(line.start, dtype=torch.float64)
        expected = problem.minimum() + torch.linalg.matrix_power(step, 20) @ (start - problem.minimum())
        gd, sgd = (paths.sel(optimizer=name, lr=lr) for name in ("gd", "sgd"))
        np.testing.assert_allclose(gd["theta"].isel(step=20), expected, rtol=1e-12)
        assert float(sgd["distance"][-1]) > 2 * float(gd["distance"][-1])
        np.testing.assert_allclose(sgd["covariance"], problem.stationary_covariance(lr, line.batch_size), rtol=1e-12)


def test_floors_of_logistic_regression_fall_with_the_batch(tree):
    logistic = tree["noise_ball/logistic"].to_dataset().load()
    late = logistic["excess"].isel(step=slice(-30, None)).mean("step")
    assert late.sel(batch=10) > 2 * late.sel(batch=50) > 20 * late.sel(batch=200)
    small = logistic["batch"] < 200
    ratio = (late / logistic["floor"]).where(small, drop=True)
    assert ((ratio > 0.6) & (ratio < 1.6)).all()  # ten runs, thirty correlated steps
    assert (logistic["operations"] == 40 * (logistic["batch"] + 1)).all()


def test_figure_and_caption(experiment, tree):
    assert len(experiment.figure(tree).axes) == 8
    caption = experiment.caption(tree)
    assert "nan" not in caption
    assert "α = 0.1, 0.4" in caption
