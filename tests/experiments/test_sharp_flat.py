"""A sharp and a wide minimum, from the recipe to the figure; the verdict on made-up numbers."""

import math

import numpy as np
import pytest
import torch
import xarray as xr
from landscape.experiments import mechanism

from landscape.figures.widths import YARDSTICKS, called, ratios, rise_radius, verdict, yardsticks
from landscape.networks.checkpoint import load_checkpoint
from landscape.sweeps import store

OPTIONS = mechanism.Options(engine="serial", progress=False)
NODE = "sharp_flat"
RAW = [name for name, one in YARDSTICKS.items() if not one.normalized]
SCALED = [name for name, one in YARDSTICKS.items() if one.normalized]


@pytest.fixture(scope="module")
def experiment():
    return mechanism.load(NODE)


@pytest.fixture(scope="module")
def computed(experiment, tmp_path_factory):
    path = tmp_path_factory.mktemp("sharp") / "smoke.zarr"
    experiment.compute(experiment.preset("smoke"), path, OPTIONS)
    return path


@pytest.fixture(scope="module")
def tree(computed):
    return store.open(computed)


def networks(path, method, seed):
    return load_checkpoint(path.with_name(f"smoke-{method}-seed{seed}.safetensors"))


def values_of(factors, jitter=0.02, stderr=0.0):
    """Values of all yardsticks: SGD's 2, 3 and 5, SAM's the same times a factor, and some scatter over seeds."""
    sgd = np.array([2.0, 3.0, 5.0])
    noise = 1 + jitter * np.array([-1.0, 0.0, 1.0])
    value = np.array([[sgd, sgd * factors[name] * noise] for name in YARDSTICKS])
    dims = ("yardstick", "method", "seed")
    coords = {"yardstick": list(YARDSTICKS), "method": ["sgd", "sam"], "seed": [0, 1, 2]}
    return xr.Dataset({"value": (dims, value), "stderr": (dims, stderr * value)}, coords)


def oriented(factor):
    """Sharpness times a factor: widths the other way round."""
    return {name: 1 / factor if one.inverse else factor for name, one in YARDSTICKS.items()}


@pytest.mark.parametrize(("factor", "answer"), [(0.5, "wider"), (2.0, "sharper"), (1.001, "undecided")])
def test_the_verdict_follows_the_ratios(factor, answer):
    found = ratios(values_of(oriented(factor)))
    for normalized, names in ((False, RAW), (True, SCALED)):
        one = verdict(found, normalized)
        assert one.answer == answer
        assert sorted(getattr(one, answer)) == sorted(names)


def test_kinds_are_judged_apart_and_disagreement_is_said():
    factors = oriented(0.5)
    factors |= {"relative_flatness": 3.0, "adaptive_sharpness": 1.0}
    found = ratios(values_of(factors))
    assert verdict(found, False).answer == "wider"
    scaled = verdict(found, True)
    assert scaled.answer == "disagree"
    assert scaled.sharper == ("relative_flatness",)
    assert scaled.undecided == ("adaptive_sharpness",)
    assert called(*scaled.sharper) == "relative flatness"
    assert called("sam_sharpness", 0.1).endswith("ρ = 0.1")


def test_a_minority_decides_nothing():
    factors = dict.fromkeys(YARDSTICKS, 1.0) | {"hessian_max": 0.5}
    assert verdict(ratios(values_of(factors)), False).answer == "undecided"


def test_intervals_are_students():
    """Three log ratios of mean 0 and standard deviation s: t = 4.303 at two degrees of freedom."""
    found = ratios(values_of(dict.fromkeys(YARDSTICKS, 1.0), jitter=0.1, stderr=0.03))
    one = found.sel(yardstick="hessian_max")
    logs = np.log([0.9, 1.0, 1.1])
    half = 4.302652729911275 * logs.std(ddof=1) / math.sqrt(3)
    np.testing.assert_allclose(np.log([one["low"], one["high"]]), logs.mean() + np.array([-half, half]), rtol=1e-9)
    np.testing.assert_allclose(one["ratio"], [0.9, 1.0, 1.1], rtol=1e-12)
    np.testing.assert_allclose(one["ratio_stderr"], one["ratio"] * 0.03 * math.sqrt(2), rtol=1e-12)


def test_what_has_no_ratio_decides_nothing():
    values = values_of(oriented(0.5))
    values["value"].loc[{"yardstick": "radius", "method": "sam", "seed": 1}] = np.inf
    values["value"].loc[{"yardstick": "hessian_trace", "method": "sam", "seed": 2}] = -1.0
    found = ratios(values)
    assert found["mean"].sel(yardstick=["radius", "hessian_trace"]).isnull().all()
    assert "radius" in verdict(found, True).undecided
    assert "hessian_trace" in verdict(found, False).undecided
    alone = ratios(values_of(oriented(0.5)).isel(seed=[0]))
    assert alone["low"].isnull().all()
    assert verdict(alone, False).answer == "undecided"


