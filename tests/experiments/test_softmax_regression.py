"""Every optimizer on softmax regression, from the recipe to the figure."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from landscape.experiments import mechanism
from landscape.experiments.softmax_problem import SoftmaxRegression
from landscape.experiments.softmax_regression import METHODS, lowest_mean
from landscape.experiments.softmax_runs import Budget, Method, descend, judge

from landscape.figures.softmax_regression import geometric
from landscape.networks.datasets import load_data
from landscape.optimizers.registry import OPTIMIZERS
from landscape.sweeps import store

OPTIONS = mechanism.Options(engine="serial", progress=False)
FILTERS = {"grokfast", "orthograd"}  # of another's gradient: they race against it alone, in grokking_sweeps
SHORT = Budget(mu=0.01, batch_size=100, marks=(0.0, 0.5, 1.0))


@pytest.fixture(scope="module")
def problem():
    return SoftmaxRegression(load_data("digits").subset(400), mu=0.01)


@pytest.fixture(scope="module")
def experiment():
    return mechanism.load("softmax_regression")


@pytest.fixture(scope="module")
def tree(experiment, tmp_path_factory):
    path = tmp_path_factory.mktemp("softmax") / "smoke.zarr"
    experiment.compute(experiment.preset("smoke"), path, OPTIONS)
    return store.open(path)


def by_name(name):
    return next(method for method in METHODS if method.name == name)


def test_all_optimizers_take_part_with_half_decades_of_learning_rates():
    assert {method.registered for method in METHODS} == set(OPTIMIZERS) - FILTERS
    assert Method("sgd", 3e-4).rates(4).tolist() == [3e-4, 1e-3, 3e-3, 1e-2]
    assert by_name("adamw").rates(7)[1] == 3e-4  # the lecture's is one of them


def test_gradients_are_autograds_and_the_minimum_is_one(problem):
    weights = torch.stack([problem.start(seed) for seed in (0, 1)])
    batch = torch.arange(0, 400, 3)
    exact = weights.double().requires_grad_()
    logits = torch.einsum("kcd,nd->knc", exact, problem.exact[batch])
    losses = [torch.nn.functional.cross_entropy(one, problem.targets[batch]) for one in logits]
    (sum(losses) + 0.005 * exact.square().sum()).backward()
    torch.testing.assert_close(problem.gradients(weights, batch), exact.grad.float(), rtol=1e-4, atol=1e-6)
    expected = losses[0] + 0.005 * exact[0].square().sum()
    torch.testing.assert_close(problem.batch_loss(weights[0], batch), expected.detach(), rtol=1e-6, atol=0)
    minimum, lowest, slope = problem.minimum()
    assert slope**2 / (2 * problem.mu) < 1e-12
    nudged = torch.from_numpy(minimum) + 1e-3 * weights.double()
    assert (problem.losses(nudged) > lowest).all()
    assert lowest == pytest.approx(float(problem.losses(torch.from_numpy(minimum)[None])), abs=1e-13)


@pytest.mark.parametrize("name", ["adam", "muon", "sam", "lbfgs"])
def test_learning_rates_side_by_side_are_those_one_by_one(problem, name):
    budget = replace(SHORT, marks=(0.0, 0.5, 12.0 if name == "lbfgs" else 2.0))
    both = descend(problem, by_name(name), [0.001, 0.01], "cosine", 3, budget)
    for place, rate in enumerate((0.001, 0.01)):
        alone = descend(problem, by_name(name), [rate], "cosine", 3, budget)
        torch.testing.assert_close(both[place], alone[0], rtol=1e-3, atol=1e-5)
    assert torch.equal(both[0, 0], problem.start(3))
    assert not torch.equal(both[0, 2], both[1, 2])


@pytest.mark.parametrize(
    ("norm", "normalized", "same"),
    [("frobenius", True, "normalized-gd"), ("linf", True, "sign-gd"), ("spectral", True, "spectral-gd"),
     ("frobenius", False, "sgd"), ("l2", False, "sgd")],
)  # fmt: skip
def test_norms_that_are_left_out_are_other_methods(problem, norm, normalized, same):
    settings = {"norm": norm, "normalized": normalized}
    ours = descend(problem, Method("x", 0.01, "steepest", settings), [0.01], "constant", 0, SHORT)
    theirs = descend(problem, Method(same, 0.01), [0.01], "constant", 0, SHORT)
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_all_take_the_same_number_of_gradients(problem, monkeypatch):
    taken = []
    gradients = problem.gradients
    monkeypatch.setattr(problem, "gradients", lambda w, batch: (taken.append(len(batch)), gradients(w, batch))[1])
    counts = {}
    for name in ("sgd", "sam", "gd", "lbfgs"):
        taken.clear()
        descend(problem, by_name(name), [0.1], "constant", 0, replace(SHORT, marks=(0.0, 6.0)))
        counts[name] = (sum(taken), len(taken))
    assert counts["sgd"] == counts["sam"] == (2400, 24)
    assert counts["gd"] == (2400, 6)
    assert counts["lbfgs"][0] >= 2400  # it stops within the line search that crosses the budget, whose step is left out


def test_a_run_that_is_between_two_steps_is_recorded_before_them(problem):
    method = by_name("gd")
    found = descend(problem, method, [0.1], "constant", 0, replace(SHORT, marks=(0.0, 0.5, 1.0, 1.5)))[0]
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[2], found[3])
    expected = found[0] - 0.1 * problem.gradients(found[:1], torch.arange(400))[0]
    torch.testing.assert_close(found[2], expected, rtol=1e-4, atol=1e-6)


def test_a_diverged_run_is_a_value(problem):
    found = descend(problem, by_name("shampoo"), [1e30, 0.01], "constant", 0, replace(SHORT, marks=(0.0, 2.0)))
    values = judge(problem, found, 0.0)
    assert np.isnan(values["excess"][0, 1])
    assert np.isnan(values["test_error"][0, 1])
    assert np.isfinite(values["excess"][1]).all()


def test_the_lowest_mean_is_chosen_and_edges_are_told():
    excess = np.array([[[[3.0, 3.0], [1.0, 4.0], [2.0, 2.0]], [[1.0, np.nan], [9.0, 9.0], [8.0, 9.5]]]])
    best, edge = lowest_mean(excess)
    assert best.tolist() == [[2, 2]]
    assert edge.tolist() == [[True, True]]
    best, edge = lowest_mean(excess[..., :1])
    assert best.tolist() == [[1, 0]]
    assert edge.tolist() == [[False, True]]


def test_geometric_means_have_students_interval():
    middle, low, high = geometric(np.array([[1.0, 100.0, 10.0]]))
    half = 4.302652729911275 * np.log(10) / np.sqrt(3)  # of two degrees of freedom
    np.testing.assert_allclose([middle[0], low[0], high[0]], np.exp(np.log(10) + np.array([0, -half, half])))


def test_the_store_holds_the_same_start_for_all_and_the_chosen_rates(experiment, tree):
    recipe = experiment.preset("smoke")
    tune, best = (tree[f"softmax_regression/{name}"].to_dataset().load() for name in ("tune", "best"))
    start = best["excess"].isel({"pass": 0})
    np.testing.assert_array_equal(start, np.broadcast_to(start[0, 0], start.shape))
    assert (best["excess"].values[np.isfinite(best["excess"].values)] > 0).all()
    means = tune["excess"].where(np.isfinite(tune["excess"]), np.inf).mean("tuning_seed")
    for method in recipe.methods:
        for schedule in recipe.schedules:
            cell = {"method": method.name, "schedule": schedule}
            place = int(means.sel(cell).values.argmin())
            assert float(best["learning_rate"].sel(cell)) == method.rates(recipe.rates)[place]
            assert bool(best["at_edge"].sel(cell)) == (place in (0, recipe.rates - 1))
    untuned = tree["softmax_regression/untuned"].to_dataset()
    assert untuned["learning_rate"].values.tolist() == [[3e-4], [0.02]]
    settings = dict(zip(tune["method"].values, tune["hyperparameters"].values, strict=True))
    assert json.loads(settings["steepest-row"]) == {"norm": "row"}


def test_figure_and_caption(experiment, tree):
    assert len(experiment.figure(tree).axes) == 7
    caption = experiment.caption(tree)
    assert "nan" not in caption
    assert "Shampoo block_size=200 every=20" in caption
    assert "Muon is number" in caption
