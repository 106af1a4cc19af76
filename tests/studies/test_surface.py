"""`surface`: axes in their place, exact centres, directions as asked for, and a store that says what it holds."""

import copy
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import landscape
from landscape.errors import RequestError
from landscape.objective.objective import Objective
from landscape.objective.parameters import Layout
from landscape.studies.surface import SurfaceRecipe, surface
from landscape.studies.surface.recipe import around, grid_axis

SIZES = {1: (5,), 2: (5, 4), 3: (5, 4, 3)}


class Formula(nn.Module):
    """A network without layers, whose output is a lopsided function of its three weights."""

    def __init__(self):
        super().__init__()
        self.weights = nn.Parameter(torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64))

    def forward(self, inputs):
        x, y, z = self.weights
        return (x + 10 * y**3 + 100 * z.exp()).expand(len(inputs))


def identity(outputs, targets):
    return outputs


def squared(outputs, targets):
    return outputs.square().reshape(len(targets), -1).mean(1)


def value(x, y=0.0, z=0.0):
    return 0.5 + x + 10 * (y - 1) ** 3 + 100 * np.exp(2 + z)


def run(checkpoints, out, data, recipe=None, **options):
    return surface(checkpoints, out, recipe, data=data, progress=False, **options)


def theta_of(model):
    return Layout.of(model).flatten(dict(model.named_parameters()))


@pytest.fixture
def nothing():
    return torch.zeros(4, 1, dtype=torch.float64), torch.zeros(4, 1, dtype=torch.float64)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_axes_are_not_exchanged(nothing, tmp_path, axes):
    """A function that no exchange of axes leaves alone, on a grid with as many points along none as along another."""
    recipe = SurfaceRecipe(size=SIZES[axes], extent=((-1, 2), (-0.5, 0.25), (0, 0.1))[:axes], center=(0.5,))
    directions = torch.eye(3, dtype=torch.float64)[:axes]
    tree = run([Formula()], tmp_path / "s.zarr", nothing, recipe, directions=directions, loss=identity)
    node = tree["surface"]
    names = ["alpha", "beta", "gamma"][:axes]
    assert node["loss"].dims == ("checkpoint", "split", *reversed(names))
    assert node["status"].dims == ("checkpoint", *reversed(names))
    assert tuple(node.sizes[name] for name in names) == SIZES[axes]
    np.testing.assert_allclose(node["alpha"].values, np.linspace(-0.5, 2.5, 5), rtol=1e-12)
    expected = value(*(node[name] for name in names))
    np.testing.assert_allclose(node["loss"][0, 0].transpose(*expected.dims).values, expected.values, rtol=1e-13)
    assert (node["samples"] == 4).all()
    assert (node["status"] == 1).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("samples", [None, 10])
def test_the_centre_is_the_checkpoint_bit_for_bit(networks, data, tmp_path, dtype, samples):
    models = networks(2, batchnorm=True, dtype=dtype)
    recipe = SurfaceRecipe(size=(5, 3), extent=((-0.3, 0.3), (-0.7, 0.7)), samples=samples)
    node = run(models, tmp_path / "s.zarr", data, recipe)["surface"]
    centre = node.to_dataset().sel(alpha=0, beta=0)
    for quantity in ("loss", "error", "loss_stderr", "error_stderr"):
        assert np.array_equal(centre[quantity], node[f"checkpoint_{quantity}"])
    if samples is None:
        for number, model in enumerate(models):
            for split, pair in data.items():
                objective = Objective(model, pair)
                expected = objective.evaluate(objective.theta)
                one = centre.isel(checkpoint=number).sel(split=split)
                assert one["loss"].item() == expected["loss"]
                assert one["error"].item() == expected["error"]


