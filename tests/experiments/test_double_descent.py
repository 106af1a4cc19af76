"""The experiments on double descent, from their recipes to their figures."""

import numpy as np
import pytest
from landscape.experiments import mechanism

from landscape.sweeps import store

OPTIONS = mechanism.Options(engine="serial", progress=False)
NAMES = ("double_descent", "polynomial_descent", "fashion_descent", "training_descent")


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    folder = tmp_path_factory.mktemp("descent")

    def compute(name):
        experiment, path = mechanism.load(name), folder / f"{name}.zarr"
        if not path.exists():
            experiment.compute(experiment.preset("smoke"), path, OPTIONS)
        return store.open(path)

    return compute


@pytest.mark.parametrize("name", NAMES)
def test_figure_and_caption(trees, name):
    experiment, tree = mechanism.load(name), trees(name)
    figure = experiment.figure(tree)
    figure.draw_without_rendering()
    assert len(figure.axes) >= 2
    caption = experiment.caption(tree)
    assert "nan" not in caption
    assert len(caption) > 200
    assert tree.attrs["experiment"] == name


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_goes_to_yaml_and_back(name):
    from landscape.sweeps.recipe import from_yaml, to_yaml

    experiment = mechanism.load(name)
    for recipe in experiment.presets.values():
        again = mechanism.from_plain(type(recipe), from_yaml(to_yaml(recipe)))
        assert experiment.identity(again) == experiment.identity(recipe)


def test_the_features_peak_where_they_are_as_many_as_samples(trees):
    for name, node, samples in (("double_descent", "descent", 60), ("fashion_descent", "fashion_descent/features", 50)):
        loss = trees(name)[node]["loss"].load().isel(ridge=0, noise=0).sel(split="test")
        assert int(loss.median(("seed", "draw")).idxmax("capacity")) == samples


def test_errors_of_features_and_networks_are_drawn_on_one_scale_in_per_cent(trees):
    figure = mechanism.load("fashion_descent").figure(trees("fashion_descent"))
    figure.draw_without_rendering()
    errors = [axes for axes in figure.axes if axes.get_subplotspec().rowspan.start == 1]
    assert {axes.get_ylim() for axes in errors} == {(0.0, 1.0)}
    assert len(errors) == 4


def test_two_sweeps_share_a_store(trees):
    tree = trees("training_descent")
    epoch, samples = (tree[f"training_descent/{part}"].to_dataset() for part in ("epoch", "samples"))
    assert epoch["capacity"].values.tolist() == [1, 2, 4]
    assert samples["capacity"].values.tolist() == [40, 80, 160]
    assert np.isfinite(epoch["loss"]).all()
    assert np.isfinite(samples["loss"]).all()


def test_the_gpu_preset_is_nakkirans_network():
    recipe = mechanism.load("training_descent").preset("gpu")
    for sweep in (recipe.epoch, recipe.samples):
        assert (sweep.problem.model, sweep.problem.data) == ("resnet18k", "cifar10")
        assert sweep.training.hyperparameters["lr"] == 1e-4
        assert sweep.noise == (0.15,)
