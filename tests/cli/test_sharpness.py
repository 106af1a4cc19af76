"""`landscape sharpness`: what it prints, stores and draws, and every wrong request in one line."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray

import landscape
from landscape.measures.registry import MEASURES, measure
from landscape.networks.sampling import mix
from landscape.studies.networks import gather
from landscape.studies.sharpness.evaluation import MEASURES_SEED

HERE = runpy.run_path(str(Path(__file__).with_name("conftest.py")))
snapshot = HERE["snapshot"]
SMALL = ("--set", "steps=3", "--set", "pairs=3", "--set", "draws=5", "--set", "hessian_density.points=50")
RUN = ("sharpness", "a.safetensors", "--engine", "serial", "--out", "h.zarr")


def test_all_measures_of_two_checkpoints(run, work):
    outcome = run("sharpness", "a.safetensors", "b.safetensors", "--engine", "serial", *SMALL, "--out", "h.zarr")
    assert outcome.status == 0, outcome.err
    assert outcome.out.startswith("h.zarr: sharpness store, finished\n")
    for name in MEASURES:
        assert name == "hessian_density" or name in outcome.out
    tree = xarray.open_datatree("h.zarr", engine="zarr")
    node = tree["sharpness"]
    assert node["pgd_sharpness"].dims == ("checkpoint", "split", "rho")
    assert node["hessian_top"].dims == ("checkpoint", "split", "k")
    assert node["hessian_density"].dims == ("checkpoint", "split", "eigenvalue")
    assert set(MEASURES) <= set(node.data_vars)
    assert {f"{name}_stderr" for name in MEASURES} <= set(node.data_vars)
    assert node["hessian_max"].attrs["units"] == "nats / distance²"
    assert (node["status"] == 1).all()
    ends = gather(["a.safetensors"])
    objective = landscape.Objective(ends.models[0], ends.data.train)
    generator = torch.Generator().manual_seed(mix(0, MEASURES_SEED))
    assert float(node["hessian_max"].sel(checkpoint="a")[0]) == float(
        measure("hessian_max", objective, generator=generator).value
    )
    for picture in ("all", "spectrum", "rho"):
        drawn = run("show", "h.zarr", "--picture", picture, "--figure", f"{picture}.png")
        assert drawn.status == 0, drawn.err
    assert list(work.glob(".*")) == []


def test_json_and_doing_nothing_twice(run, work):
    arguments = (*RUN, "--measure", "sam_sharpness,fisher_rao_norm", "--rho", "0.1,0.05", "--split", "train,test")
    outcome = run(*arguments, "--json", "--quiet")
    assert (outcome.status, outcome.err) == (0, "")
    found = json.loads(outcome.out)
    assert [row["rho"] for row in found["measures"] if row["measure"] == "sam_sharpness"] == [0.05, 0.1] * 2
    before = snapshot(work)
    assert run(*arguments).err == ""
    assert snapshot(work) == before
    assert "--overwrite" in run(*arguments, "--seed", "1").err
    assert run(*arguments, "--seed", "1", "--overwrite", "--quiet").status == 0


def test_a_point_of_a_curve(run, work):
    assert run(*HERE["CONNECT"], "--curve", "bezier", "--out", "c.zarr", "--quiet").status == 0
    place = ("sharpness", "c.zarr::bezier@0.5", "--engine", "serial", "--quiet", "--out", "h.zarr")
    assert run(*place, "--measure", "hessian_trace").status == 0
    node = landscape.open("h.zarr")["sharpness"]
    assert np.isfinite(node["hessian_trace"]).all()
    method = node["hessian_trace_method"]
    assert method.attrs["flag_meanings"].split()[int(method[0, 0])] == "sampled"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--measure", "hesian_max"), "hessian_max"),
        (("--measure", ","), "no measure"),
        (("--rho", "0"), "more than 0"),
        (("--rho", "-1,0.1"), "more than 0"),
        (("--rho", "x"), "numbers such as"),
        (("--set", "p=0.5"), "at least 1"),
        (("--set", "rho=0.1"), "--rho"),
        (("--set", "hessian_top.k=1000"), "1000 eigenvalues"),
        (("--set", "hessian_top.kk=3"), "'kk'"),
        (("--measure", "hessian_max", "--set", "sam_sharpness.p=2"), "not asked for"),
        (("--measure", "hessian_max", "--set", "stps=2"), "stps"),
        (("--split", "tset"), "test"),
        (("--batchnorm", "recmpute"), "recompute"),
        (("--samples", "0"), "at least 1"),
        (("--seed", "-1"), "seed"),
    ],
)
@pytest.mark.usefixtures("work")
def test_wrong_requests_are_one_line_and_leave_nothing(refuses, arguments, words):
    assert words in refuses(*RUN, *arguments)
