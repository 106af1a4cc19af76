"""The study of grokking: what is recorded, when a run stops, and that it is the plain training it claims to be."""

import numpy as np
import pytest
import torch
import xarray
from torch.nn import functional as F

from landscape.errors import RequestError
from landscape.figures import milestones
from landscape.measures.registry import measure
from landscape.networks.checkpoint import load_checkpoint, load_into
from landscape.networks.problem import Problem
from landscape.networks.sampling import mix
from landscape.networks.training import TrainingRecipe
from landscape.objective.curvature import Hessian
from landscape.objective.objective import Objective
from landscape.optimizers.registry import OPTIMIZERS
from landscape.studies.grok import GrokRecipe, grok
from landscape.studies.grok.probes import Fit, Look
from landscape.studies.grok.runs import make_run, place
from landscape.studies.sharpness.evaluation import MEASURES_SEED

SMALL = Problem("quadratic", "modular", model_settings={"width": 16}, data_settings={"modulus": 7})


def node(tmp_path, **settings):
    """The stored node of a small study."""
    recipe = GrokRecipe(**{"problem": SMALL, "steps": 30, "hold": 0, **settings})
    return grok(recipe, tmp_path / "g.zarr", progress=False)["grok"].load().to_dataset()


def test_a_run_is_plain_training(tmp_path):
    """Losses, accuracies and norms equal those of a loop written out here, in float64."""
    found = node(tmp_path, precision="float64", seeds=(3,), every=7, hyperparameters={"lr": 0.02, "weight_decay": 0.5})
    assert found["step"].values.tolist() == [0, 7, 14, 21, 28, 30]
    run = make_run(GrokRecipe(problem=SMALL, precision="float64"), 3, {})
    data = run.problem.load_data()
    model = run.problem.build_model(data, 3).double()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02, betas=(0.9, 0.98), weight_decay=0.5)
    for step in range(31):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(data.train.inputs), data.train.targets)
        loss.backward()
        if step in found["step"]:
            one = found.sel(seed=3, step=step)
            test = model(data.test.inputs)
            weights = torch.cat([p.flatten() for p in model.parameters()])
            gradient = torch.cat([p.grad.flatten() for p in model.parameters()])
            expected = [loss, F.cross_entropy(test, data.test.targets)]
            np.testing.assert_allclose(one["loss"].values, [float(x.detach()) for x in expected], rtol=1e-9)
            accuracy = (test.argmax(1) == data.test.targets).double().mean()
            assert float(one["accuracy"].sel(split="test")) == pytest.approx(float(accuracy), abs=1e-12)
            assert float(one["weight_norm"]) == pytest.approx(float(weights.detach().norm()), rel=1e-9)
            assert float(one["gradient_norm"]) == pytest.approx(float(gradient.norm()), rel=1e-6)
        optimizer.step()


def test_the_store(tmp_path):
    settings = {"seeds": (0, 5), "sweep": {"weight_decay": ("0", "0.5"), "optimizer": ("sgd", "muon")}}
    measures = {"measures": ("sam_sharpness", "hessian_top"), "rho": (0.1, 0.05), "measure_settings": {"k": 2}}
    found = node(tmp_path, **settings, **measures, measure_every=8)
    swept = ("seed", "weight_decay", "optimizer")
    assert found["loss"].dims == (*swept, "split", "step")
    assert found["status"].dims == (*swept, "step")
    assert found["sam_sharpness"].dims == (*swept, "rho", "measured_step")
    assert found["hessian_top"].dims == found["hessian_top_stderr"].dims == (*swept, "k", "measured_step")
    assert found["weight_decay"].values.tolist() == [0, 0.5]
    assert found["rho"].values.tolist() == [0.05, 0.1]
    assert found["measured_step"].values.tolist() == found["step"].values[::8].tolist()
    assert (found["status"] == 1).all()
    assert all(np.isfinite(found[name]).all() for name in found.data_vars)
    assert found["loss"].attrs == {"long_name": "loss", "units": "nats"}
    assert found["hessian_top"].attrs["units"] == "nats / distance²"
    assert (found["seconds"].diff("step") > 0).all()
    # seeds have weights of their own, and see weight decay's values from one start
    start = found["loss"].isel(step=0)
    assert start.sel(seed=0, optimizer="sgd", weight_decay=0).equals(
        start.sel(seed=0, optimizer="sgd", weight_decay=0.5).assign_coords(weight_decay=0.0)
    )
    assert not np.allclose(start.sel(seed=0), start.sel(seed=5))


