"""The caller's model, data and torch's random state are left alone, bit for bit."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from landscape.objective.batchnorm import POLICIES
from landscape.objective.module import PrivateModule, copy_module, preserved_rng
from landscape.objective.objective import Objective

METHODS = {
    "construct": lambda o, theta, batch: None,
    "theta": lambda o, theta, batch: o.theta.add_(1),
    "loss": lambda o, theta, batch: o.loss(theta),
    "losses": lambda o, theta, batch: o.losses(theta),
    "evaluate": lambda o, theta, batch: o.evaluate(theta),
    "values": lambda o, theta, batch: o.values(torch.stack([theta, -theta])),
    "gradient": lambda o, theta, batch: o.gradient(theta),
    "minibatch_gradient": lambda o, theta, batch: o.minibatch_gradient(theta, batch),
    "seeded minibatch_gradient": lambda o, theta, batch: o.minibatch_gradient(theta, batch, seed=3),
    "on": lambda o, theta, batch: o.on(batch).evaluate(theta),
    "num_samples": lambda o, theta, batch: o.num_samples,
    "check": lambda o, theta, batch: o.check(),
}


def network():
    """Everything that changes by being used: normalisation, dropout, spectral_norm, mixed flags, gradients."""
    torch.manual_seed(0)
    spectral = nn.utils.parametrizations.spectral_norm(nn.Linear(36, 8))
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.InstanceNorm2d(4, affine=True, track_running_stats=True),
        nn.AvgPool2d(2),
        nn.Flatten(),
        spectral,
        nn.Dropout(0.5),
        nn.BatchNorm1d(8, momentum=None),
        nn.Linear(8, 3),
    )
    model[1].eval()
    model[6].eval()
    model[8].bias.requires_grad_(False)
    model(torch.randn(6, 1, 6, 6)).sum().backward()
    return model


def everything(model):
    """All that a model holds, for comparison."""
    held = {f"tensor {name}": value.clone() for name, value in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        held[f"grad {name}"] = None if parameter.grad is None else parameter.grad.clone()
        held[f"requires_grad {name}"] = parameter.requires_grad
        held[f"place {name}"] = (id(parameter), parameter.data_ptr(), parameter._version)
    for name, part in model.named_modules():
        held[f"flags {name}"] = (part.training, getattr(part, "track_running_stats", 0), getattr(part, "momentum", 0))
    return held


def assert_same(before, after):
    assert before.keys() == after.keys()
    for name, value in before.items():
        same = torch.equal(value, after[name]) if isinstance(value, torch.Tensor) else value == after[name]
        assert same, name


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("kind", ["tensors", "loader"])
@pytest.mark.parametrize("method", METHODS)
def test_the_callers_model_and_random_state_stay_as_they_are(method, kind, policy):
    model = network()
    inputs, targets = torch.randn(11, 1, 6, 6), torch.randint(3, (11,))
    data = (inputs, targets) if kind == "tensors" else DataLoader(TensorDataset(inputs, targets), batch_size=4)
    before, pixels = everything(model), inputs.clone()
    state, numpy_state = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002 (the global one is meant)
    objective = Objective(model, data, batchnorm=policy, weight_decay=0.1, batch_size=4)
    METHODS[method](objective, 1.1 * objective.theta, (inputs[:4], targets[:4]))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(np.array_equal(a, b) for a, b in zip(numpy_state, np.random.get_state(), strict=True))  # noqa: NPY002
    assert_same(before, everything(model))
    assert torch.equal(inputs, pixels)


@pytest.mark.parametrize("policy", POLICIES)
def test_no_method_changes_what_the_next_returns(policy):
    model = network()
    inputs, targets = torch.randn(11, 1, 6, 6), torch.randint(3, (11,))
    objective = Objective(model, (inputs, targets), batchnorm=policy, batch_size=4)
    theta = 1.1 * objective.theta
    value = objective.evaluate(theta)
    for method in METHODS.values():
        method(objective, -theta, (inputs[:4], targets[:4]))
        assert objective.evaluate(theta) == value


def test_the_model_may_change_afterwards():
    model = network()
    objective = Objective(model, (torch.randn(11, 1, 6, 6), torch.randint(3, (11,))))
    value = objective.loss(objective.theta)
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.zero_()
    assert objective.loss(objective.theta) == value


def test_an_error_leaves_the_copy_usable():
    model = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 2))
    inputs, targets = torch.randn(9, 4), torch.randint(2, (9,))
    objective = Objective(model, (inputs, targets), batchnorm="recompute")
    value = objective.loss(objective.theta)
    with pytest.raises(ValueError, match="can't take"):
        objective.minibatch_gradient(objective.theta, (torch.randn(3, 5), targets[:3]))
    assert not objective.module.module.training
    assert objective.loss(objective.theta) == value


def test_copies_of_modules_that_keep_computed_tensors():
    layer = nn.Linear(3, 2)
    layer.computed = (layer.weight * 2).sum()
    with pytest.raises(RuntimeError, match="deepcopy"):
        copy.deepcopy(layer)
    copied = copy_module(layer)
    assert torch.equal(copied.computed, layer.computed)
    assert copied.weight.data_ptr() != layer.weight.data_ptr()


def test_tied_tensors_stay_tied():
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 5, bias=False))
    model[1].weight = model[0].weight
    private = PrivateModule(model, torch.device("cpu"), torch.float64)
    assert private.layout.names == ("0.weight",)
    private.write(torch.arange(20.0))
    assert private.module[0].weight is private.module[1].weight
    assert torch.equal(private.module[1].weight.flatten(), torch.arange(20.0, dtype=torch.float64))


def test_preserved_rng():
    state = torch.get_rng_state()
    with preserved_rng(torch.device("cpu"), 7):
        first = torch.rand(2)
    with preserved_rng(torch.device("cpu"), 7):
        assert torch.equal(torch.rand(2), first)
    with preserved_rng(torch.device("cpu")):
        torch.rand(2)
    assert torch.equal(torch.get_rng_state(), state)
