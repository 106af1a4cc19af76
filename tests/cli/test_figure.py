"""`landscape figure`: computed once, then drawn from the stored result."""

import json

import pytest
from landscape.experiments import EXPERIMENTS, mechanism

from landscape.sweeps import store
from landscape.sweeps.recipe import from_yaml, to_yaml

SMALL = """
problem: {model: mlp, data: shapes1d, model_settings: {hidden: [4]}, data_settings: {num_samples: 60, num_test: 20}}
training: {optimizer: sgd, epochs: 1, batch_size: 16}
connect: {curves: [bezier], fit: {epochs: null, steps: 3, batch_size: 16}, points: 3, plane: 3}
"""
QUIET = ("--engine", "serial", "--quiet")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LANDSCAPE_RESULTS", raising=False)
    (tmp_path / "small.yaml").write_text(SMALL)
    return tmp_path


def test_the_list(run, folder):
    outcome = run("figure", "--list")
    assert (outcome.status, outcome.err) == (0, "")
    assert [line.split()[0] for line in outcome.out.splitlines()] == list(EXPERIMENTS)
    assert json.loads(run("figure", "--json").out) == EXPERIMENTS


def test_own_recipe_is_computed_once_and_found_again(run, folder):
    base = ("figure", "connect", "--recipe", "small.yaml", *QUIET, "--json")
    first = run(*base, "--out", "first")
    assert (first.status, first.err) == (0, "")
    found = json.loads(first.out)
    assert found["computed"] is True
    files = {path.name for path in (folder / "first").glob("connect-own.*")}
    assert files == {"connect-own.pdf", "connect-own.png", "connect-own.txt", "connect-own.yaml", "connect-own.zarr"}
    assert list((folder / "first").glob(".*")) == []
    assert found["caption"] in (folder / "first" / "connect-own.txt").read_text()
    # The recipe that was written is complete and is the same one.
    experiment = mechanism.load("connect")
    kind = type(experiment.preset("smoke"))
    written = mechanism.from_plain(kind, from_yaml((folder / "first" / "connect-own.yaml").read_text()))
    assert experiment.identity(written) == store.attributes(found["store"])["experiment_hash"]
    # Again, elsewhere: drawn from the stored result, whichever way that is pointed to.
    again = json.loads(run(*base, "--out", "second", "--results", "first").out)
    assert (again["computed"], again["store"]) == (False, found["store"])
    assert again["caption"] == found["caption"]
    assert not list((folder / "second").glob("*.zarr"))
    # And in the same folder: the same recipe replaces its own figure.
    assert json.loads(run(*base, "--out", "first").out)["computed"] is False


def test_the_environment_names_results(run, folder, monkeypatch):
    assert run("figure", "connect", "--recipe", "small.yaml", *QUIET, "--out", "first").status == 0
    monkeypatch.setenv("LANDSCAPE_RESULTS", "nowhere:first")
    outcome = run("figure", "connect", "--recipe", "first/connect-own.yaml", *QUIET, "--out", "second")
    assert "drawn from first/connect-own.zarr" in outcome.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("conect",), "did you mean 'connect'"),
        (("connect", "--preset", "smoek"), "did you mean 'smoke'"),
        (("connect", "--recipe", "nowhere.yaml"), "can't read --recipe nowhere.yaml"),
        (("connect", "--recipe", "wrong.yaml"), "unknown entry of recipe.connect 'point': did you mean 'points'"),
        (("connect", "--recipe", "text.yaml"), "mapping"),
        (("connect", "--recipe", "count.yaml"), "points must be at least 2"),
        (("connect", "--recipe", "model.yaml"), "did you mean 'mlp'"),
        (("connect", "--recipe", "small.yaml", "--engine", "serail"), "did you mean 'serial'"),
        (("connect", "--recipe", "small.yaml", "--workers", "0"), "at least 1"),
        (("connect", "--recipe", "small.yaml", "--threads", "0"), "at least 1"),
        (("connect", "--recipe", "small.yaml", "--device", "tpu"), "unknown device"),
        (("connect", "--recipe", "small.yaml", "--out", "small.yaml/x"), "can't write to small.yaml/x"),
        (("connect", "--recipe", "small.yaml", "--out", "there"), "--overwrite"),
        (("connect", "--recipe", "small.yaml", "--data-dir", "nowhere"), "does not exist"),
    ],
)
def test_wrong_requests_are_one_line_and_write_nothing(run, folder, arguments, message):
    (folder / "wrong.yaml").write_text(SMALL.replace("points: 3", "point: 3"))
    (folder / "count.yaml").write_text(SMALL.replace("points: 3", "points: 1"))
    (folder / "model.yaml").write_text(SMALL.replace("model: mlp", "model: mlq"))
    (folder / "text.yaml").write_text("smoke")
    (folder / "there").mkdir()
    (folder / "there" / "connect-own.pdf").write_text("mine")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    outcome = run("figure", *arguments)
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err.startswith("Error: ")
    assert outcome.err.count("\n") == 1
    assert message in outcome.err
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_the_smoke_preset(run, folder):
    outcome = run("figure", "connect", "--preset", "smoke", *QUIET, "--json")
    assert (outcome.status, outcome.err) == (0, "")
    found = json.loads(outcome.out)
    assert found["store"] == "results/connect-smoke.zarr"
    barrier = store.open(found["store"])["connect"]["barrier"].sel(split="train")
    assert (barrier.sel(curve="linear") > 0.1).all()
    assert (barrier.sel(curve="bezier") < 0.1 * barrier.sel(curve="linear")).all()
    assert json.loads(run("figure", "connect", "--preset", "smoke", *QUIET, "--json").out)["computed"] is False
    assert (folder / "results" / "connect-smoke.yaml").read_text() == to_yaml(mechanism.load("connect").preset("smoke"))
