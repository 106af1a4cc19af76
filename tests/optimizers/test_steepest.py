"""Steepest descent against the lecture's formulas (rows 10 to 15) in NumPy: float64, 20 steps, to 1e-12."""

import numpy as np
import pytest
import torch
from torch import nn

from landscape.errors import RequestError
from landscape.linalg.norms import NORMS
from landscape.optimizers.registry import make_optimizer
from landscape.optimizers.steepest import SteepestDescent

SHAPES = ((3, 4), (6, 3), (3, 4), (2, 3, 2, 1))
MATRIX = ("spectral", "nuclear", "frobenius", "row", "column")
STEPS = 20


def gradients(xs, step):
    """Of a quadratic, with noise that is a function of the step."""
    noise = [np.random.default_rng([step, i]).normal(size=x.shape) for i, x in enumerate(xs)]
    return [0.7 * x + n for x, n in zip(xs, noise, strict=True)]


def start(shapes=SHAPES):
    return [np.random.default_rng([99, i]).normal(size=shape) for i, shape in enumerate(shapes)]


def lp(g, p):
    """LMO and dual norm of a vector."""
    if p == 1:
        step = np.zeros_like(g)
        step[np.abs(g).argmax()] = -np.sign(g[np.abs(g).argmax()])
        return step, np.abs(g).max()
    if p == np.inf:
        return -np.sign(g), np.abs(g).sum()
    q = p / (p - 1)
    dual = (np.abs(g) ** q).sum() ** (1 / q)
    return -np.sign(g) * np.abs(g) ** (q - 1) / dual ** (q - 1), dual


def matrix(g, norm):
    """LMO and dual norm of a matrix."""
    u, s, vt = np.linalg.svd(g, full_matrices=False)
    if norm == "spectral":
        return -u @ vt, s.sum()
    if norm == "nuclear":
        return -np.outer(u[:, 0], vt[0]), s[0]
    if norm == "frobenius":
        return -g / np.sqrt((g**2).sum()), np.sqrt((g**2).sum())
    lengths = np.sqrt((g**2).sum(1 if norm == "row" else 0, keepdims=True))
    return -g / lengths, lengths.sum()


def oracles(norm, p, scope, gs):
    """LMO and dual norm of each tensor of a list."""
    if norm in MATRIX:
        pairs = [matrix(g.reshape(len(g), -1), norm) for g in gs]
        if scope == "global":  # the largest norm: its dual is the sum
            pairs = [(step, sum(dual for _, dual in pairs)) for step, _ in pairs]
        return [(step.reshape(g.shape), dual) for (step, dual), g in zip(pairs, gs, strict=True)]
    p = {"l1": 1, "l2": 2, "linf": np.inf}.get(norm, p)
    if scope == "tensor":
        pairs = [lp(g.ravel(), p) for g in gs]
    else:
        step, dual = lp(np.concatenate([g.ravel() for g in gs]), p)
        pairs = [(part, dual) for part in np.split(step, np.cumsum([g.size for g in gs])[:-1])]
    return [(step.reshape(g.shape), dual) for (step, dual), g in zip(pairs, gs, strict=True)]


def follow(norm, p, scope, normalized, lr, momentum=0.0, nesterov=False, weight_decay=0.0):
    """The iterates by the formula."""
    xs = start()
    buffers = [np.zeros_like(x) for x in xs]
    for step in range(STEPS):
        gs = gradients(xs, step)
        buffers = [momentum * m + g for m, g in zip(buffers, gs, strict=True)]
        moments = [g + momentum * m if nesterov else m for g, m in zip(gs, buffers, strict=True)]
        pairs = oracles(norm, p, scope, moments)
        xs = [
            (1 - lr * weight_decay) * x + lr * (1 if normalized else dual) * d
            for x, (d, dual) in zip(xs, pairs, strict=True)
        ]
        yield xs


def check(optimizer, tensors, path):
    for step, expected in enumerate(path):
        for tensor, g in zip(tensors, gradients([t.detach().numpy() for t in tensors], step), strict=True):
            tensor.grad = torch.from_numpy(g)
        optimizer.step()
        for tensor, x in zip(tensors, expected, strict=True):
            assert np.abs(tensor.detach().numpy() - x).max() <= 1e-12 * np.abs(x).max()


@pytest.mark.parametrize("norm", [*(n for n in NORMS if n != "lp"), "lp-1.5", "lp-3", "lp-inf"])
@pytest.mark.parametrize("scope", ["global", "tensor"])
@pytest.mark.parametrize("normalized", [True, False])
def test_every_norm(norm, scope, normalized):
    name, _, p = norm.partition("-")
    given = {"p": p} if p else {}
    for extra in ({}, {"momentum": 0.6, "nesterov": True, "weight_decay": 0.3}, {"momentum": 0.6}):
        settings = {"norm": name, "scope": scope, "normalized": normalized, "lr": 0.02, **extra}
        tensors = [torch.tensor(x, requires_grad=True) for x in start()]
        path = follow(p=float(p) if p else None, **settings)
        check(make_optimizer("steepest", tensors, **settings, **given), tensors, path)


@pytest.mark.parametrize(("name", "norm"), [("normalized-gd", "l2"), ("sign-gd", "linf"), ("spectral-gd", "spectral")])
def test_names(name, norm):
    tensors = [torch.tensor(x, requires_grad=True) for x in start()]
    settings = {"lr": 0.03, "momentum": 0.5, "weight_decay": 0.1}
    check(make_optimizer(name, tensors, **settings), tensors, follow(norm, None, "global", True, **settings))


