"""Sweeps: what is stored, what a failure leaves, and what the next run does."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import xarray

from landscape.errors import RequestError, WorkError
from landscape.sweeps import engine as engines
from landscape.sweeps import store
from landscape.sweeps.engine import ENGINES
from landscape.sweeps.node import scratch_folder
from landscape.sweeps.schema import coordinate
from landscape.sweeps.sweep import Sweep, Variable, run

EACH = pytest.mark.parametrize("engine", ENGINES)


def expected(points=4):
    x, y = np.arange(points)[:, None, None], np.arange(3)[:, None]
    return 2.0 * x + y + np.arange(2), np.broadcast_to(np.arange(points), (3, points))


@EACH
def test_every_point_is_stored_where_its_labels_say(path, grid, engine):
    run(path, [grid("plane"), grid("diverging", "grid/nan", scale=1)], engine=engine, workers=2, progress=False)
    store.finish(path)
    tree = xarray.open_datatree(path, engine="zarr")
    z, w = expected()
    np.testing.assert_array_equal(tree["grid"].z.transpose("x", "y", "k"), z)
    np.testing.assert_array_equal(tree["grid"].w, w)
    assert (tree["grid"].status == 1).all()
    assert tree["grid"].z.sel(x=3, y=1, k="test") == 8
    assert tree["grid"]["name"].sel(x=2) == "point 2"
    assert tree["grid"].z.attrs == {"long_name": "height"}
    np.testing.assert_array_equal(tree["grid/nan"].status, 1 + np.eye(4, 3))
    np.testing.assert_array_equal(np.isnan(tree["grid/nan"].z).all("k"), np.eye(4, 3))


def test_both_engines_make_the_same_store(tmp_path, grid):
    trees = []
    for engine in ENGINES:
        path = tmp_path / engine
        store.create(path, {}, kind="grid")
        run(path, [grid("diverging")], engine=engine, workers=2, progress=False)
        trees.append(store.open(path).load())
    xarray.testing.assert_identical(*(tree["grid"] for tree in trees))


def test_a_second_run_starts_no_worker(path, grid, monkeypatch):
    run(path, [grid("diverging")], progress=False)
    monkeypatch.setattr(engines, "make_executor", None)
    run(path, [grid("diverging")], engine="processes", progress=False)


@pytest.mark.parametrize(("said", "beyond"), [(True, 4), (False, 2)])
def test_the_status_along_a_dimension(path, grid, said, beyond):
    """A task says, or NaN shows, how far a point came."""
    whole = grid("ending", said=said)
    sweep = replace(whole, along=("k",), variables={"z": whole.variables["z"]})
    run(path, [sweep], progress=False)
    status = store.read_status(path, "grid")
    assert status.shape == (4, 3, 2)
    assert (status == [1, beyond]).all()


def test_a_point_is_to_do_as_long_as_any_of_it_is(path, grid, monkeypatch):
    whole = grid("ending", said=True)
    sweep = replace(whole, along=("k",), variables={"z": whole.variables["z"]})
    run(path, [sweep], progress=False)
    node = store.Node(path, "grid")
    node.write({"status": np.zeros((4, 3, 2), np.int8)})
    status = node.read("status")
    status[...], status[2, 0, 1] = 1, 0
    node.write({"status": status})
    run(path, [sweep], progress=False)
    status = store.read_status(path, "grid")
    assert (status[2, :2] == [1, 4]).all()  # its block was evaluated again
    assert (np.delete(status, 2, axis=0) == 1).all()


def test_a_failed_task_fails_along_the_whole_dimension(path, grid, tmp_path):
    whole = grid("failing", mended=str(tmp_path / "mended"))
    with pytest.raises(WorkError, match="tasks failed"):
        run(path, [replace(whole, along=("k",))], progress=False)
    status = store.read_status(path, "grid")
    assert (status[1] == 3).all()
    assert (np.delete(status, 1, axis=0) == 1).all()


def test_only_what_is_to_do_is_done(path, grid, tmp_path):
    log = tmp_path / "log"
    sweep = grid("plane", log=str(log))
    run(path, [sweep], progress=False)
    assert len(log.read_text().split()) == 8
    node = store.Node(path, "grid")
    status = node.read("status")
    status[0], status[1, 0], status[2, 2], status[3] = 4, 0, 3, 2
    node.write({"status": status})
    log.unlink()
    run(path, [sweep], progress=False)
    assert sorted(log.read_text().split()) == ["1", "2"]
    assert store.read_status(path, "grid").tolist() == [[4, 4, 4], [1, 1, 1], [1, 1, 1], [2, 2, 2]]


@EACH
def test_a_failed_task_is_told_stored_and_tried_again(path, grid, engine, tmp_path, capfd):
    sweep = grid("failing", mended=str(tmp_path / "mended"))
    with pytest.raises(
        WorkError, match=r"2 of 8 tasks failed, the first: grid at x=1.0, y=\d: OddError: this and that"
    ):
        run(path, [sweep], engine=engine, workers=2, progress=False)
    lines = capfd.readouterr().err.strip().splitlines()
    assert len(lines) == 2
    assert all("OddError: this and that (swept.py:" in line for line in lines)
    assert store.read_status(path, "grid").tolist() == [[1] * 3, [3] * 3, [1] * 3, [1] * 3]
    (tmp_path / "mended").touch()
    store.create(path, {"scale": 2.0}, kind="grid")  # keeps what the tasks kept for themselves
    run(path, [sweep], engine=engine, workers=2, progress=False)
    assert (store.read_status(path, "grid") == 1).all()
    assert not list((scratch_folder(path) / "tasks").iterdir())


def test_a_task_may_say_its_status_itself(path, grid):
    run(path, [grid("stopping", points=2)], progress=False)
    assert store.read_status(path, "grid").tolist() == [[4, 4, 4], [1, 1, 4]]


@EACH
@pytest.mark.parametrize(
    ("function", "error", "what"),
    [
        ("refusing", RequestError, "the points must be odd"),
        ("nothing", RequestError, "cannot import 'swept:nothing'"),
        ("not_a_function", RequestError, "is a int, expected a function"),
        ("unprepared", WorkError, r"cannot prepare 'grid': OSError: no data \(swept.py"),
        ("misshapen", WorkError, r"'z' of shape \(2, (\d), 1\), expected \(1, \1, 2\)"),  # the block that ends first
    ],
)
def test_what_is_wrong_is_one_line(path, grid, engine, function, error, what):
    with pytest.raises(error, match=what) as caught:
        run(path, [grid(function)], engine=engine, workers=2, progress=False)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("function", ["missing_module:f", "no_colon", ":f", "swept:"])
def test_functions_that_cannot_be_found(path, grid, function):
    with pytest.raises(RequestError):
        run(path, [replace(grid("plane"), function=function)], progress=False)
    assert (store.read_status(path, "grid") == 0).all()


def test_a_worker_that_dies_leaves_a_store_that_resumes(path, grid):
    with pytest.raises(WorkError, match="worker process died"):
        run(path, [grid("dying")], engine="processes", workers=2, progress=False)
    run(path, [grid("plane")], progress=False)
    np.testing.assert_array_equal(store.open(path)["grid"].z, expected()[0])


def test_requests_are_checked_before_any_work(path, tmp_path, grid):
    for options, what in [({"engine": "dusk"}, "unknown engine"), ({"workers": 0}, "at least 1")]:
        with pytest.raises(RequestError, match=what):
            run(path, [grid("plane")], progress=False, **options)
    with pytest.raises(RequestError, match="does not exist"):
        run(tmp_path / "missing.zarr", [grid("plane")], progress=False)
    with pytest.raises(RequestError, match="engine 'serial'"):
        run(path, [grid("plane", odd=lambda: 0)], engine="processes", progress=False)
    assert not (tmp_path / "missing.zarr").exists()
    assert [entry.name for entry in tmp_path.iterdir() if entry.name not in (path.name, f".{path.name}.partial")] == []
    assert not (scratch_folder(path) / "sweeps.pickle").exists()


class Local:
    """Something that only this test module defines, which workers can't import."""


