"""`surface` and `sharpness` at networks of others, by `--model`: what works, and what is refused in one line."""

import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import landscape

HERE = runpy.run_path(str(Path(__file__).with_name("conftest.py")))
TRAIN, snapshot = HERE["TRAIN"], HERE["snapshot"]
COMMANDS = {"surface": ("--size", "3"), "sharpness": ("--measure", "hessian_max")}

BAD = """
import torch
from torch import nn

class Noise(nn.Module):
    def forward(self, inputs):
        return inputs + torch.rand_like(inputs)

class Fixed(nn.Module):
    def forward(self, inputs):
        return inputs[:, :3]

class Line(nn.Module):
    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.ones(2))

    def forward(self, inputs):
        return torch.stack([self.slope[0] * inputs[:, 0], self.slope[1] * inputs[:, 1], inputs[:, 2]], 1)

def net(): return nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))
def half(): return net().half()
def noisy(): return nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3), Noise())
def nothing(): return Fixed()
def line(): return Line()
def frozen(): return net().requires_grad_(False)
"""


@pytest.fixture
def module(work, monkeypatch):
    """Modules of users in the working folder."""
    (work / "bad_networks.py").write_text(BAD)
    shutil.copy(Path(__file__).with_name("own_networks.py"), work)
    monkeypatch.syspath_prepend(str(work))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield
    for name in ("bad_networks", "own_networks"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(("model", "data"), [("transformer", "text"), ("resnet", "images")])
def test_a_transformer_and_a_resnet(run, module, model, data):
    """Embeddings, integer inputs by name, attention, `.logits`; and timm's way of building a ResNet."""
    names = ("--model", f"own_networks:{model}", "--data", f"own_networks:{data}")
    assert run("train", *names, "--epochs", "1", "--out", "c.safetensors", "--quiet").status == 0
    torch.save(load_file("c.safetensors"), "c.pt")
    common = (*names, "--engine", "serial", "--quiet")
    assert run("surface", "c.pt", *common, "--size", "5,3", "--extent", "0.5", "--out", "s.zarr").status == 0
    import own_networks

    network = getattr(own_networks, model)()
    network.load_state_dict(torch.load("c.pt"))
    inputs, targets = getattr(own_networks, data)()["test"]
    with torch.no_grad():
        outputs = network.eval()(**inputs).logits if model == "transformer" else network.eval()(inputs)
    surface = landscape.open("s.zarr")["surface"]
    centre = surface["loss"].sel(split="test", alpha=0, beta=0).item()
    assert centre == pytest.approx(float(torch.nn.functional.cross_entropy(outputs, targets)), rel=1e-5)
    assert surface["error"].sel(split="test", alpha=0, beta=0).item() == pytest.approx(
        float((outputs.argmax(1) != targets).double().mean())
    )
    assert (surface["status"] == 1).all()
    measures = ("--measure", "hessian_max,sam_sharpness", "--set", "tolerance=0.01", "--samples", "20")
    assert run("sharpness", "c.pt", *common, *measures, "--out", "h.zarr").status == 0
    sharpness = landscape.open("h.zarr")["sharpness"]
    assert (sharpness["status"] == 1).all()
    assert (sharpness["hessian_max_residual"] < 1e-2).all()
    assert (np.diff(sharpness["sam_sharpness"].values.ravel()) > 0).all()
    for store in ("s", "h"):
        assert run("show", f"{store}.zarr", "--figure", f"{store}.png").status == 0


def test_a_convnet_of_train(run, work):
    """A checkpoint of `landscape train` needs no further options."""
    pytest.importorskip("sklearn")
    names = ("--data", "digits", "--model", "convnet", "--model-set", "width=4")
    assert run("train", *names, "--epochs", "1", "--out", "d.safetensors", "--quiet").status == 0
    serial = ("--engine", "serial", "--quiet", "--samples", "100")
    assert run("surface", "d.safetensors", *serial, "--size", "3", "--out", "s.zarr").status == 0
    assert run("sharpness", "d.safetensors", *serial, "--measure", "hessian_max", "--out", "h.zarr").status == 0
    assert (landscape.open("s.zarr")["surface"]["status"] == 1).all()


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("bad_networks:half", "the model is in float16, too coarse for a loss landscape: call model.float() first"),
        ("bad_networks:noisy", "not deterministic in evaluation mode: '4' (Noise) gives other outputs"),
        ("bad_networks:nothing", "the model has no parameters"),
        ("timm:resnet1", "timm"),
    ],
)
def test_networks_that_have_no_landscape(run, module, work, command, model, message):
    import bad_networks

    made = bad_networks.net() if model.startswith("timm") else getattr(bad_networks, model.partition(":")[2])()
    torch.save(made.state_dict() or {"scale": torch.ones(1)}, "x.pt")
    before = snapshot(work)
    outcome = run(command, "x.pt", "--model", model, "--data", "data.npz", *COMMANDS[command], "--out", "new.zarr")
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err.count("\n") == 1
    assert message in outcome.err
    assert snapshot(work) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("surface", "--directions", "hessian", "--axes", "3"), "3 axes, but the network has 2 parameters"),
        (("sharpness", "--measure", "hessian_top"), "5 eigenvalues were asked for, but the network has 2 parameters"),
    ],
)
def test_more_eigenvalues_than_parameters(run, module, work, arguments, message):
    torch.save({"slope": torch.ones(2)}, "x.pt")
    before = snapshot(work)
    command, *rest = arguments
    outcome = run(command, "x.pt", "--model", "bad_networks:line", "--data", "data.npz", *rest, "--out", "new.zarr")
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err.count("\n") == 1
    assert message in outcome.err
    assert snapshot(work) == before


@pytest.mark.parametrize("tolerance", ["0", "-0.1", "nan", "1"])
@pytest.mark.parametrize("command", ["surface", "connect"])
def test_tolerances_that_mean_nothing(run, work, command, tolerance):
    before = snapshot(work)
    outcome = run(command, "a.safetensors", "b.safetensors", "--tolerance", tolerance, "--out", "new.zarr")
    assert outcome.status == 2
    assert outcome.err.count("\n") == 1
    assert "tolerance must lie between 0 and 1" in outcome.err
    assert snapshot(work) == before


@pytest.mark.parametrize("command", COMMANDS)
def test_parameters_without_gradients_are_parameters(run, module, command):
    """A model that was frozen for its own purposes has the same landscape."""
    import bad_networks

    torch.save(bad_networks.net().state_dict(), "x.pt")
    found = []
    for model in ("net", "frozen"):
        names = ("--model", f"bad_networks:{model}", "--data", "data.npz", "--engine", "serial", "--quiet")
        assert run(command, "x.pt", *names, *COMMANDS[command], "--out", f"{model}.zarr").status == 0
        found.append(landscape.open(f"{model}.zarr")[command].to_dataset())
    assert found[0].equals(found[1])
