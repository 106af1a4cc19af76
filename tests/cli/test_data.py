import json
import struct

import pytest
from landscape.cli.main import main

from landscape.networks import search


@pytest.fixture(autouse=True)
def nowhere(monkeypatch):
    """No data set is installed on this machine."""
    monkeypatch.delenv("LANDSCAPE_DATA", raising=False)
    monkeypatch.setattr(search, "SYSTEM_FOLDERS", ())


@pytest.fixture
def folder(tmp_path):
    """A folder with MNIST's files; their contents are not read."""
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (tmp_path / f"{name}-ubyte").write_bytes(struct.pack(">I", 0))
    return tmp_path


def run(capsys, *arguments):
    """Exit status, stdout and stderr of `landscape data`."""
    with pytest.raises(SystemExit) as end:
        main(["data", *arguments])
    return end.value.code, *capsys.readouterr()


def test_the_table(capsys, folder):
    status, out, err = run(capsys, "--data-dir", str(folder))
    rows = {line.split()[0]: line for line in out.splitlines()}
    assert (status, err) == (0, "")
    assert rows["digits"].split() == ["digits", "1,437", "+", "360", "1x8x8", "10", "scikit-learn"]
    assert rows["mnist"].endswith(str(folder))
    assert "not found; get it with: apt install dataset-fashion-mnist" not in rows["mnist"]
    assert "not found; get it with: the folder cifar-10-batches-py" in rows["cifar10"]


def test_json_is_one_object(capsys, folder):
    status, out, _ = run(capsys, "--data-dir", str(folder), "--json")
    answer = json.loads(out)
    assert status == 0
    assert answer["search_path"] == [str(folder)]
    found = {entry["name"]: entry for entry in answer["data"]}
    assert found["mnist"]["found"] == str(folder)
    assert found["cifar100"] == {
        "name": "cifar100",
        "samples": [50_000, 10_000],
        "shape": [3, 32, 32],
        "num_classes": 100,
        "found": None,
        "obtain": found["cifar100"]["obtain"],
    }


def test_the_environment_names_folders(capsys, folder, monkeypatch):
    monkeypatch.setenv("LANDSCAPE_DATA", str(folder))
    assert str(folder) in run(capsys)[1]


def test_a_folder_that_is_not_there(capsys, tmp_path):
    status, out, err = run(capsys, "--data-dir", str(tmp_path / "nowhere"))
    assert (status, out) == (2, "")
    assert err.startswith("Error: the data folder ")
    assert len(err.splitlines()) == 1
