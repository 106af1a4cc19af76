"""Somebody else's networks: own module, a plain state_dict, a Lightning-style checkpoint, own data, own loss."""

import json
import sys

import pytest
import torch

import landscape

MODULE = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        self.head = nn.Linear(width, 3)

    def forward(self, x):
        return self.head(self.body(x).mean((2, 3)))


def make(width=4):
    return Net(int(width))


def split(count, seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    images = torch.randn(count, 1, 5, 5, generator=generator) * 0.5
    images[torch.arange(count), 0, labels] += 2
    return images, labels


def data():
    return {"train": split(60, 0), "test": split(30, 1)}


def loss(outputs, targets):
    return nn.functional.multi_margin_loss(outputs, targets, reduction="none")
"""
BASE = ("--steps", "6", "--points", "5", "--quiet", "--out", "c.zarr")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The user's module, and two networks that the user's own loop trained and saved."""
    (tmp_path / "mymodule.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    import mymodule

    inputs, targets = mymodule.data()["train"]
    for seed, name in enumerate(("a.pt", "b.ckpt")):
        torch.manual_seed(seed)
        network = mymodule.make()
        optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
        for _ in range(10):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(inputs), targets).backward()
            optimizer.step()
        state = network.state_dict()
        if name == "b.ckpt":
            state = {f"model.{key}": value for key, value in state.items()} | {"metric.total": torch.tensor(3.0)}
            state = {"epoch": 10, "pytorch-lightning_version": "2.4.0", "state_dict": state, "loops": {}}
        torch.save(state, name)
    yield tmp_path
    sys.modules.pop("mymodule", None)


def test_model_and_data_alone(run, folder):
    names = ("--model", "mymodule:make", "--data", "mymodule:data")
    outcome = run("connect", "a.pt", "b.ckpt", *names, "--engine", "serial", *BASE)
    assert (outcome.status, outcome.err) == (0, "")
    import mymodule

    connect = landscape.open("c.zarr")["connect"]
    curve = landscape.load_curve("c.zarr")
    for place, file in ((0.0, "a.pt"), (1.0, "b.ckpt")):
        state = torch.load(file)
        state = {name.removeprefix("model."): value for name, value in state.get("state_dict", state).items()}
        network = mymodule.make()
        network.load_state_dict({name: value for name, value in state.items() if name != "metric.total"})
        assert torch.equal(curve(place), torch.cat([p.detach().flatten() for p in network.parameters()]))
        inputs, targets = mymodule.data()["test"]
        with torch.no_grad():
            own = torch.nn.functional.cross_entropy(network.eval()(inputs), targets)
        found = connect["checkpoint_loss"].isel(pair=0).sel(split="test", endpoint="start" if place == 0 else "end")
        assert float(found) == pytest.approx(float(own), rel=1e-5)


def test_own_loss_settings_and_worker_processes(run, folder):
    names = ("--model", "mymodule:make", "--data", "mymodule:data", "--loss", "mymodule:loss")
    settings = ("--model-set", "width=4", "--workers", "1", "--engine", "processes")
    outcome = run("connect", "a.pt", "b.ckpt", *names, *settings, *BASE)
    assert (outcome.status, outcome.err) == (0, "")
    connect = landscape.open("c.zarr")["connect"]
    assert "error" not in connect
    assert connect["loss"].attrs["units"] == "units of the loss"
    # A point of the curve knows model, data and loss again.
    point = ("connect", "c.zarr::bezier@0.5", "a.pt", "--engine", "serial", "--steps", "2", "--points", "3", "--quiet")
    assert run(*point, "--out", "point.zarr").status == 0


def test_own_model_is_trained(run, folder):
    names = ("--model", "mymodule:make", "--data", "mymodule:data", "--loss", "mymodule:loss")
    outcome = run("train", *names, "--epochs", "2", "--quiet", "--json", "--out", "new.safetensors")
    assert outcome.status == 0
    assert json.loads(outcome.out)["fresh"] is True
    assert run("connect", "new.safetensors", "a.pt", "--engine", "serial", *BASE).status == 0
