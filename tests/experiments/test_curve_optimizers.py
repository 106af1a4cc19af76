"""The comparison of curve optimizers, from its recipe to its figure."""

import json
from dataclasses import replace

import numpy as np
import pytest
from landscape.cli.main import main
from landscape.experiments import mechanism

from landscape.networks.training import TrainingRecipe
from landscape.sweeps import store

OPTIONS = mechanism.Options(engine="serial", progress=False)


def run(capsys, *arguments):
    """Run the command line; what it printed as JSON."""
    with pytest.raises(SystemExit) as end:
        main([*arguments, "--json"])
    out = capsys.readouterr()
    assert end.value.code == 0, out.err
    return json.loads(out.out)


@pytest.fixture(scope="module")
def experiment():
    return mechanism.load("curve_optimizers")


@pytest.fixture(scope="module")
def computed(experiment, tmp_path_factory):
    path = tmp_path_factory.mktemp("comparison") / "smoke.zarr"
    experiment.compute(experiment.preset("smoke"), path, OPTIONS)
    return path


def test_smoke_preset_from_recipe_to_figure(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ["figure", "curve_optimizers", "--preset", "smoke", "--out", "out", "--engine", "serial", "--quiet"]
    result = run(capsys, *command)
    assert result["computed"]
    names = [f"curve_optimizers-smoke.{suffix}" for suffix in ("pdf", "png", "txt", "yaml", "zarr")]
    assert all((tmp_path / "out" / name).exists() for name in names)
    assert (tmp_path / "out" / names[2]).read_text().strip() == result["caption"]
    again = run(capsys, *command, "--results", "out", "--overwrite")
    assert not again["computed"]
    assert again["caption"] == result["caption"]
    found = run(capsys, "show", f"out/{names[4]}")
    assert found["complete"]
    assert found["progress"]["curve_optimizers"]["points"] == 2 * 2 * 2 * 2
    assert [row["node"] for row in found["values"]] == ["curve_optimizers", "curve_optimizers/linear"]


def test_the_grid_is_labelled(computed):
    tree = store.open(computed)
    fits = tree["curve_optimizers"].to_dataset()
    assert fits["barrier"].dims == ("curve", "fit", "rate", "pair", "budget", "split")
    assert list(fits["fit"].values) == ["adam-cosine-stratified", "sgd-piecewise-uniform"]
    np.testing.assert_array_equal(fits["learning_rate"], [[0.01, 0.03], [0.1, np.nan]])
    assert fits["budget"].values.tolist() == [10, 20]
    one = fits.sel(fit="sgd-piecewise-uniform")
    assert (one["status"].isel(rate=0) == 1).all()
    assert (one["status"].isel(rate=1) == 4).all()  # that method has one learning rate only
    assert np.isnan(one["barrier"].isel(rate=1)).all()
    assert (fits["barrier"].sel(fit="adam-cosine-stratified") >= 0).all()


def test_a_cell_is_what_connect_measures(computed, tmp_path):
    """The same fit by `connect` has the same barrier."""
    from landscape.studies.connect import ConnectRecipe, CurveRecipe, connect

    files = [computed.with_name(f"smoke-seed{seed}.safetensors") for seed in (2, 3)]
    fit = CurveRecipe(epochs=None, steps=20, hyperparameters={"lr": 0.03}, nodes="stratified", seed=1)
    tree = connect(files, tmp_path / "c.zarr", ConnectRecipe(("bezier",), fit, points=9), progress=False)
    experiment = store.open(computed)["curve_optimizers"]
    cell = experiment["barrier"].sel(curve="bezier", fit="adam-cosine-stratified", pair=1, budget=20).isel(rate=1)
    barrier = tree["connect"]["barrier"].sel(pair=0)
    np.testing.assert_allclose(cell, barrier.sel(curve="bezier"), rtol=1e-4)  # float32 sums in other batches
    line = experiment["linear/barrier"].sel(pair=1)
    np.testing.assert_allclose(line, barrier.sel(curve="linear"), rtol=1e-4)


def test_a_diverged_fit_is_not_finite_rather_than_low(experiment, tmp_path):
    recipe = experiment.preset("smoke")
    wild = replace(recipe.methods[1], learning_rates=(1e20,))
    recipe = replace(
        recipe,
        methods=(wild,),
        pairs=((0, 1),),
        curves=("bezier",),
        training=TrainingRecipe("sgd", {"lr": 0.1}, epochs=1),
    )
    experiment.compute(recipe, tmp_path / "wild.zarr", OPTIONS)
    fits = store.open(tmp_path / "wild.zarr")["curve_optimizers"].to_dataset()
    assert (fits["status"] == 2).all()
    assert not np.isfinite(fits["barrier"]).any()


def test_recipe_survives_yaml(experiment):
    from landscape.sweeps.recipe import from_yaml, to_yaml

    for recipe in experiment.presets.values():
        back = mechanism.from_plain(type(recipe), from_yaml(to_yaml(recipe)))
        assert experiment.identity(back) == experiment.identity(recipe)


def test_every_store_has_a_figure_and_a_caption(experiment, computed):
    tree = store.open(computed)
    assert experiment.figure(tree).axes
    caption = experiment.caption(tree)
    assert "after 10 / 20 evaluations" in caption
    assert "nan" not in caption
