"""Fast evaluation on slices gives the plain path's numbers, for every architecture."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from landscape.errors import RequestError
from landscape.networks.models import MODELS, build_model
from landscape.objective.combination import combine
from landscape.objective.objective import Objective
from landscape.objective.sliced import SlicedObjective

SMALL = {
    "softmax": {},
    "mlp": {"hidden": (8,)},
    "convnet": {"width": 4},
    "resnet20": {"width": 4},
    "resnet32": {"width": 2},
    "resnet56": {"width": 2},
    "resnet110": {"width": 1},
    "preresnet110": {"width": 1},
    "preresnet164": {"width": 1},
    "vgg16": {"width": 4},
    "vgg16-bn": {"width": 4},
    "wrn28-10": {"widen": 1},
    "gpt-nano": {"layers": 2, "heads": 2, "width": 16},
    "gpt2-124m": {"layers": 2, "heads": 2, "width": 16},
    "modern-124m": {"layers": 2, "heads": 2, "width": 16},
    "resnet18k": {"width": 2},
    "quadratic": {"width": 8},
    "embedding-mlp": {"width": 8, "hidden": (8,)},
    "transformer": {"width": 8},
    "transformer-power": {"width": 8},
    "transformer-nanda": {"width": 8},
}
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}
NUM = 19


def settle(model):
    """Statistics and weights of BatchNorm as after some training."""
    generator = torch.Generator().manual_seed(1)
    for layer in model.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.running_mean.copy_(0.3 * torch.randn(layer.running_mean.shape, generator=generator))
            layer.running_var.copy_(0.5 + torch.rand(layer.running_var.shape, generator=generator))
            if layer.affine:
                nn.init.normal_(layer.weight, 1, 0.2, generator=generator)
                nn.init.normal_(layer.bias, 0, 0.2, generator=generator)
    return model.eval()


def slice_of(objective, scale=0.01, count=3):
    generator = torch.Generator().manual_seed(2)
    theta = objective.theta
    noise = scale * torch.randn(count - 1, len(theta), generator=generator, dtype=torch.float64).to(theta)
    coefficients = torch.tensor([[1, 0, 0], [1, 0.5, -0.25], [1, 0, 1], [0.75, 1, 1]], dtype=torch.float64)
    return torch.cat([theta[None], noise]), coefficients[:, :count]


def compare(objective, tolerance, **kinds):
    """Values and samples' losses of both paths; at a point itself to the same bits."""
    points, coefficients = slice_of(objective, **kinds)
    sliced = SlicedObjective(objective, points)
    plain = objective.values(combine(coefficients, points))
    fast = sliced.values(coefficients)
    assert fast.keys() == plain.keys()
    for name, value in plain.items():
        np.testing.assert_allclose(fast[name], value, rtol=tolerance, atol=1e-12)
        assert fast[name][0] == value[0]
    index = torch.tensor([3, 0, 7])
    subset = objective.on(objective.samples.select(index))
    losses, counts = subset.losses(combine(coefficients[1:2], points)[0])
    some = sliced.per_sample(coefficients[1:2], index)["loss"]
    scale = float(losses.abs().max())
    torch.testing.assert_close(some[0], losses, rtol=tolerance, atol=tolerance * scale)
    assert torch.equal(sliced.counts(index)["loss"], counts)
    return sliced.report


def images(shape=(3, 16, 16), dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(NUM, *shape, generator=generator, dtype=dtype), torch.arange(NUM) % 5


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", SMALL)
def test_every_architecture(name, dtype):
    assert set(SMALL) == set(MODELS)
    torch.manual_seed(0)
    if MODELS[name].text:
        data = (torch.arange(NUM * 8).view(NUM, 8) % 11, torch.arange(3, 3 + NUM * 8).view(NUM, 8) % 11)
        model = build_model(name, (8,), 11, SMALL[name])
    elif MODELS[name].symbols:
        data = (torch.arange(NUM * 2).view(NUM, 2) % 11, torch.arange(NUM) % 11)
        model = build_model(name, (2,), 11, SMALL[name])
    else:
        size = 32 if name.startswith("vgg") else 8
        data = images((3, size, size))
        model = build_model(name, (3, size, size), 5, SMALL[name])
    report = compare(Objective(settle(model), data, dtype=dtype, batch_size=7), TOLERANCE[dtype])
    assert report.fast, report
    assert (report.folded > 0) == any(kind in name for kind in ("convnet", "resnet", "-bn", "wrn"))


class Twice(nn.Module):
    """A convolution whose output goes into its BatchNorm and elsewhere."""

    def __init__(self):
        super().__init__()
        self.convolution, self.norm, self.head = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 5)

    def forward(self, x):
        y = self.convolution(x)
        return self.head((self.norm(y) + y).mean((2, 3)))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.LSTM(3, 6, batch_first=True), nn.Linear(6, 5)

    def forward(self, x):
        return self.head(self.layer(x.flatten(2).transpose(1, 2))[0][:, -1])


