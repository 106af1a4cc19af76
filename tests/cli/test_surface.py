"""`landscape surface`: what it prints and draws, resuming after a kill, and every wrong request in one line."""

import json
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray
from safetensors.torch import load_file, save_file

import landscape

HERE = runpy.run_path(str(Path(__file__).with_name("conftest.py")))
TRAIN, snapshot = HERE["TRAIN"], HERE["snapshot"]
SERIAL = ("--engine", "serial")
BASE = ("surface", "a.safetensors", *SERIAL, "--size", "3")
RUN = (*BASE, "--out", "s.zarr")
NOT_CONTENTS = ("created", "git_revision", "complete")


def test_text(run, work):
    outcome = run("surface", "a.safetensors", "b.safetensors", *SERIAL, "--size", "5,4", "--out", "s.zarr")
    assert outcome.status == 0
    assert outcome.out.startswith("s.zarr: surface store, finished\n")
    assert "evaluate: 100%" in outcome.err
    rows = [line.split() for line in outcome.out.splitlines()]
    assert [row[:2] for row in rows if row[-1:] == ["20/20"]] == [[n, s] for n in "ab" for s in ("train", "test")]
    assert list(work.glob(".*")) == []


def test_json_is_one_object_and_quiet_is_silent(run, work):
    outcome = run(*RUN, "--json", "--quiet", "--extent", "-1,2", "--extent", "0.5", "--center", "0.5,0")
    assert (outcome.status, outcome.err) == (0, "")
    found = json.loads(outcome.out)
    assert (found["kind"], found["complete"]) == ("surface", True)
    assert {(row["checkpoint"], row["split"]) for row in found["surfaces"]} == {("a", "train"), ("a", "test")}
    limits = {row["axis"]: (row["low"], row["high"], row["points"]) for row in found["directions"]}
    assert limits == {"alpha": (-0.5, 2.5, 3), "beta": (-0.5, 0.5, 3)}
    assert json.loads(run("show", "s.zarr", "--json").out) == found


def test_the_same_command_does_nothing_twice(run, work):
    assert run(*RUN).status == 0
    before = snapshot(work)
    again = run(*RUN, "--extent", "1", "--exact")
    assert (again.status, again.err) == (0, "")
    assert snapshot(work) == before
    assert run(*RUN, "--seed", "1", "--overwrite", "--quiet").err == ""
    assert landscape.open("s.zarr")["surface/directions"].attrs["seed"] == 1


@pytest.mark.parametrize(("precision", "least", "most"), [("bf16", 1e-6, 0.1), ("float64", 0, 1e-5)])
def test_precision_is_told_with_its_error(run, work, precision, least, most):
    assert run(*RUN).status == 0
    plain = landscape.open("s.zarr")
    outcome = run(*BASE, "--out", "p.zarr", "--precision", precision)
    assert outcome.status == 0
    node = landscape.open("p.zarr")["surface"]
    assert least < node.attrs["precision_error"] < most
    assert f"forward passes in {precision}: the loss differs from float32's by" in outcome.out
    assert np.nanmax(np.abs(node["loss"] / plain["surface"]["loss"] - 1)) < most
    assert "precision" not in json.loads(plain.attrs["recipe"])
    assert json.loads(landscape.open("p.zarr").attrs["recipe"])["precision"] == precision
    assert run(*BASE, "--out", "s.zarr", "--precision", precision).status == 2


@pytest.mark.parametrize("method", ["certified", "interpolated"])
def test_surfaces_that_are_not_exact_say_so(run, work, method):
    how = ("--tolerance", "0.05") if method == "certified" else ("--quick",)
    outcome = run("surface", "a.safetensors", *SERIAL, "--size", "17", *how, "--out", "s.zarr")
    assert outcome.status == 0, outcome.err
    assert {"certified": "certified: the loss jitters", "interpolated": "a look, no measurement"}[method] in outcome.out
    assert "exact on 9 x 9 points" in outcome.out or method == "interpolated"
    assert "sample evaluations; all points on all samples" in outcome.out
    assert "coarse grid: 100%" in outcome.err
    assert list(work.glob(".*")) == []
    found = json.loads(run("show", "s.zarr", "--json").out)
    assert found["method"] == method
    assert run("show", "s.zarr", "--figure", "s.png").status == 0


def test_xarray_alone_reads_it(run, work):
    assert run(*RUN, "--axes", "3").status == 0
    tree = xarray.open_datatree("s.zarr", engine="zarr")
    assert tree["surface"]["loss"].dims == ("checkpoint", "split", "gamma", "beta", "alpha")
    assert tree["surface"]["loss"].attrs["units"] == "nats"


@pytest.mark.parametrize("axes", ["1", "2", "3"])
def test_pictures(run, work, axes):
    assert (
        run(
            "surface", "a.safetensors", "b.safetensors", *SERIAL, "--size", "4", "--axes", axes, "--out", "s.zarr"
        ).status
        == 0
    )
    pictures = ["all", "sections", *(["relief"] if axes == "2" else [])]
    for picture in pictures:
        file = f"{picture}.png"
        outcome = run(
            "show", "s.zarr", "--picture", picture, "--quantity", "error", "--checkpoint", "b", "--figure", file
        )
        assert outcome.status == 0, outcome.err
        assert Path(file).stat().st_size > 5000
    if axes != "2":
        line = run("show", "s.zarr", "--picture", "relief", "--figure", "x.png").err
        assert f"a relief needs a surface with 2 axes, this one has {axes}" in line


