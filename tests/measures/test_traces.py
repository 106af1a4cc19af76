"""Traces by probes of each sample's own: against dense matrices, exact where they can be, with intervals that hold."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from landscape.measures.curved import METHODS
from landscape.measures.registry import measure
from landscape.networks.models import build_model
from landscape.objective.curvature import GaussNewton, Hessian
from landscape.objective.objective import Objective

make_case = runpy.run_path(str(Path(__file__).parents[1] / "objective" / "conftest.py"))["make_case"]


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def trace(operator):
    """Of the dense matrix."""
    return float(operator.matmat(torch.eye(operator.dim, dtype=operator.dtype)).trace())


def mlp(activation, *, samples=60, loss="cross-entropy", **settings):
    """A network that is right about as often as it says: the curvature of its own is a small part of the loss's."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 6), activation(), nn.Linear(6, 6), activation(), nn.Linear(6, 4)).double()
    inputs = 2 * torch.randn(samples, 5, dtype=torch.float64)
    with torch.no_grad():
        model[4].weight *= 4
        targets = torch.multinomial(model(inputs).softmax(1), 1)[:, 0]
    return Objective(model, (inputs, targets), loss, batch_size=16, **settings)


def estimates(name, objective, repetitions, **settings):
    found = [measure(name, objective, None, seeded(seed), checked=True, **settings) for seed in range(repetitions)]
    return (np.array([float(one.value) for one in found]), np.array([float(one.stderr) for one in found]), found)


BLOCKS = {
    "mlp": None,
    "convnet": "^[0145]",
    "groupnorm": "^[04]",
    "tied": None,
    "weight_norm": None,
    "regression": None,
}
BLOCKS |= {"lstm": "bias_hh|head.bias", "transformer": r"layers\.1\..*(bias|norm)"}


@pytest.mark.parametrize("name", BLOCKS)
def test_traces_are_those_of_dense_matrices(name):
    """Of small networks, or of some tensors; weight decay adds its part."""
    case = make_case(name)
    objective = Objective(
        case.at(case.theta(case.build())), case.data, case.loss, batch_size=5, parameters=BLOCKS[name]
    )
    decayed = Objective(
        objective.module.module, case.data, case.loss, batch_size=5, parameters=BLOCKS[name], weight_decay=0.3
    )
    for measured, operator in (("hessian_trace", Hessian), ("ggn_trace", GaussNewton)):
        truth = trace(operator(objective, objective.theta))
        for seed, one in enumerate((objective, objective, decayed)):
            found = measure(measured, one, None, seeded(seed), relative_error=0.1)
            expected = truth + one.weight_decay * one.num_parameters
            assert METHODS[int(found.more["method"])] == "sampled"
            assert abs(float(found.value) - expected) <= 4 * float(found.stderr) + 1e-9 * abs(expected)
            assert float(found.stderr) <= 0.1 * abs(float(found.value))


@pytest.mark.parametrize("name", ["mlp", "convnet"])
def test_a_piecewise_linear_network_s_trace_is_exact(name):
    """Nothing but the Gauss-Newton matrix is left of it, and that by as many passes as there are outputs."""
    objective = mlp(nn.ReLU)
    if name == "convnet":
        torch.manual_seed(0)
        model = build_model("convnet", (1, 8, 8), 4, {"width": 2}).double()
        data = torch.randn(33, 1, 8, 8, dtype=torch.float64), torch.randint(4, (33,))
        objective = Objective(model, data, batch_size=10)
    truth = trace(Hessian(objective, objective.theta))
    found = measure("hessian_trace", objective, relative_error=1e-9)
    assert float(found.stderr) == 0
    assert float(found.value) == pytest.approx(truth, rel=1e-10)
    assert measure("ggn_trace", objective, relative_error=1e-9).value == pytest.approx(truth, rel=1e-10)
    assert measure("fisher_trace", objective, relative_error=1e-9).value == pytest.approx(truth, rel=1e-10)


def test_a_part_of_the_parameters():
    objective = mlp(nn.Tanh, parameters=r"^2\.")
    truth = trace(Hessian(objective, objective.theta))
    assert objective.num_parameters == 42
    values, stderr, _ = estimates("hessian_trace", objective, 5, relative_error=0.02)
    assert (np.abs(values - truth) <= 4 * stderr).all()


