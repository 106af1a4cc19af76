"""A tiny problem, two networks trained on it, and the command line run in this process."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from landscape.cli.main import main

TRAIN = ("train", "--data", "data.npz", "--model", "mlp", "--model-set", "hidden=4", "--batch-size", "16")
CONNECT = ("connect", "a.safetensors", "b.safetensors", "--steps", "4", "--points", "3", "--engine", "serial")


@dataclass(frozen=True)
class Outcome:
    """How a command ended and what it wrote."""

    status: int
    out: str
    err: str


def snapshot(folder):
    """Everything in a folder: hidden files too, and folders, so that nothing new and nothing changed is missed."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.fixture
def run(capsys):
    """Run `landscape` with these arguments."""

    def command(*arguments):
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        return Outcome(ended.value.code, *capsys.readouterr())

    return command


@pytest.fixture
def refuses(run):
    """Run a command that must be refused in one line and leave nothing behind; returns that line."""

    def command(*arguments):
        folder = Path.cwd()
        before = snapshot(folder)
        outcome = run(*arguments)
        assert outcome.err.startswith("Error: "), outcome
        assert outcome.err.count("\n") == 1, outcome.err
        assert (outcome.status, outcome.out) == (2, "")
        after = snapshot(folder)
        assert after.keys() == before.keys()
        assert after == before
        return outcome.err

    return command


def write_data(path, *, classes=3, features=6, seed=0, **replaced):
    """A small classification problem in two splits, as `.npz`."""
    generator = np.random.default_rng(seed)
    arrays = {}
    for split, count in {"train": 40, "test": 20}.items():
        labels = np.arange(count) % classes
        centres = np.eye(classes, features)[labels] * 2
        arrays[f"{split}_inputs"] = (centres + generator.normal(size=(count, features))).astype(np.float32)
        arrays[f"{split}_targets"] = labels
    np.savez(path, **{**arrays, **replaced})


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A folder with data and two trained networks."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_data(folder / "data.npz")
        for seed, name in enumerate("ab"):
            out = f"{name}.safetensors"
            with pytest.raises(SystemExit) as ended:
                main([*TRAIN, "--epochs", "2", "--seed", str(seed), "--out", out, "--quiet"])
            assert ended.value.code == 0
    return folder


@pytest.fixture
def work(made, tmp_path, monkeypatch):
    """A copy of that folder as the working folder."""
    folder = tmp_path / "work"
    shutil.copytree(made, folder)
    monkeypatch.chdir(folder)
    return folder