def test_the_path_of_a_run(run, work):
    every = ("--epochs", "4", "--checkpoint-every", "1", "--out", "r.safetensors", "--quiet")
    assert run(*TRAIN, *every).status == 0
    files = sorted(map(str, Path().glob("r-epoch*.safetensors")))
    outcome = run("surface", *files, "--directions", "pca", *SERIAL, "--size", "4", "--out", "p.zarr", "--quiet")
    assert "the path of the checkpoints (with their own losses and distance from the slice)" in outcome.out
    assert outcome.out.count("r-epoch") == 2 + 1 * 2 + 4
    path = landscape.open("p.zarr")["surface/trajectory"]
    assert path["name"].values.tolist() == [Path(file).stem for file in files]
    assert run("show", "p.zarr", "--figure", "p.png").status == 0


def test_a_point_of_a_curve_is_a_checkpoint(run, work):
    connect = ("connect", "a.safetensors", "b.safetensors", "--steps", "4", "--points", "3", *SERIAL, "--quiet")
    assert run(*connect, "--out", "c.zarr").status == 0
    outcome = run("surface", "c.zarr::bezier@0.5", *SERIAL, "--size", "3", "--out", "s.zarr", "--quiet")
    assert (outcome.status, outcome.err) == (0, "")
    middle = landscape.open("c.zarr")["connect"]["loss"].sel(curve="bezier", t=0.5).values[0]
    centre = landscape.open("s.zarr")["surface"]["loss"].sel(alpha=0, beta=0).values[0]
    np.testing.assert_allclose(centre, middle, rtol=1e-6)


def test_files_of_directions_and_a_metric(run, work):
    save_file({name: torch.ones_like(value) for name, value in load_file("a.safetensors").items()}, "ones.safetensors")
    (work / "own_metric.py").write_text("def sure(outputs, targets):\n    return outputs.softmax(-1).amax(-1)\n")
    own = ("--directions", "ones.safetensors", "--metric", "own_metric:sure")
    outcome = run("surface", "a.safetensors", *own, *SERIAL, "--size", "3", "--out", "s.zarr", "--json", "--quiet")
    assert outcome.status == 0, outcome.err
    node = landscape.open("s.zarr")["surface"]
    assert node["sure"].dims == ("checkpoint", "split", "alpha")
    assert ((node["sure"] > 1 / 3) & (node["sure"] <= 1)).all()
    norm = landscape.open("s.zarr")["surface/directions"]["norm"].item()
    assert norm == pytest.approx(sum(value.numel() for value in load_file("a.safetensors").values()) ** 0.5)
    assert run("show", "s.zarr", "--quantity", "sure", "--figure", "sure.png").status == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--extent", "0"), "extent must be a positive, finite stretch of an axis, got 0 to 0"),
        (("--extent", "inf"), "extent must be a positive, finite stretch"),
        (("--extent", "nan,1"), "extent must be a positive, finite stretch"),
        (("--extent", "2,1"), "extent must be a positive, finite stretch"),
        (("--extent", "wide"), "--extent 'wide': expected numbers such as 1 (from -1 to 1) or -1,2"),
        (("--extent", "1,2,3"), "--extent '1,2,3': expected 1 (from -1 to 1) or -1,2; repeat --extent"),
        (("--extent", "1", "--extent", "2", "--extent", "3", "--axes", "2"), "extent has 3 values for 2 axes"),
        (("--size", "5x4"), "--size '5x4': expected numbers such as 33 or 33,21"),
        (("--tolerance", "0"), "tolerance must lie between 0 and 1, got 0: 0.01 is one per cent of the loss"),
        (("--tolerance", "0.1", "--size", "12"), "sides of 2^k + 1 points, got 12: choose 9 or 17, or evaluate every"),
        (("--tolerance", "0.1", "--exact"), "tolerance and exact exclude each other: give one"),
        (("--quick", "--samples", "9"), "samples and quick exclude each other"),
        (("--size", "1"), "size must be at least 2 points"),
        (("--axes", "0"), "a surface has 1, 2 or 3 axes, got 0"),
        (("--center", "inf"), "center must be finite"),
        (("--directions", "filtre"), "unknown directions 'filtre': did you mean 'filter'?"),
        (("--directions", "missing.pt"), "checkpoint missing.pt does not exist"),
        (("--directions", "filter", "--directions", "pca"), "expected one kind, or nothing but files"),
        (("--directions", "a.safetensors", "--directions", "a.safetensors"), "'alpha' and 'beta' are parallel"),
        (("--directions", "zero.safetensors"), "direction 'alpha' is zero"),
        (("--directions", "other.safetensors"), "direction other.safetensors is of another architecture: it holds 'x'"),
        (("--directions", "part.npz"), "direction part.npz is of another architecture"),
        (("--directions", "wide.pt"), "is of shape (9, 9), the model's is"),
        (("--directions", "data.npz"), "direction data.npz is of another architecture"),
        (("--directions", "pca"), "'pca' along 2 axes needs at least 3 checkpoints, got 1"),
        (("--directions", "difference"), "'difference' along 1 axes needs at least 2 checkpoints, got 1"),
        (("--normalize", "filters"), "unknown normalisation 'filters': did you mean 'filter'?"),
        (("--biases", "none"), "unknown treatment of biases 'none'"),
        (("--batchnorm", "recomputed"), "unknown BatchNorm policy 'recomputed'"),
        (("--split", "valid"), "unknown split 'valid'"),
        (("--samples", "0"), "the number of samples must be at least 1"),
        (("--metric", "accuracy"), "metric 'accuracy' names no function"),
        (("--metric", "torch:zeros_likes"), "metric 'torch:zeros_likes'"),
        (("--metric", "torch.nn.functional:cross_entropy"), "the cross_entropy returned shape () for 2 samples"),
        (("--precision", "fp32"), "unknown precision 'fp32': did you mean 'tf32'? (choices: float32,"),
        (("--precision", "tf32"), "tf32 is a mode of CUDA's tensor cores, not of 'cpu': use float32 or bf16"),
        (("--engine", "threads"), "unknown engine 'threads'"),
        (("--model", "own:frozen"), "the model has no parameters"),
        (("--model", "own:noisy"), "not deterministic in evaluation mode: 'noise' (Noise) gives other outputs"),
    ],
)
def test_wrong_requests(refuses, work, arguments, message):
    state = load_file("a.safetensors")
    name = next(iter(state))
    save_file({key: torch.zeros_like(value) for key, value in state.items()}, "zero.safetensors")
    save_file({**state, "x": torch.ones(2)}, "other.safetensors")
    torch.save({**state, name: torch.ones(9, 9)}, "wide.pt")
    np.savez("part.npz", **{name: state[name].numpy()})
    (work / "own.py").write_text(OWN)
    sources = ("a.safetensors", "--data", "data.npz") if "--model" in arguments else ("a.safetensors",)
    if "own:frozen" in arguments:
        torch.save({"scale": torch.ones(1)}, "frozen.pt")
        sources = ("frozen.pt", "--data", "data.npz")
    line = refuses("surface", *sources, *SERIAL, *arguments, "--out", "new.zarr")
    assert message in line


