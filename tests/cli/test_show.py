"""`landscape show` on stores as the commands write them."""

import json
import runpy
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from landscape.cli.main import main

FIGURES = Path(__file__).parents[1] / "figures"
TREES = runpy.run_path(str(FIGURES / "trees.py"))
SURFACES = runpy.run_path(str(FIGURES / "test_surface.py"))


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    write = TREES["write_store"]
    write(TREES["connect_tree"](3, huge=True), folder / "three.zarr")
    write(TREES["connect_tree"](2, done=35, planes=False), folder / "unfinished.zarr", complete=False)
    write(TREES["train_tree"](), folder / "train.zarr")
    for name, axes in (("surface", 2), ("line", 1)):
        tree = SURFACES["surface_tree"](axes=axes)
        tree.attrs["recipe"] = json.dumps({"axes": axes})
        write(tree, folder / f"{name}.zarr")
    return folder


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(["show", *map(str, arguments)])
    captured = capsys.readouterr()
    return ended.value.code, captured.out, captured.err


def test_text(stores, capsys):
    status, out, err = run(capsys, stores / "three.zarr")
    assert (status, err) == (0, "")
    assert "three.zarr: connect store, finished" in out
    assert "pair 2: seed1 – seed2" in out
    assert "1323 of 1323 points done, 57 not finite" in out


def test_json_is_one_object(stores, capsys):
    status, out, err = run(capsys, stores / "unfinished.zarr", "--json")
    assert (status, err) == (0, "")
    found = json.loads(out)
    assert found["complete"] is False
    assert found["progress"]["connect"]["done"] == 105
    assert found["curves"][0]["barrier"] is None


@pytest.mark.parametrize(
    ("store", "options"),
    [
        ("three.zarr", ["--split", "test", "--pair", "1", "--against", "arc-length"]),
        ("three.zarr", ["--picture", "matrix"]),
        ("unfinished.zarr", []),
        ("train.zarr", []),
    ],
)
def test_figure(stores, capsys, tmp_path, store, options):
    target = tmp_path / "a.pdf"
    status, out, err = run(capsys, stores / store, "--figure", target, *options)
    assert status == 0
    assert out
    assert "a.pdf" in err
    assert target.read_bytes().startswith(b"%PDF")
    assert [path.name for path in tmp_path.iterdir()] == ["a.pdf"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.zarr"], "does not exist"),
        (["three.zarr", "--figure", "a.bmp"], ".pdf, .png, .svg, .html, .vts, .gif"),
        (["three.zarr", "--figure", "a.gif"], ".gif files hold fits by degree"),
        (["three.zarr", "--figure", "a.html"], ".html files hold surfaces"),
        (["line.zarr", "--figure", "a.html"], "needs a surface with 2 axes, this one has 1"),
        (["line.zarr", "--figure", "a.vts"], "needs a surface with 2 or 3 axes, this one has 1"),
        (["surface.zarr", "--figure", "a.vts"], "--checkpoint (flat, sharp)"),
        (["surface.zarr", "--figure", "a.html", "--height", "lin"], "did you mean 'linear'"),
        (["surface.zarr", "--figure", "a.pdf", "--height", "log"], "has no option 'height'"),
        (["three.zarr", "--figure", "there.pdf"], "--overwrite"),
        (["three.zarr", "--figure", "missing/a.pdf"], "doesn't exist"),
        (["three.zarr", "--figure", "a.pdf", "--pair", "9"], "unknown pair '9'"),
        (["three.zarr", "--figure", "a.pdf", "--split", "valid"], "unknown split 'valid'"),
        (["three.zarr", "--figure", "a.pdf", "--against", "s"], "unknown axis 's'"),
        (["three.zarr", "--figure", "a.pdf", "--picture", "curve"], "did you mean 'curves'"),
        (["train.zarr", "--figure", "a.pdf", "--split", "test"], "has no option 'split'"),
        (["unfinished.zarr", "--figure", "a.pdf", "--picture", "matrix"], "three checkpoints or more"),
        (["three.zarr", "--split", "test"], "--figure"),
    ],
)
def test_wrong_requests_are_one_line_and_write_nothing(stores, capsys, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.pdf").write_text("mine")
    store = stores / arguments[0]
    status, out, err = run(capsys, store, *arguments[1:])
    assert (status, out) == (2, "")
    assert err.startswith("Error: ")
    assert err.count("\n") == 1
    assert message in err
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("there.pdf", "mine")]


def test_a_surface_for_a_browser_and_for_paraview(stores, capsys, tmp_path):
    options = ["--split", "test", "--height", "linear"]
    status, out, err = run(capsys, stores / "surface.zarr", "--figure", tmp_path / "a.html", *options)
    assert status == 0
    assert "surface store" in out
    assert "a.html" in err
    assert (tmp_path / "a.html").read_text("utf-8").startswith("<!DOCTYPE html>")
    grid = [stores / "surface.zarr", "--figure", tmp_path / "a.vts", "--checkpoint", "sharp"]
    assert run(capsys, *grid, *options)[0] == 0
    assert ElementTree.parse(tmp_path / "a.vts").getroot().tag == "VTKFile"
    assert run(capsys, *grid)[0] == 2  # it is there already
    assert run(capsys, *grid, "--overwrite")[0] == 0


def test_a_missing_plotly_is_one_line(stores, capsys, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly", None)
    status, out, err = run(capsys, stores / "surface.zarr", "--figure", tmp_path / "a.html")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "torch-landscape[interactive]" in err
    assert list(tmp_path.iterdir()) == []


def test_an_existing_figure_is_replaced_when_asked(stores, capsys, tmp_path):
    (tmp_path / "a.svg").write_text("old")
    status, _, _ = run(capsys, stores / "train.zarr", "--figure", tmp_path / "a.svg", "--overwrite")
    assert status == 0
    assert "<svg" in (tmp_path / "a.svg").read_text()
