"""Every optimizer against the lecture's formula written out in NumPy: float64, 20 steps, to 1e-12."""

from pathlib import Path

import numpy as np
import pytest
import torch

from landscape.optimizers.registry import OPTIMIZERS, make_optimizer

SHAPES = ((3, 4), (5,))
STEPS = 20
CURVATURES = [np.random.default_rng([0, i]).uniform(0.2, 2, shape) for i, shape in enumerate(SHAPES)]


def gradient(xs, step):
    """Of a quadratic, with noise that is a function of the step and some gradients that are exactly 0."""
    noise = [np.random.default_rng([1, step, i]).normal(size=shape) for i, shape in enumerate(SHAPES)]
    gradients = [a * x + 0.3 * n for a, x, n in zip(CURVATURES, xs, noise, strict=True)]
    gradients[1][0] = 0.0 if step < 5 else gradients[1][0]
    return gradients


def start():
    return [np.random.default_rng([2, i]).normal(size=shape) for i, shape in enumerate(SHAPES)]


def follow(update, **h):
    """The iterates of an update rule `(x, g, state, k, **h) -> x`, tensor by tensor, k counted from 1."""
    xs, states, path = start(), [{} for _ in SHAPES], []
    for step in range(STEPS):
        gradients = gradient(xs, step)
        xs = [update(x, g, s, step + 1, **h) for x, g, s in zip(xs, gradients, states, strict=True)]
        path.append(xs)
    return path


def sgd(x, g, state, k, lr, momentum=0.0, nesterov=False, weight_decay=0.0):
    g = g + weight_decay * x
    state["v"] = momentum * state.get("v", 0) + g
    return x - lr * (g + momentum * state["v"] if nesterov else state["v"])


def nesterov(x, g, state, k, lr, momentum, weight_decay=0.0):
    return sgd(x, g, state, k, lr, momentum, True, weight_decay)


def adagrad(x, g, state, k, lr, eps=1e-6, weight_decay=0.0):
    g = g + weight_decay * x
    state["v"] = state.get("v", 0) + g**2
    return x - lr * g / np.sqrt(state["v"] + eps)


def adadelta(x, g, state, k, lr=1.0, gamma=0.9, eps=1e-6, weight_decay=0.0):
    g = g + weight_decay * x
    state["v"] = gamma * state.get("v", 0) + (1 - gamma) * g**2
    d = np.sqrt(state.get("u", 0) + eps) / np.sqrt(state["v"] + eps) * g
    state["u"] = gamma * state.get("u", 0) + (1 - gamma) * d**2
    return x - lr * d


def rmsprop(x, g, state, k, lr, gamma=0.9, eps=1e-8, weight_decay=0.0):
    g = g + weight_decay * x
    state["v"] = gamma * state.get("v", 0) + (1 - gamma) * g**2
    return x - lr * g / np.sqrt(state["v"] + eps)


def adam(x, g, state, k, lr, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0, decoupled=False):
    g = g if decoupled else g + weight_decay * x
    state["m"] = beta1 * state.get("m", 0) + (1 - beta1) * g
    state["v"] = beta2 * state.get("v", 0) + (1 - beta2) * g**2
    m, v = state["m"] / (1 - beta1**k), state["v"] / (1 - beta2**k)
    return x - lr * (m / (np.sqrt(v) + eps) + (weight_decay * x if decoupled else 0))


def adamw(x, g, state, k, lr, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=1e-2):
    return adam(x, g, state, k, lr, beta1, beta2, eps, weight_decay, decoupled=True)


def amsgrad(x, g, state, k, lr, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0, bias_correction=True):
    g = g + weight_decay * x
    state["m"] = beta1 * state.get("m", 0) + (1 - beta1) * g
    state["v"] = beta2 * state.get("v", 0) + (1 - beta2) * g**2
    state["largest"] = np.maximum(state.get("largest", 0), state["v"])
    m, largest = state["m"], state["largest"]
    if bias_correction:
        m, largest = m / (1 - beta1**k), largest / (1 - beta2**k)
    return x - lr * m / (np.sqrt(largest) + eps)


