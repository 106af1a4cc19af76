"""Shampoo against the formula written out in NumPy, and its exact values on one gradient."""

import copy
import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from landscape.errors import RequestError
from landscape.optimizers.base import NonFiniteGradientError
from landscape.optimizers.parameters import groups_of
from landscape.optimizers.shampoo import Shampoo, blocks, factored_shape, shampoo


def draw(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def inverse_root(a, order, eps):
    values, vectors = np.linalg.eigh(a)
    return vectors @ np.diag((np.maximum(values, 0) + eps) ** (-1 / order)) @ vectors.T


def contract(tensor, matrix, mode):
    return np.moveaxis(np.tensordot(matrix, tensor, axes=(1, mode)), 0, mode)


class Reference:
    """Shampoo for one tensor, from the lecture, one axis after the other."""

    def __init__(self, shape, beta=0.95, total=False, eps=1e-6, relative=False, every=1):
        self.factors = [np.zeros((side, side)) for side in shape]
        self.beta, self.total, self.eps, self.relative, self.every = beta, total, eps, relative, every
        self.k = 0

    def __call__(self, g):
        for mode, factor in enumerate(self.factors):
            unfolding = np.moveaxis(g, mode, 0).reshape(len(factor), -1)
            gram = unfolding @ unfolding.T
            self.factors[mode] = factor + gram if self.total else self.beta * factor + (1 - self.beta) * gram
        if self.k % self.every == 0:
            eps = [self.eps * (np.linalg.eigvalsh(f)[-1] if self.relative else 1) for f in self.factors]
            self.roots = [inverse_root(f, 2 * g.ndim, e) for f, e in zip(self.factors, eps, strict=True)]
        self.k += 1
        for mode, root in enumerate(self.roots):
            g = contract(g, root, mode)
        return g


def follow(optimizer, parameter, references, update, steps=20):
    """Make steps with random gradients and compare each with `update(gradient, parameter)` in NumPy."""
    w = parameter.detach().numpy().copy()
    for step in range(steps):
        parameter.grad = draw(*parameter.shape, seed=step + 1)
        w = update(parameter.grad.numpy(), w)
        optimizer.step()
        error = np.linalg.norm(parameter.detach().numpy() - w) / np.linalg.norm(w)
        assert error <= 1e-12, f"step {step}: {error}"


OPTIONS = {
    "default": {},
    "lecture": {"beta": 0.8, "eps": 1e-3},
    "sum": {"statistics": "sum"},
    "relative": {"eps_mode": "relative", "eps": 1e-4},
    # Later gradients leave the range of the first statistics, where the eigenvalues are rounding (1e-16) beside eps.
    "every": {"every": 3, "eps": 1e-2},
}


def reference_options(options):
    renamed = {"statistics": "total", "eps_mode": "relative"}
    return {renamed.get(name, name): True if name in renamed else value for name, value in options.items()}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (6, 2), (7,), (), (3, 2, 4), (4, 2, 3, 3), (1, 5)], ids=str)
def test_twenty_steps_of_the_formula(shape, options):
    parameter = draw(*shape).requires_grad_()
    reference = Reference(shape or (1,), **reference_options(options))
    follow(
        shampoo([parameter], lr=0.05, **options),
        parameter,
        reference,
        lambda g, w: w - 0.05 * reference(g.reshape(shape or (1,))).reshape(shape),
    )


def test_matrices_as_the_lecture_writes_them():
    """The same once more without the reference's generality: L^(-1/4) G R^(-1/4)."""
    parameter, beta, eps = draw(5, 3).requires_grad_(), 0.9, 1e-4
    left, right = np.zeros((5, 5)), np.zeros((3, 3))

    def update(g, w):
        left[:] = beta * left + (1 - beta) * g @ g.T
        right[:] = beta * right + (1 - beta) * g.T @ g
        return w - 0.1 * inverse_root(left, 4, eps) @ g @ inverse_root(right, 4, eps)

    follow(shampoo([parameter], lr=0.1, beta=beta, eps=eps), parameter, None, update)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_momentum_and_decoupled_decay(options):
    parameter = draw(4, 3).requires_grad_()
    reference, v = Reference((4, 3), **reference_options(options)), np.zeros((4, 3))

    def update(g, w):
        v[:] = 0.9 * v + reference(g)
        return w - 0.02 * (v + 0.3 * w)

    optimizer = shampoo([parameter], lr=0.02, momentum=0.9, weight_decay=0.3, **options)
    follow(optimizer, parameter, reference, update)


