"""`landscape descent`, from the command line to the store, its summary and its figures; wrong requests; kills."""

import json
import runpy
from pathlib import Path

import pytest
import xarray
from PIL import Image

HERE = runpy.run_path(str(Path(__file__).with_name("conftest.py")))
KILL = runpy.run_path(str(Path(__file__).with_name("test_kill.py")))
snapshot, kill_when, contents = HERE["snapshot"], KILL["kill_when"], KILL["contents"]

POLYNOMIAL = ("descent", "polynomial", "--basis", "legendre", "--functions", "1:30", "--samples", 8, "--repetitions", 5)
FEATURES = (
    "descent",
    "features",
    "--features",
    "5,20,40,80",
    "--samples",
    40,
    "--repetitions",
    2,
    "--test-samples",
    50,
)
NETWORK = ("--model-set", "hidden=4", "--test-samples", 50, "--noise", "0,0.2")
WIDTH = ("descent", "width", "--widths", "2,4", "--samples", 50, "--steps", 20, "--test-samples", 50)
EPOCH = ("descent", "epoch", "--epochs", "1,3", "--samples", 50, *NETWORK)
SAMPLES = ("descent", "samples", "--samples", "20:60:20", "--steps", 20, *NETWORK)
SERIAL = ("--engine", "serial", "--quiet", "--out", "d.zarr")


@pytest.fixture
def work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("request_", [POLYNOMIAL, FEATURES, WIDTH, EPOCH, SAMPLES], ids=lambda words: words[1])
def test_a_sweep_is_stored_summarised_and_drawn(run, work, request_):
    outcome = run(*request_, *SERIAL, "--json")
    assert (outcome.status, outcome.err) == (0, "")
    found = json.loads(outcome.out)
    assert found["complete"]
    assert found["kind"] == "descent"
    data = xarray.open_datatree("d.zarr", engine="zarr")["descent"]
    assert {"capacity", "seed", "noise", "split"} <= set(data["loss"].dims)
    assert len(found["descents"]) == data.sizes["noise"]
    shown = run("show", "d.zarr", "--figure", "d.pdf")
    assert shown.status == 0
    assert found["capacity"] in shown.out
    assert Path("d.pdf").stat().st_size > 5000


def test_complexity_is_drawn(run, work):
    assert run(*WIDTH, "--complexity", *SERIAL).status == 0
    shown = run("show", "d.zarr", "--figure", "d.png")
    assert (shown.status, shown.err) == (0, "drawn: d.png\n")


def test_options_reach_the_recipe(run, work):
    options = ("--reuse", "--measure", "hessian_max,hessian_trace", "--repetitions", 2, "--seed", 3, "--epsilon", 0.2)
    assert run(*WIDTH, *options, "--optimizer", "sgd", "--set", "lr=0.05", *SERIAL).status == 0
    tree = xarray.open_datatree("d.zarr", engine="zarr")
    recipe = json.loads(tree.attrs["recipe"])
    assert recipe["training"]["optimizer"] == "sgd"
    assert recipe["training"]["hyperparameters"]["lr"] == 0.05
    assert (recipe["reuse"], recipe["epsilon"]) == (True, 0.2)
    data = tree["descent"]
    assert data["seed"].values.tolist() == [3, 4]
    assert {"hessian_max", "hessian_trace_stderr"} <= set(data.data_vars)


