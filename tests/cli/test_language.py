"""Language models from the command line, as a new user would: train two, connect them."""

import json

import numpy as np
import pytest
from landscape.cli.main import main

from landscape.sweeps import store

TRAIN = [
    *("train", "--data", "stdlib", "--data-set", "size=6000", "--data-set", "context=16"),
    *("--model", "gpt-nano", "--model-set", "layers=1", "--model-set", "width=8", "--optimizer", "adamw"),
    *("--set", "lr=0.01", "--epochs", "2", "--batch-size", "32", "--device", "cpu", "--quiet", "--json"),
]


def run(capsys, *arguments):
    """Exit status, stdout and stderr."""
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    return end.value.code, *capsys.readouterr()


def test_train_and_connect(capsys, tmp_path):
    ends = [tmp_path / f"{name}.safetensors" for name in "ab"]
    losses = []
    for seed, path in enumerate(ends):
        status, out, _ = run(capsys, *TRAIN, "--seed", seed, "--out", path)
        assert status == 0
        losses.append(json.loads(out)["loss"])
    history = store.open(tmp_path / "a.zarr")["train"]
    assert history["loss"].sel(split="train").values[-1] < history["loss"].sel(split="train").values[0]
    assert history["samples"].values.tolist() == [(5400 - 1) // 16, (600 - 1) // 16]
    status, out, _ = run(
        *(capsys, "connect", *ends, "--curve", "bezier", "--epochs", 1, "--points", 3, "--engine", "serial"),
        *("--device", "cpu", "--out", tmp_path / "c.zarr", "--quiet", "--json"),
    )
    assert status == 0
    node = store.open(tmp_path / "c.zarr")["connect"]
    for t, loss in zip((0.0, 1.0), losses, strict=True):
        for split, value in loss.items():
            for curve in ("linear", "bezier"):
                stored = float(node["loss"].sel(t=t, split=split, curve=curve).squeeze())
                assert stored == pytest.approx(value, rel=1e-5)  # sums over tokens in another order
    assert np.isfinite(node["loss"].values).all()
    assert (node["error"].values < 1).all()


def test_the_history_of_a_subset(capsys, tmp_path):
    status, _, _ = run(capsys, *TRAIN, "--eval-samples", 20, "--out", tmp_path / "part.safetensors")
    assert status == 0
    history = store.open(tmp_path / "part.zarr")["train"]
    assert history["samples"].values.tolist() == [20, 20]
    status, _, err = run(capsys, *TRAIN, "--eval-samples", 0, "--out", tmp_path / "none.safetensors")
    assert status == 2
    assert "at least 1, got 0" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("model", [(), ("--model", "softmax"), ("--model", "convnet")], ids=lambda model: model[-1:])
def test_other_models_say_which_take_text(capsys, tmp_path, model):
    """Also the default, for who names the text alone."""
    status, out, err = run(capsys, *TRAIN[:7], *model, "--out", tmp_path / "x.safetensors")
    name = model[-1] if model else "mlp"
    assert (status, out) == (2, "")
    assert f"model '{name}' can't take: choose a --model of gpt-nano, gpt2-124m, modern-124m" in err
    assert len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_model_for_text_says_what_it_takes(capsys, tmp_path):
    pytest.importorskip("sklearn")
    status, out, err = run(
        capsys, "train", "--data", "digits", "--model", "gpt-nano", "--out", tmp_path / "x.safetensors"
    )
    assert (status, out) == (2, "")
    assert "takes windows of tokens" in err
    assert "--data stdlib" in err
    assert len(err.splitlines()) == 1