FORMULAS = {
    "gd": (sgd, {"lr": 0.3}, {"lr": 0.1, "weight_decay": 0.1}),
    "sgd": (sgd, {"lr": 0.3}, {"lr": 0.1, "momentum": 0.8, "nesterov": True, "weight_decay": 0.1}),
    "momentum": (sgd, {"lr": 0.1, "momentum": 0.9}, {"lr": 0.1, "momentum": 0.5, "weight_decay": 0.1}),
    "nesterov": (nesterov, {"lr": 0.1, "momentum": 0.9}, {"lr": 0.1, "momentum": 0.5, "weight_decay": 0.1}),
    "adagrad": (adagrad, {"lr": 0.3}, {"lr": 0.1, "eps": 0.1, "weight_decay": 0.1}),
    "adadelta": (adadelta, {"lr": 1.0}, {"lr": 3.0, "gamma": 0.7, "eps": 1e-2, "weight_decay": 0.1}),
    "rmsprop": (rmsprop, {"lr": 0.03}, {"lr": 0.1, "gamma": 0.5, "eps": 1e-2, "weight_decay": 0.1}),
    "adam": (adam, {"lr": 0.1}, {"lr": 0.1, "beta1": 0.5, "beta2": 0.7, "eps": 1e-2, "weight_decay": 0.1}),
    "adamw": (adamw, {"lr": 0.1}, {"lr": 0.1, "beta1": 0.0, "beta2": 0.7, "eps": 1e-2, "weight_decay": 0.3}),
    "amsgrad": (
        amsgrad,
        {"lr": 0.1},
        {"lr": 0.1, "beta1": 0.5, "beta2": 0.7, "eps": 1e-2, "weight_decay": 0.1},
        {"lr": 0.1, "beta1": 0.8, "beta2": 0.6, "weight_decay": 0.1, "bias_correction": False},
    ),
}
"""For each optimizer its update rule, and the hyperparameters to follow it with."""

ELSEWHERE = {
    "lbfgs": "test_lbfgs.py",  # its steps depend on a line search, so that they are tested one by one
    "shampoo": "test_shampoo.py",
    "muon": "test_muon.py",
    "steepest": "test_steepest.py",
    "normalized-gd": "test_steepest.py",
    "sign-gd": "test_steepest.py",
    "spectral-gd": "test_steepest.py",
    "sam": "test_sam.py",
    "asam": "test_sam.py",
    "grokfast": "test_filtered.py",
    "orthograd": "test_filtered.py",
}
"""Optimizers whose formula is written out in a test file of their own."""


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_is_held_to_its_formula(name):
    if name not in FORMULAS:
        assert name in ELSEWHERE, f"write the formula of '{name}' in NumPy: here, or in a file that ELSEWHERE names"
        assert "numpy" in (Path(__file__).parent / ELSEWHERE[name]).read_text("utf-8")


@pytest.mark.parametrize(
    ("name", "number"), [(name, number) for name, (_, *cases) in FORMULAS.items() for number in range(len(cases))]
)
def test_twenty_steps(name, number):
    update, *cases = FORMULAS[name]
    expected = follow(update, **cases[number])
    tensors = [torch.tensor(x, requires_grad=True) for x in start()]
    optimizer = make_optimizer(name, tensors, **cases[number])
    for step, xs in enumerate(expected):
        for tensor, g in zip(tensors, gradient([t.detach().numpy() for t in tensors], step), strict=True):
            tensor.grad = torch.from_numpy(g)
        optimizer.step()
        for tensor, x in zip(tensors, xs, strict=True):
            assert np.abs(tensor.detach().numpy() - x).max() <= 1e-12 * np.abs(x).max()


def test_epsilon_inside_the_root():
    """Where torch's RMSProp takes a step of 9.1, the lecture's takes one of 0.01."""
    x = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = make_optimizer("rmsprop", [x], lr=1.0, gamma=0.99, eps=1e-8)
    x.grad = torch.full_like(x, 1e-6)
    optimizer.step()
    assert x.item() == pytest.approx(-1e-6 / 1e-4, rel=1e-5)


def test_methods_that_are_special_cases_of_one_another():
    same = {
        ("momentum", ()): ("sgd", (("momentum", 0.9),)),
        ("nesterov", ()): ("sgd", (("momentum", 0.9), ("nesterov", True))),
        ("adamw", (("weight_decay", 0.0),)): ("adam", ()),
    }
    for pair in same.items():
        ends = []
        for name, settings in pair:
            x = torch.tensor([1.0, -2.0], requires_grad=True)
            optimizer = make_optimizer(name, [x], **dict(settings))
            for _ in range(10):
                optimizer.zero_grad()
                x.square().sum().backward()
                optimizer.step()
            ends.append(x.detach())
        assert torch.equal(*ends), pair