def test_pictures_of_polynomials_and_features(run, work):
    assert run(*POLYNOMIAL, "--functions", "1:9:2", "--ridge", "0,0.1", *SERIAL).status == 0
    assert run("show", "d.zarr", "--picture", "fits", "--figure", "fits.png").status == 0
    assert run("show", "d.zarr", "--figure", "fits.gif").status == 0
    with Image.open("fits.gif") as image:
        assert image.n_frames == 5
    assert "no decomposition" in run("show", "d.zarr", "--picture", "parts", "--figure", "no.png").err
    assert "unknown basis" in run("show", "d.zarr", "--basis", "fourier", "--figure", "no.png").err
    assert run(*FEATURES, *SERIAL, "--overwrite").status == 0
    assert run("show", "d.zarr", "--picture", "parts", "--figure", "parts.png").status == 0
    assert "no fits" in run("show", "d.zarr", "--figure", "no.gif").err
    assert not list(Path().glob("*no.*"))


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ((*FEATURES, "--samples", 5000), "5000 training samples were asked for"),
        ((*FEATURES, "--test-samples", 5000), "5000 test samples"),
        ((*FEATURES, "--features", "0,5"), "features must be at least 1"),
        ((*FEATURES, "--features", "9,5"), "must increase"),
        ((*FEATURES, "--ridge", "-1"), "ridge must be a number of at least 0"),
        ((*FEATURES, "--noise", "1.5"), "noise must be a number in [0, 1]"),
        ((*FEATURES, "--noise", "-0.1"), "noise must be a number in [0, 1]"),
        ((*FEATURES, "--map", "furier"), "did you mean 'fourier'?"),
        ((*FEATURES, "--map", "linear", "--features", "5,100"), "has 64 inputs"),
        ((*FEATURES, "--targets", "two-hot"), "did you mean 'one-hot'?"),
        ((*FEATURES, "--data", "regression"), "no classes"),
        ((*FEATURES, "--data", "digitz"), "did you mean 'digits'?"),
        ((*FEATURES, "--features", "few"), "expected numbers such as"),
        ((*FEATURES, "--dimension", 50), "dimension is one of gaussian data"),
        ((*FEATURES, "--data", "gaussian", "--data-set", "size=3"), "gaussian data have no setting 'size'"),
        ((*FEATURES, "--data", "gaussian", "--targets", "signs"), "targets of their own"),
        ((*FEATURES, "--data", "gaussian", "--noise", "-1"), "at least 0"),
        ((*POLYNOMIAL, "--basis", "lagendre"), "did you mean 'legendre'?"),
        ((*POLYNOMIAL, "--basis", "legendre,legendre"), "given twice"),
        ((*POLYNOMIAL, "--functions", "0:5"), "at least 1"),
        ((*POLYNOMIAL, "--functions", "5:1"), "--functions '5:1': expected numbers such as"),
        ((*POLYNOMIAL, "--target", "torch:zeros_like"), "is constant"),
        ((*POLYNOMIAL, "--ridge", "0,0"), "given twice"),
        ((*POLYNOMIAL, "--target", "cosinus"), "did you mean 'cosine'?"),
        ((*POLYNOMIAL, "--samples", 0), "samples must be at least 1"),
        ((*WIDTH, "--widths", "4,2", "--reuse"), "must increase"),
        ((*WIDTH, "--samples", 5000), "5000 training samples"),
        ((*WIDTH, "--measure", "hessian_mix"), "did you mean 'hessian_max'?"),
        ((*WIDTH, "--model", "softmax"), "no setting 'width'"),
        ((*WIDTH, "--noise", "2"), "[0, 1]"),
        ((*WIDTH, "--model", "convnet", "--batch-size", 1), "batches of a single sample"),
        ((*WIDTH, "--model", "convnet", "--samples", 1), "batches of a single sample"),
        ((*WIDTH, "--augmentation", "flip", "--data", "modular"), "needs images"),
        ((*WIDTH, "--epochs", "3"), "epochs or by steps"),
        ((*EPOCH, "--epochs", "3,1"), "must increase"),
        ((*SAMPLES, "--samples", "10,9000"), "9000 training samples"),
        (("descent", "samples", "--model", "convnet", "--samples", "1,9"), "batches of a single sample"),
        ((*EPOCH, "--autosave", "-1"), "at least 0 seconds"),
        (("descent", "depth"), "depth"),
    ],
)
def test_wrong_requests(run, work, request_, message):
    outcome = run(*request_, *(SERIAL if len(request_) > 2 else ()))
    assert outcome.status == 2, outcome
    assert outcome.err.startswith("Error: ")
    assert outcome.err.count("\n") == 1
    assert message in outcome.err
    assert snapshot(work) == {}


def test_a_store_of_another_recipe_is_refused(run, work):
    assert run(*POLYNOMIAL, *SERIAL).status == 0
    before = snapshot(work)
    outcome = run(*POLYNOMIAL, "--ridge", "0.1", *SERIAL)
    assert outcome.status == 2
    assert "another recipe (ridge" in outcome.err
    assert run(*FEATURES, *SERIAL).status == 2
    assert snapshot(work) == before
    assert run(*POLYNOMIAL, "--ridge", "0.1", *SERIAL, "--overwrite").status == 0


def check_kills(run, work, request_, delays, ready):
    """Kill a sweep at some moments, finish it, and compare it with one that nobody disturbed."""
    assert run(*request_, "--device", "cpu", "--quiet", "--out", "whole.zarr").status == 0
    kills = 0
    for delay in delays:
        kills += kill_when(work, (*request_, "--out", "killed.zarr"), lambda: ready(work / "killed.zarr"), delay)
    assert kills > len(delays) // 2
    assert run(*request_, "--device", "cpu", "--quiet", "--out", "killed.zarr").status == 0
    xarray.testing.assert_identical(contents(work / "whole.zarr"), contents(work / "killed.zarr"))
    assert {path.name for path in work.iterdir()} == {"whole.zarr", "killed.zarr"}


LONG = (
    "descent",
    "width",
    "--widths",
    "2,4,6,8",
    "--samples",
    60,
    "--steps",
    200,
    "--test-samples",
    50,
    "--repetitions",
)
REUSED = (*LONG, 1, "--reuse", "--measure", "hessian_max", "--engine", "serial")


def begun(path):
    return any(path.parent.glob(f".{path.name}.partial/tasks/*"))


def test_a_killed_sweep_goes_on_to_the_same_store(run, work):
    check_kills(run, work, REUSED, [0.1], begun)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["width", "reuse", "epoch", "features"])
def test_ten_kills(run, work, kind):
    requests = {
        "width": (*LONG, 3, "--measure", "hessian_max", "--engine", "processes", "--workers", 2),
        "reuse": REUSED,
        "epoch": ("descent", "epoch", "--epochs", "1,20,60", "--samples", 300, *NETWORK, "--engine", "serial"),
        "features": (*FEATURES[:-2], "--features", "50:1500:50", "--samples", 300, "--engine", "serial"),
    }
    delays = [0.05 * (7 * number % 10) for number in range(10)]
    marks = {"features": lambda path: any(path.glob("descent/status/c/*"))}
    check_kills(run, work, requests[kind], delays, marks.get(kind, begun))
