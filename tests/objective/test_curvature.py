"""Hessian, Gauss-Newton and Fisher against dense matrices that plain autograd gives, in float64."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from landscape.errors import RequestError
from landscape.networks.models import build_model
from landscape.objective.curvature import Fisher, GaussNewton, Hessian
from landscape.objective.memory import MIB
from landscape.objective.objective import Objective
from landscape.testing import LinearRegression

TIGHT = {"rtol": 1e-10, "atol": 1e-12}
EVERY = {
    "hessian": Hessian,
    "gauss-newton": GaussNewton,
    "exact": Fisher,
    "sampled": lambda o, t, **k: Fisher(o, t, "sampled", generator=torch.Generator().manual_seed(3), **k),
    "empirical": lambda o, t, **k: Fisher(o, t, "empirical", **k),
}


def equal(actual, expected):
    torch.testing.assert_close(actual, expected, **TIGHT)


def dense(operator):
    return operator.matmat(torch.eye(operator.dim, dtype=operator.dtype))


def jacobian(values, tensors):
    """Rows of derivatives of a flat tensor, shape `(len(values), D)`."""
    options = {"retain_graph": True, "allow_unused": True, "materialize_grads": True}
    rows = [torch.autograd.grad(value, tensors, create_graph=False, **options) for value in values]
    return torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])


def some_products(case, theta, vectors):
    """Products with the plain Hessian, row by row; with all unit vectors the dense matrix."""
    model = case.at(theta)
    tensors = list(model.parameters())
    with sdpa_kernel(SDPBackend.MATH):
        gradients = torch.autograd.grad(case.mean_loss(case.outputs(model)), tensors, create_graph=True)
        slope = torch.cat([part.flatten() for part in gradients])
        return jacobian(vectors @ slope, tensors)


def outputs_and_jacobian(case, theta):
    """Outputs as rows `(R, C)`, their Jacobian `(R, C, D)`, and targets for each row."""
    model = case.at(theta)
    outputs = case.outputs(model)
    slope = jacobian(outputs.flatten(), list(model.parameters()))
    rows = outputs.detach().flatten(0, -2)
    return rows, slope.view(*rows.shape, -1), case.targets.flatten() if case.loss != "mse" else case.targets


def dense_gauss_newton(case, theta):
    rows, slope, targets = outputs_and_jacobian(case, theta)
    if case.loss == "mse":
        middle = 2 / rows.shape[1] * torch.eye(rows.shape[1], dtype=rows.dtype).expand(len(rows), -1, -1)
        kept = torch.ones(len(rows), dtype=rows.dtype)
    else:
        p = rows.softmax(-1)
        middle, kept = torch.diag_embed(p) - p[:, :, None] * p[:, None, :], (targets != -100).to(rows.dtype)
    return torch.einsum("r,rcd,rce,ref->df", kept, slope, middle, slope) / kept.sum()


def dense_empirical(case, theta):
    rows, slope, targets = outputs_and_jacobian(case, theta)
    if case.loss == "mse":
        residual, count = 2 / rows.shape[1] * (rows - targets), len(rows)
    else:
        kept = targets != -100
        residual = (rows.softmax(-1) - F.one_hot(targets.clamp_min(0), rows.shape[1])) * kept[:, None]
        count = int(kept.sum())
    gradients = torch.einsum("rc,rcd->rd", residual, slope).view(len(case.targets), -1, slope.shape[-1]).sum(1)
    return gradients.mT @ gradients / count


def test_hessian_is_the_dense_one(case):
    """The whole matrix; of the largest models some of its products."""
    theta = case.theta(case.build())
    operator = Hessian(Objective(case.build(), case.data, case.loss, batch_size=5), theta)
    assert operator.strategy.name == "kept"
    vectors = torch.eye(len(theta), dtype=theta.dtype)
    if len(theta) > 300:
        vectors = torch.randn(4, len(theta), generator=torch.Generator().manual_seed(0), dtype=theta.dtype)
    found = operator.matmat(vectors)
    equal(found, some_products(case, theta, vectors))
    assert operator.dim == len(theta)
    assert operator.products == len(vectors)
    equal(operator(vectors[1]), found[1])
    assert operator.products == len(vectors) + 1


@pytest.mark.parametrize("kind", ["mlp", "convnet", "tied", "dict", "regression"])
def test_gauss_newton_and_fisher_are_the_dense_ones(case_of, kind):
    case = case_of(kind)
    theta = case.theta(case.build())
    objective = Objective(case.build(), case.data, case.loss, batch_size=5)
    expected = dense_gauss_newton(case, theta)
    equal(dense(GaussNewton(objective, theta)), expected)
    equal(dense(Fisher(objective, theta)), expected)
    equal(dense(Fisher(objective, theta, "empirical", strategy="recomputed")), dense_empirical(case, theta))


@pytest.mark.parametrize("name", EVERY)
def test_small_gpt(name):
    """QK-norm, rotary positions, fused attention, tied embedding; restricted to one block."""
    torch.manual_seed(0)
    model = build_model("gpt-nano", (6,), 7, {"layers": 1, "heads": 1, "width": 4}).double()
    tokens = torch.randint(7, (5, 6))
    targets = torch.randint(7, (5, 6))
    objective = Objective(model, (tokens, targets), batch_size=2)
    theta = objective.theta + 0.3 * torch.randn(objective.num_parameters, dtype=torch.float64)
    operator = EVERY[name](objective, theta)
    found = dense(operator)
    equal(found, found.mT)
    part = EVERY[name](objective, theta, parameters="qkv")
    inside = torch.cat(
        [
            torch.full((size,), "qkv" in key)
            for key, size in zip(objective.layout.names, objective.layout.sizes, strict=True)
        ]
    )
    equal(dense(part), found[inside][:, inside])
    if name == "hessian":
        step = 1e-5 * torch.randn(operator.dim, dtype=torch.float64)
        change = objective.gradient(theta + step)[1] - objective.gradient(theta - step)[1]
        torch.testing.assert_close(2 * operator(step), change, rtol=1e-4, atol=1e-6 * float(change.abs().max()))


def test_sampled_fisher_tends_to_the_exact_one(case_of):
    for kind in ("mlp", "regression", "tied"):
        case = case_of(kind)
        objective = Objective(case.build(), case.data, case.loss, batch_size=5)
        vector = torch.randn(objective.num_parameters, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        exact = Fisher(objective, objective.theta)(vector)
        draws = [
            Fisher(objective, objective.theta, "sampled", generator=torch.Generator().manual_seed(s), draws=20)(vector)
            for s in range(30)
        ]
        mean, spread = torch.stack(draws).mean(0), torch.stack(draws).std(0) / 30**0.5
        assert ((mean - exact).abs() <= 5 * spread + 1e-12).all()
        assert (mean - exact).norm() < 0.2 * exact.norm()
        again = Fisher(objective, objective.theta, "sampled", generator=torch.Generator().manual_seed(0), draws=20)
        assert torch.equal(again(vector), draws[0])


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("kind", ["mlp", "convnet", "tied"])
def test_strategies_agree(case_of, name, kind):
    case = case_of(kind)
    objective = Objective(case.build(), case.data, batch_size=5)
    theta = case.theta(case.build())
    vectors = torch.randn(2, len(theta), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    whole = EVERY[name](objective, theta)
    expected = whole.matmat(vectors)
    equal(expected[0] @ vectors[1], expected[1] @ vectors[0])
    for strategy in ("kept", "recomputed"):
        operator = EVERY[name](objective, theta, strategy=strategy)
        equal(operator.matmat(vectors), expected)
        assert operator.strategy.name == strategy
    mixed = EVERY[name](objective, theta, memory_budget=4 * whole.strategy.graph_bytes)
    assert (mixed.strategy.name, mixed.strategy.num_kept, mixed.strategy.num_batches) == ("mixed", 2, 5)
    for _ in range(2):
        equal(torch.stack([mixed(vector) for vector in vectors]), expected)
    assert "2 of 5 microbatches of 5" in str(mixed.strategy)


@pytest.mark.parametrize("kind", ["mlp", "convnet"])
def test_linearisation_agrees(case_of, kind):
    case = case_of(kind)
    objective = Objective(case.build(), case.data, batch_size=12, weight_decay=0.1)
    theta = case.theta(case.build())
    vector = torch.randn(len(theta), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    operator = Hessian(objective, theta, strategy="linearized")
    equal(operator(vector), Hessian(objective, theta)(vector))
    assert operator.strategy.name == "linearized"
    assert operator.strategy.graph_bytes > 100


def test_linearisation_is_tried_where_it_might_pay(case_of):
    case = case_of("mlp")
    objective = Objective(case.build(), case.data)
    assert "linearisation takes" in Hessian(objective, objective.theta, expected_products=1000).strategy.reason
    assert "linearisation" not in Hessian(objective, objective.theta, expected_products=20).strategy.reason
    assert "none of its own" in GaussNewton(objective, objective.theta, expected_products=1000).strategy.reason


@pytest.mark.parametrize("batch_size", [1, 4, 22, 23, 100])
@pytest.mark.parametrize("kind", ["convnet", "tied"])
def test_ragged_batches_and_loaders(case_of, kind, batch_size):
    case = case_of(kind)
    theta = case.theta(case.build())
    vector = torch.linspace(-1, 1, len(theta), dtype=torch.float64)
    whole = Objective(case.build(), case.data, batch_size=1000)
    expected = Hessian(whole, theta)(vector)
    equal(Hessian(Objective(case.build(), case.data, batch_size=batch_size), theta)(vector), expected)
    loader = Objective(case.build(), list(whole.samples.batches(9)), batch_size=batch_size)
    equal(Hessian(loader, theta)(vector), expected)
    equal(GaussNewton(loader, theta)(vector), GaussNewton(whole, theta)(vector))


@pytest.mark.parametrize("name", EVERY)
def test_weight_decay_and_blocks(case_of, name):
    case = case_of("convnet")
    theta = case.theta(case.build())
    full = dense(EVERY[name](Objective(case.build(), case.data, batch_size=5), theta))
    decayed = Objective(case.build(), case.data, batch_size=5, weight_decay=0.3)
    identity = torch.eye(len(theta), dtype=torch.float64)
    equal(dense(EVERY[name](decayed, theta)), full + 0.3 * identity)
    start = 0
    for tensor, size in zip(decayed.layout.names, decayed.layout.sizes, strict=True):
        block = slice(start, start + size)
        operator = EVERY[name](decayed, theta, parameters=f"^{tensor}$")
        assert operator.layout.names == (tensor,)
        equal(dense(operator), full[block, block] + 0.3 * identity[block, block])
        start += size
    head = Objective(case.at(theta), case.data, parameters="^5", batch_size=5)
    equal(dense(EVERY[name](head, head.theta, parameters="bias")), full[-3:, -3:])


@pytest.mark.parametrize("policy", ["batch", "recompute"])
def test_batchnorm_policies(case_of, policy):
    """The derivative of the objective's own gradient, whose statistics are constants or the batch's."""
    case = case_of("convnet")
    objective = Objective(case.build(), case.data, batchnorm=policy, batch_size=9)
    theta = case.theta(case.build())
    operator = Hessian(objective, theta)
    found = dense(operator)
    equal(found, found.mT)
    equal(dense(Hessian(objective, theta, strategy="recomputed")), found)
    if policy == "batch":
        step = 1e-5 * torch.randn(len(theta), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        change = objective.gradient(theta + step)[1] - objective.gradient(theta - step)[1]
        torch.testing.assert_close(2 * operator(step), change, rtol=1e-5, atol=1e-11)
        with pytest.raises(RequestError, match=r"memory_budget of .* the graph of one microbatch of"):
            Hessian(objective, theta, memory_budget=operator.strategy.graph_bytes)
    else:
        model = case.at(theta)
        objective.module.place(theta)
        statistics = {name: buffer for name, buffer in objective.module.module.named_buffers() if "running" in name}
        model.load_state_dict(statistics, strict=False)
        fixed = Objective(model, case.data)
        equal(found, dense(Hessian(fixed, fixed.theta)))


def test_linear_regression():
    problem = LinearRegression.random(40, 6, torch.Generator().manual_seed(0))
    objective = Objective(problem.model(), (problem.inputs, problem.targets), "mse", batch_size=7)
    expected = 2 / 40 * problem.inputs.mT @ problem.inputs
    for operator in (Hessian, GaussNewton, Fisher):
        equal(dense(operator(objective, torch.linspace(-1, 1, 6, dtype=torch.float64))), expected)


def test_logistic_and_softmax_regression():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(31, 4, generator=generator, dtype=torch.float64)
    binary = torch.randint(2, (31,), generator=generator)

    def logistic(outputs, targets):
        return F.softplus(-(2 * targets - 1) * outputs[:, 0])

    torch.manual_seed(0)
    line = nn.Linear(4, 1, bias=False).double()
    p = (inputs @ line.weight[0]).sigmoid().detach()
    expected = (inputs * (p * (1 - p))[:, None]).mT @ inputs / 31
    objective = Objective(line, (inputs, binary), logistic, batch_size=8)
    equal(dense(Hessian(objective, objective.theta)), expected)
    equal(dense(GaussNewton(objective, objective.theta)), expected)
    empirical = (inputs * (p - binary)[:, None] ** 2).mT @ inputs / 31
    equal(dense(Fisher(objective, objective.theta, "empirical")), empirical)

    plane = nn.Linear(4, 3, bias=False).double()
    p = (inputs @ plane.weight.mT).softmax(-1).detach()
    middle = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    expected = torch.einsum("nij,na,nb->iajb", middle, inputs, inputs).reshape(12, 12) / 31
    objective = Objective(plane, (inputs, binary), batch_size=8)
    for operator in (Hessian, GaussNewton, Fisher):
        equal(dense(operator(objective, objective.theta)), expected)


def test_a_loss_without_curvature(case_of):
    case = case_of("mlp")
    objective = Objective(case.build(), case.data, lambda outputs, targets: outputs.sum(1), weight_decay=0.5)
    vector = torch.ones(objective.num_parameters, dtype=torch.float64)
    equal(GaussNewton(objective, objective.theta)(vector), 0.5 * vector)
    constant = Objective(case.build(), case.data, lambda outputs, targets: outputs.detach().sum(1))
    for operator in (Hessian, GaussNewton):
        equal(operator(constant, constant.theta)(vector), 0 * vector)


@pytest.mark.parametrize("name", EVERY)
def test_nothing_of_the_callers_changes(case, name):
    model = case.build().train()
    before = copy.deepcopy(model.state_dict())
    flags = [(part.training, [p.requires_grad for p in part.parameters()]) for part in model.modules()]
    objective = Objective(model, case.data, case.loss, batch_size=9)
    value = objective.loss(case.theta(model))
    state = torch.get_rng_state()
    operator = EVERY[name](objective, objective.theta)
    vector = torch.ones(operator.dim, dtype=operator.dtype)
    first = operator(vector)
    objective.loss(case.theta(model) + 1)  # the objective goes elsewhere; the operator stays
    assert torch.equal(operator(vector), first)
    assert torch.equal(EVERY[name](objective, objective.theta)(vector), first)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert flags == [(part.training, [p.requires_grad for p in part.parameters()]) for part in model.modules()]
    assert objective.loss(case.theta(model)) == value
    assert vector.eq(1).all()
    assert not first.requires_grad


def test_frozen_flags_and_float32(case_of):
    """What a caller froze is part of theta as ever; float32 agrees with float64."""
    case = case_of("convnet")
    frozen = case.build().requires_grad_(False)
    double = Objective(frozen, case.data)
    single = Objective(frozen, case.data, dtype=torch.float32)
    vector = torch.randn(double.num_parameters, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        expected = Hessian(double, double.theta)(vector)
        found = Hessian(single, single.theta)(vector)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-6)


def test_a_budget_makes_microbatches_smaller(case_of):
    case = case_of("convnet")
    objective = Objective(case.build(), case.data, batch_size=23)
    vector = torch.linspace(-1, 1, objective.num_parameters, dtype=torch.float64)
    whole = Hessian(objective, objective.theta)
    tight = Hessian(objective, objective.theta, memory_budget=0.7 * whole.strategy.graph_bytes)
    assert tight.strategy.batch_size < 10
    assert tight.strategy.graph_bytes * (tight.strategy.num_kept + 2) <= tight.strategy.memory_budget
    equal(tight(vector), whole(vector))
    with pytest.raises(RequestError, match="too small: the graph of one microbatch of 1, twice, takes 1 MiB"):
        Hessian(objective, objective.theta, memory_budget=100)
    with pytest.raises(RequestError, match=r"strategy 'kept' for \d+ microbatches takes 1 MiB; .*strategy='auto'"):
        Hessian(objective, objective.theta, memory_budget=2 * whole.strategy.graph_bytes - 1, strategy="kept")
    assert whole.strategy.memory_budget == 2048 * MIB


class Noisy(nn.Linear):
    def forward(self, x):
        return super().forward(F.dropout(x, 0.5, training=True))


BAD = {
    "theta": (lambda o: Hessian(o, o.theta[1:]), "expected theta of shape"),
    "vector": (lambda o: Hessian(o, o.theta)(o.theta[1:]), r"expected a vector of shape \(53,\), got \(52,\)"),
    "vectors": (lambda o: Hessian(o, o.theta).matmat(o.theta), r"expected vectors of shape \(k, 53\), got \(53,\)"),
    "pattern": (lambda o: Hessian(o, o.theta, parameters="conv"), "parameters='conv' matches none of: 0.weight"),
    "expression": (lambda o: Hessian(o, o.theta, parameters="("), "is no regular expression"),
    "strategy": (lambda o: Hessian(o, o.theta, strategy="keep"), "unknown strategy 'keep': did you mean 'kept'"),
    "linearised": (lambda o: GaussNewton(o, o.theta, strategy="linearized"), "GaussNewton can't be linearised"),
    "budget": (lambda o: Hessian(o, o.theta, memory_budget=0), "memory_budget must be a positive number"),
    "kind": (lambda o: Fisher(o, o.theta, "exakt"), "unknown kind of Fisher matrix 'exakt': did you mean 'exact'"),
    "generator": (lambda o: Fisher(o, o.theta, "sampled"), "needs a generator"),
    "random": (lambda o: Hessian(Objective(Noisy(6, 3).double(), o.samples), torch.ones(21)), "not deterministic"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_requests(case_of, name):
    call, message = BAD[name]
    case = case_of("mlp")
    with pytest.raises(RequestError, match=message) as caught:
        call(Objective(case.build(), case.data))
    assert "\n" not in str(caught.value)


def test_fisher_needs_a_likelihood_and_outputs_by_sample(case_of):
    case = case_of("mlp")
    own = Objective(case.build(), case.data, lambda o, t: F.cross_entropy(o, t, reduction="none"))
    for kind in ("exact", "sampled"):
        with pytest.raises(RequestError, match=f"the {kind} Fisher matrix needs the model's distribution"):
            Fisher(own, own.theta, kind)
    turned = Objective(case.build(), case.data, lambda o, t: o[:, 0] ** 2)
    Fisher(turned, turned.theta, "empirical")


@pytest.mark.gpu
@pytest.mark.parametrize("name", EVERY)
def test_gpu_agrees_with_cpu(case, name):
    theta = case.theta(case.build())
    vector = torch.linspace(-1, 1, len(theta), dtype=theta.dtype)
    here, there = (Objective(case.build(), case.data, case.loss, device=d, batch_size=7) for d in ("cpu", "cuda"))
    found = EVERY[name](there, theta)(vector)
    assert found.is_cuda
    if name != "sampled":  # whose draws are the device's
        equal(found.cpu(), EVERY[name](here, theta)(vector))
