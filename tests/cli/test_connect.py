"""`landscape connect`: what it prints, resuming, equal checkpoints, points of curves as checkpoints."""

import json
import runpy
from pathlib import Path

import pytest
import torch
import xarray

import landscape

HERE = runpy.run_path(str(Path(__file__).with_name("conftest.py")))
TRAIN, CONNECT, snapshot = HERE["TRAIN"], HERE["CONNECT"], HERE["snapshot"]
RUN = (*CONNECT, "--out", "c.zarr")


def test_text(run, work):
    outcome = run(*RUN)
    assert outcome.status == 0
    assert outcome.out.startswith("c.zarr: connect store, finished\n")
    assert "pair 0: a – b" in outcome.out
    assert "fit: 100%" in outcome.err
    assert "evaluate: 100%" in outcome.err
    assert list(work.glob(".*")) == []


def test_json_is_one_object_and_quiet_is_silent(run, work):
    outcome = run(*RUN, "--json", "--quiet", "--plane", "3")
    assert (outcome.status, outcome.err) == (0, "")
    found = json.loads(outcome.out)
    assert (found["kind"], found["complete"], found["notes"]) == ("connect", True, [])
    assert {row["curve"] for row in found["curves"]} == {"linear", "bezier"}
    shown = run("show", "c.zarr", "--json")
    assert json.loads(shown.out) == {key: value for key, value in found.items() if key != "notes"}


def test_the_same_command_does_nothing_twice(run, work):
    assert run(*RUN).status == 0
    before = snapshot(work)
    again = run(*RUN)
    assert (again.status, again.err) == (0, "")
    assert snapshot(work) == before


def test_overwrite(run, work):
    assert run(*RUN).status == 0
    assert run(*RUN, "--points", "5", "--overwrite", "--quiet").err == ""
    assert landscape.open("c.zarr")["connect"].sizes["t"] == 5


def test_the_same_checkpoint_twice_has_barrier_0_and_is_said(run, work):
    run_twice = ("connect", "a.safetensors", "a.safetensors", *CONNECT[3:], "--points", "7", "--plane", "3")
    outcome = run(*run_twice, "--curve", "bezier", "--curve", "polyline", "--quiet", "--out", "same.zarr")
    assert (outcome.status, outcome.err) == (0, "")
    assert "a and a (1) are the same point of weight space: nothing to connect, the barrier is 0" in outcome.out
    assert "not finite" not in outcome.out
    connect = landscape.open("same.zarr")["connect"]
    assert (connect["barrier"] == 0).all()
    assert (connect["arc_length"] == 0).all()
    assert "plane" not in connect.children
    again = json.loads(run(*run_twice, "--curve", "bezier", "--curve", "polyline", "--json", "--out", "same.zarr").out)
    assert len(again["notes"]) == 1


def test_a_copy_under_another_name_is_the_same_point(run, work):
    (work / "copy.safetensors").write_bytes((work / "a.safetensors").read_bytes())
    outcome = run("connect", "a.safetensors", "copy.safetensors", *CONNECT[3:], "--out", "same.zarr")
    assert "a and copy are the same point" in outcome.out


def test_three_checkpoints_of_one_name(run, work):
    for folder in ("x", "y"):
        (work / folder).mkdir()
        (work / folder / "a.safetensors").write_bytes((work / f"{'ab'['xy'.index(folder)]}.safetensors").read_bytes())
    names = ("a.safetensors", "x/a.safetensors", "y/a.safetensors")
    outcome = run("connect", *names, *CONNECT[3:], "--out", "three.zarr")
    assert outcome.status == 0
    connect = landscape.open("three.zarr")["connect"]
    assert len({*connect["start"].values, *connect["end"].values}) == 3


def test_a_point_of_a_curve_is_a_checkpoint(run, work):
    assert run(*RUN, "--curve", "polyline", "--curve", "bezier").status == 0
    outcome = run("connect", "c.zarr::bezier@0.5", "a.safetensors", *CONNECT[3:], "--out", "point.zarr", "--quiet")
    assert (outcome.status, outcome.err) == (0, "")
    point = landscape.load_curve("point.zarr")
    assert torch.equal(point(0.0), landscape.load_curve("c.zarr")(0.5))
    assert torch.equal(point(1.0), landscape.load_curve("c.zarr")(0.0))
    connect = landscape.open("point.zarr")["connect"]
    assert connect["start"].values.tolist() == ["c::bezier@0.5"]
    whole = landscape.open("c.zarr")["connect"]["loss"].sel(curve="bezier", t=0.5).isel(pair=0)
    here = connect["loss"].sel(curve="linear", t=0.0).isel(pair=0)
    xarray.testing.assert_allclose(
        here.drop_vars(["curve", "t", "pair", "start", "end"]),
        whole.drop_vars(["curve", "t", "pair", "start", "end"]),
        rtol=1e-12,
    )


def test_points_only_and_ends_of_curves(run, work):
    """Network and data come from the store; the curve's ends are the checkpoints, also of the straight line."""
    assert run(*RUN).status == 0
    sources = ("c.zarr::linear@0#0", "c.zarr::bezier@0", "a.safetensors")
    assert run("connect", *sources, *CONNECT[3:], "--out", "ends.zarr", "--quiet").status == 0
    assert (landscape.open("ends.zarr")["connect"]["arc_length"] == 0).all()
    assert (work / "a.safetensors").exists()


def test_a_point_of_a_curve_with_batchnorm_has_statistics_of_its_own(run, work):
    model = ("--data", "shapes1d", "--data-set", "num_samples=96", "--data-set", "num_test=32")
    for seed in (0, 1):
        base = ("train", *model, "--model", "own_bn:make", "--epochs", "1", "--seed", seed, "--quiet")
        (work / "own_bn.py").write_text(BATCHNORM)
        assert run(*base, "--out", f"bn{seed}.safetensors").status == 0
    base = ("--steps", "3", "--points", "3", "--engine", "serial", "--quiet")
    assert run("connect", "bn0.safetensors", "bn1.safetensors", *base, "--out", "bn.zarr").status == 0
    assert run("connect", "bn.zarr::bezier@0.5", "bn1.safetensors", *base, "--out", "bn2.zarr").status == 0
    middle = landscape.open("bn.zarr")["connect"].isel(pair=0).sel(curve="bezier", t=0.5)["loss"]
    connect = landscape.open("bn2.zarr")["connect"].isel(pair=0)
    own = connect["checkpoint_loss"].sel(endpoint="start")
    # Recomputed statistics at the point, whether along the curve or stored with the network that was made of it.
    assert own.values == pytest.approx(middle.values, rel=1e-5)
    assert connect["loss"].sel(curve="linear", t=0.0).values == pytest.approx(middle.values, rel=1e-6)


BATCHNORM = """
from torch import nn

def make():
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 10))
"""


def test_regression(run, work):
    base = ("train", "--data", "polynomial", "--model", "mlp", "--model-set", "hidden=4", "--epochs", "1", "--quiet")
    for seed in (0, 1):
        outcome = run(*base, "--seed", seed, "--json", "--out", f"r{seed}.safetensors")
        assert json.loads(outcome.out).keys() == {"checkpoint", "history", "fresh", "loss"}
    outcome = run("connect", "r0.safetensors", "r1.safetensors", *CONNECT[3:], "--plane", "3", "--out", "r.zarr")
    assert outcome.status == 0
    assert "error" not in landscape.open("r.zarr")["connect"]
    assert "nats" not in outcome.out