OWN = """
import torch
from torch import nn
from landscape.networks.zoo.mlp import mlp

class Noise(nn.Module):
    def forward(self, inputs):
        return inputs + torch.rand_like(inputs)

class Frozen(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.ones(1))

    def forward(self, inputs):
        return inputs[:, :3] * self.scale

def frozen():
    return Frozen()

def noisy():
    model = mlp((6,), 3, hidden=(4,))
    model.add_module("noise", Noise())
    return model
"""


def test_wrong_requests_of_show(refuses, run, work):
    assert run(*RUN, "--quiet").status == 0
    for arguments, message in {
        ("--picture", "planes"): "unknown picture 'planes'",
        ("--quantity", "eror"): "unknown quantity 'eror': did you mean 'error'",
        ("--checkpoint", "c"): "unknown checkpoint 'c'",
        ("--split", "valid"): "unknown split 'valid'",
        ("--pair", "0"): "has no option 'pair'",
    }.items():
        assert message in refuses("show", "s.zarr", *arguments, "--figure", "x.png")


def kill_when(folder, arguments, ready):
    """Start the command and kill it once it is ready; whether it was killed on its way."""
    command = [sys.executable, "-m", "landscape.cli", *map(str, arguments), "--device", "cpu", "--quiet"]
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1"}, **streams) as process:
        until = time.monotonic() + 120
        while not ready() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.005)
        process.kill()
    return process.returncode == -signal.SIGKILL


def contents(path):
    """A store without what two equal runs may differ in."""
    tree = xarray.open_datatree(path, engine="zarr").load()
    assert tree.attrs["complete"] == 1
    for name in NOT_CONTENTS:
        tree.attrs.pop(name, None)
    return tree


def check_kill(run, work, engine):
    arguments = ("surface", "a.safetensors", "b.safetensors", "--size", "40,30", "--engine", engine)
    path = work / "killed.zarr"
    assert kill_when(work, (*arguments, "--out", path), lambda: any(path.glob("surface/status/c/*/*/*")))
    status = landscape.open(path)["surface"]["status"]
    assert 0 < int((status == 1).sum()) < status.size
    assert run("show", path, "--figure", "half.png").status == 0
    for name in ("killed.zarr", "whole.zarr"):
        outcome = run(*arguments, "--out", name, "--quiet", "--device", "cpu")
        assert (outcome.status, outcome.err) == (0, "")
    xarray.testing.assert_identical(contents("killed.zarr"), contents("whole.zarr"))


def test_kill(run, work):
    check_kill(run, work, "serial")


@pytest.mark.slow
def test_kill_with_processes(run, work):
    check_kill(run, work, "processes")
