"""The table of rates: its functions have the properties that theory asks for, its fits are exact on exact curves."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from landscape.experiments import mechanism, rates_fits, rates_measured, rates_runs

from landscape.sweeps import store

OPTIONS = mechanism.Options(engine="serial", progress=False)


@pytest.fixture(scope="module")
def experiment():
    return mechanism.load("rates")


@pytest.fixture(scope="module")
def recipe(experiment):
    return experiment.preset("smoke")


@pytest.fixture(scope="module")
def tree(experiment, recipe, tmp_path_factory):
    path = tmp_path_factory.mktemp("rates") / "smoke.zarr"
    experiment.compute(recipe, path, OPTIONS)
    return store.open(path)


@pytest.fixture(params=rates_runs.PROBLEMS)
def instances(request, recipe):
    return rates_runs.instances_of(request.param, recipe.noisy, 3, 0)


def test_gradients_are_those_of_the_loss_and_the_minimum_is_at_the_origin(instances):
    x = (0.7 * instances.start).requires_grad_()
    (expected,) = torch.autograd.grad(instances.loss(x).sum(), x)
    inside = getattr(instances, "inside", torch.ones_like(expected))  # walls between chains stay at 0
    torch.testing.assert_close(instances.gradient(x.detach()), expected * inside)
    origin = torch.zeros_like(instances.start)
    assert (instances.loss(origin) == 0).all()
    assert (instances.gradient(origin) == 0).all()
    assert (instances.loss(instances.start) > 0).all()
    torch.testing.assert_close(instances.only(1).loss(x[1:2]), instances.loss(x)[1:2])


def test_no_curvature_is_above_one(instances):
    for scale in (0.0, 0.3, 1.0):
        hessian = torch.autograd.functional.hessian(
            lambda x: instances.only(0).loss(x).sum(), scale * instances.start[:1]
        )
        side = instances.start.shape[1]
        assert torch.linalg.eigvalsh(hessian.reshape(side, side)).abs().max() <= 1 + 1e-9


def test_quadratics_are_pl_but_not_strongly_convex(recipe):
    problem = rates_runs.instances_of("quadratic", recipe.full, 3, 0)
    kappa = torch.from_numpy(rates_runs.conditions(recipe.full, 3))
    assert ((problem.eigenvalues == 0).sum(-1) > 0).all()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(50, *problem.start.shape, generator=generator, dtype=torch.float64)
    assert (0.5 * problem.gradient(x).square().sum(-1) >= problem.loss(x) / kappa - 1e-12).all()
    torch.testing.assert_close(problem.loss(problem.start), torch.ones(3, dtype=torch.float64))


def test_wells_start_where_they_are_concave(recipe):
    problem = rates_runs.instances_of("wells", recipe.full, 1, 0)
    hessian = torch.autograd.functional.hessian(lambda x: problem.loss(x).sum(), problem.start)
    assert (torch.linalg.eigvalsh(hessian[0, :, 0]) < 0).all()


def test_preconditioning_inverts_the_damped_curvature_at_the_minimum(instances):
    side = instances.start.shape[1]
    one = instances.only(0)
    origin = torch.zeros_like(one.start)
    hessian = torch.autograd.functional.hessian(lambda x: one.loss(x).sum(), origin).reshape(side, side)
    inside = getattr(one, "inside", torch.ones_like(origin))[0]
    hessian = torch.nan_to_num(hessian) * inside[:, None] * inside
    vector = torch.linspace(-1, 1, side, dtype=torch.float64) * inside
    solved = instances.precondition(vector.expand_as(instances.start))[0]
    torch.testing.assert_close(hessian @ solved + instances.damping * solved, vector, rtol=1e-8, atol=1e-10)


def test_noise_on_the_chains_has_the_hessians_covariance(recipe):
    problem = rates_runs.instances_of("chain", recipe.noisy, 1, 0)
    side = problem.start.shape[1]
    drawn = problem.noise((40_000,), torch.Generator().manual_seed(0))[:, 0]
    eye = torch.eye(side, dtype=torch.float64) * problem.inside
    hessian = problem.gradient(eye[:, None])[:, 0]
    torch.testing.assert_close(drawn.T @ drawn / len(drawn), hessian, rtol=0, atol=0.02)


def test_sgd_is_its_exact_expectation(recipe):
    """The mean over seeds of f on the quadratics, within 4 standard errors at each recorded step."""
    noisy = replace(recipe.noisy, seeds=(300, 2, 4, 3), steps=300)
    problem = rates_runs.instances_of("quadratic", noisy, 3, 0)
    steps = rates_runs.record(noisy, "quadratic")
    curve = rates_runs.wander("quadratic", problem, "sgd", noisy, steps, 5)
    offset = rates_runs.THETA / float(problem.eigenvalues[0, 0])
    rates = offset / (torch.arange(noisy.steps) + offset)
    expected = problem.expected(rates, rates_runs.noise_of("quadratic", noisy)).numpy()[steps].T
    stderr = curve.std(1) / np.sqrt(300)
    assert (np.abs(curve.mean(1) - expected) < 4.5 * stderr).all()  # some 120 comparisons
    late = steps > 100
    slope = np.polyfit(np.log(steps[late] + offset), np.log(expected[:, late].mean(0)), 1)[0]
    assert slope == pytest.approx(-1, abs=0.15)


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_powers_are_found_exactly(power):
    steps = np.unique(np.geomspace(1, 1e5, 60).round())
    curves = 3 * steps ** (-1 / power) * np.ones((4, 5, 1))
    epsilons = np.geomspace(curves[0, 0, 20], curves[0, 0, -5], 9)
    counts = rates_fits.steps_to(curves[:, 0], steps, epsilons)
    np.testing.assert_allclose(counts, ((3 / epsilons) ** power)[None].repeat(4, 0), rtol=1e-9)
    np.testing.assert_allclose(rates_fits.slopes(counts, epsilons, False, 1.0), power, rtol=1e-9)
    found = rates_fits.over_seeds(curves, steps, epsilons, 1.0, 20, 0)
    np.testing.assert_allclose(found, power, rtol=1e-9)


def test_linear_rates_are_found_and_what_is_missing_is_missing():
    curve = np.exp(-np.arange(1000) / 25.0)[None]
    epsilons = np.geomspace(1e-1, 1e-6, 6)
    counts = rates_fits.first_steps(curve, epsilons)
    np.testing.assert_array_equal(counts[0], np.ceil(-25 * np.log(epsilons)))
    np.testing.assert_allclose(rates_fits.slopes(counts, epsilons, True, 1.0), 25, rtol=2e-2)
    assert np.isnan(rates_fits.first_steps(curve, np.array([1e-30]))).all()
    assert np.isnan(rates_fits.steps_to(curve[:, 1:], np.arange(1.0, 1000), np.array([2.0, 1e-30]))).all()
    assert np.isnan(rates_fits.slopes(counts, epsilons, True, 1e9)).all()


def test_the_interval_covers_the_mean_nineteen_times_in_twenty():
    """Within three standard errors of 400 trials; plain percentiles of 12 values cover 91 %."""
    generator = np.random.default_rng(0)
    hits = 0
    for trial in range(400):
        _, low, high = rates_fits.over_instances(generator.normal(size=12), 300, trial)
        hits += low <= 0 <= high
    assert abs(hits / 400 - 0.95) < 3 * np.sqrt(0.05 * 0.95 / 400)


def test_the_table_of_a_smoke_run(tree, recipe):
    full = tree["rates/full/quadratic"].to_dataset().load()
    assert float(full["measured"].sel({"method": "gd"})) == pytest.approx(1, abs=0.01)
    assert full["steps_to_epsilon"].sel({"method": "momentum"}).isel(epsilon=-1).max() < (
        full["steps_to_epsilon"].sel({"method": "gd"}).isel(epsilon=-1).min()
    )
    assert float(full["kappa_power"].sel({"method": "gd"})) == pytest.approx(1, abs=0.05)
    chain = tree["rates/full/chain"].to_dataset().load()
    assert float(chain["measured"].sel({"method": "gd"})) == pytest.approx(1, abs=0.1)
    assert float(chain["measured"].sel({"method": "nesterov"})) == pytest.approx(0.5, abs=0.12)
    curve = chain["curve"].sel({"method": "gd"})
    assert (curve * (4 * curve["step"] + 2)).max() <= 1  # the bound L R^2 / (4 k + 2) of every convex function
    noisy = tree["rates/noisy/quadratic"].to_dataset().load()
    assert noisy["curve"].dims == ("method", "instance", "seed", "step")
    assert ((noisy["measured_low"] < 1.1) & (noisy["measured_high"] > 0.9)).all()


def test_rates_of_the_quadratics_in_closed_form():
    kappa = np.array([100.0, 1e4])
    np.testing.assert_allclose(rates_measured.steps_per_fold(kappa, "gd"), kappa / 2, rtol=0.01)
    np.testing.assert_allclose(rates_measured.steps_per_fold(kappa, "momentum"), np.sqrt(kappa) / 4, rtol=0.01)
    np.testing.assert_allclose(rates_measured.steps_per_fold(kappa, "nesterov"), np.sqrt(kappa) / 2, rtol=0.06)


def test_figure_and_caption(experiment, tree):
    figure = experiment.figure(tree)
    assert len([axes for part in figure.subfigs for axes in part.axes]) == 12
    caption = experiment.caption(tree)
    assert "nan" not in caption
    assert "Of 26 rates" in caption