def test_measures_are_those_of_the_checkpoint(tmp_path):
    found = node(tmp_path, measures=("hessian_max", "hessian_trace"), checkpoints=("start", "end"), measure_every=1)
    for moment, step in (("start", 0), ("end", 30)):
        file = tmp_path / "g-checkpoints" / f"seed=0-{moment}.safetensors"
        checkpoint = load_checkpoint(file)
        problem = Problem.from_recipe(checkpoint.recipe)
        data = problem.load_data()
        objective = Objective(load_into(problem.build_model(data), checkpoint), data.train, batch_size=4096)
        one = found.sel(seed=0, measured_step=step)
        for name in ("hessian_max", "hessian_trace"):
            direct = measure(name, objective, generator=torch.Generator().manual_seed(mix(0, MEASURES_SEED)))
            assert float(one[name]) == pytest.approx(float(direct.value), rel=1e-5)
            assert float(one[f"{name}_stderr"]) == pytest.approx(float(direct.stderr), rel=1e-3)
        assert float(found["loss"].sel(seed=0, step=step, split="train")) == pytest.approx(
            objective.loss(objective.theta), rel=1e-6
        )
        assert checkpoint.recipe["step"] == step


def test_what_is_random_in_a_measure_is_independent_of_the_initial_weights(tmp_path):
    """With probes from the run's own seed, one of them was the weights, and the trace ten standard errors too large."""
    settings = {"measures": ("hessian_trace",), "measure_settings": {"relative_error": 0.05}, "steps": 1}
    found = node(tmp_path, problem=Problem("quadratic", "modular"), seeds=(0, 1), **settings)
    for seed in (0, 1):
        run = make_run(GrokRecipe(), seed, {})
        data = run.problem.load_data()
        objective = Objective(run.problem.build_model(data, seed), data.train, batch_size=4096)
        hessian = Hessian(objective, objective.theta, expected_products=300)
        generator = torch.Generator().manual_seed(seed + 77)
        signs = (2.0 * torch.randint(2, (300, hessian.dim), generator=generator) - 1).unbind()
        each = np.array([float(probe @ hessian(probe)) for probe in signs])
        one = found.sel(seed=seed, measured_step=0)
        error = np.hypot(float(one["hessian_trace_stderr"]), each.std() / np.sqrt(len(each)))
        assert abs(float(one["hessian_trace"]) - each.mean()) < 4 * error


@pytest.fixture(scope="module")
def grokked(tmp_path_factory):
    """The default recipe, one seed."""
    folder = tmp_path_factory.mktemp("grok")
    recipe = GrokRecipe(seeds=(1,), checkpoints=("memorised", "grokked"), checkpoint_every=30)
    return folder, grok(recipe, folder / "g.zarr", progress=False)["grok"].load().to_dataset()


def test_the_default_recipe_groks_and_stops(grokked):
    _, found = grokked
    one = found.sel(seed=1)
    test, status = one["accuracy"].sel(split="test").values, one["status"].values
    ended = int((status == 1).sum())
    assert status.tolist() == [1] * ended + [4] * (len(status) - ended)
    assert 0 < ended < len(status)
    assert np.isfinite(test[:ended]).all()
    assert np.isnan(test[ended:]).all()
    assert (test[ended - 10 : ended] >= 0.95).all()
    assert test[ended - 11] < 0.95  # it stopped as soon as it had held it for ten records
    events = milestones(found).sel(seed=1)
    assert 300 < int(events["grokked_step"]) < 700
    assert 20 < int(events["memorised_step"]) < 60
    assert one["seconds"].max() < 30  # 2 s where nothing else runs