def test_each_checkpoint_is_seen_along_the_same_directions_in_its_own_measure(networks, data, tmp_path):
    models = networks(2)
    scaled = copy.deepcopy(models[0])
    with torch.no_grad():
        scaled[0].weight.mul_(3)
    tree = run([models[0], scaled], tmp_path / "s.zarr", data, SurfaceRecipe(size=(3,), seed=4))
    norms = tree["surface/directions"]["norm"]
    weights = [
        torch.cat([tensor.flatten() for tensor in (m[0].weight, m[2].weight)]).norm() for m in (models[0], scaled)
    ]
    for number, length in enumerate(weights):
        np.testing.assert_allclose(norms.isel(checkpoint=number), length.item(), rtol=1e-12)
    assert tree["surface"].sizes["checkpoint"] == 2
    assert tree["surface/directions"].attrs["seed"] == 4
    angle = tree["surface/directions"]["angle"].isel(checkpoint=0)
    assert 0 < float(angle.sel(direction="alpha", other="beta")) < 180
    again = run([models[0]], tmp_path / "again.zarr", data, SurfaceRecipe(size=(3,), seed=4))
    other = run([models[0]], tmp_path / "other.zarr", data, SurfaceRecipe(size=(3,), seed=5))
    first = tree["surface"]["loss"].isel(checkpoint=0).values
    assert np.array_equal(again["surface"]["loss"][0].values, first)
    assert not np.array_equal(other["surface"]["loss"][0].values, first)


@pytest.mark.parametrize(("biases", "kept"), [(None, True), ("include", False)])
def test_biases_stay_unless_included(networks, data, tmp_path, biases, kept):
    """A network that is nothing but its last bias shows whether it was moved."""
    model = networks(1)[0]
    with torch.no_grad():
        model[2].weight.zero_()
    tree = run([model], tmp_path / "s.zarr", data, SurfaceRecipe(size=(3,), biases=biases))
    loss = tree["surface"]["loss"].values
    assert bool((loss == loss[..., :1, :1]).all()) == kept


def test_orthogonal_on_request(networks, data, tmp_path):
    recipe = SurfaceRecipe(axes=3, size=(2,), orthogonalize=True)
    angle = run(networks(1), tmp_path / "s.zarr", data, recipe)["surface/directions"]["angle"].values[0]
    np.testing.assert_allclose(angle, 90 * (1 - np.eye(3)), atol=1e-8)


def test_what_is_not_finite_is_kept_with_status_2(regression_data, networks, tmp_path):
    model = networks(1, dtype=torch.float32, outputs=2)[0]
    recipe = SurfaceRecipe(axes=1, size=(5,), extent=((-1e30, 1e30),), directions="gaussian")
    node = run([model], tmp_path / "s.zarr", regression_data, recipe)["surface"]
    assert np.isinf(node["loss"].values[0, 0]).tolist() == [True, True, False, True, True]
    assert node["status"].values[0].tolist() == [2, 2, 1, 2, 2]
    assert node["loss"].attrs["units"] == "units of the loss"


def test_subsets_have_standard_errors(networks, data, tmp_path):
    node = run(networks(1), tmp_path / "s.zarr", data, SurfaceRecipe(axes=1, size=(3,), samples=30))["surface"]
    assert node["samples"].sel(split="train").values.ravel().tolist() == [30] * 3
    assert node["samples"].sel(split="test").values.ravel().tolist() == [21] * 3
    assert (node["loss_stderr"].sel(split="train") > 0).all()
    assert (node["loss_stderr"].sel(split="test") == 0).all()


def test_differences_reach_the_other_checkpoints(networks, data, tmp_path):
    models = networks(3)
    recipe = SurfaceRecipe(directions="difference", size=(5, 3), extent=((-1, 1),))
    tree = run(models, tmp_path / "s.zarr", data, recipe)
    node, points = tree["surface"], tree["surface/points"]
    own = [[Objective(model, data[split]).loss(theta_of(model)) for split in ("train", "test")] for model in models]
    np.testing.assert_allclose(points["loss"].values, own, rtol=1e-15)
    for number, (alpha, beta) in enumerate(((0, 0), (1, 0), (0, 1))):
        found = node["loss"].sel(alpha=alpha, beta=beta).values[0]
        np.testing.assert_allclose(found, own[number], rtol=1e-12)
        np.testing.assert_allclose(points["point_alpha"][number], alpha, atol=1e-12)
        np.testing.assert_allclose(points["point_beta"][number], beta, atol=1e-12)
    np.testing.assert_allclose(points["residual"], 0, atol=1e-12)


