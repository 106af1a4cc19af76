"""The documentation's Python runs, and does what the text says."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from click.testing import CliRunner
from landscape.cli.main import cli
from landscape.experiments.mechanism import Options
from matplotlib.figure import Figure

import landscape

DOCS = Path(__file__).resolve().parent.parent / "docs"


@pytest.fixture(scope="module")
def extensions():
    """What the blocks of Python in extending.md define."""
    text = (DOCS / "extending.md").read_text("utf-8")
    names = {"__name__": "extending"}
    for block in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
        exec(compile(block, "extending.md", "exec"), names)
    return names


def test_optimizer_steps_by_the_sign(extensions):
    theta = torch.tensor([3.0, -2.0], dtype=torch.float64, requires_grad=True)
    optimizer = extensions["sign"]([theta], lr=0.5)
    assert optimizer.step(lambda: theta.square().sum().backward()) is None
    assert theta.tolist() == [2.5, -1.5]


def test_curve_keeps_the_contract(extensions):
    points = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    curve = extensions["Parabola"](points)
    assert torch.equal(curve(torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)), points)
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    torch.testing.assert_close(curve.basis(t).sum(-1), torch.ones_like(t))
    slope = (curve.basis(t + 0.25) - curve.basis(t - 0.25)) / 0.5  # exact for polynomials of degree 2
    torch.testing.assert_close(curve.velocity_basis(t), slope)


def test_model_maps_samples_to_outputs(extensions):
    model = extensions["deep_linear"]((1, 8, 8), 10, depth=4, width=16)
    assert model(torch.zeros(3, 1, 8, 8)).shape == (3, 10)
    assert sum(isinstance(layer, torch.nn.Linear) for layer in model) == 4


def test_data_set_is_fixed_by_its_seed(extensions):
    data = extensions["spirals"](num_samples=50, seed=1)
    assert len(data.train) == 40
    assert len(data.test) == 10
    assert data.digest == extensions["spirals"](num_samples=50, seed=1).digest
    assert data.digest != extensions["spirals"](num_samples=50, seed=2).digest


def test_recorder_looks_at_its_steps(extensions):
    data = landscape.load_data("digits")
    model = landscape.build_model("softmax", data.input_shape, data.num_outputs)
    recipe = landscape.TrainingRecipe("sgd", {"lr": 0.1}, epochs=None, steps=6)
    trained = landscape.train(model, data, recipe, evaluate_every=0, recorders=[extensions["WeightNorm"]({0, 4})])
    found = {row["step"]: row.get("weight_norm") for row in trained.history.rows}
    start = sum(tensor.detach().double().square().sum() for tensor in model.parameters()).sqrt()
    assert found.keys() == {0, 4, 6}
    assert found[0] == float(start)
    assert found[4] > 0
    assert found[6] is None


def test_plot_draws_the_slope(extensions):
    arc_length = np.linspace(0, 2, 21)
    pair = xr.Dataset(
        {
            "loss": (("curve", "split", "t"), (arc_length**2)[None, None]),
            "arc_length": (("curve", "t"), arc_length[None]),
        },
        coords={"curve": ["linear"], "split": ["train"], "t": arc_length / 2},
    )
    axes = Figure().subplots()
    extensions["roughness_axes"](axes, pair)
    (line,) = axes.lines
    np.testing.assert_allclose(line.get_ydata()[1:-1], 2 * arc_length[1:-1])


def test_experiment_is_computed_once_and_drawn(extensions, tmp_path):
    experiment, recipe = extensions["EXPERIMENT"], extensions["PRESETS"]["smoke"]
    experiment.compute(recipe, tmp_path / "history.zarr", Options(progress=False))
    found = experiment.find(recipe, [tmp_path])
    assert found == tmp_path / "history.zarr"
    assert experiment.find(extensions["PRESETS"]["cpu"], [tmp_path]) is None
    tree = landscape.open(found)
    assert isinstance(experiment.figure(tree), Figure)
    assert re.fullmatch(r"The test error ends at \d+\.\d%\.", experiment.caption(tree))


def test_optimizers_page_runs():
    """Its Python, from top to bottom, and its commands, one epoch of each."""
    text = (DOCS / "optimizers.md").read_text("utf-8")
    names = {"__name__": "optimizers"}
    torch.manual_seed(0)
    for block in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
        exec(compile(block, "optimizers.md", "exec"), names)
    assert names["loss"].isfinite()
    norms = [group["norm"] for group in names["spectral"].param_groups]
    assert norms == ["spectral", "adamw", "adamw"]


@pytest.mark.parametrize("place", range(5))
def test_commands_of_the_optimizers_page_run(place, tmp_path, monkeypatch):
    text = (DOCS / "optimizers.md").read_text("utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)
    assert len(blocks) == 5
    monkeypatch.chdir(tmp_path)
    program, *arguments = shlex.split(blocks[place].replace("\\\n", " "))
    assert program == "landscape"
    done = CliRunner().invoke(cli, [*arguments, "--epochs", "1"], catch_exceptions=False)
    assert done.exit_code == 0, done.output


def test_pages_name_existing_files():
    """A page that speaks of a file of the library must not outlive it."""
    root = DOCS.parent
    for page in (*sorted(DOCS.glob("*.md")), root / "CONTRIBUTING.md"):
        for name in re.findall(r"`((?:landscape|cli|experiments|tests|docs)/[\w/]+\.\w+)`", page.read_text("utf-8")):
            assert (root / name).exists(), f"{page.name} speaks of {name}"