def test_groups_of_one_norm_are_one_point():
    """Groups that differ in weight decay only don't change the norm of the concatenation."""
    tensors = [torch.tensor(x, requires_grad=True) for x in start()]
    halves = [{"params": tensors[:1], "weight_decay": 0.2}, {"params": tensors[1:], "weight_decay": 0.2}]
    path = follow("l2", None, "global", False, lr=0.05, weight_decay=0.2)
    check(make_optimizer("steepest", halves, lr=0.05, normalized=False), tensors, path)


def test_parts_are_matrices_of_their_own():
    x = torch.tensor(start(((6, 2),))[0], requires_grad=True)
    optimizer = SteepestDescent([{"params": [x], "parts": 3}], lr=1.0, norm="spectral")
    before, x.grad = x.detach().clone(), x.detach() ** 2
    optimizer.step()
    step = (x.detach() - before).view(3, 2, 2)
    torch.testing.assert_close(step @ step.mT, torch.eye(2, dtype=torch.float64).expand(3, 2, 2))


def network():
    return nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 6), nn.Linear(6, 3))


def test_a_matrix_norm_is_split_by_role():
    model = network()
    groups = make_optimizer("steepest", model, norm="spectral", other_lr=0.5).param_groups
    assert [(g["norm"], g["lr"], g["param_names"]) for g in groups] == [
        ("spectral", 0.05, ["1.weight", "3.weight"]),
        ("linf", 0.5, ["0.weight"]),
        ("linf", 0.5, ["4.weight"]),
        ("l2", 0.5, ["1.bias", "2.weight", "2.bias", "3.bias", "4.bias"]),
    ]
    groups = make_optimizer("steepest", model, norm="spectral", head="row", vector="adamw", hidden="^3").param_groups
    assert [(g["norm"], g["param_names"]) for g in groups][:3] == [
        ("spectral", ["3.weight"]),
        ("linf", ["0.weight"]),
        ("row", ["1.weight", "4.weight"]),
    ]
    assert groups[3]["norm"] == "adamw"
    assert len(make_optimizer("steepest", model).param_groups) == 1


def test_groups_choose_norms_and_adamw():
    model, twin = nn.Linear(3, 2).double(), nn.Linear(3, 2).double()
    twin.load_state_dict(model.state_dict())
    groups = [{"params": [model.weight], "norm": "nuclear"}, {"params": [model.bias], "norm": "adamw", "lr": 0.1}]
    optimizer = make_optimizer("steepest", groups, norm="spectral", lr=0.2)
    plain = torch.optim.AdamW([twin.bias], lr=0.1, weight_decay=0.0)
    for k in range(3):
        before = model.weight.detach().clone()
        for layer in (model, twin):
            layer.weight.grad, layer.bias.grad = torch.ones(2, 3).double() * (k + 1), torch.tensor([1.0, k]).double()
        optimizer.step()
        plain.step()
        step = torch.linalg.svdvals(model.weight.detach() - before)
        torch.testing.assert_close(step, torch.tensor([0.2, 0.0], dtype=torch.float64))
        torch.testing.assert_close(model.bias, twin.bias, rtol=1e-14, atol=0)


def test_bad_requests():
    model = network()
    message = r"norm=spectral is for matrices, but parameter 1\.bias has shape \(6,\): put it .* l2, linf or adamw"
    with pytest.raises(RequestError, match=message):
        make_optimizer("steepest", model, norm="spectral", vector="spectral")
    vector = torch.zeros(3, requires_grad=True)
    with pytest.raises(RequestError, match=r"norm=row is for matrices, but parameter number 0 has shape \(3,\)"):
        SteepestDescent([vector], lr=0.1, norm="row")
    optimizer = SteepestDescent([torch.zeros(2, 2, requires_grad=True)], lr=0.1, norm="row")
    with pytest.raises(RequestError, match="norm=row"):
        optimizer.add_param_group({"params": [vector]})
    assert len(optimizer.param_groups) == 1
    with pytest.raises(RequestError, match="unknown norm of a parameter group 'specral': did you mean 'spectral'"):
        make_optimizer("steepest", [{"params": [vector], "norm": "specral"}])
    with pytest.raises(RequestError, match="norm=lp needs a p"):
        make_optimizer("steepest", model, norm="lp")
    with pytest.raises(RequestError, match="no other norm takes one, got norm=l2 and p=3"):
        make_optimizer("steepest", model, p=3)
    with pytest.raises(RequestError, match="'p' must be at least 1"):
        make_optimizer("steepest", model, norm="lp", p=0.5)
    with pytest.raises(RequestError, match="nesterov needs a momentum"):
        make_optimizer("sign-gd", model, nesterov=True)
    with pytest.raises(RequestError, match="did you mean 'spectral'"):
        make_optimizer("steepest", model, norm="spectrl")


def test_a_zero_gradient_makes_no_step():
    for norm in (n for n in NORMS if n != "lp"):
        x = torch.ones(2, 3, requires_grad=True)
        x.grad = torch.zeros(2, 3)
        make_optimizer("steepest", [x], norm=norm).step()
        assert torch.equal(x.detach(), torch.ones(2, 3)), norm