def test_arguments_that_workers_cannot_read(path, grid, monkeypatch):
    monkeypatch.setattr(Local, "__module__", "__main__")
    monkeypatch.setattr("__main__.Local", Local, raising=False)
    pickle.dumps(Local())
    with pytest.raises(RequestError, match=r"cannot read the sweep's arguments.*importable module"):
        run(path, [grid("plane", odd=Local())], engine="processes", workers=1, progress=False)


@EACH
def test_progress_shows_points_and_reports(path, grid, engine, capfd):
    run(path, [grid("stopping", seconds=0.2, points=2)], engine=engine, workers=1, describe="grid")
    err = capfd.readouterr().err
    assert "grid: 100%" in err
    assert "| 6/6 [" in err
    assert "loss=0.25" in err


def test_a_sweep_inside_a_task_does_not_disturb_it(path, grid, tmp_path, swept, monkeypatch):
    inner = tmp_path / "inner.zarr"
    store.create(inner, {}, kind="grid")

    def nested(arguments):
        def evaluate(coordinates, task):
            run(inner, [grid("plane")], progress=False)
            return swept.plane(arguments)(coordinates, task)

        return evaluate

    monkeypatch.setattr(swept, "nested", nested, raising=False)
    run(path, [grid("nested")], progress=False)
    np.testing.assert_array_equal(store.open(path)["grid"].z, expected()[0])
    np.testing.assert_array_equal(store.open(inner)["grid"].z, expected()[0])


def test_layouts_that_do_not_fit():
    good = {
        "node": "grid",
        "coords": {"x": [1, 2], "k": 3},
        "over": ("x",),
        "variables": {"z": Variable(("x", "k"))},
        "function": "swept:plane",
        "arguments": {},
    }
    assert Sweep(**good).coordinates({"x": slice(1, 2)})["k"].tolist() == [0, 1, 2]
    for change, what in [
        ({"block": {"k": 1}}, "block k=1"),
        ({"block": {"x": 0}}, "at least 1"),
        ({"variables": {"z": Variable(("k",))}}, "two tasks would write one chunk"),
        ({"variables": {"status": Variable(("x",))}}, "another name"),
        ({"variables": {"z": Variable(("x", "q"))}}, "'q'"),
        ({"over": ("x", "y")}, "'y'"),
    ]:
        with pytest.raises(ValueError, match=what):
            Sweep(**{**good, **change})


def test_forms_of_coordinates():
    assert coordinate("x", 3) == (("x",), 3)
    for value in (("train", "test"), ["train", "test"], np.array(["train", "test"], dtype=object)):
        dims, labels = coordinate("split", value)
        assert dims == ("split",)
        assert labels.tolist() == ["train", "test"]
    for value in (("x", ["a", "b"]), (("x",), ["a", "b"])):
        dims, labels = coordinate("name", value)
        assert dims == ("x",)
        assert labels.tolist() == ["a", "b"]