class Tied(nn.Module):
    """The first layer's weight is the last one's, too."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, 64) / 8)

    def forward(self, x):
        return F.linear(F.linear(F.linear(x.flatten(1)[:, :64], self.weight), self.weight.T), self.weight)


class InPlace(nn.Module):
    """Writes into its inputs before the first layer."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3 * 16 * 16, 5)

    def forward(self, x):
        return self.layer(x.mul_(2).flatten(1))


class Branching(nn.Module):
    """Reads a value: for batches of three samples only."""

    def __init__(self):
        super().__init__()
        self.convolution, self.norm, self.head = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 5)

    def forward(self, x):
        y = self.norm(self.convolution(x))
        if len(x) == 3 and float(x.sum()) > 0:
            y = y + 0
        return self.head(y.mean((2, 3)))


def body(*layers):
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(5))


MODELS_BY_HAND = {
    "twice": (Twice, 0),
    "after-relu": (lambda: body(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)), 0),
    "before": (lambda: body(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3), nn.ReLU()), 0),
    "plain-norm": (lambda: body(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False), nn.ReLU()), 1),
    "large-kernel": (lambda: body(nn.Conv2d(3, 4, 7), nn.BatchNorm2d(4), nn.ReLU()), 1),
    "lstm": (Recurrent, 0),
    "tied": (Tied, 0),
    "in-place": (InPlace, 0),
    "weight-norm": (lambda: body(nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3)), nn.BatchNorm2d(4)), 1),
}


@pytest.mark.parametrize("name", MODELS_BY_HAND)
@pytest.mark.parametrize("policy", ["checkpoint", "recompute", "batch"])
def test_models_of_other_kinds(name, policy):
    torch.manual_seed(0)
    make, folded = MODELS_BY_HAND[name]
    model, data = make(), images()
    model(data[0].clone())
    objective = Objective(
        settle(model), data, batchnorm=policy, dtype=torch.float64, batch_size=5, weight_decay=0.1, population=100
    )
    report = compare(objective, 1e-10, scale=0.05)
    assert report.folded == (0 if policy == "batch" else folded)


def test_restricted_parameters():
    model = settle(build_model("convnet", (3, 16, 16), 5, {"width": 4}))
    for pattern in ("classifier", r"features\.0", "bias"):
        compare(Objective(model, images(), parameters=pattern, dtype=torch.float64), 1e-10)


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(96, 5)

    def forward(self, left, right):
        return {"logits": self.layer(left.flatten(1) * right)}


def test_tuples_dicts_and_loaders():
    x, y = images((6, 4, 4), torch.float64)
    model, right = Pair().double(), x[:, 0, 0, :1].clone()
    loader = [((x[:12], right[:12]), y[:12]), ((x[12:], right[12:]), y[12:])]
    points = None
    results = []
    for data in (((x, right), y), ({"left": x, "right": right}, y)):
        assert compare(Objective(model, data), 1e-10).reused == "layer.weight"
        objective = Objective(model, data)
        points, coefficients = slice_of(objective)
        results.append(SlicedObjective(objective, points).values(coefficients)["loss"])
    results.append(SlicedObjective(Objective(model, loader), points).values(coefficients)["loss"])
    np.testing.assert_allclose(results[1:], [results[0]] * 2, rtol=1e-12)