def test_the_line_through_two_and_what_lies_beside_it(networks, data, tmp_path):
    recipe = SurfaceRecipe(directions="difference", axes=1, size=(17,))
    models = networks(3)
    tree = run(models, tmp_path / "s.zarr", data, recipe)
    assert tree["surface"]["loss"].dims == ("checkpoint", "split", "alpha")
    assert {0.0, 1.0} <= set(tree["surface"]["alpha"].values)
    residual = tree["surface/points"]["residual"].values
    step, beside = (theta_of(model) - theta_of(models[0]) for model in models[1:])
    expected = (beside - (beside @ step) / (step @ step) * step).norm()
    np.testing.assert_allclose(residual, [0, 0, float(expected)], atol=1e-12)


def test_pca_keeps_the_path_with_its_residual_and_its_own_losses(networks, data, tmp_path):
    models = networks(5, batchnorm=True)
    tree = run(models, tmp_path / "s.zarr", data, SurfaceRecipe(directions="pca", size=(3,)))
    path, directions = tree["surface/trajectory"], tree["surface/directions"]
    thetas = torch.stack([theta_of(model) for model in models])
    shares = torch.linalg.svdvals(thetas - thetas.mean(0)).square()
    np.testing.assert_allclose(directions["explained_variance"], (shares / shares.sum())[:2], rtol=1e-9)
    distance = np.sqrt(path["point_alpha"] ** 2 + path["point_beta"] ** 2 + path["residual"] ** 2)
    np.testing.assert_allclose(distance, (thetas - thetas[-1]).norm(dim=1), rtol=1e-9, atol=1e-9)
    own = [[Objective(m, data[s]).evaluate(theta_of(m))["loss"] for s in ("train", "test")] for m in models]
    assert np.array_equal(path["loss"].values, own)
    assert path["name"].values.tolist() == [f"model {k}" for k in range(5)]
    assert tree["surface"]["checkpoint"].values.tolist() == ["model 4"]
    for axis in ("alpha", "beta"):
        assert tree["surface"][axis].values[0] < path[f"point_{axis}"].values.min()
        assert tree["surface"][axis].values[-1] > path[f"point_{axis}"].values.max()
    assert json.loads(tree.attrs["recipe"])["batchnorm"] == "recompute"


def test_metrics_of_ones_own(networks, data, tmp_path):
    tree = run(networks(1), tmp_path / "s.zarr", data, SurfaceRecipe(axes=1, size=(3,)), metrics={"squared": squared})
    node = tree["surface"]
    model = networks(1)[0]
    expected = model(data["train"][0]).square().mean().item()
    assert node["squared"].sel(split="train", alpha=0).item() == pytest.approx(expected, rel=1e-12)
    assert {"loss", "error", "squared", "squared_stderr", "checkpoint_squared"} <= set(node.data_vars)


def write_directions(model, folder, kind):
    generator = torch.Generator().manual_seed(3)
    paths = []
    for number in range(2):
        state = {
            name: torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
            for name, tensor in model.named_parameters()
        }
        path = folder / f"{number}.{kind}"
        if kind == "npz":
            np.savez(path, **{name: tensor.numpy() for name, tensor in state.items()})
        elif kind == "pt":
            whole = {**model.state_dict(), **state}  # a whole state_dict: its buffers don't count
            torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in whole.items()}}, path)
        else:
            save_file(state, path)
        paths.append(path)
    return paths


def test_directions_of_ones_own_from_files(networks, data, tmp_path):
    model = networks(1, batchnorm=True)[0]
    found = []
    for kind in ("npz", "pt", "safetensors"):
        files = write_directions(model, tmp_path, kind)
        recipe = SurfaceRecipe(size=(3,), extent=((-0.1, 0.1),))
        found.append(run([model], tmp_path / f"{kind}.zarr", data, recipe, directions=files))
    assert len({tree.attrs["recipe_hash"] for tree in found}) == 1
    assert np.array_equal(found[0]["surface"]["loss"], found[1]["surface"]["loss"])
    assert np.array_equal(found[0]["surface"]["loss"], found[2]["surface"]["loss"])


