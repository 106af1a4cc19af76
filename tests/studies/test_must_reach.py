"""What the curves on digits must reach, measured by the real command line."""

import json
import subprocess
import sys

import pytest

PAIRS = ((0, 1), (2, 3), (4, 5))


def landscape(folder, *arguments):
    """Run the command in a process of its own; what it printed as JSON."""
    command = [sys.executable, "-m", "landscape.cli", *arguments, "--quiet", "--json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("pair", PAIRS)
def test_bezier_between_digits_networks(pair, tmp_path, record_testsuite_property):
    """Straight lines have a barrier of at least 0.4 nats, Bézier curves of at most 0.005 after 600 gradients."""
    recipe = ["--data", "digits", "--model", "mlp", "--model-set", "hidden=64,64", "--optimizer", "sgd"]
    recipe += ["--set", "lr=0.1", "--set", "momentum=0.9", "--epochs", "30", "--batch-size", "128"]
    for seed in pair:
        landscape(tmp_path, "train", *recipe, "--seed", str(seed), "--out", f"{seed}.safetensors")
    files = [f"{seed}.safetensors" for seed in pair]
    landscape(tmp_path, "connect", *files, "--curve", "bezier", "--steps", "600", "--out", "c.zarr")
    found = json.loads(
        subprocess.run(
            [sys.executable, "-m", "landscape.cli", "show", "c.zarr", "--json"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    )
    barrier = {(row["curve"], row["split"]): row["barrier"] for row in found["curves"]}
    for (curve, split), height in barrier.items():  # the test split's is reported, whatever it is
        record_testsuite_property(f"seeds {pair}: {curve}, {split}", height)
    assert barrier["linear", "train"] >= 0.4
    assert barrier["bezier", "train"] <= 0.005