def test_outputs_are_kept_in_parts(monkeypatch):
    monkeypatch.setattr("landscape.objective.sliced.KEPT_BYTES", 2000)
    monkeypatch.setattr("landscape.objective.probe.CACHE_BYTES", {"cpu": 40_000})
    model = build_model("mlp", (3, 16, 16), 5, {"hidden": (8,)})
    objective = Objective(model, images(), dtype=torch.float64)
    points, _ = slice_of(objective)
    coefficients = torch.rand(9, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sliced = SlicedObjective(objective, points)
    assert sliced.report.reused == "1.weight"
    assert "1.weight" in str(sliced.report)
    fast = sliced.values(coefficients)["loss"]
    np.testing.assert_allclose(fast, objective.values(combine(coefficients, points))["loss"], rtol=1e-10)


def test_layers_that_write_over_the_first_ones_outputs():
    model = nn.Sequential(nn.Flatten(), nn.Linear(768, 6), nn.ReLU(inplace=True), nn.Linear(6, 5))
    objective = Objective(model, images())
    points, coefficients = slice_of(objective)
    sliced = SlicedObjective(objective, points)
    first = sliced.values(coefficients)["loss"]
    np.testing.assert_array_equal(sliced.values(coefficients)["loss"], first)
    np.testing.assert_allclose(first, objective.values(combine(coefficients, points))["loss"], rtol=1e-5)
    assert sliced.report.reused == "1.weight"


def test_subsets_that_are_filled_up():
    model = settle(build_model("convnet", (3, 16, 16), 5, {"width": 4}))
    x, y = images(dtype=torch.float64)
    objective = Objective(model, (x.repeat(5, 1, 1, 1), y.repeat(5)), dtype=torch.float64)
    points, coefficients = slice_of(objective)
    index = torch.randperm(95, generator=torch.Generator().manual_seed(0))[:71]
    found = SlicedObjective(objective, points).per_sample(coefficients[1:], index)
    whole = torch.stack([objective.losses(theta)[0] for theta in combine(coefficients[1:], points)])
    torch.testing.assert_close(found["loss"], whole[:, index], rtol=1e-10, atol=1e-10)


def test_values_that_are_read_on_the_way_leave_the_rest_to_the_plain_path(monkeypatch):
    monkeypatch.setattr("landscape.objective.probe.CACHE_BYTES", {"cpu": 200_000})
    x, y = images(dtype=torch.float64)
    objective = Objective(settle(Branching().double()), (x + 1, y))
    points, coefficients = slice_of(objective)
    sliced = SlicedObjective(objective, points)
    assert sliced.report.fast
    assert sliced.report.batch_size == 16
    fast = sliced.values(coefficients)
    np.testing.assert_allclose(fast["loss"], objective.values(combine(coefficients, points))["loss"], rtol=1e-10)
    assert not sliced.report.fast
    assert "__float__" in sliced.report.reason


class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(768, 5)

    def forward(self, x):
        return self.layer(F.dropout(x.flatten(1), 0.5, True))


@pytest.mark.parametrize(
    "make", [Noisy, lambda: body(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False))]
)
def test_models_that_must_be_left_alone(make):
    model = make()
    model(images()[0])
    report = compare(Objective(model, images(), dtype=torch.float64), 1e-10) if make is not Noisy else None
    if report is None:
        objective = Objective(model, images())
        sliced = SlicedObjective(objective, objective.theta[None])
        assert sliced.values(torch.tensor([[0.5]]))["loss"] == objective.loss(0.5 * objective.theta)
        report = sliced.report
    assert not report.fast
    assert "plain" in str(report)


def test_the_model_stays_and_wrong_shapes_are_answered():
    model = build_model("convnet", (3, 16, 16), 5, {"width": 4}).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.default_generator.get_state()
    objective = Objective(model, images())
    points, coefficients = slice_of(objective)
    sliced = SlicedObjective(objective, points)
    sliced.values(coefficients)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(state, torch.default_generator.get_state())
    with pytest.raises(RequestError, match="points of shape"):
        SlicedObjective(objective, points[:, 1:])
    with pytest.raises(RequestError, match="coefficients of shape"):
        sliced.values(coefficients[:, 1:])
    with pytest.raises(RequestError, match=r"Objective\.on"):
        sliced.on(Objective(model, images()))
    other = sliced.on(objective.on(tuple(part[:5] for part in images())))
    np.testing.assert_allclose(
        other.values(coefficients)["loss"],
        sliced.per_sample(coefficients)["loss"][:, :5].double().mean(1),
        rtol=1e-5,
    )