@pytest.mark.parametrize("shape", [(3, 2, 3, 3), (5, 2, 2)], ids=str)
def test_a_convolution_as_a_matrix(shape):
    parameter = draw(*shape).requires_grad_()
    flat = (shape[0], math.prod(shape[1:]))
    reference = Reference(flat)
    follow(
        shampoo([parameter], lr=0.05, tensors="matrix"),
        parameter,
        reference,
        lambda g, w: w - 0.05 * reference(g.reshape(flat)).reshape(shape),
    )


@pytest.mark.parametrize(("statistics", "relative"), list(itertools.product(["ema", "sum"], [False, True])))
def test_a_diagonal_factor_for_vectors(statistics, relative):
    parameter, v = draw(6).requires_grad_(), np.zeros(6)

    def update(g, w):
        v[:] = v + g * g if statistics == "sum" else 0.95 * v + 0.05 * g * g
        return w - 0.05 * g / np.sqrt(v + 1e-3 * (v.max() if relative else 1))

    mode = "relative" if relative else "absolute"
    optimizer = shampoo([parameter], lr=0.05, vectors="diagonal", statistics=statistics, eps=1e-3, eps_mode=mode)
    follow(optimizer, parameter, None, update)


@pytest.mark.parametrize(("shape", "size"), [((7, 5), 3), ((4, 9), 4), ((8,), 3), ((5, 3, 4), 2), ((3, 4), 8)], ids=str)
def test_blocks_are_tensors_of_their_own(shape, size):
    parameter = draw(*shape).requires_grad_()
    corners = list(itertools.product(*(range(0, side, size) for side in shape)))
    places = [
        tuple(slice(start, min(start + size, side)) for start, side in zip(corner, shape, strict=True))
        for corner in corners
    ]
    references = [Reference(np.empty(shape)[place].shape) for place in places]

    def update(g, w):
        w = w.copy()
        for place, reference in zip(places, references, strict=True):
            w[place] -= 0.05 * reference(g[place])
        return w

    follow(shampoo([parameter], lr=0.05, block_size=size), parameter, references, update)


@pytest.mark.parametrize("grafting", ["sgd", "adam"])
def test_grafting_takes_the_direction_alone(grafting):
    parameter, reference = draw(4, 3).requires_grad_(), Reference((4, 3))
    m, v, k = np.zeros((4, 3)), np.zeros((4, 3)), [0]

    def update(g, w):
        k[0] += 1
        m[:], v[:] = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        adam = (m / (1 - 0.9 ** k[0])) / (np.sqrt(v / (1 - 0.999 ** k[0])) + 1e-8)
        u = reference(g)
        return w - 0.05 * u * np.linalg.norm(adam if grafting == "adam" else g) / np.linalg.norm(u)

    follow(shampoo([parameter], lr=0.05, grafting=grafting), parameter, reference, update)


@pytest.mark.parametrize("shape", [(5, 5), (4, 7), (6, 3)], ids=str)
@pytest.mark.parametrize("eps", [1e-16, 0.0])
def test_one_gradient_gives_its_polar_factor(shape, eps):
    """(GGᵀ)^(-1/4) G (GᵀG)^(-1/4) = UVᵀ; averages hold (1 - beta) of it, hence the factor."""
    g = draw(*shape)
    u, _, vh = np.linalg.svd(g.numpy(), full_matrices=False)
    for options, scale in (({"statistics": "sum"}, 1.0), ({"beta": 0.75}, 2.0)):
        parameter = torch.zeros(shape, dtype=torch.float64, requires_grad=True)
        parameter.grad = g
        Shampoo([parameter], lr=1.0, eps=eps, **options).step()
        np.testing.assert_allclose(-parameter.detach().numpy(), scale * u @ vh, atol=1e-10)


def test_a_gradient_of_zeros_moves_nothing():
    for options in ({}, {"grafting": "sgd"}, {"grafting": "adam"}, {"eps_mode": "relative"}, {"vectors": "diagonal"}):
        parameters = [draw(3, 2).requires_grad_(), draw(3).requires_grad_()]
        before = [p.detach().clone() for p in parameters]
        for p in parameters:
            p.grad = torch.zeros_like(p)
        shampoo(parameters, lr=0.1, **options).step()
        assert all(torch.equal(p, b) for p, b in zip(parameters, before, strict=True)), options


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 6), nn.ReLU(), nn.Linear(6, 6))


def run(model, optimizer, steps, first=0):
    for step in range(first, first + steps):
        x = torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


