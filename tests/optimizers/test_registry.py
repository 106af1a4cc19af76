"""Optimizers by name, each against one step written by hand."""

import pytest
import torch
from torch import nn

from landscape.errors import RequestError
from landscape.optimizers.registry import OPTIMIZERS, make_optimizer, resolve_hyperparameters


def descend(name, steps=3, **hyperparameters):
    """Minimise ½ a x² + x from 2, coordinate-wise; returns the path."""
    x = torch.tensor([2.0, -1.0], dtype=torch.float64, requires_grad=True)
    optimizer = make_optimizer(name, [x], **hyperparameters)
    path = []
    for _ in range(steps):
        x.grad = gradient(x.detach())
        optimizer.step()
        path.append(x.detach().clone())
    return path


def gradient(x):
    return torch.tensor([1.0, 3.0], dtype=torch.float64) * x + 1


def test_sgd():
    x, v = torch.tensor([2.0, -1.0], dtype=torch.float64), 0
    for found in descend("sgd", lr=0.1, momentum=0.9, weight_decay=0.01):
        v = 0.9 * v + gradient(x) + 0.01 * x
        x = x - 0.1 * v
        torch.testing.assert_close(found, x)


def test_nesterov():
    x, v = torch.tensor([2.0, -1.0], dtype=torch.float64), 0
    for found in descend("sgd", lr=0.1, momentum=0.9, nesterov=True):
        v = 0.9 * v + gradient(x)
        x = x - 0.1 * (gradient(x) + 0.9 * v)
        torch.testing.assert_close(found, x)


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_adam(name):
    x, m, v = torch.tensor([2.0, -1.0], dtype=torch.float64), 0, 0
    for step, found in enumerate(descend(name, lr=0.05, beta1=0.8, beta2=0.9, eps=1e-3, weight_decay=0.2), 1):
        g = gradient(x) + (0.2 * x if name == "adam" else 0)
        m, v = 0.8 * m + 0.2 * g, 0.9 * v + 0.1 * g * g
        decayed = x * (1 - 0.05 * 0.2) if name == "adamw" else x
        x = decayed - 0.05 * (m / (1 - 0.8**step)) / ((v / (1 - 0.9**step)).sqrt() + 1e-3)
        torch.testing.assert_close(found, x)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer(name):
    hyperparameters = resolve_hyperparameters(name, {"lr": "0.01"})
    assert hyperparameters["lr"] == 0.01
    layer = nn.Linear(3, 2)
    optimizer = make_optimizer(name, layer, **hyperparameters)
    assert [p is q for p, q in zip(optimizer.param_groups[0]["params"], layer.parameters(), strict=True)] == [True] * 2
    assert optimizer.param_groups[0]["lr"] == 0.01
    for wrong in (0, -1, "fast"):
        with pytest.raises(RequestError, match=f"optimizer '{name}': setting 'lr' must be"):
            make_optimizer(name, layer, lr=wrong)
    with pytest.raises(RequestError, match="weight_decay"):
        make_optimizer(name, layer, weight_decay=-0.1)


def test_bad_requests():
    with pytest.raises(RequestError, match="unknown optimizer 'adma': did you mean 'adam'"):
        make_optimizer("adma", nn.Linear(2, 2))
    with pytest.raises(RequestError, match="unknown setting of optimizer 'sgd' 'momentun': did you mean 'momentum'"):
        make_optimizer("sgd", nn.Linear(2, 2), momentun=0.9)
    with pytest.raises(RequestError, match=r"momentum.* must be at least 0"):
        make_optimizer("sgd", nn.Linear(2, 2), momentum=1.0)
    with pytest.raises(RequestError, match="nesterov needs a momentum"):
        make_optimizer("sgd", nn.Linear(2, 2), nesterov=True)
