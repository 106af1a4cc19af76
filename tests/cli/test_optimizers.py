"""`landscape optimizers`, and that each method trains the digits with its defaults."""

import json
from pathlib import Path

import pytest
from landscape.cli.main import main

from landscape.optimizers.registry import OPTIMIZERS, resolve_hyperparameters

NORMALISED = {"steepest", "normalized-gd", "sign-gd", "spectral-gd"}


def run(capsys, *arguments):
    """Exit status, stdout and stderr of `landscape`."""
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    return end.value.code, *capsys.readouterr()


def test_the_table_names_every_method_and_hyperparameter(capsys):
    status, out, err = run(capsys, "optimizers")
    assert (status, err) == (0, "")
    assert all(len(line) <= 120 for line in out.splitlines())
    listed, name = {}, None
    for line in out.splitlines():
        if not line.startswith(" "):
            name, _, summary = line.partition("  ")
            assert summary.strip() == OPTIMIZERS[name].summary
            listed[name] = {}
        else:
            listed[name] |= dict(word.split("=", 1) for word in line.split())
    assert list(listed) == list(OPTIMIZERS)
    for name, settings in listed.items():  # what is printed can be typed
        values = resolve_hyperparameters(name, {})
        assert resolve_hyperparameters(name, settings) == values
        assert settings.keys() == {key for key in values if "." not in key}


def test_json_is_one_object(capsys):
    status, out, _ = run(capsys, "optimizers", "--json")
    listed = json.loads(out)["optimizers"]
    assert status == 0
    assert list(listed) == list(OPTIMIZERS)
    assert listed["lbfgs"]["full_batch"]
    assert listed["lbfgs"]["closure"]
    assert listed["adamw"]["hyperparameters"]["weight_decay"] == {"default": 0.01, "accepts": "number at least 0"}
    assert listed["adamw"]["hyperparameters"]["beta1"]["accepts"] == "number at least 0 and less than 1"


def test_a_wrong_hyperparameter_names_the_nearest(capsys, tmp_path):
    status, _, err = run(
        capsys, "train", "--optimizer", "rmsprop", "--set", "gama=0.5", "--out", tmp_path / "a.safetensors"
    )
    assert (status, err.count("\n")) == (2, 1)
    assert "unknown setting of optimizer 'rmsprop' 'gama': did you mean 'gamma'" in err


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_defaults_train_the_digits(capsys, tmp_path: Path, name):
    """To 95 % test accuracy in 60 epochs, or 300 for methods of the full batch and normalised first-order ones."""
    epochs = 300 if OPTIMIZERS[name].full_batch or name in NORMALISED else 60
    arguments = [
        "train",
        "--data",
        "digits",
        "--model",
        "mlp",
        "--optimizer",
        name,
        "--epochs",
        epochs,
        "--device",
        "cpu",
    ]
    status, out, err = run(
        capsys, *arguments, "--eval-every", 0, "--quiet", "--json", "--out", tmp_path / f"{name}.safetensors"
    )
    assert (status, err) == (0, "")
    assert json.loads(out)["error"]["test"] <= 0.05