def test_checkpoints_of_moments(grokked):
    folder, found = grokked
    events = milestones(found).sel(seed=1)
    files = {path.name for path in (folder / "g-checkpoints").iterdir()}
    numbered = {f"seed=1-step={step}.safetensors" for step in found["step"].values[::30] if step <= events["last_step"]}
    assert files == {"seed=1-memorised.safetensors", "seed=1-grokked.safetensors"} | numbered
    for moment in ("memorised", "grokked"):
        checkpoint = load_checkpoint(folder / "g-checkpoints" / f"seed=1-{moment}.safetensors")
        assert checkpoint.recipe["step"] == int(events[f"{moment}_step"])


def test_stopping_leaves_a_run_as_it_is(tmp_path, grokked):
    """A run that goes on has the same records up to where the other stopped."""
    _, found = grokked
    last = int(milestones(found)["last_step"].sel(seed=1))
    whole = grok(GrokRecipe(seeds=(1,), hold=0, steps=last), tmp_path / "w.zarr", progress=False)["grok"].load()
    both = np.intersect1d(whole["step"], found["step"])
    both = both[both <= last]
    for name in ("loss", "accuracy", "gradient_norm"):
        np.testing.assert_array_equal(whole[name].sel(step=both), found[name].sel(step=both))


def test_softmax_collapse_is_seen():
    logits = torch.tensor([[1.0, 0.0], [30.0, 0.0], [0.0, 40.0], [50.0, 0.0]])
    targets = torch.tensor([0, 0, 1, 1])  # sure and right, twice; sure and wrong

    class Fixed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1))

        def forward(self, x):
            return logits[x].to(self.weight) * self.weight

    for dtype, loss, expected in (
        (torch.float32, "cross-entropy", 0.5),
        (torch.float64, "cross-entropy", 0.25),  # a gap of 30 is seen, of 40 not
        (torch.float32, "stablemax-cross-entropy", 0.0),
    ):
        model = Fixed().to(dtype)
        objective = Objective(model, (torch.arange(4), targets), loss)
        values = Fit(loss).record(Look(0, model, {"train": objective, "test": objective}))
        assert values["collapsed"] == expected
        assert values["accuracy"] == [0.75, 0.75]


def test_a_loss_of_ones_own(tmp_path):
    problem = Problem("quadratic", "modular", "landscape.objective.losses:cross_entropy", data_settings={"modulus": 7})
    found = node(tmp_path, problem=problem, steps=2)
    assert np.isfinite(found["accuracy"]).all()
    assert found["loss"].attrs["units"] == "units of the loss"


def test_a_diverged_run_is_a_value(tmp_path):
    found = node(tmp_path, optimizer="sgd", hyperparameters={"lr": 1e9}, measures=("sam_sharpness",)).sel(seed=0)
    status = found["status"].values
    assert status[0] == 1
    assert status[-1] == 2
    assert set(status) == {1, 2}
    assert bool(milestones(found.expand_dims("seed"))["diverged"].all())


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_trains(tmp_path, optimizer):
    found = node(tmp_path, optimizer=optimizer, steps=4)
    assert (found["status"] == 1).all()
    loss = found["loss"].sel(seed=0, split="train").values
    assert loss[-1] != loss[0]


@pytest.mark.parametrize("data", ["permutations", "parity"])
@pytest.mark.parametrize("model", ["embedding-mlp", "transformer-power", "mlp"])
def test_other_tasks_and_networks(tmp_path, data, model):
    settings = {"elements": 3} if data == "permutations" else {"bits": 5}
    small = {"hidden": (8,)} if model == "mlp" else {"width": 8}
    problem = Problem(model, data, model_settings=small, data_settings=settings, label_noise=0.1)
    assert (node(tmp_path, problem=problem, steps=2, batch_size=8)["status"] == 1).all()