@pytest.mark.parametrize(
    ("activation", "name", "samples", "goal"),
    [
        (nn.ReLU, "hessian_trace", 60, 0.06),
        pytest.param(nn.Tanh, "ggn_trace", 60, 0.06, marks=pytest.mark.slow),
        pytest.param(nn.Tanh, "hessian_trace", 200, 0.05, marks=pytest.mark.slow),
        pytest.param(nn.Tanh, "hessian_trace", 200, 0.1, marks=pytest.mark.slow),
    ],
)
def test_intervals_hold_the_trace(activation, name, samples, goal):
    """Nominal 95 % intervals hold it in 90–99 % of 200 repetitions; the estimates are unbiased and reach their goal."""
    objective = mlp(activation, samples=samples)
    truth = trace((GaussNewton if name == "ggn_trace" else Hessian)(objective, objective.theta))
    values, stderr, _ = estimates(name, objective, 200, relative_error=goal)
    assert stderr.min() > 0
    assert 0.90 <= np.mean(np.abs(values - truth) <= 1.96 * stderr) <= 0.99
    assert abs(values.mean() - truth) <= 4 * values.std() / np.sqrt(200)
    assert (stderr <= goal * np.abs(values) * (1 + 1e-12)).all()


def bounded(outputs, targets):
    """A loss that isn't convex in the outputs."""
    return 1 - torch.exp(-(outputs - F.one_hot(targets, 4)).square().sum(1))


def test_a_loss_that_is_not_convex():
    objective = mlp(nn.Tanh, loss=bounded)
    for name, operator in (("hessian_trace", Hessian), ("ggn_trace", GaussNewton)):
        truth = trace(operator(objective, objective.theta))
        values, stderr, found = estimates(name, objective, 4, relative_error=0.02)
        assert found[0].more["method"] == METHODS.index("sampled")
        assert (np.abs(values - truth) <= 4 * stderr + 1e-9).all()


class Mixed(nn.Linear):
    """Each sample sees the others."""

    def forward(self, x):
        return super().forward(x - x.mean(0))


class Two(nn.Module):
    """Outputs that aren't one tensor."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(5, 4), nn.Linear(5, 4)

    def forward(self, x):
        return self.left(x), self.right(x).square()


def many(outputs, targets):
    """Of one's own, with more outputs than a root is made of."""
    return F.softplus(outputs).sum(1)


@pytest.mark.parametrize("kind", ["batch", "mixed", "two", "many"])
def test_what_has_no_samples_of_its_own_is_hutch_plus_plus_s(kind):
    torch.manual_seed(0)
    inputs, labels = torch.randn(30, 5, dtype=torch.float64), torch.randint(4, (30,))
    model, loss, settings = Mixed(5, 4), "cross-entropy", {}
    if kind == "batch":
        model, settings = (
            nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 4)),
            {"batchnorm": "batch"},
        )
    elif kind == "two":
        model, loss = (
            Two(),
            lambda outputs, targets: F.cross_entropy(outputs[0] + outputs[1], targets, reduction="none"),
        )
    elif kind == "many":
        model, loss = nn.Linear(5, 70), many
    objective = Objective(model.double(), (inputs, labels), loss, weight_decay=0.1, batch_size=30, **settings)
    truth = trace(Hessian(objective, objective.theta))
    found = measure("hessian_trace", objective, relative_error=0.01)
    assert METHODS[int(found.more["method"])] == "hutch++"
    assert abs(float(found.value) - truth) <= 4 * float(found.stderr) + 1e-9


def test_a_budget_makes_microbatches_smaller_and_is_refused_where_it_holds_no_sample():
    from landscape.errors import RequestError

    objective = mlp(nn.Tanh)
    whole = measure("hessian_trace", objective, relative_error=0.1, memory=1)
    tight = measure("hessian_trace", objective, relative_error=0.1, memory=0.02)
    assert abs(float(whole.value - tight.value)) <= 4 * np.hypot(float(whole.stderr), float(tight.stderr))
    with pytest.raises(RequestError, match="too small"):
        measure("hessian_trace", objective, memory=1e-5)


def test_the_probes_have_an_end():
    objective = mlp(nn.Tanh)
    few, more = (measure("hessian_trace", objective, relative_error=1e-6, max_products=most) for most in (4, 16))
    assert float(few.stderr) > float(more.stderr) > 1e-6 * float(more.value)
