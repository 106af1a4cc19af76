"""Recipes go to YAML and back; stored results are found by their recipe."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from landscape.experiments import EXPERIMENTS, mechanism

from landscape.errors import RequestError
from landscape.sweeps import store
from landscape.sweeps.recipe import from_yaml, plain, recipe_hash, to_yaml

PRESETS = [(name, preset) for name in EXPERIMENTS for preset in mechanism.load(name).presets]


@pytest.mark.parametrize(("name", "preset"), PRESETS)
def test_a_recipe_goes_to_yaml_and_back(name, preset):
    experiment = mechanism.load(name)
    recipe = experiment.preset(preset)
    again = mechanism.from_plain(type(recipe), from_yaml(to_yaml(recipe)))
    assert type(again) is type(recipe)
    assert recipe_hash(again) == recipe_hash(recipe)
    assert experiment.identity(again) == experiment.identity(recipe)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_has_its_three_presets_and_a_summary(name):
    experiment = mechanism.load(name)
    assert experiment.name == name
    assert {"smoke", "cpu"} <= experiment.presets.keys()
    assert EXPERIMENTS[name].endswith(".")
    assert len({experiment.identity(recipe) for recipe in experiment.presets.values()}) == len(experiment.presets)


def test_unknown_names():
    with pytest.raises(RequestError, match="did you mean 'connect'"):
        mechanism.load("conect")
    with pytest.raises(RequestError, match="did you mean 'smoke'"):
        mechanism.load("connect").preset("smoky")


@dataclass(frozen=True)
class Inner:
    lr: float = 0.1
    sizes: tuple[int, ...] = (1, 2)


@dataclass(frozen=True)
class Outer:
    inner: Inner = field(default_factory=Inner)
    count: int | None = 3
    name: str = "x"
    flag: bool = False

    def __post_init__(self):
        if self.count == 0:
            raise RequestError("count must be at least 1, got 0")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"coun": 3}, "unknown entry of recipe 'coun': did you mean 'count'"),
        ({"inner": {"lrr": 3}}, "unknown entry of recipe.inner 'lrr': did you mean 'lr'"),
        ({"inner": 3}, "recipe.inner must be a mapping, got 3"),
        ({"inner": {"lr": "fast"}}, "recipe.inner.lr must be of type float, got 'fast'"),
        ({"inner": {"sizes": 3}}, "recipe.inner.sizes must be a list, got 3"),
        ({"inner": {"sizes": [1, "2"]}}, "recipe.inner.sizes must be of type int, got '2'"),
        ({"count": 1.5}, "recipe.count must be of type int, got 1.5"),
        ({"count": True}, "recipe.count must be of type int, got True"),
        ({"name": 3}, "recipe.name must be of type str, got 3"),
        ({"flag": 1}, "recipe.flag must be of type bool, got 1"),
        ({"count": 0}, "count must be at least 1"),
        ([], "recipe must be a mapping"),
    ],
)
def test_entries_that_do_not_fit_are_named(value, message):
    with pytest.raises(RequestError) as error:
        mechanism.from_plain(Outer, value)
    assert message in str(error.value)


def test_a_partial_recipe_keeps_the_defaults():
    recipe = mechanism.from_plain(Outer, {"inner": {"lr": 1, "sizes": [4]}, "count": None})
    assert recipe == Outer(Inner(1.0, (4,)), None)
    assert plain(recipe)["inner"] == {"lr": 1.0, "sizes": [4]}


def test_a_stored_result_is_found_by_its_recipe_alone(tmp_path):
    runs = []

    def run(recipe: Outer, path: Path, options: mechanism.Options) -> None:
        runs.append(recipe)
        store.create(path, {"recipe": plain(recipe)}, kind="test")
        store.finish(path)

    experiment = mechanism.Experiment("test", {"cpu": Outer()}, run, lambda tree: None, lambda tree: "")
    folder = tmp_path / "results" / "elsewhere"
    folder.mkdir(parents=True)
    options = mechanism.Options(progress=False)
    experiment.compute(Outer(), folder / "any-name.zarr", options)
    assert runs == [Outer()]
    assert experiment.find(Outer(), [tmp_path / "nowhere", tmp_path / "results"]) == folder / "any-name.zarr"
    assert experiment.find(replace(Outer(), count=4), [tmp_path / "results"]) is None
    assert replace(experiment, name="other").find(Outer(), [tmp_path / "results"]) is None
    attributes = store.attributes(folder / "any-name.zarr")
    assert json.loads(attributes["experiment_recipe"]) == plain(Outer())


def test_an_unfinished_result_is_not_found(tmp_path):
    def run(recipe, path, options):
        store.create(path, {"recipe": 1}, kind="test")

    experiment = mechanism.Experiment("test", {}, run, lambda tree: None, lambda tree: "")
    experiment.compute(Outer(), tmp_path / "a.zarr", mechanism.Options())
    (tmp_path / "b.zarr").mkdir()  # no store at all
    assert experiment.find(Outer(), [tmp_path]) is None
