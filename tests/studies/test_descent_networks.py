"""Sweeps over networks: what each point is, weight reuse, complexity, and that wrong requests are refused."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from landscape.errors import RequestError
from landscape.measures.registry import measure
from landscape.networks.models import build_model
from landscape.networks.problem import Problem
from landscape.networks.sampling import mix
from landscape.networks.training import TrainingRecipe, train
from landscape.objective.objective import Objective
from landscape.studies.descent import EpochRecipe, SamplesRecipe, WidthRecipe, descent
from landscape.studies.descent.complexity import largest
from landscape.studies.descent.growth import grow
from landscape.studies.descent.networks import FULL_BATCH
from landscape.studies.descent.supervision import subset
from landscape.studies.sharpness.evaluation import MEASURES_SEED

SHORT = TrainingRecipe("adam", {"lr": 0.01}, epochs=None, steps=25, batch_size=FULL_BATCH)
COMMON = {"samples": 60, "test_samples": 80, "noise": (0.0, 0.2), "training": SHORT}
MLP = Problem("mlp", "digits", "square", model_settings={"activation": "tanh"})


def compute(tmp_path, recipe):
    return descent(recipe, tmp_path / "d.zarr", progress=False)["descent"].to_dataset().load()


def by_hand(width, noise, seed, training=SHORT, count=60, start=None):
    """The same training by the library's one loop."""
    problem = replace(MLP, model_settings={"activation": "tanh", "hidden": (width,)})
    data = problem.load_data()
    model = problem.build_model(data, seed)
    if start is not None:
        grow(start, model)
    data = subset(data, 60, seed).with_label_noise(noise, mix(seed, 2))
    data = replace(data, train=data.train[:count], test=replace(data, train=data.test).subset(80).train)
    return train(model, data, replace(training, seed=seed), loss="square", evaluate_every=0), data


def check(point, trained):
    row = trained.history.rows[-1]
    for name in ("loss", "error"):
        for split in ("train", "test"):
            np.testing.assert_allclose(point[name].sel(split=split), row[f"{name}.{split}"], rtol=1e-6)
    np.testing.assert_allclose(point["norm"], _norm(trained.model), rtol=1e-6)


def _norm(model):
    return math.sqrt(sum(float(p.detach().double().square().sum()) for p in model.parameters()))


def test_a_width_is_a_training_of_its_own_with_its_sharpness(tmp_path):
    measures = ("hessian_max", "ggn_trace")
    data = compute(tmp_path, WidthRecipe(problem=MLP, widths=(3, 5), repetitions=2, measures=measures, **COMMON))
    trained, there = by_hand(5, 0.2, 1)
    point = data.sel(capacity=5, seed=1, noise=0.2)
    check(point, trained)
    objective = Objective(trained.model, there.train, "square")
    found = measure("hessian_max", objective, generator=torch.Generator().manual_seed(mix(1, MEASURES_SEED)))
    np.testing.assert_allclose(point["hessian_max"], found.value, rtol=1e-6)
    assert data["parameters"].values.tolist() == [65 * w + 10 * (w + 1) for w in (3, 5)]
    assert (data["status"] == 1).all()
    assert "ggn_trace_stderr" in data


def test_a_measure_that_needs_three_samples_is_tried_on_as_many():
    recipe = WidthRecipe(widths=(2,), measures=("local_learning_coefficient",), **COMMON)
    prepared = recipe.prepare(None, "cpu")
    assert "local_learning_coefficient_stderr" in prepared.sweeps[0].variables
    with pytest.raises(RequestError, match="at least 3 samples"):
        replace(recipe, samples=2).prepare(None, "cpu")


def test_the_threshold_is_where_parameters_are_samples_times_outputs(tmp_path):
    data = compute(tmp_path, WidthRecipe(problem=MLP, widths=(2, 20), **{**COMMON, "noise": (0.0,)}))
    low, high = np.log([160, 1510])
    share = (math.log(600) - low) / (high - low)
    assert data.attrs["threshold"] == pytest.approx(2 * 10**share)
    assert SamplesRecipe(problem=MLP, sizes=(10,)).threshold([600], 10) == 60