@pytest.mark.parametrize("stretch", [1.0, 2.0])
def test_the_radius_of_a_paraboloid(stretch):
    """Of 4 (a² + b²) it is 1/2; of an ellipse the mean over directions."""
    axis = np.linspace(-1, 1, 257)
    beta, alpha = np.meshgrid(axis, axis, indexing="ij")
    plane = xr.DataArray(0.3 + 4 * (alpha**2 + stretch * beta**2), {"beta": axis, "alpha": axis}, ("beta", "alpha"))
    angles = np.linspace(0, 2 * np.pi, 1000, endpoint=False)
    expected = (0.5 / np.sqrt(np.cos(angles) ** 2 + stretch * np.sin(angles) ** 2)).mean()
    assert rise_radius(plane) == pytest.approx(expected, rel=1e-3)
    assert rise_radius(plane.T) == rise_radius(plane)
    assert rise_radius(plane, rise=5.0) == math.inf
    plane[0, 0] = np.nan  # diverged: risen, and beyond every ray's crossing
    assert rise_radius(plane) == pytest.approx(expected, rel=1e-3)


def test_both_methods_start_alike_and_end_apart(experiment, computed):
    recipe = experiment.preset("smoke")
    data = recipe.problem.load_data()
    for seed in recipe.seeds:
        sgd, sam = (networks(computed, method, seed) for method in ("sgd", "sam"))
        starts = [recipe.problem.build_model(data, file.recipe["training"]["seed"]) for file in (sgd, sam)]
        for one, other in zip(*(start.parameters() for start in starts), strict=True):
            assert torch.equal(one, other)
        assert sgd.recipe["training"]["batch_size"] == sam.recipe["training"]["batch_size"]
        assert sgd.recipe["training"]["epochs"] == sam.recipe["training"]["epochs"]
        assert not all(torch.equal(sgd.state[name], sam.state[name]) for name in sgd.state)


def test_the_store_holds_what_the_studies_found(computed, tree):
    """Networks are sorted by method and seed as they were studied."""
    surface = store.open(computed.with_name("smoke-surface.zarr"))["surface"]["loss"].sel(split="train")
    sharpness = store.open(computed.with_name("smoke-sharpness.zarr"))["sharpness"].sel(split="train")
    norms = tree[NODE]["weight_norm"]
    for method in ("sgd", "sam"):
        for seed in (0, 1):
            name, at = f"smoke-{method}-seed{seed}", {"method": method, "seed": seed}
            np.testing.assert_array_equal(tree[f"{NODE}/surface"]["loss"].sel(at), surface.sel(checkpoint=name))
            for measure in ("hessian_max", "adaptive_sharpness", "hessian_density_low", "pac_bayes_sigma_stderr"):
                found = tree[f"{NODE}/sharpness"][measure].sel(at)
                np.testing.assert_array_equal(found, sharpness[measure].sel(checkpoint=name))
            state = networks(computed, method, seed).state
            length = math.sqrt(sum(float(tensor.double().square().sum()) for tensor in state.values()))
            assert float(norms.sel(at)) == pytest.approx(length, rel=1e-6)
    centre = tree[f"{NODE}/line"]["loss"].sel(alpha=0)
    np.testing.assert_allclose(centre, tree[NODE]["loss"], rtol=1e-5)


def test_scaled_yardsticks_are_those_of_the_store(tree):
    found = yardsticks(tree, NODE)
    assert list(found["yardstick"].values) == list(YARDSTICKS)
    measures, norm = tree[f"{NODE}/sharpness"].to_dataset().load(), tree[NODE]["weight_norm"]
    value = found["value"]
    np.testing.assert_allclose(value.sel(yardstick="hessian_max_scaled"), measures["hessian_max"] * norm**2)
    sigma = measures["pac_bayes_sigma"] * math.sqrt(tree[NODE].attrs["num_parameters"]) / norm
    np.testing.assert_allclose(value.sel(yardstick="pac_bayes_sigma_scaled"), sigma)
    assert found["rho"].sel(yardstick="hessian_max").isnull()
    for name, rho in (("sam_sharpness", 0.1), ("adaptive_sharpness", 0.5), ("average_sharpness", 5.0)):
        np.testing.assert_array_equal(value.sel(yardstick=name), measures[name].sel(rho=rho))
        assert float(found["rho"].sel(yardstick=name)) == rho


def test_figure_and_caption(experiment, tree, tmp_path):
    drawn = experiment.figure(tree)
    drawn.savefig(tmp_path / "a.pdf")
    assert "nan" not in (caption := experiment.caption(tree))
    assert "Is SAM's minimum wider after normalisation? In units of the weights" in caption
    assert "twice as many gradients" in caption


def test_a_finished_experiment_is_left_alone(experiment, computed, tree):
    before = {file: file.stat().st_mtime_ns for file in computed.rglob("*") if file.is_file()}
    experiment.run(experiment.preset("smoke"), computed, OPTIONS)
    assert {file: file.stat().st_mtime_ns for file in computed.rglob("*") if file.is_file()} == before


def test_a_subset_has_so_many_samples_of_each_split():
    from landscape.experiments.subsets import subset

    data = subset(data="digits", samples=500)
    assert (len(data.train), len(data.test)) == (500, 360)
    assert data.digest == subset(data="digits", samples=500).digest