def test_it_descends_and_leaves_gradients_and_storage_alone():
    model = network()
    optimizer = shampoo(model, lr=0.02, block_size=20, momentum=0.9)
    places = [p.data_ptr() for p in model.parameters()]
    x = torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    first = model(x).square().mean().item()
    run(model, optimizer, 15)
    assert model(x).square().mean().item() < 0.5 * first
    gradients = [p.grad.clone() for p in model.parameters()]
    optimizer.step()
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), gradients, strict=True))
    assert places == [p.data_ptr() for p in model.parameters()]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_saved_state_goes_on_to_the_same_bits(dtype, tmp_path):
    """Statistics are float32 for bfloat16 parameters too, and roots computed every few steps are part of the state."""
    options = {"lr": 0.02, "every": 4, "momentum": 0.5, "grafting": "adam", "vectors": "diagonal"}
    model = network().to(dtype)
    cast = nn.Sequential(_Cast(dtype), model)
    optimizer = shampoo(model, **options)
    run(cast, optimizer, 6)
    torch.save(optimizer.state_dict(), tmp_path / "state")
    other = copy.deepcopy(model)
    expected = run(cast, optimizer, 5, first=6)
    again = shampoo(other, **options)
    again.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    assert torch.equal(run(nn.Sequential(_Cast(dtype), other), again, 5, first=6), expected)
    assert all(f.dtype == torch.float32 for state in again.state.values() for f in state["factors"])


class _Cast(nn.Module):
    def __init__(self, dtype):
        super().__init__()
        self.dtype = dtype

    def forward(self, x):
        return x.to(self.dtype)


def test_a_state_of_other_shapes_is_refused():
    parameter = draw(3, 2).requires_grad_()
    optimizer = shampoo([parameter])
    parameter.grad = draw(3, 2, seed=1)
    optimizer.step()
    with pytest.raises(RequestError, match="'factors'"):
        shampoo([draw(4, 2).requires_grad_()]).load_state_dict(optimizer.state_dict())


def test_groups_and_parameters_without_gradient():
    a, b, c = (draw(3, 3, seed=seed).requires_grad_() for seed in range(3))
    groups = [{"params": [a], "lr": 0.1, "beta": 0.5}, {"params": [b, c]}]
    optimizer = shampoo(groups, lr=0.02)
    before, (ra, rb) = c.detach().clone(), (Reference((3, 3), beta=0.5), Reference((3, 3)))
    wa, wb = a.detach().numpy().copy(), b.detach().numpy().copy()
    for step in range(5):
        a.grad, b.grad = draw(3, 3, seed=10 + step), draw(3, 3, seed=20 + step)
        wa, wb = wa - 0.1 * ra(a.grad.numpy()), wb - 0.02 * rb(b.grad.numpy())
        optimizer.step()
    np.testing.assert_allclose(a.detach().numpy(), wa, rtol=1e-12)
    np.testing.assert_allclose(b.detach().numpy(), wb, rtol=1e-12)
    assert torch.equal(c, before)
    assert not optimizer.state.get(c)


def test_gradients_that_are_not_finite():
    parameter = draw(3, 2).requires_grad_()
    before = parameter.detach().clone()
    parameter.grad = torch.full_like(parameter, float("nan"))
    with pytest.raises(NonFiniteGradientError, match="non_finite=skip"):
        shampoo([parameter]).step()
    optimizer = shampoo([parameter], non_finite="skip")
    optimizer.step()
    assert torch.equal(parameter, before)
    assert not optimizer.state.get(parameter)


def test_a_factor_that_is_too_large_names_the_remedy():
    embedding = torch.zeros(50257, 2, requires_grad=True)
    with pytest.raises(RequestError, match=r"\(50257, 2\).*block_size=1024"):
        shampoo([embedding])
    shampoo([embedding], block_size=1024)
    vector = torch.zeros(50257, requires_grad=True)
    shampoo([vector], vectors="diagonal")


def test_shapes_and_blocks():
    group = {"tensors": "matrix"}
    assert factored_shape(torch.zeros(4, 3, 2, 2), group) == (4, 12)
    assert factored_shape(torch.zeros(4, 3, 2, 2), {"tensors": "modes"}) == (4, 3, 2, 2)
    assert factored_shape(torch.zeros(()), group) == (1,)
    whole = torch.arange(35).view(5, 7)
    parts = list(blocks(whole, 3))
    assert [tuple(part.shape) for part in parts] == [(3, 3), (3, 3), (3, 1), (2, 3), (2, 3), (2, 1)]
    assert sorted(torch.cat([part.reshape(-1) for part in parts]).tolist()) == list(range(35))
    assert groups_of([torch.zeros(2, requires_grad=True)])