def test_reuse_begins_where_the_narrower_network_ended(tmp_path):
    data = compute(tmp_path, WidthRecipe(problem=MLP, widths=(3, 5), reuse=True, **{**COMMON, "noise": (0.2,)}))
    narrow, _ = by_hand(3, 0.2, 0)
    wide, _ = by_hand(5, 0.2, 0, start=narrow.model.state_dict())
    check(data.sel(capacity=3).isel(seed=0, noise=0), narrow)
    check(data.sel(capacity=5).isel(seed=0, noise=0), wide)
    fresh, _ = by_hand(5, 0.2, 0)
    assert abs(float(data["norm"].sel(capacity=5).squeeze()) - _norm(fresh.model)) > 1e-3


def test_epochs_are_those_of_one_training(tmp_path):
    training = TrainingRecipe("adam", {"lr": 0.01}, epochs=9, batch_size=20)
    problem = replace(MLP, model_settings={"activation": "tanh", "hidden": (5,)})
    recipe = EpochRecipe(problem=problem, epochs=(1, 4), **{**COMMON, "training": training})
    data = compute(tmp_path, recipe)
    for epochs in (1, 4):
        trained, _ = by_hand(5, 0.2, 0, replace(training, epochs=epochs))
        check(data.sel(capacity=epochs, noise=0.2).isel(seed=0), trained)


def test_a_training_that_diverges_is_a_value(tmp_path):
    training = TrainingRecipe("sgd", {"lr": 1e6}, epochs=3, batch_size=20)
    data = compute(tmp_path, EpochRecipe(problem=MLP, epochs=(1, 3), **{**COMMON, "training": training}))
    assert (data["status"] == 2).all()
    steps = replace(training, epochs=None, steps=60)
    (tmp_path / "w").mkdir()
    recipe = WidthRecipe(problem=MLP, widths=(2,), measures=("hessian_max",), **{**COMMON, "training": steps})
    data = compute(tmp_path / "w", recipe)
    assert (data["status"] == 2).all()
    assert np.isnan(data["hessian_max"]).all()


def test_smaller_training_sets_are_parts_of_larger_ones(tmp_path):
    problem = replace(MLP, model_settings={"activation": "tanh", "hidden": (5,)})
    settings = {name: value for name, value in COMMON.items() if name != "samples"}
    data = compute(tmp_path, SamplesRecipe(problem=problem, sizes=(20, 60), **settings))
    trained, _ = by_hand(5, 0.2, 0, count=20)
    check(data.sel(capacity=20, noise=0.2).isel(seed=0), trained)


def test_a_network_is_grown_into_its_leading_part():
    torch.manual_seed(0)
    narrow, wide = (build_model("convnet", (1, 8, 8), 3, {"width": width}) for width in (2, 4))
    before = {name: tensor.clone() for name, tensor in wide.state_dict().items()}
    grow(narrow.state_dict(), wide)
    after = wide.state_dict()
    for name, tensor in narrow.state_dict().items():
        part = tuple(slice(size) for size in tensor.shape)
        assert torch.equal(after[name][part], tensor)
        rest = torch.ones_like(after[name], dtype=torch.bool)
        rest[part] = False
        assert torch.equal(after[name][rest], before[name][rest])
    with torch.no_grad():  # without what the new units send on, both are one function
        images = torch.randn(2, 1, 8, 8)
        for name, tensor in wide.state_dict().items():
            if name.endswith("weight") and tensor.ndim > 1:
                tensor[:, narrow.state_dict()[name].shape[1] :] = 0
        torch.testing.assert_close(wide.eval()(images), narrow.eval()(images))


