"""`landscape train --measure`: what is recorded along a run is what `landscape sharpness` finds at its checkpoints."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray
from safetensors.torch import load_file

import landscape

HERE = runpy.run_path(str(Path(__file__).with_name("conftest.py")))
TRAIN, snapshot = HERE["TRAIN"], HERE["snapshot"]
RUN = (*TRAIN, "--epochs", "4", "--set", "momentum=0.9", "--quiet", "--out", "new.safetensors")
MEASURES = ("--measure", "hessian_max,average_sharpness", "--measure", "hessian_top", "--measure-set", "pairs=4")


def test_measures_are_those_of_the_checkpoints(run, work):
    outcome = run(*RUN, *MEASURES, "--every", "3", "--measure-samples", "30", "--checkpoint-every", "1")
    assert (outcome.status, outcome.err) == (0, "")
    files = [f"new-epoch000{epoch}.safetensors" for epoch in (1, 2, 3, 4)]
    same = ("--measure", "hessian_max,average_sharpness,hessian_top", "--set", "pairs=4", "--samples", "30")
    assert run("sharpness", *files, *same, "--engine", "serial", "--quiet", "--out", "h.zarr").status == 0
    along = xarray.open_datatree("new.zarr", engine="zarr")["sharpness"].to_dataset()
    after = landscape.open("h.zarr")["sharpness"].to_dataset()
    assert along["step"].values.tolist() == [0, 3, 6, 9, 12]
    assert along["hessian_top"].dims == ("step", "split", "k")
    assert along["average_sharpness"].dims == ("step", "split", "rho")
    assert along["hessian_max"].attrs == after["hessian_max"].attrs
    assert (along["average_sharpness_stderr"] > 0).all()
    assert (along["status"] == 1).all()
    assert set(along.data_vars) == set(after.data_vars)
    for name in set(after.data_vars):
        assert np.array_equal(along[name].values[1:], after[name].values), name


def test_training_does_not_notice(run, work):
    assert run(*RUN).status == 0
    before = load_file("new.safetensors")
    assert run(*RUN, *MEASURES, "--every", "1", "--overwrite").status == 0
    after = load_file("new.safetensors")
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_a_killed_run_goes_on_to_the_same_measures(run, work):
    settings = (*MEASURES, "--every", "2", "--autosave", "0")
    command = (*RUN, *settings)
    assert run(*RUN[:-1], "whole.safetensors", *settings).status == 0
    calls = []

    def stop(*arguments, **settings):
        calls.append(arguments)
        if len(calls) > 12:
            raise GeneratorExit
        return flat(*arguments, **settings)

    from landscape.studies.sharpness.evaluation import flat

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("landscape.studies.sharpness.evaluation.flat", stop)
        with pytest.raises(GeneratorExit):
            run(*command)
    assert (work / ".new.safetensors.partial").exists()
    assert run(*command).status == 0
    for node in ("train", "sharpness"):
        found, whole = (landscape.open(f"{name}.zarr")[node].to_dataset() for name in ("new", "whole"))
        assert found.drop_vars("seconds", errors="ignore").identical(whole.drop_vars("seconds", errors="ignore"))


def test_a_step_that_diverged_is_a_result(run, work):
    outcome = run(*TRAIN, "--epochs", "30", "--set", "lr=1e38", "--measure", "hessian_top", "--every", "1",
                  "--out", "new.safetensors", "--quiet")  # fmt: skip
    assert outcome.status == 1
    assert "diverged" in outcome.err
    found = landscape.open("new.zarr")["sharpness"].to_dataset()
    assert found["status"].values[0] == 1
    assert found["status"].values[-1] == 2
    assert np.isnan(found["hessian_top"].values[-1]).all()
    assert run("show", "new.zarr", "--figure", "new.png").status == 0


def test_what_is_shown(run, work):
    arguments = ("--measure", "hessian_density,hessian_trace", "--measure-set", "probes=3", "--every", "6")
    assert run(*RUN, *arguments).status == 0
    shown = run("show", "new.zarr", "--figure", "new.png")
    assert "measures along the run" in shown.out
    line = next(line for line in shown.out.splitlines() if "hessian_trace " in line)
    assert " (0)  " in line
    assert " ".join(line.split()).endswith("(12) nats / distance²")
    rows = json.loads(run("show", "new.zarr", "--json").out)["measures"]
    assert [row["step"] for row in rows] == [0, 6, 12]
    figure = landscape.draw(landscape.open("new.zarr"))
    assert [axes.get_ylabel().split("\n")[0] for axes in figure.axes] == ["loss (nats)", "error (%)", "hessian trace"]
    density = landscape.open("new.zarr")["sharpness"]["hessian_density"]
    areas = density.integrate("eigenvalue").values
    assert areas == pytest.approx(np.ones_like(areas), abs=1e-3)
    assert run("show", "new.zarr", "--picture", "spectrum", "--figure", "spectrum.png").status == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--every", "5"), "not what: give --measure"),
        (("--measure-samples", "5"), "not what: give --measure"),
        (("--measure", "hessian_maxx"), "did you mean 'hessian_max'"),
        (("--measure", ","), "no measure"),
        (("--measure", "hessian_max", "--every", "-1"), "K must be at least 0"),
        (("--measure", "hessian_max", "--measure-samples", "0"), "at least 1"),
        (("--measure", "hessian_top", "--measure-set", "k=9999"), "9999 eigenvalues"),
        (("--measure", "hessian_max", "--measure-set", "tolerance=0"), "tolerance"),
    ],
)
@pytest.mark.usefixtures("work")
def test_wrong_requests_are_one_line_and_leave_nothing(refuses, arguments, words):
    assert words in refuses(*RUN, *arguments)
