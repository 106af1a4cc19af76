"""Networks of every kind that Objective promises to work for, and plain PyTorch to compare it with."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

NUM = 23  # not a multiple of any batch size used


class Flatten(nn.Module):
    def forward(self, x):
        return x.flatten(1)


class Tokens(nn.Module):
    """A language model in miniature; its output layer may be its embedding."""

    def __init__(self, body, width=8, vocabulary=11, tied=False):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.body = body
        self.head = nn.Linear(width, vocabulary, bias=not tied)
        if tied:
            self.head.weight = self.embed.weight

    def forward(self, tokens):
        hidden = self.body(self.embed(tokens))
        return self.head(hidden[0] if isinstance(hidden, tuple) else hidden)


class Keywords(nn.Module):
    """Takes a dict of inputs and returns an object with `.logits`, as transformers' models do."""

    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(11, 6), nn.Linear(6, 3)

    def forward(self, *, tokens, attention_mask):
        weights = attention_mask / attention_mask.sum(1, keepdim=True)
        pooled = (self.embed(tokens) * weights[..., None]).sum(1)
        return SimpleNamespace(logits=self.head(pooled), loss=None)


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.bilinear = nn.Bilinear(4, 5, 3)

    def forward(self, left, right):
        return {"logits": self.bilinear(left, right), "hidden": left}


def weight_norm(style):
    def build():
        layers = [nn.Linear(6, 5), nn.Linear(5, 3)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # the old style is deprecated, and in many checkpoints
            wrap = nn.utils.weight_norm if style == "old" else nn.utils.parametrizations.weight_norm
            return nn.Sequential(wrap(layers[0]), nn.Tanh(), wrap(layers[1]))

    return build


def convnet():
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Tanh(), nn.AvgPool2d(2), Flatten(), nn.Linear(36, 3)
    )
    with torch.no_grad():  # statistics that are neither fresh nor those of the data
        model(2 * torch.randn(9, 1, 6, 6) + 0.5)
    return model


def encoder():
    layer = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.3, batch_first=True)
    return Tokens(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False))


def features(*shape):
    return lambda: torch.randn(NUM, *shape)


def words():
    return torch.randint(11, (NUM, 5))


def ignoring():
    targets = words()
    targets[torch.rand(NUM, 5) < 0.3] = -100
    targets[4] = -100  # a sample without any token
    return targets


def labels():
    return torch.randint(3, (NUM,))


def masked():
    return {"tokens": words(), "attention_mask": (torch.arange(5) <= torch.randint(5, (NUM, 1))).float()}


def both():
    return torch.randn(NUM, 4), torch.randn(NUM, 5)


KINDS = {
    "mlp": (lambda: nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)), features(6), labels),
    "convnet": (convnet, features(1, 6, 6), labels),
    "groupnorm": (
        lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.Tanh(), Flatten(), nn.Linear(64, 3)),
        features(1, 6, 6),
        labels,
    ),
    "lstm": (lambda: Tokens(nn.LSTM(8, 8, num_layers=2, dropout=0.4, batch_first=True)), words, words),
    "transformer": (encoder, words, words),
    "tied": (lambda: Tokens(nn.Tanh(), tied=True), words, ignoring),
    "weight_norm": (weight_norm("old"), features(6), labels),
    "weight_norm-parametrized": (weight_norm("new"), features(6), labels),
    "dict": (Keywords, masked, labels),
    "tuple": (Pair, both, labels),
    "regression": (lambda: nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 2)), features(6), features(2)),
}


@dataclass(frozen=True)
class Case:
    name: str
    make: Callable[[], nn.Module]
    inputs: Any
    targets: torch.Tensor

    @property
    def loss(self) -> str:
        return "mse" if self.targets.is_floating_point() else "cross-entropy"

    @property
    def data(self):
        return self.inputs, self.targets

    def build(self) -> nn.Module:
        """A fresh model, the same each time, in float64."""
        torch.manual_seed(1)
        return self.make().double()

    def theta(self, model: nn.Module) -> torch.Tensor:
        """Some point near the model's own parameters."""
        own = torch.cat([p.detach().flatten() for p in model.parameters()])
        return own + 0.1 * torch.randn(len(own), generator=torch.Generator().manual_seed(2), dtype=own.dtype)

    def at(self, theta: torch.Tensor, training: bool = False) -> nn.Module:
        """A model with these parameters."""
        model = self.build().train(training)
        nn.utils.vector_to_parameters(theta, model.parameters())
        return model

    def outputs(self, model: nn.Module, index=slice(None)):
        """What the model returns for all samples at once."""
        if isinstance(self.inputs, dict):
            return model(**{name: value[index] for name, value in self.inputs.items()}).logits
        if isinstance(self.inputs, tuple):
            return model(*(value[index] for value in self.inputs))["logits"]
        return model(self.inputs[index])

    def mean_loss(self, outputs, index=slice(None)):
        """The loss as plain PyTorch averages it."""
        if self.loss == "mse":
            return F.mse_loss(outputs, self.targets[index])
        return F.cross_entropy(outputs.flatten(0, -2), self.targets[index].flatten(), ignore_index=-100)

    def mean_error(self, outputs):
        kept = self.targets != -100
        return (outputs.argmax(-1) != self.targets)[kept].double().mean()

    def value_and_gradient(self, theta, training=False, index=slice(None)):
        """Plain autograd."""
        model = self.at(theta, training)
        value = self.mean_loss(self.outputs(model, index), index)
        gradients = torch.autograd.grad(value, list(model.parameters()))
        return value.detach(), torch.cat([gradient.flatten() for gradient in gradients])


def double(tree):
    if isinstance(tree, dict):
        return {name: double(value) for name, value in tree.items()}
    if isinstance(tree, tuple):
        return tuple(double(value) for value in tree)
    return tree.double() if tree.is_floating_point() else tree


def make_case(name):
    make, inputs, targets = KINDS[name]
    torch.manual_seed(0)
    return Case(name, make, double(inputs()), double(targets()))


@pytest.fixture(params=KINDS)
def case(request):
    """A network and its data, for each kind."""
    return make_case(request.param)


@pytest.fixture
def case_of():
    """A network and its data of a given kind."""
    return make_case