def test_growing_refuses_what_does_not_fit():
    wide, narrow = (build_model("mlp", (1, 8, 8), 3, {"hidden": (width,)}) for width in (2, 4))
    with pytest.raises(RequestError, match="doesn't fit into"):
        grow(narrow.state_dict(), wide)
    with pytest.raises(RequestError, match="other tensors"):
        grow(build_model("softmax", (1, 8, 8), 3).state_dict(), wide)


@pytest.mark.parametrize("bound", [0, 1, 2, 37, 199, 200, 201, 999, 1000])
@pytest.mark.parametrize("start", [1, 200, 1000])
def test_the_search_finds_the_bound(bound, start):
    asked = []

    def fits(count):
        asked.append(count)
        return count <= bound

    found = largest(fits, start, 1000)
    assert bound / 1.1 - 1 <= found <= bound
    assert found == bound or bound - found <= max(1, 0.1 * found)
    assert len(asked) <= 16
    assert len(set(asked)) == len(asked)


def test_the_search_asks_for_no_less_than_it_may():
    asked = []
    assert largest(lambda count: bool(asked.append(count)), 8, 100, least=2) == 0
    assert asked == [8, 4, 2]
    assert largest(lambda count: count <= 2, 8, 100, least=2) == 2


def test_batchnorm_has_no_complexity_of_one_sample(tmp_path):
    """A network that fits nothing is asked down to two samples, the fewest that it can be trained on."""
    training = replace(SHORT, steps=1, hyperparameters={"lr": 1e-9})
    settings = {**COMMON, "noise": (0.0,), "samples": 8, "test_samples": 8, "training": training, "epsilon": 1e-6}
    data = compute(
        tmp_path, WidthRecipe(problem=Problem("convnet", "digits"), widths=(1,), complexity=True, **settings)
    )
    assert data["complexity"].item() == 0
    assert data.attrs["samples"] == 8


def test_complexity_is_what_the_search_finds(tmp_path):
    recipe = WidthRecipe(problem=MLP, widths=(2, 16), complexity=True, **{**COMMON, "noise": (0.0,), "samples": 40})
    data = compute(tmp_path, replace(recipe, training=replace(SHORT, steps=60)))
    found = data["complexity"].squeeze().values
    assert found[0] < found[1]
    fitted = data["error"].sel(split="train").squeeze().values < recipe.epsilon
    assert ((found >= 40) == fitted).all()


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (WidthRecipe, {"widths": (4, 4)}, "must increase"),
        (WidthRecipe, {"widths": ()}, "at least one"),
        (WidthRecipe, {"measures": ("hessian_top",)}, "no single number"),
        (WidthRecipe, {"noise": (1.5,)}, r"\[0, 1\]"),
        (WidthRecipe, {"epsilon": 0.0}, "epsilon"),
        (EpochRecipe, {"epochs": (0, 2)}, "at least 1"),
        (SamplesRecipe, {"sizes": (5, 3)}, "must increase"),
        (WidthRecipe, {"problem": replace(MLP, label_noise=0.1)}, "axis of the sweep"),
    ],
)
def test_wrong_recipes_are_refused(kind, settings, message):
    with pytest.raises(RequestError, match=message):
        kind(**settings)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (WidthRecipe(problem=MLP, widths=(2,), measures=("fisher_trace",)), "model's distribution"),
        (WidthRecipe(problem=Problem("softmax", "digits", "square")), "no setting 'width'"),
        (WidthRecipe(problem=replace(MLP, loss="mse"), widths=(2,)), "mse"),
        (WidthRecipe(problem=replace(MLP, data="regression"), widths=(2,)), "no classes"),
        (SamplesRecipe(problem=MLP, sizes=(10, 5000)), "5000 training samples"),
    ],
)
def test_requests_that_the_data_refuse(tmp_path, recipe, message):
    with pytest.raises(RequestError, match=message):
        descent(recipe, tmp_path / "d.zarr", progress=False)
    assert list(tmp_path.iterdir()) == []
