"""`landscape grok`: what it prints, stores and draws, what goes on from its checkpoints, and every wrong request."""

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
import xarray

import landscape

HERE = runpy.run_path(str(Path(__file__).with_name("conftest.py")))
KILL = runpy.run_path(str(Path(__file__).with_name("test_kill.py")))
snapshot = HERE["snapshot"]
SMALL = ("--data-set", "modulus=7", "--model-set", "width=16", "--hold", "0", "--engine", "serial")
RUN = ("grok", *SMALL, "--seeds", "2", "--steps", "40", "--every", "10", "--out", "g.zarr")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A working folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_sweep_store_and_figures(run, folder):
    outcome = run(*RUN, "--sweep", "weight_decay=0,1", "--measure", "sam_sharpness", "--rho", "0.05", "--quiet")
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out.startswith("g.zarr: grok store, finished\n")
    assert "grokked at" in outcome.out
    tree = xarray.open_datatree("g.zarr", engine="zarr")
    assert dict(tree["grok"].sizes)["weight_decay"] == 2
    assert np.isfinite(tree["grok"]["sam_sharpness"]).all()
    for name, picture in (("a.png", "all"), ("m.pdf", "milestones")):
        drawn = run("show", "g.zarr", "--figure", name, "--picture", picture)
        assert drawn.status == 0, drawn.err
    assert run("show", "g.zarr", "--figure", "p.svg", "--picture", "progress", "--at", "weight_decay=1").status == 0
    for at, words in (("lr=1", "unknown setting of the sweep 'lr'"), ("seed=9", "no run has seed 9: choose 0, 1")):
        refused = run("show", "g.zarr", "--figure", "no.png", "--picture", "progress", "--at", at)
        assert (refused.status, refused.err.count("\n")) == (2, 1)
        assert words in refused.err
    assert "add --figure FILE" in run("show", "g.zarr", "--at", "seed=0").err
    assert not Path("no.png").exists()
    assert list(folder.glob(".*")) == []


def test_json_and_doing_nothing_twice(run, refuses, folder):
    outcome = run(*RUN, "--json", "--quiet")
    (entry,) = json.loads(outcome.out)["grokking"]
    assert (entry["settings"], entry["runs"]) == ({}, 2)
    before = snapshot(folder)
    assert run(*RUN).err == ""
    assert snapshot(folder) == before
    line = refuses(*RUN, "--threshold", "0.9")
    assert "another recipe (threshold is 0.95 there, 0.9 here): give --overwrite" in line
    assert run(*RUN, "--threshold", "0.9", "--overwrite", "--quiet").status == 0


def test_checkpoints_serve_the_other_commands(run):
    assert run(*RUN, "--data-set", "seed=0", "--checkpoints", "start,end", "--quiet").status == 0
    names = [
        f"g-checkpoints/seed={seed}-{moment}.safetensors" for seed, moment in ((0, "start"), (0, "end"), (1, "end"))
    ]
    serial = ("--engine", "serial", "--quiet")
    done = run("sharpness", *names[:2], "--measure", "hessian_max", *serial, "--out", "h.zarr")
    assert done.status == 0, done.err
    done = run("connect", *names[:2], "--steps", "4", "--points", "3", *serial, "--out", "c.zarr")
    assert done.status == 0, done.err
    done = run("connect", *names[1:], "--steps", "4", "--points", "3", *serial, "--out", "d.zarr")
    assert done.status == 0, done.err
    done = run("surface", names[1], "--size", "3", "--exact", *serial, "--out", "s.zarr")
    assert done.status == 0, done.err
    found = landscape.open("g.zarr")["grok"]["loss"].sel(seed=0, split="train")
    ends = landscape.open("c.zarr")["connect"]["checkpoint_loss"].sel(split="train")
    np.testing.assert_allclose(ends.values.ravel(), found.isel(step=[0, -1]).values, rtol=1e-6)


