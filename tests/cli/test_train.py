"""`landscape train`: what it prints, what it writes, and that the same command does nothing twice."""

import json
import runpy
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

import landscape

HERE = runpy.run_path(str(Path(__file__).with_name("conftest.py")))
TRAIN, snapshot = HERE["TRAIN"], HERE["snapshot"]
RUN = (*TRAIN, "--epochs", "3", "--seed", "0", "--out", "new.safetensors")


def test_text(run, work):
    outcome = run(*RUN)
    first, loss, error = outcome.out.splitlines()
    assert (outcome.status, first) == (0, "new.safetensors trained; history in new.zarr")
    assert [word for word in (loss + error).split() if word.isalpha()] == [
        "loss",
        "train",
        "test",
        "error",
        "train",
        "test",
    ]
    assert "samples/s" in outcome.err
    assert sorted(path.name for path in work.glob("*new*")) == ["new.safetensors", "new.zarr"]
    assert sorted(path.name for path in work.glob(".*")) == []


def test_json_is_one_object_and_quiet_is_silent(run, work):
    outcome = run(*RUN, "--quiet", "--json")
    assert (outcome.status, outcome.err) == (0, "")
    found = json.loads(outcome.out)
    assert found.keys() == {"checkpoint", "history", "fresh", "loss", "error"}
    assert found["fresh"] is True
    last = landscape.open(found["history"])["train"].isel(step=-1)
    assert found["loss"] == {split: float(last["loss"].sel(split=split)) for split in ("train", "test")}
    assert found["error"]["train"] == float(last["error"].sel(split="train"))


def test_the_checkpoint_says_what_it_is(run, work):
    assert run(*RUN, "--set", "lr=0.05").status == 0
    with safe_open("new.safetensors", "pt") as file:
        recipe = json.loads(file.metadata()["landscape"])
    assert recipe["problem"]["model"] == "mlp"
    assert recipe["problem"]["model_settings"]["hidden"] == [4]
    assert recipe["training"]["hyperparameters"]["lr"] == 0.05
    history = landscape.open("new.zarr")
    assert history.attrs["recipe_hash"] == recipe["signature"]
    assert history["train"]["step"].values.tolist() == [0, 3, 6, 9]


def test_the_same_command_does_nothing_twice(run, work):
    assert run(*RUN).status == 0
    before = snapshot(work)
    again = run(*RUN)
    assert (again.status, again.err) == (0, "")
    assert "was trained already" in again.out
    assert snapshot(work) == before


def test_a_lost_history_is_made_again(run, work):
    assert run(*RUN).status == 0
    before = load_file("new.safetensors")
    (work / "new.zarr").rename(work / "aside")
    assert run(*RUN).status == 0
    assert (work / "new.zarr").is_dir()
    assert all(torch.equal(value, before[name]) for name, value in load_file("new.safetensors").items())


def test_overwrite(run, work):
    before = (work / "a.safetensors").read_bytes()
    assert run(*TRAIN, "--epochs", "1", "--seed", "5", "--out", "a.safetensors", "--overwrite").status == 0
    assert (work / "a.safetensors").read_bytes() != before
    assert landscape.open("a.zarr")["train"].sizes["step"] == 2


def test_a_run_is_the_same_wherever_its_data_lie(run, work, monkeypatch):
    (work / "deeper").mkdir()
    (work / "data.npz").rename(work / "deeper" / "data.npz")
    base = [*TRAIN[:2], "deeper/data.npz", *TRAIN[3:], "--epochs", "2", "--seed", "0", "--out", "a.safetensors"]
    assert "was trained already" in run(*base).out


def test_checkpoints_on_the_way(run, work):
    assert run(*RUN, "--checkpoint-every", "2", "--eval-every", "0").status == 0
    assert sorted(path.name for path in work.glob("new*")) == [
        "new-epoch0002.safetensors",
        "new.safetensors",
        "new.zarr",
    ]
    assert landscape.open("new.zarr")["train"]["step"].values.tolist() == [9]
    # The checkpoint of the second epoch is that of a run of two epochs.
    assert run(*TRAIN, "--epochs", "2", "--seed", "0", "--out", "two.safetensors").status == 0
    two = load_file("two.safetensors")
    assert all(torch.equal(value, two[name]) for name, value in load_file("new-epoch0002.safetensors").items())


def test_steps(run, work):
    assert run(*TRAIN, "--steps", "5", "--out", "new.safetensors").status == 0
    assert landscape.open("new.zarr")["train"]["step"].values.tolist() == [0, 3, 5]


def test_a_diverged_run_is_status_1_and_leaves_its_history(run, work):
    outcome = run(*RUN, "--set", "lr=1e30", "--loss", "mse", "--data", "regression", "--quiet")
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err.startswith("Error: the training diverged")
    assert outcome.err.count("\n") == 1
    assert not (work / "new.safetensors").exists()
    assert landscape.open("new.zarr").attrs["complete"] == 1
    assert list(work.glob(".*")) == []


def test_micro_batches_make_the_same_network(run, work):
    assert run(*RUN).status == 0
    assert run(*RUN, "--micro-batch-size", "5", "--out", "parts.safetensors").status == 0
    whole, parts = load_file("new.safetensors"), load_file("parts.safetensors")
    for name, tensor in whole.items():
        torch.testing.assert_close(parts[name], tensor, rtol=1e-5, atol=1e-6)
    with safe_open("parts.safetensors", "pt") as file:
        assert json.loads(file.metadata()["landscape"])["training"]["micro_batch_size"] == 5
    assert "was trained already" in run(*RUN).out


def test_a_configuration(run, work):
    (work / "recipe.yaml").write_text(
        "data: data.npz\nmodel: mlp\nmodel-set: {hidden: [4]}\nbatch_size: 16\nset: {lr: 0.05, momentum: 0.9}\n"
        "epochs: 9\nquiet: true\n"
    )
    base = ("train", "--config", "recipe.yaml", "--config-set", "epochs=2", "--seed", "3")
    assert run(*base, "--out", "config.safetensors").err == ""
    settings = ("--set", "lr=0.05", "--set", "momentum=0.9", "--epochs", "2", "--seed", "3")
    assert run(*TRAIN, *settings, "--out", "options.safetensors").status == 0
    assert (work / "config.safetensors").stat().st_size == (work / "options.safetensors").stat().st_size
    hashes = [landscape.open(f"{name}.zarr").attrs["recipe_hash"] for name in ("config", "options")]
    assert hashes[0] == hashes[1]


def test_networks_of_several_seeds_share_their_noisy_labels(run, work):
    for seed in (0, 1):
        base = (*TRAIN, "--epochs", "1", "--label-noise", "0.2", "--seed", seed, "--quiet")
        assert run(*base, "--out", f"noisy{seed}.safetensors").status == 0
    recipes = [json.loads(landscape.open(f"noisy{seed}.zarr").attrs["recipe"]) for seed in (0, 1)]
    assert recipes[0]["data"] == recipes[1]["data"]
    outcome = run("connect", "noisy0.safetensors", "noisy1.safetensors", *HERE["CONNECT"][3:], "--out", "c.zarr")
    assert outcome.status == 0


@pytest.mark.parametrize("command", ["train", "connect", "show", "figure", "data"])
def test_help_shows_every_option_with_a_sentence(run, command):
    lines = run(command, "--help").out.splitlines()
    start = lines.index("Options:")
    options = "\n".join(lines[start + 1 :]).replace("\n   ", " ")
    for line in options.splitlines():
        assert len(line.split("  ", 2)[-1].strip()) > 5, line
