"""Unit balls and oracles, from the recipe to the figure."""

import numpy as np
import pytest
from landscape.experiments import mechanism

from landscape.sweeps import store

OPTIONS = mechanism.Options(engine="serial", progress=False)


@pytest.fixture(scope="module")
def experiment():
    return mechanism.load("norm_balls")


@pytest.fixture(scope="module")
def tree(experiment, tmp_path_factory):
    path = tmp_path_factory.mktemp("balls") / "smoke.zarr"
    experiment.compute(experiment.preset("smoke"), path, OPTIONS)
    return store.open(path)


@pytest.mark.parametrize("node", ["vector", "matrix"])
def test_oracles_lie_on_the_balls_furthest_down_the_gradient(tree, node):
    balls = tree[f"norm_balls/{node}"].to_dataset().load()
    orders = {"nuclear": 1.0, "frobenius": 2.0, "spectral": np.inf}
    for name in balls["norm"].values:
        ball = balls.sel(norm=name)
        order = orders.get(str(name)) or float(name)
        gradient = ball["gradient"].values
        np.testing.assert_allclose(np.linalg.norm(ball["boundary"], order, axis=1), 1, rtol=1e-12)
        np.testing.assert_allclose(np.linalg.norm(ball["lmo"], order), 1, rtol=1e-12)
        lowest = float(ball["lmo"].values @ gradient)
        assert lowest == pytest.approx(-float(ball["dual_norm"]), rel=1e-12)
        assert (ball["boundary"].values @ gradient >= lowest - 1e-12).all()


def test_singular_values_of_the_larger_oracles(tree):
    matrix = tree["norm_balls/matrix"].to_dataset().load()
    spectrum = matrix["spectrum"].values
    rank = len(spectrum)
    np.testing.assert_allclose(matrix["values"].sel(norm="spectral"), np.ones(rank), rtol=1e-12)
    np.testing.assert_allclose(matrix["values"].sel(norm="nuclear"), np.eye(rank)[0], atol=1e-12)
    np.testing.assert_allclose(matrix["values"].sel(norm="frobenius"), spectrum / np.linalg.norm(spectrum), rtol=1e-10)


def test_the_step_turns_with_the_gradient(tree):
    vector = tree["norm_balls/vector"].to_dataset().load()
    at = vector["turned"].sel(angle=np.pi / 6, method="nearest")
    angle = float(at["angle"])
    expected = {"1": 0.0, "2": angle, "inf": np.pi / 4}
    for name, turned in expected.items():
        assert float(at.sel(norm=name)) == pytest.approx(turned, abs=1e-12)
    assert float(at.sel(norm="1.5")) < angle < float(at.sel(norm="3"))


def test_figure_and_caption(experiment, tree):
    assert len(experiment.figure(tree).axes) == 10
    assert "p = ∞: 1.200" in experiment.caption(tree)