def test_a_store_that_begins_anew_leaves_no_checkpoints_of_the_old_one(run, folder):
    """Only files that `grok` wrote are removed, whatever they are called."""
    kept = ("--checkpoints", "start,memorised,end", "--checkpoint-every", "2", "--quiet")
    assert run(*RUN, *kept).status == 0
    checkpoints = folder / "g-checkpoints"
    assert (checkpoints / "seed=1-step=20.safetensors").exists()
    run("train", "--data", "digits", "--model", "mlp", "--steps", "1", "--quiet", "--out", "a.safetensors")
    foreign = {
        "seed=9-start.safetensors": (folder / "a.safetensors").read_bytes(),
        "seed=9-end.safetensors": b"no checkpoint",
        "notes.txt": b"mine",
    }
    for name, content in foreign.items():
        (checkpoints / name).write_bytes(content)
    assert run(*RUN, *kept).status == 0  # finished: nothing begins
    assert (checkpoints / "seed=1-step=20.safetensors").exists()
    assert run(*RUN, "--seeds", "1", "--checkpoints", "end", "--overwrite", "--quiet").status == 0
    assert snapshot(checkpoints).keys() == {"seed=0-end.safetensors", *foreign}
    assert all((checkpoints / name).read_bytes() == content for name, content in foreign.items())
    for name in foreign:
        (checkpoints / name).unlink()
    assert run(*RUN, "--overwrite", "--quiet").status == 0
    assert not checkpoints.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--data-set", "operation=divide", "--data-set", "modulus=30"), "prime modulus, got 30; take 29"),
        (("--data-set", "operation=dvide"), "did you mean 'divide'"),
        (("--data-set", "fraction=0"), "more than 0"),
        (("--data-set", "fraction=1"), "less than 1"),
        (("--data-set", "fraction=1.5"), "less than 1"),
        (("--data-set", "fraction=0.9999"), "leaves no test data"),
        (("--sweep", "fraction=0.5,1.5"), "less than 1"),
        (("--sweep", "weight_deacy=0,1"), "did you mean 'weight_decay'"),
        (("--sweep", "weight_decay=0,0"), "distinct values"),
        (("--sweep", "weight_decay="), "expected distinct values"),
        (("--sweep", "weight_decay"), "expected KEY=VALUE"),
        (("--sweep", "weight_decay=-1"), "at least 0"),
        (("--sweep", "weight_decay=a,b"), "must be a number"),
        (("--sweep", "optimizer=adamw,admw"), "did you mean 'adamw'"),
        (("--sweep", "model=quadratc"), "did you mean 'quadratic'"),
        (("--sweep", "seed=1,2"), "--seeds N"),
        (("--sweep", "lr=0.1", "--sweep", "lr=0.2"), "--sweep lr was given twice"),
        (("--sweep", "lr=0.1", "--sweep", "optimizer.lr=0.2"), "lr and optimizer.lr are one setting"),
        (("--sweep", "optimizer=sgd", "--sweep", "training.optimizer=adamw"), "are one setting"),
        (("--sweep", "lr=0.1,0.2", "--set", "adamw.lr=0.3"), "lr is swept, so adamw.lr can't be set too"),
        (("--sweep", "fraction=0.3,0.4", "--data-set", "fraction=0.5"), "fraction is swept"),
        (("--sweep", "init_scale=1,2", "--model-set", "init_scale=3"), "init_scale is swept"),
        (("--sweep", "weight_decay=0,nan"), "must be a number"),
        (("--sweep", "modulus=7,8", "--data-set", "operation=divide"), "prime modulus, got 8; take 7"),
        (("--sweep", "loss=mse,cross-entropy"), "sweep it as training.loss"),
        (("--sweep", "stepps=1,2"), "unknown setting to sweep"),
        (
            ("--optimizer", "sam", "--sweep", "rho=0.1,0.2", "--measure", "sam_sharpness"),
            "sweep it as optimizer.rho",
        ),
        (("--optimizer", "admw"), "did you mean 'adamw'"),
        (("--set", "lr=0"), "more than 0"),
        (("--set", "sgd.lr=0.1"), "no run uses 'sgd', only adamw"),
        (("--sweep", "optimizer=sgd,adamw", "--set", "momentm=0.1"), "unknown setting of optimizer sgd or adamw"),
        (("--model", "convnet"), "takes images"),
        (("--data-set", "encoding=one-hot"), "with --data-set encoding=symbols"),
        (("--model", "mlp", "--data-set", "encoding=symbols"), "leave out --data-set encoding=symbols"),
        (("--data", "parity", "--model", "transformer", "--data-set", "encoding=signs"), "are vectors"),
        (("--data", "parity", "--data-set", "bits=3", "--data-set", "relevant=5"), "set relevant to 3 or less"),
        (("--data", "permutations", "--data-set", "form=xyz"), "did you mean 'xy'"),
        (("--model", "transformer", "--model-set", "heads=3"), "must divide"),
        (("--model-set", "init_scale=0"), "more than 0"),
        (("--loss", "stablmax"), "did you mean"),
        (("--data", "regression"), "has no classes"),
        (("--data", "modlar"), "did you mean 'modular'"),
        (("--measure", "hesian_max"), "did you mean 'hessian_max'"),
        (("--measure", "hessian_density"), "no axis that all steps share"),
        (("--rho", "0.1"), "add --measure"),
        (("--measure", "sam_sharpness", "--measure-set", "q=1"), "unknown setting"),
        (("--checkpoints", "memorized"), "did you mean 'memorised'"),
        (("--checkpoint-every", "-1"), "at least 0"),
        (("--precision", "float16"), "float64"),
        (("--steps", "0"), "steps must be at least 1"),
        (("--seeds", "0"), "seeds must be at least one"),
        (("--every", "0"), "every must be at least 1"),
        (("--per-decade", "0"), "per decade must be at least 1"),
        (("--measure-every", "0"), "at least 1"),
        (("--hold", "-1"), "hold must be at least 0"),
        (("--threshold", "95"), r"accuracy in (0, 1], got 95"),
        (("--label-noise", "2"), "[0, 1]"),
        (("--batch-size", "0"), "at least 1"),
        (("--autosave", "nan"), "at least 0 seconds"),
        (("--sketch", "-1"), "sketch must be at least 0"),
        (("--engine", "thread"), "serial"),
        (("--workers", "0"), "at least 1"),
    ],
)
def test_wrong_requests(refuses, arguments, words):
    assert words in refuses("grok", "--out", "g.zarr", *arguments)


