"""Squared lengths of slopes pulled back by sample against rows of Jacobians, and roots of metrics, in float64."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from landscape.objective.losses import cross_entropy, mse
from landscape.objective.metric_roots import Empirical, UnknownRootError, random_signs, root_of
from landscape.objective.objective import Objective
from landscape.objective.sample_norms import NotBySampleError, SampleNorms
from landscape.objective.standing import Standing

NUM = 7


class Flatten(nn.Module):
    def forward(self, x):
        return x.flatten(1)


class Shared(nn.Module):
    """One layer, used twice."""

    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.head(torch.tanh(self.layer(torch.tanh(self.layer(x)))))


class Positions(nn.Module):
    """A table whose rows are positions: they have no axis of samples, even where they are as many."""

    def __init__(self, length):
        super().__init__()
        self.words, self.positions = nn.Embedding(11, 4, padding_idx=2), nn.Embedding(length, 4)
        self.norm, self.head = nn.LayerNorm(4), nn.Linear(4, 3)

    def forward(self, tokens):
        return self.head(self.norm(self.words(tokens) + self.positions(torch.arange(tokens.shape[1]))).mean(1))


class Scaled(nn.Module):
    """A parameter that no layer holds, and a weight that is turned before use."""

    def __init__(self):
        super().__init__()
        self.scale, self.weight = nn.Parameter(torch.randn(6)), nn.Parameter(torch.randn(6, 3))

    def forward(self, x):
        return F.linear(self.scale * x, self.weight.T)


def images(*layers):
    return nn.Sequential(*layers, nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(2), Flatten(), nn.LazyLinear(3))


def pictures():
    return torch.randn(NUM, 4, 9, 8)


def series():
    return torch.randn(NUM, 4, 9)


def features():
    return torch.randn(NUM, 6)


def words(length):
    return lambda: torch.randint(11, (NUM, length))


def normed():
    model = images(nn.Conv2d(4, 6, 3, bias=False), nn.BatchNorm2d(6))
    with torch.no_grad():
        model(3 * torch.randn(9, 4, 9, 8) + 1)
    return model


NETWORKS = {
    "shared": (Shared, features, True),
    "scaled": (Scaled, features, False),
    "positions": (lambda: Positions(NUM), words(NUM), False),
    "three positions": (lambda: Positions(3), words(3), False),
    "words": (lambda: nn.Sequential(nn.Embedding(11, 4, padding_idx=2), Flatten(), nn.Linear(20, 3)), words(5), True),
    "batchnorm": (normed, pictures, True),
    "groups": (lambda: images(nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=1, groups=2)), pictures, True),
    "same": (lambda: images(nn.Conv2d(4, 5, (3, 4), padding="same", dilation=(2, 1))), pictures, True),
    "circular": (lambda: images(nn.Conv2d(4, 5, 3, padding=1, padding_mode="circular")), pictures, True),
    "transposed": (lambda: images(nn.ConvTranspose2d(4, 5, 3)), pictures, False),
    "groupnorm": (lambda: images(nn.Conv2d(4, 6, 3), nn.GroupNorm(3, 6)), pictures, True),
    "layernorm": (
        lambda: nn.Sequential(
            nn.Conv1d(4, 5, 3, padding="valid", stride=2), nn.LayerNorm(4), Flatten(), nn.Linear(20, 3)
        ),
        series,
        True,
    ),
    "same, 1d": (lambda: nn.Sequential(nn.Conv1d(4, 2, 4, padding="same"), Flatten(), nn.Linear(18, 3)), series, True),
}


def pulled(objective, slopes):
    """Plain autograd, sample by sample."""
    model, inputs = objective.module.module, objective.samples.inputs
    tensors = [tensor for tensor in model.parameters() if tensor.requires_grad]
    result = []
    for number in range(len(slopes)):
        part = (
            {name: value[number : number + 1] for name, value in inputs.items()}
            if isinstance(inputs, dict)
            else tuple(value[number : number + 1] for value in inputs)
            if isinstance(inputs, tuple)
            else inputs[number : number + 1]
        )
        with torch.enable_grad():
            output = objective.module(part)
            found = torch.autograd.grad((output * slopes[number]).sum(), tensors, allow_unused=True)
        result.append(sum(part.square().sum() for part in found if part is not None))
    return torch.stack(result)


def check(objective, batched):
    standing = Standing(objective, objective.theta, None, own_convolution=False)
    with standing.context():
        norms = SampleNorms(standing)
        assert norms.batched is batched
        (batch,) = standing.batches(1000)
        outputs, square = norms(batch)
        for seed in range(2):  # the graph serves several times
            slopes = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(seed), dtype=outputs.dtype)
            found = square(slopes)
            torch.testing.assert_close(found, pulled(standing.objective, slopes), rtol=1e-9, atol=1e-12)


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("name", NETWORKS)
def test_squares_are_those_of_each_sample(name):
    make, inputs, batched = NETWORKS[name]
    torch.manual_seed(0)
    model, data = make(), inputs()
    with torch.no_grad():
        model(data)
    targets = torch.randint(3, (NUM,))
    check(Objective(model.double(), (data.double() if data.is_floating_point() else data, targets)), batched)


def test_squares_for_every_kind_of_network(case):
    batched = case.name not in ("lstm", "transformer", "weight_norm", "weight_norm-parametrized", "tuple")
    check(Objective(case.build(), case.data, case.loss), batched)


def test_only_the_parameters_of_theta_count(case_of):
    case = case_of("convnet")
    check(Objective(case.build(), case.data, parameters=r"^0|weight"), True)


class Mixed(nn.Linear):
    def forward(self, x):
        return super().forward(x - x.mean(0))


def test_samples_that_influence_each_other_are_found(case_of):
    case = case_of("convnet")
    coupled = Objective(Mixed(6, 3).double(), case_of("mlp").data)
    for objective in (coupled, Objective(case.build(), case.data, batchnorm="batch")):
        standing = Standing(objective, objective.theta, None, own_convolution=False)
        with standing.context(), pytest.raises(NotBySampleError):
            SampleNorms(standing)


def huber(outputs, targets):
    return F.huber_loss(outputs, F.one_hot(targets, 3).to(outputs), reduction="none").sum(1)


def bounded(outputs, targets):
    """Not convex in the outputs."""
    return 1 - torch.exp(-(outputs - F.one_hot(targets, 3)).square().sum(1))


@pytest.mark.parametrize("loss", [cross_entropy, mse, huber, bounded, lambda z, y: z.sum(1), lambda z, y: z[:, 0] * 0])
def test_roots_of_metrics(loss):
    generator = torch.Generator().manual_seed(0)
    outputs = 2 * torch.randn(5, 3, generator=generator, dtype=torch.float64)
    targets = outputs + 1 if loss is mse else torch.randint(3, (5,), generator=generator)
    root = root_of(loss, outputs, targets)
    for number, (z, y) in enumerate(zip(outputs, targets, strict=True)):
        metric = torch.autograd.functional.hessian(lambda z, y=y: loss(z[None], y[None]).sum(), z)
        found = torch.zeros(3, 3, dtype=torch.float64)
        for sign, column in root.columns(outputs):
            found += sign[number] * torch.outer(column[number], column[number])
        torch.testing.assert_close(found, metric, rtol=1e-10, atol=1e-10)
    signs = random_signs(outputs, generator)
    together = {float(sign[0]): product for sign, product in root.times(signs)}
    by_column = {1.0: torch.zeros_like(outputs), -1.0: torch.zeros_like(outputs)}
    for column in range(3):
        unit = torch.zeros_like(outputs)
        unit[:, column] = 1
        for sign, product in root.times(unit):
            by_column[float(sign[0])] += signs[:, column, None] * product
    for sign, product in by_column.items():
        torch.testing.assert_close(together.get(sign, torch.zeros_like(outputs)), product)


def test_roots_of_tokens_and_of_gradients():
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(2, 3, 40, generator=generator, dtype=torch.float64)
    targets = torch.randint(40, (2, 3), generator=generator)
    targets[0, 1] = -100
    found = torch.zeros(2, 120, 120, dtype=torch.float64)
    for sign, u in root_of(cross_entropy, outputs, targets).columns(outputs):
        found += sign[:, None, None] * u.flatten(1)[:, :, None] * u.flatten(1)[:, None]
    for z, y, block in zip(outputs, targets, found, strict=True):
        metric = torch.autograd.functional.hessian(lambda z, y=y: cross_entropy(z[None], y[None])[0].sum(), z)
        torch.testing.assert_close(block, metric.reshape(120, 120), rtol=1e-10, atol=1e-12)
    ((sign, slope),) = Empirical(cross_entropy, outputs, targets).columns(outputs)
    expected = outputs.softmax(-1) - F.one_hot(targets.clamp_min(0), 40)
    torch.testing.assert_close(slope, expected * (targets != -100)[..., None])
    assert sign.eq(1).all()
    with pytest.raises(UnknownRootError):
        root_of(lambda z, y: z.flatten(1).square().sum(1), outputs, targets)