def test_the_split_follows_the_seed_unless_it_is_set():
    for settings, expected in (({}, (0, 1)), ({"seed": 4}, (4, 4))):
        recipe = GrokRecipe(problem=Problem("quadratic", "modular", data_settings=settings))
        assert tuple(make_run(recipe, seed, {}).problem.data_settings["seed"] for seed in (0, 1)) == expected


def test_settings_find_their_places():
    recipe = GrokRecipe(sweep={"optimizer": ("adamw", "sam")})
    assert place(recipe, "fraction") == ("data", "fraction")
    assert place(recipe, "init_scale") == ("model", "init_scale")
    assert place(recipe, "rho") == ("optimizer", "rho")
    assert place(recipe, "batch_size") == ("training", "batch_size")
    assert place(recipe, "model.width") == ("model", "width")
    assert place(recipe, "training.loss") == ("problem", "loss")
    run = make_run(recipe, 0, {"optimizer": "adamw", "fraction": 0.25, "init_scale": 2, "loss": "mse"})
    assert run.problem.data_settings == {"modulus": 31, "fraction": 0.25, "seed": 0, "encoding": "symbols"}
    assert run.problem.model_settings == {"init_scale": 2}
    assert run.problem.loss == "mse"
    both = GrokRecipe(problem=Problem("gpt2-124m", "kjv"), sweep={"seed": (1,)})
    with pytest.raises(RequestError, match=r"'context' is a setting of model and data: sweep model.context or data"):
        place(both, "context")


def test_hyperparameters_go_to_the_optimizers_that_have_them():
    given = {"weight_decay": 0.1, "sgd.lr": 0.3, "lr": 0.05, "beta2": 0.9}
    recipe = GrokRecipe(hyperparameters=given, sweep={"optimizer": ("adamw", "sgd", "adam")})
    found = {
        name: make_run(recipe, 0, {"optimizer": name}).training.hyperparameters for name in ("adamw", "sgd", "adam")
    }
    assert [found[name]["lr"] for name in found] == [0.05, 0.3, 0.05]
    assert [found[name]["weight_decay"] for name in ("adamw", "sgd")] == [0.1, 0.1]
    assert [found[name]["beta2"] for name in ("adamw", "adam")] == [0.9, 0.9]
    default = make_run(GrokRecipe(), 0, {}).training
    assert isinstance(default, TrainingRecipe)
    assert (default.hyperparameters["lr"], default.hyperparameters["weight_decay"]) == (0.01, 1.0)
    around = make_run(GrokRecipe(optimizer="sam", hyperparameters={"base": "adamw"}), 0, {}).training
    assert around.hyperparameters["base.weight_decay"] == 1.0


@pytest.mark.parametrize("steps", [1, 10, 1000, 3000])
def test_steps_on_a_log_scale(steps):
    marks = GrokRecipe(steps=steps, per_decade=30).record_steps()
    assert marks[0] == 0
    assert marks[-1] == steps
    assert marks == sorted(set(marks))
    large = np.array([mark for mark in marks if mark >= 100])
    if len(large) > 2:
        assert np.diff(np.log10(large[:-1])).max() < 1 / 30 + 0.01


@pytest.mark.slow
def test_two_processes_make_the_same_store(tmp_path):
    sweep = {"fraction": (0.3, 0.6), "training.loss": ("cross-entropy", "stablemax-cross-entropy")}
    recipe = GrokRecipe(problem=SMALL, seeds=(0, 1, 2), steps=50, sweep=sweep)
    trees = [
        grok(recipe, tmp_path / f"{engine}.zarr", engine=engine, workers=2, progress=False)["grok"].load().to_dataset()
        for engine in ("serial", "processes")
    ]
    xarray.testing.assert_identical(*(tree.drop_vars("seconds") for tree in trees))


@pytest.mark.slow
def test_eight_seeds_grok(tmp_path):
    found = grok(GrokRecipe(seeds=tuple(range(8))), tmp_path / "g.zarr", progress=False)["grok"].load().to_dataset()
    assert bool(milestones(found)["grokked"].all())
