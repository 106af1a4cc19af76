"""Kill -9 in the middle of `train` and `connect`; the same command again ends as if nothing had happened."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest
import torch
import xarray
from safetensors.torch import load_file

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "LANDSCAPE_AUTOSAVE_SECONDS": "0"}
MODEL = ("--data", "digits", "--model", "convnet", "--model-set", "width=4")
NOT_CONTENTS = ("created", "git_revision", "complete")


def command(*arguments):
    return [sys.executable, "-m", "landscape.cli", *map(str, arguments), "--device", "cpu", "--quiet"]


@pytest.fixture
def finish(run, monkeypatch):
    """Run a command to its end in a folder, in this process."""
    monkeypatch.setenv("LANDSCAPE_AUTOSAVE_SECONDS", "0")

    def command(folder, *arguments):
        monkeypatch.chdir(folder)
        outcome = run(*arguments, "--device", "cpu", "--quiet")
        assert (outcome.status, outcome.err) == (0, "")

    return command


def kill_when(folder, arguments, ready, seconds):
    """Start the command and kill it some time after it has got as far as `ready`; whether it was killed."""
    with subprocess.Popen(
        command(*arguments), cwd=folder, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        until = time.monotonic() + 120
        while not ready() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(seconds)
        process.kill()
    return process.returncode == -signal.SIGKILL


def contents(path):
    """A store without what two equal runs may differ in."""
    tree = xarray.open_datatree(path, engine="zarr").load()
    assert tree.attrs["complete"] == 1
    for name in NOT_CONTENTS:
        tree.attrs.pop(name, None)
    return tree.map_over_datasets(lambda data: data.drop_vars("seconds", errors="ignore"))


def same_weights(one, other):
    first, second = load_file(one), load_file(other)
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def train(epochs, seed=0, out="a.safetensors"):
    return ("train", *MODEL, "--epochs", epochs, "--seed", seed, "--checkpoint-every", 2, "--out", out)


CONNECT = ("connect", "a.safetensors", "b.safetensors", "--epochs", 2, "--points", 9, "--plane", 5, "--samples", 300)


def check_train(finish, tmp_path, epochs, delays):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    finish(whole, *train(epochs))
    kills = 0
    for delay in delays:
        state = killed / ".a.safetensors.partial"
        before = state.stat().st_mtime_ns if state.exists() else 0
        kills += kill_when(
            killed,
            train(epochs),
            lambda state=state, before=before: state.exists() and state.stat().st_mtime_ns > before,
            delay,
        )
    assert kills > len(delays) // 2
    finish(killed, *train(epochs))
    assert sorted(path.name for path in killed.iterdir()) == sorted(path.name for path in whole.iterdir())
    for path in whole.glob("*.safetensors"):
        same_weights(path, killed / path.name)
    xarray.testing.assert_identical(contents(whole / "a.zarr"), contents(killed / "a.zarr"))


def check_connect(finish, tmp_path, delays, arguments):
    for seed, name in enumerate("ab"):
        finish(tmp_path, *train(2, seed, f"{name}.safetensors"))
    before = {path.name for path in tmp_path.iterdir()}
    finish(tmp_path, *arguments, "--out", "whole.zarr")
    path, kills = tmp_path / "killed.zarr", 0
    marks = (lambda: any(tmp_path.glob(".*.partial/tasks/*")), lambda: any(path.glob("connect/status/c/*/*/*")))
    for number, delay in enumerate(delays):
        kills += kill_when(tmp_path, (*arguments, "--out", "killed.zarr"), marks[number % 2], delay)
    assert kills > len(delays) // 2
    finish(tmp_path, *arguments, "--out", "killed.zarr")
    xarray.testing.assert_identical(contents(path), contents(tmp_path / "whole.zarr"))
    assert {path.name for path in tmp_path.iterdir()} == before | {"whole.zarr", "killed.zarr"}


def test_train(finish, tmp_path):
    check_train(finish, tmp_path, 6, [0.03])


@pytest.mark.slow
def test_train_at_many_moments(finish, tmp_path):
    check_train(finish, tmp_path, 30, [0.02, 0.05, 0.11, 0.2, 0.31, 0.13])


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["serial", "processes"])
def test_connect(finish, tmp_path, engine):
    moments = random.Random(engine)
    delays = [moments.uniform(0.0, 0.2) for _ in range(4)]
    check_connect(finish, tmp_path, delays, (*CONNECT, "--curve", "bezier", "--curve", "polyline", "--engine", engine))


def test_connect_once(finish, tmp_path):
    arguments = (*CONNECT[:3], "--epochs", 3, "--points", 3, "--samples", 50, "--engine", "serial")
    check_connect(finish, tmp_path, [0.02], arguments)
