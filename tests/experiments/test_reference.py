"""The results that are kept are those of today's recipes, and small."""

from pathlib import Path

import pytest
from landscape.experiments import mechanism

from landscape.sweeps import store

REFERENCE = Path(__file__).parents[2] / "results" / "reference"
STORES = sorted(REFERENCE.glob("*.zarr"))


@pytest.mark.parametrize("path", STORES, ids=lambda path: path.name)
def test_a_kept_result_is_found_by_its_recipe(path):
    experiment = mechanism.load(store.attributes(path)["experiment"])
    found = [experiment.find(recipe, [REFERENCE]) for recipe in experiment.presets.values()]
    assert path in found


@pytest.mark.parametrize("path", STORES, ids=lambda path: path.name)
def test_a_kept_result_is_small_and_explained(path):
    assert sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) <= 2_000_000
    assert path.name in (REFERENCE / "README.md").read_text("utf-8")
