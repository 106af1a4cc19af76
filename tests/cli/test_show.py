"""`landscape show` on stores as the commands write them."""

import json
import runpy
from pathlib import Path

import pytest
from landscape.cli.main import main

TREES = runpy.run_path(str(Path(__file__).parents[1] / "figures" / "trees.py"))


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    write = TREES["write_store"]
    write(TREES["connect_tree"](3, huge=True), folder / "three.zarr")
    write(TREES["connect_tree"](2, done=35, planes=False), folder / "unfinished.zarr", complete=False)
    write(TREES["train_tree"](), folder / "train.zarr")
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
        (["three.zarr", "--figure", "a.gif"], ".pdf, .png, .svg"),
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


def test_an_existing_figure_is_replaced_when_asked(stores, capsys, tmp_path):
    (tmp_path / "a.svg").write_text("old")
    status, _, _ = run(capsys, stores / "train.zarr", "--figure", tmp_path / "a.svg", "--overwrite")
    assert status == 0
    assert "<svg" in (tmp_path / "a.svg").read_text()
