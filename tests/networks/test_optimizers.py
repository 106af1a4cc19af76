"""Training with every optimizer: exact resume, full batches, closures, and gradients that are not finite."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from landscape.errors import RequestError
from landscape.networks.loop import Resume
from landscape.networks.splits import DataSet, Split
from landscape.networks.training import TrainingRecipe, train
from landscape.optimizers import registry
from landscape.optimizers.registry import OPTIMIZERS, Entry
from landscape.settings import defaults

FULL = [name for name, entry in OPTIMIZERS.items() if entry.full_batch]
CHECKED = [name for name, entry in OPTIMIZERS.items() if "non_finite" in defaults(entry.build)]


class Killed(BaseException):
    """Ends a run as a signal would."""


class Watched(nn.Linear):
    """A layer that notes the size of each training batch, and dropout's mask as its first input's zeros."""

    def forward(self, x):
        if self.training:
            self.seen.append(x.detach().clone())
        return super().forward(x)


def points(num=40):
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(3, (num,), generator=generator)
    inputs = torch.randn(num, 1, 3, 3, generator=generator) + targets[:, None, None, None] - 1
    return DataSet("points", Split(inputs, targets), None, 3, "made here")


def network(seed=0, dropout=0.3):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 4, 2), nn.Flatten(), nn.BatchNorm1d(16), nn.Dropout(dropout), nn.Linear(16, 3)
        )


def watched():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = Watched(9, 3)
    layer.seen = []
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), layer)


def same(one, other):
    state, expected = one.state_dict(), other.state_dict()
    return all(torch.equal(state[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_killed_run_goes_on_to_the_same_bits(name, tmp_path):
    recipe = TrainingRecipe(name, epochs=4, batch_size=16, schedule="cosine", augmentation="crop-flip", seed=3)
    expected = train(network(), points(), recipe)
    assert same(train(network(), points(), recipe).model, expected.model)
    resume = Resume(tmp_path / "state", "signature", every_seconds=0)

    def kill(epoch, model):
        if epoch == 3:
            raise Killed

    with pytest.raises(Killed):
        train(network(), points(), recipe, resume=resume, on_epoch=kill)
    again = train(network(5), points(), recipe, resume=resume)
    assert same(again.model, expected.model)
    assert [{**row, "seconds": 0} for row in again.history.rows] == [
        {**row, "seconds": 0} for row in expected.history.rows
    ]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_full_batch_methods_see_all_samples(name):
    trained = train(watched(), points(), TrainingRecipe(name, epochs=2, batch_size=10))
    sizes = {len(batch) for batch in trained.model[2].seen}
    assert sizes == ({40} if name in FULL else {10})
    assert trained.history.rows[-1]["step"] == (2 if name in FULL else 8)


def test_gradient_descent_is_that_of_the_whole_loss():
    data, model = points(), nn.Sequential(nn.Flatten(), nn.Linear(9, 3))
    trained = train(model, data, TrainingRecipe("gd", {"lr": 0.2}, epochs=5, batch_size=7, precision="float64")).model
    model = model.double()
    for _ in range(5):
        loss = F.cross_entropy(model(data.train.inputs.double()), data.train.targets)
        for tensor, gradient in zip(model.parameters(), torch.autograd.grad(loss, model.parameters()), strict=True):
            tensor.data -= 0.2 * gradient
    for tensor, expected in zip(trained.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(tensor, expected, rtol=1e-12, atol=1e-14)


class Twice(torch.optim.SGD):
    """Evaluates the loss twice before it steps."""

    def step(self, closure):
        first, again = float(closure()), float(closure())
        assert first == again
        super().step()
        return first


def test_a_closure_evaluates_the_same_loss_each_time(monkeypatch):
    """Both passes of a step see the same batch, the same augmentation and the same dropout."""

    def twice(model, *, lr: float = 0.1):
        return Twice(model.parameters(), lr=lr)

    monkeypatch.setitem(registry.OPTIMIZERS, "twice", Entry(twice, "evaluates twice", closure=True))
    settings = {"epochs": 2, "batch_size": 10, "augmentation": "crop-flip"}
    double, once = (train(watched(), points(), TrainingRecipe(name, **settings)) for name in ("twice", "sgd"))
    seen = double.model[2].seen
    assert len(seen) == 16
    assert all(torch.equal(first, again) for first, again in zip(seen[::2], seen[1::2], strict=True))
    assert same(double.model, once.model)
    assert double.history.rows[-1]["loss.train"] == once.history.rows[-1]["loss.train"]


def test_a_quasi_newton_method_gets_further_than_gradient_descent():
    recipes = [TrainingRecipe(name, epochs=40) for name in ("gd", "lbfgs")]
    model = nn.Sequential(nn.Flatten(), nn.Linear(9, 3))
    gd, lbfgs = (train(model, points(), recipe, evaluate_every=0).history.rows[-1]["loss.train"] for recipe in recipes)
    assert lbfgs < 0.9 * gd


@pytest.mark.parametrize("name", CHECKED)
def test_gradients_that_are_not_finite_end_the_run_as_diverged(name):
    """The loss is finite, its gradient is not: the optimizer sees it, and the run's history says so."""

    def loss(outputs, targets):
        return outputs.abs().sum(1).sqrt() if targets[0] < 0 else (outputs * 0).abs().sqrt().sum(1)

    data = points()
    trained = train(nn.Sequential(nn.Flatten(), nn.Linear(9, 3)), data, TrainingRecipe(name, epochs=3), loss=loss)
    assert trained.history.diverged_at == 1
    assert trained.history.rows[-1]["step"] == 1
    assert math.isfinite(trained.history.rows[-1]["loss.train"])
    skipped = train(
        nn.Sequential(nn.Flatten(), nn.Linear(9, 3)),
        data,
        TrainingRecipe(name, {"non_finite": "skip"}, epochs=3),
        loss=loss,
    )
    assert skipped.history.diverged_at is None


@pytest.mark.parametrize(("name", "settings"), [("lbfgs", {}), ("sam", {"base": "lbfgs"})])
def test_loss_scaling_follows_no_line_search(name, settings):
    with pytest.raises(RequestError, match=r"optimizer 'lbfgs' evaluates the loss as often .* use precision bf16"):
        TrainingRecipe(name, settings, precision="fp16")
    assert TrainingRecipe("sam", precision="fp16").precision == "fp16"


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_mixed_precision(name):
    trained = train(network(dropout=0.0), points(), TrainingRecipe(name, epochs=6, batch_size=20, precision="bf16"))
    assert all(tensor.dtype == torch.float32 for tensor in trained.model.parameters())
    assert all(math.isfinite(row["loss.train"]) for row in trained.history.rows)
    assert trained.history.rows[-1]["loss.train"] < trained.history.rows[0]["loss.train"]