def test_integer_inputs(tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Embedding(7, 4), nn.Flatten(), nn.Linear(12, 3))
    data = {"train": (torch.arange(60).reshape(20, 3) % 7, torch.arange(20) % 3)}
    node = run([model], tmp_path / "s.zarr", data, SurfaceRecipe(size=(3,)))["surface"]
    expected = nn.functional.cross_entropy(model(data["train"][0]), data["train"][1]).item()
    assert node["loss"].sel(alpha=0, beta=0).item() == pytest.approx(expected, rel=1e-6)


class Classifier(nn.Module):
    """A transformer in the manner of Hugging Face: named inputs, tied weights, an object with logits."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(9, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.head = nn.Linear(8, 9, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, input_ids, attention_mask):
        hidden = self.layer(self.embedding(input_ids), src_key_padding_mask=attention_mask == 0)
        return SimpleNamespace(logits=self.head(hidden[:, 0]))


@pytest.mark.filterwarnings("ignore:.*nested tensor")  # torch's own fast path for padded batches
def test_a_transformer_with_named_inputs(tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Classifier().eval()
    tokens = torch.arange(80).reshape(16, 5) % 9
    inputs = {"input_ids": tokens, "attention_mask": (torch.arange(5) < 4).long().expand(16, 5).contiguous()}
    targets = torch.arange(16) % 9
    tree = run([model], tmp_path / "s.zarr", (inputs, targets), SurfaceRecipe(size=(3,)))
    with torch.no_grad():
        expected = nn.functional.cross_entropy(model(**inputs).logits, targets).item()
    assert tree["surface"]["loss"].sel(alpha=0, beta=0).item() == pytest.approx(expected, rel=1e-5)
    assert len(np.unique(tree["surface"]["loss"])) == 9


def test_the_models_stay_as_they_are(networks, data, tmp_path):
    models = networks(3, batchnorm=True)
    for model in models:
        model.train()
    before = [copy.deepcopy(model.state_dict()) for model in models]
    state = torch.random.get_rng_state()
    for directions in ("filter", "difference"):
        run(models, tmp_path / f"{directions}.zarr", data, SurfaceRecipe(directions=directions, size=(3,)))
    assert torch.equal(torch.random.get_rng_state(), state)
    for model, old in zip(models, before, strict=True):
        assert model.training
        assert all(torch.equal(value, old[name]) for name, value in model.state_dict().items())


def test_the_same_recipe_is_found_and_another_refused(networks, data, tmp_path):
    models, path = networks(1), tmp_path / "s.zarr"
    run(models, path, data, SurfaceRecipe(size=(3,)))
    before = (path / "zarr.json").stat().st_mtime_ns
    run(models, path, data, SurfaceRecipe(size=(3, 3), extent=((-1.0, 1.0),), center=(0.0,), normalize="filter"))
    assert (path / "zarr.json").stat().st_mtime_ns == before
    with pytest.raises(RequestError, match=r"holds another recipe .*seed is 0 there, 1 here"):
        run(models, path, data, SurfaceRecipe(size=(3,), seed=1))
    assert landscape.open(path)["surface"].sizes["alpha"] == 3


def test_processes_give_the_same(networks, data, tmp_path):
    for engine in ("serial", "processes"):
        recipe = SurfaceRecipe(size=(4, 5))
        run(networks(2), tmp_path / f"{engine}.zarr", data, recipe, engine=engine, workers=2)
    one, other = (landscape.open(tmp_path / f"{engine}.zarr")["surface"].load() for engine in ("serial", "processes"))
    assert one.to_dataset().identical(other.to_dataset())


class Noise(nn.Module):
    def forward(self, inputs):
        return inputs + torch.rand_like(inputs)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: nn.Sequential(nn.Tanh(), nn.Flatten()), "the model has no parameters"),
        (lambda m: m.half(), "the model is in float16, too coarse"),
        (lambda m: nn.Sequential(m, Noise()), r"not deterministic in evaluation mode: '1' \(Noise\)"),
    ],
)
def test_networks_without_a_surface(networks, data, tmp_path, change, message):
    with pytest.raises(RequestError, match=message):
        run([change(networks(1)[0])], tmp_path / "s.zarr", data)
    assert list(tmp_path.iterdir()) == []


D = 43


@pytest.mark.parametrize(
    ("directions", "message"),
    [
        (torch.zeros(2, D), "direction 'alpha' is zero"),
        (torch.ones(2, D), "'alpha' and 'beta' are parallel"),
        (torch.full((D,), torch.nan), "direction 'alpha' holds values that are not finite"),
        (torch.ones(2, D + 1), f"of another architecture: expected one to three rows of the model's {D} parameters"),
        (torch.ones(4, D), "one to three rows"),
    ],
)
def test_directions_that_span_nothing(networks, data, tmp_path, directions, message):
    with pytest.raises(RequestError, match=message):
        run(networks(1), tmp_path / "s.zarr", data, directions=directions)
    assert list(tmp_path.iterdir()) == []


def test_checkpoints_that_span_nothing(networks, data, tmp_path):
    models = networks(2)
    recipe = SurfaceRecipe(directions="difference", size=(3,))
    with pytest.raises(RequestError, match="direction 'alpha' is zero"):
        run([models[0], models[0]], tmp_path / "s.zarr", data, recipe)
    with pytest.raises(RequestError, match="'difference' along 2 axes needs at least 3 checkpoints, got 2"):
        run(models, tmp_path / "s.zarr", data, SurfaceRecipe(directions="difference", axes=2))
    with pytest.raises(RequestError, match="vary along 1 directions, too few for 2 axes"):
        run([*models, models[0]], tmp_path / "s.zarr", data, SurfaceRecipe(directions="pca"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"directions": "filtre"}, "unknown directions 'filtre': did you mean 'filter'"),
        ({"normalize": "filters"}, "unknown normalisation 'filters'"),
        ({"biases": "one"}, "unknown treatment of biases"),
        ({"batchnorm": "recomputed"}, "unknown BatchNorm policy 'recomputed'"),
        ({"axes": 4}, "1, 2 or 3 axes, got 4"),
        ({"size": (1,)}, "at least 2 points"),
        ({"size": (3, 3), "axes": 3}, "size has 2 values for 3 axes"),
        ({"extent": ((1.0, 1.0),)}, "extent must be a positive, finite stretch"),
        ({"extent": ((2.0, 1.0),)}, "extent must be a positive, finite stretch"),
        ({"extent": ((0.0, float("inf")),)}, "extent must be a positive, finite stretch"),
        ({"extent": ((float("nan"), 1.0),)}, "extent must be a positive, finite stretch"),
        ({"center": (float("inf"),)}, "center must be finite"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"weight_decay": -1.0}, "weight decay must be at least 0"),
    ],
)
def test_recipes_that_mean_nothing(settings, message):
    with pytest.raises(RequestError, match=message):
        SurfaceRecipe(**settings)


@pytest.mark.parametrize("high", [1.0, 0.3, 0.7, 1e-3, 123.4])
@pytest.mark.parametrize("size", [3, 21, 33, 65])
def test_labels_are_exact(high, size):
    labels = grid_axis((-high, high), size)
    assert labels[0] == -high
    assert labels[-1] == high
    assert labels[size // 2] == 0
    assert not np.signbit(labels[size // 2])
    np.testing.assert_allclose(labels, np.linspace(-high, high, size), rtol=0, atol=1e-11 * high)
    assert grid_axis((0.0, 1.0), 11)[3] == 0.3


def test_extents_hold_all_points_with_a_margin():
    points = np.array([[0.0, 0.0], [1.0, -0.013], [0.2, 0.004]])
    (low, high), (down, up) = around(points)
    assert low <= -0.25
    assert high >= 1.25
    assert down <= -0.263
    assert up >= 0.254
    assert around(np.array([[0.0], [1.0]])) == ((-0.3, 1.3),)
