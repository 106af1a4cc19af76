"""The race between optimizers, from its recipe to its figure."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from landscape.experiments import mechanism
from landscape.experiments.speedrun import PRESETS, half_decades
from landscape.experiments.speedrun_course import Course, Method
from landscape.experiments.speedrun_runs import DIVERGED, NOT_REACHED, REACHED, first_reach, losses_at

from landscape.errors import RequestError
from landscape.optimizers.registry import OPTIMIZERS, resolve_hyperparameters
from landscape.sweeps import store
from landscape.sweeps.recipe import from_yaml, to_yaml
from landscape.sweeps.task import Task

OPTIONS = mechanism.Options(engine="serial", progress=False)
FILTERS = {"grokfast", "orthograd"}  # of another's gradient: they race against it alone, in grokking_sweeps
SMOKE = PRESETS["smoke"]


@pytest.fixture(scope="module")
def experiment():
    return mechanism.load("speedrun")


@pytest.fixture(scope="module")
def computed(experiment, tmp_path_factory):
    path = tmp_path_factory.mktemp("speedrun") / "smoke.zarr"
    experiment.compute(SMOKE, path, OPTIONS)
    return path


@pytest.fixture(scope="module")
def tree(computed):
    return store.open(computed)


@pytest.fixture(scope="module")
def course():
    return Course(SMOKE, None, "cpu")


def test_every_optimizer_races_with_equally_many_rates_and_its_defaults():
    methods = PRESETS["cpu"].methods
    assert {method.optimizer for method in methods} == set(OPTIMIZERS) - FILTERS
    assert {len(method.rates) for method in methods} == {5}
    for method in methods:
        values = resolve_hyperparameters(method.optimizer, method.settings(method.rates[2]))
        known = resolve_hyperparameters(method.optimizer, {})
        for name, ratio in method.tied.items():
            assert values[name] / values["lr"] == pytest.approx(ratio) == pytest.approx(known[name] / known["lr"])
    assert [method.name for method in methods if method.full_batch] == ["gd", "lbfgs"]


def test_the_race_is_run_at_the_best_rate_of_the_tuning(tree):
    tuning, race = (tree[f"speedrun/{name}"].to_dataset().load() for name in ("tuning", "race"))
    best = tuning["loss"].argmin("rate")
    np.testing.assert_array_equal(race["learning_rate"], tuning["learning_rate"].isel(rate=best))
    assert race["loss"].dims == ("seed", "optimizer", "step")
    assert race["step"].values.tolist() == [0, 10, 20, 30, 40]
    assert (race["loss"].isel(step=-1) < race["loss"].isel(step=0)).all()
    np.testing.assert_allclose(race["loss"].isel(step=0), race["loss"].isel(step=0, optimizer=[0] * 5), rtol=1e-6)


def test_the_outcome_is_a_value_of_its_own(tree):
    race = tree["speedrun/race"].to_dataset().load()
    reached = race["outcome"] == REACHED
    assert reached.any()
    assert (race["outcome"] == NOT_REACHED).any()
    assert ((race["loss"] <= SMOKE.target).any("step") == reached).all()
    assert (race["steps_to_target"].where(~reached, SMOKE.steps) == SMOKE.steps).where(~reached, True).all()
    assert np.isfinite(race["steps_to_target"]).all()
    np.testing.assert_allclose(race["seconds_to_target"], race["steps_to_target"] * race["batch_seconds"])
    assert (race["status"] == 1).all()


def test_two_runs_of_a_seed_are_the_same_and_tokens_are_equal(course, tmp_path):
    method = next(method for method in SMOKE.methods if method.name == "muon")
    rows = [course.run(method, 0.03, 1, 10, Task(tmp_path / name)) for name in ("a", "b")]
    assert [row["loss"] for row in rows[0]] == [row["loss"] for row in rows[1]]
    full = next(method for method in SMOKE.methods if method.full_batch)
    rows.append(course.run(full, 0.1, 1, 10, Task(tmp_path / "c")))
    assert [[row["batches"] for row in run] for run in rows] == [[0, 10, 20, 30, 40]] * 3
    assert [row["step"] for row in rows[2]] == [0, 2, 4, 6, 8]
    assert all(row["batch_seconds"] > 0 for row in rows[0][1:])


def test_micro_batches_are_the_whole_batch_but_for_rounding(course, tmp_path):
    exact = replace(SMOKE, precision="float64", steps=10)
    for name in ("adamw", "sam"):
        method = next(method for method in exact.methods if method.name == name)
        losses = [
            Course(replace(exact, micro_batch_size=size), None, "cpu").run(method, 0.01, 1, 10, Task(tmp_path / name))
            for size in (None, 3)
        ]
        (_, whole), (_, parts) = losses
        assert whole["loss"] == pytest.approx(parts["loss"], rel=1e-12)


def test_a_full_batch_is_the_same_at_each_step(course, tmp_path):
    """With a step too small to change anything the loss falls as the gradient says, again and again."""
    seen = []
    select = course.train.select
    course.train.select = lambda index: seen.append(index) or select(index)
    try:
        course.run(Method("gd", (1e-9,)), 1e-9, 1, 40, Task(tmp_path / "gd"))
    finally:
        del course.train.select
    assert len(seen) == SMOKE.steps // SMOKE.full_batches
    assert all(torch.equal(index, seen[0]) for index in seen)
    assert len(seen[0]) == SMOKE.full_batches * SMOKE.batch_size


def test_a_run_that_diverges_is_no_number(course, tmp_path):
    rows = course.run(Method("momentum", (1e30,)), 1e30, 1, 10, Task(tmp_path / "wild"))
    losses = losses_at(rows, SMOKE.records)
    assert np.isfinite(losses[0])
    assert not np.isfinite(losses[-1])
    assert first_reach(SMOKE.records, losses, 0.0) == (DIVERGED, 40.0)


def test_the_target_is_reached_between_two_records():
    records = np.array([0, 10, 20, 30])
    assert first_reach(records, np.array([5.0, 4.0, 2.0, 3.0]), 3.5) == (REACHED, 12.5)
    assert first_reach(records, np.array([5.0, 4.0, np.nan, np.nan]), 4.5) == (REACHED, 5.0)
    assert first_reach(records, np.array([5.0, 4.0, 2.0, 3.0]), 5.0) == (REACHED, 0.0)
    assert first_reach(records, np.array([5.0, 4.0, 3.6, 3.6]), 3.5) == (NOT_REACHED, 30.0)


def test_half_decades():
    assert half_decades(3e-4, 0.1) == (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1)
    assert half_decades(0.1, 10.0) == (0.1, 0.3, 1.0, 3.0, 10.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"methods": (Method("sgd", (0.1,)), Method("adam", (0.1, 0.2)))}, "equally many learning rates"),
        ({"methods": (Method("sgd", (0.1,)), Method("sgd", (0.2,)))}, "two methods are called 'sgd'"),
        ({"record_every": 12}, r"steps \(40\) must be a multiple of record_every \(12\)"),
        ({"precision": "bf61"}, "did you mean 'bf16'"),
    ],
)
def test_a_wrong_recipe_is_refused(change, message):
    with pytest.raises(RequestError, match=message):
        replace(SMOKE, **change)


def test_recipes_survive_yaml(experiment):
    for recipe in PRESETS.values():
        back = mechanism.from_plain(type(recipe), from_yaml(to_yaml(recipe)))
        assert experiment.identity(back) == experiment.identity(recipe)


def test_figure_and_caption(experiment, tree):
    figure = experiment.figure(tree)
    axes = [one for part in figure.subfigs for one in part.get_axes()]
    assert [one.get_title() for one in axes][2:4] == ["steps to 3.15 nats", "seconds to 3.15 nats"]
    caption = experiment.caption(tree)
    assert not re.search(r"\bnan\b", caption)
    assert "Published, not measured here" in caption
    assert "Not reached" in caption


def gpu_path(tmp_path, experiment, device):
    """What the preset `gpu` does, on a network that a test can train."""
    recipe = PRESETS["gpu"]
    small = {"layers": 2, "width": 32, "heads": 2, "context": 16}
    recipe = replace(
        recipe,
        problem=replace(recipe.problem, model_settings=small, data_settings={"context": 16, "size": 50_000}),
        steps=4,
        record_every=2,
        batch_size=4,
        micro_batch_size=2,
        validation=8,
        peak=1e12,
    )
    path = tmp_path / "gpu.zarr"
    experiment.compute(recipe, path, replace(OPTIONS, device=device))
    tree = store.open(path)
    race = tree["speedrun/race"].to_dataset().load()
    assert "/speedrun/tuning" not in tree.groups
    assert race["optimizer"].values.tolist() == ["adamw", "muon", "shampoo", "momentum"]
    operations = race.attrs["operations_per_token"]
    np.testing.assert_allclose(race["peak_share"], race["tokens_per_second"] * operations / 1e12)
    np.testing.assert_allclose(race["tokens_per_second"] * race["batch_seconds"], 4 * 16)
    assert (race["loss"].isel(step=-1) < race["loss"].isel(step=0)).all()
    caption = experiment.caption(tree)
    assert "of the peak" in caption
    assert "fixed beforehand" in caption
    assert experiment.figure(tree).subfigs


def test_the_gpu_preset_runs_at_toy_size(tmp_path, experiment):
    gpu_path(tmp_path, experiment, "cpu")


@pytest.mark.gpu
def test_the_gpu_preset_runs_on_a_gpu(tmp_path, experiment):
    gpu_path(tmp_path, experiment, "cuda")
