"""Batches in micro-batches: the same step as the whole, and worst points of their own where SAM asks for them."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from landscape.errors import RequestError
from landscape.networks import training
from landscape.networks.accumulation import cut
from landscape.networks.sampling import Shuffle, mix
from landscape.networks.splits import DataSet, Split
from landscape.networks.training import TrainingRecipe, train
from landscape.networks.windows import language_data
from landscape.networks.zoo.gpt import gpt_nano
from landscape.sweeps.recipe import plain, recipe_hash


def points(num=33):
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(3, (num,), generator=generator)
    inputs = torch.randn(num, 5, generator=generator) + targets[:, None] - 1
    return DataSet("points", Split(inputs, targets), None, 3, "made here")


def text():
    """Windows of which some have no tokens to predict and others many."""
    sequence = torch.arange(300) ** 2 % 11
    data = language_data("it", sequence, num_tokens=11, context=8, stride=None, test_fraction=0.2, source="generated")
    targets = data.train.targets.clone()
    for row in range(len(targets)):
        targets[row, : row * 5 % 9] = -100
    return DataSet("it", Split(data.train.inputs, targets), None, num_classes=11, source="generated")


def network(dropout=0.0):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 3))


def transformer():
    torch.manual_seed(0)
    model = gpt_nano((8,), 11, layers=1, width=8, heads=2)
    model.initialize(0.3, 0.3)
    return model


def weights(model):
    return nn.utils.parameters_to_vector(model.parameters()).detach()


def recipe(optimizer, hyperparameters, micro, **settings):
    return TrainingRecipe(
        optimizer,
        hyperparameters,
        epochs=2,
        precision=settings.pop("precision", "float64"),
        micro_batch_size=micro,
        **{"batch_size": 11, **settings},
    )


METHODS = {
    "momentum": ("momentum", {"lr": 0.1}),
    "adamw": ("adamw", {"lr": 0.01}),
    "line search": ("lbfgs", {}),
    "sam": ("sam", {"lr": 0.1, "rho": 0.1}),
    "exact": ("sam", {"lr": 0.1, "rho": 0.1, "exact": True}),
    "worst points": ("asam", {"lr": 0.1, "rho": 0.3, "m": 6}),
}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("micro", [1, 3, 4, 40])
def test_micro_batches_make_the_step_of_the_batch(name, micro):
    whole, parts = (train(network(), points(), recipe(*METHODS[name], size)) for size in (None, micro))
    tolerance = 1e-8 if name == "line search" else 1e-12  # which amplifies rounding from step to step
    torch.testing.assert_close(weights(parts.model), weights(whole.model), rtol=tolerance, atol=tolerance)
    for row, other in zip(parts.history.rows, whole.history.rows, strict=True):
        assert row["loss.train"] == pytest.approx(other["loss.train"], rel=tolerance)


@pytest.mark.parametrize("name", ["momentum", "line search", "sam"])
@pytest.mark.parametrize("micro", [2, 3])
def test_tokens_weigh_alike_in_whatever_micro_batch(name, micro):
    whole, parts = (train(transformer(), text(), recipe(*METHODS[name], size)) for size in (None, micro))
    tolerance = 1e-8 if name == "line search" else 1e-12
    torch.testing.assert_close(weights(parts.model), weights(whole.model), rtol=tolerance, atol=tolerance)


def test_the_exact_gradient_of_tokens():
    """The product with the Hessian is weighted as the gradients are; here, of a loss that counts by itself."""

    def loss(outputs, targets):
        return F.cross_entropy(outputs, targets, reduction="none") * (targets > 0), targets

    whole, parts = (train(network(), points(), recipe(*METHODS["exact"], size), loss=loss) for size in (None, 3))
    torch.testing.assert_close(weights(parts.model), weights(whole.model), rtol=1e-12, atol=1e-12)


def test_micro_batches_in_bfloat16():
    whole, parts = (
        train(network(), points(), recipe("momentum", {"lr": 0.1}, size, precision="bf16")) for size in (None, 4)
    )
    torch.testing.assert_close(weights(parts.model), weights(whole.model), rtol=0, atol=2e-3)  # 8 bits
    assert not torch.equal(weights(parts.model), weights(network()))


def test_the_loss_of_a_step_is_that_of_the_batch():
    told = []
    for micro in (None, 4):
        train(
            network(),
            points(),
            recipe("sam", {"m": 6}, micro),
            report=lambda done, **values: told.append(values["loss"]),
        )
    assert len(told) == 4
    assert told[:2] == pytest.approx(told[2:], rel=1e-12)


def test_parts_of_a_batch():
    assert [len(part) for part in cut(torch.arange(10), 4)] == [4, 4, 2]
    assert [len(part) for part in cut(torch.arange(9), 4)] == [4, 5]  # nothing that BatchNorm couldn't take
    assert [len(part) for part in cut(torch.arange(3), 1)] == [1, 1, 1]
    assert [len(part) for part in cut(torch.arange(3), 8)] == [3]
    assert [len(part) for part in cut(torch.arange(3), None)] == [3]
    assert torch.equal(torch.cat(cut(torch.arange(9), 4)), torch.arange(9))


class Watched(nn.Linear):
    """A layer that notes what it is given in training, after dropout."""

    def forward(self, x):
        if self.training:
            self.seen.append(x.detach().clone())
        return super().forward(x)


def watched():
    torch.manual_seed(0)
    layer = Watched(5, 3)
    layer.seen = []
    return nn.Sequential(nn.Dropout(0.5), layer)


def test_dropout_differs_between_micro_batches_and_not_between_passes():
    ones = DataSet("ones", Split(torch.ones(24, 5), torch.arange(24) % 3), None, 3, "made here")
    settings = recipe("sam", {"m": 8}, 4, batch_size=16)
    seen = train(watched(), ones, settings).model[1].seen
    assert [len(one) for one in seen[:8]] == [4] * 8
    first = [*seen[0:2], *seen[4:6]]
    again = [*seen[2:4], *seen[6:8]]  # each worst point has two passes over its two micro-batches
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    assert not any(torch.equal(first[0], other) for other in first[1:])
    runs = [train(watched(), ones, settings).model for _ in range(2)]
    assert torch.equal(weights(runs[0]), weights(runs[1]))


def test_batchnorm_sees_each_micro_batch_alone():
    model = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    trained = train(model, points(), recipe("sgd", {"lr": 0.1}, 4)).model
    assert int(trained[1].num_batches_tracked) == 2 * 3 * 3  # epochs, batches of 11, micro-batches of 4, 4 and 3
    one = train(model, points(25), recipe("sgd", {"lr": 0.1}, 4, batch_size=25)).model
    assert int(one[1].num_batches_tracked) == 2 * 6  # the 25th sample joins


def softmax(z):
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


@pytest.mark.parametrize("micro", [None, 3])
def test_worst_points_of_micro_batches_written_out(micro):
    """Softmax regression in NumPy: each six samples have a worst point of their own, and count by their number."""
    data, rho, rate, m = points(), 0.5, 0.2, 6
    torch.manual_seed(0)
    start = nn.Linear(5, 3)
    settings = recipe("sam", {"base": "sgd", "lr": rate, "rho": rho, "m": m}, micro, batch_size=16)
    trained = train(start, data, settings).model.double()
    x = np.hstack([data.train.inputs.double().numpy(), np.ones((33, 1))])
    y = np.eye(3)[data.train.targets.numpy()]
    w = np.vstack([start.weight.detach().double().numpy().T, start.bias.detach().double().numpy()])

    def gradient(at, rows):
        return x[rows].T @ (softmax(x[rows] @ at) - y[rows]) / len(rows)

    batches = Shuffle(33, 16, mix(0, 1))
    for index in range(2 * batches.steps_per_epoch):
        rows = batches.indices(index).numpy()
        assert len(rows) in (16, 17)
        step = np.zeros_like(w)
        for k in range(0, len(rows), m):
            part = rows[k : k + m]
            g = gradient(w, part)
            step += len(part) / len(rows) * gradient(w + rho * g / np.linalg.norm(g), part)
        w = w - rate * step
    np.testing.assert_allclose(trained.weight.detach().numpy().T, w[:-1], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(trained.bias.detach().numpy(), w[-1], rtol=1e-12, atol=1e-12)


def test_a_micro_batch_has_a_sample():
    with pytest.raises(RequestError, match="micro batch size must be at least 1, got 0"):
        TrainingRecipe(micro_batch_size=0)


def test_recipes_from_before_keep_their_hashes():
    """A recipe without micro-batches is written as it was when there were none."""
    whole, parts = TrainingRecipe(), TrainingRecipe(micro_batch_size=4)
    for form in (TrainingRecipe.recipe, plain):
        assert "micro_batch_size" not in form(whole)
        assert form(parts)["micro_batch_size"] == 4
        assert TrainingRecipe(**form(whole)) == whole
        assert TrainingRecipe(**form(parts)) == parts
    assert recipe_hash(whole) == recipe_hash(TrainingRecipe(**whole.recipe())) != recipe_hash(parts)


SCALED = {
    "sam": ("sam", {"lr": 0.1, "rho": 0.1}),
    "exact": ("asam", {"lr": 0.1, "rho": 0.1, "exact": True}),
    "worst points": ("sam", {"lr": 0.1, "rho": 0.1, "m": 6}),
    "own base": ("sam", {"base": "rmsprop", "lr": 0.02}),
}


def losses_in_half(name, device, micro=None):
    """The recorded losses in float32 and in fp16."""
    found = []
    for precision in ("float32", "fp16"):
        settings = recipe(*SCALED[name], micro, precision=precision)
        trained = train(network(), points(), settings, device=device)
        assert all(parameter.dtype == torch.float32 for parameter in trained.model.parameters())
        found.append([row["loss.train"] for row in trained.history.rows])
    return found


@pytest.mark.parametrize("name", SCALED)
@pytest.mark.parametrize("micro", [None, 4])
def test_scaled_losses_on_the_cpu(monkeypatch, name, micro):
    """A real scaler, on a device where fp16 is otherwise refused for being slow."""
    monkeypatch.setattr(training, "check_machine", lambda *_: None)
    single, half = losses_in_half(name, "cpu", micro)
    assert half == pytest.approx(single, rel=2e-3)  # 11 bits
    assert half[-1] < 0.9 * half[0]
    assert half != single


def test_a_scaled_gradient_that_overflows_is_passed_over(monkeypatch):
    monkeypatch.setattr(training, "check_machine", lambda *_: None)

    def loss(outputs, targets):
        return 300 * F.cross_entropy(outputs, targets, reduction="none")

    def run(steps):
        settings = TrainingRecipe("sam", {"lr": 1e-4}, None, steps, 33, precision="fp16")
        return train(network(), points(), settings, loss=loss)

    assert torch.equal(weights(run(1).model), weights(network()))  # the first scale is too large
    later = run(10)
    assert later.history.diverged_at is None
    assert later.history.rows[-1]["loss.train"] < later.history.rows[0]["loss.train"]


@pytest.mark.gpu
@pytest.mark.parametrize("name", SCALED)
def test_gpu_scaled_losses(name):
    single, half = losses_in_half(name, "cuda", 4)
    assert half == pytest.approx(single, rel=5e-3)
    assert half[-1] < 0.9 * half[0]