def killed_and_resumed(run, folder, arguments, delays):
    """Kill a study at random moments, finish it, and hold it to an undisturbed one."""
    command = [sys.executable, "-m", "landscape.cli", *arguments, "--quiet"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "LANDSCAPE_AUTOSAVE_SECONDS": "0"}
    kills = 0
    for delay in delays:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with subprocess.Popen([*command, "--out", "killed.zarr"], env=environment, **quiet) as process:
            until = time.monotonic() + 120
            while not any(folder.glob(".killed.zarr.partial/tasks/*")) and process.poll() is None:
                assert time.monotonic() < until
                time.sleep(0.01)
            time.sleep(delay)
            process.kill()
        kills += process.returncode == -signal.SIGKILL
    for name in ("killed", "whole"):
        outcome = run(*arguments, "--quiet", "--out", f"{name}.zarr")
        assert outcome.status == 0, outcome.err
    xarray.testing.assert_identical(KILL["contents"](folder / "killed.zarr"), KILL["contents"](folder / "whole.zarr"))
    for file in (folder / "whole-checkpoints").iterdir():
        KILL["same_weights"](file, folder / "killed-checkpoints" / file.name)
    assert {path.name for path in folder.iterdir()} == {
        f"{name}{end}" for name in ("killed", "whole") for end in (".zarr", "-checkpoints")
    }
    return kills


KILLED = (
    "grok",
    *SMALL[:-1],
    "serial",
    "--checkpoints",
    "memorised,end",
    "--sweep",
    "weight_decay=0,1",
    "--seeds",
    "2",
)


def test_a_killed_study_goes_on(run, folder):
    assert killed_and_resumed(run, folder, (*KILLED, "--steps", "150"), [0.05]) == 1


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["serial", "processes"])
def test_a_study_killed_ten_times(run, folder, engine):
    delays = np.random.default_rng(len(engine)).uniform(0, 0.5, 10)
    measures = ("--measure", "hessian_max,sam_sharpness", "--rho", "0.05")
    arguments = [engine if one == "serial" else one for one in (*KILLED, "--steps", "3000", *measures)]
    assert killed_and_resumed(run, folder, arguments, delays) > 5
