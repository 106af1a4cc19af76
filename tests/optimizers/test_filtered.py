"""Grokfast and the orthogonal gradient against their formulas written out in NumPy, and around every base."""

import copy

import numpy as np
import pytest
import torch

from landscape.errors import RequestError
from landscape.optimizers.registry import OPTIMIZERS, make_optimizer
from landscape.settings import defaults

SHAPES = ((3, 4), (5,))
FILTERS = ("grokfast", "orthograd")
BASES = [name for name, entry in OPTIMIZERS.items() if not {"base", "history"} & defaults(entry.build).keys()]


def start():
    return [np.random.default_rng([2, i]).normal(size=shape) for i, shape in enumerate(SHAPES)]


def gradients(xs, step):
    noise = [np.random.default_rng([1, step, i]).normal(size=shape) for i, shape in enumerate(SHAPES)]
    return [0.7 * x + 0.3 * n for x, n in zip(xs, noise, strict=True)]


def give(tensors, step):
    for tensor, g in zip(tensors, gradients([t.detach().numpy() for t in tensors], step), strict=True):
        tensor.grad = torch.from_numpy(g)


def follow(optimizer, tensors, steps, begin=0):
    path = []
    for step in range(begin, begin + steps):
        give(tensors, step)
        optimizer.step()
        path.append([t.detach().numpy().copy() for t in tensors])
    return path


def leaves():
    return [torch.from_numpy(x).requires_grad_() for x in start()]


def perpendicular(xs, gs, rescale, whole):
    """Each gradient less its projection on the weights."""
    if whole:
        x, g = (np.concatenate([one.ravel() for one in many]) for many in (xs, gs))
        flat = perpendicular([x], [g], rescale, False)[0]
        pieces = np.split(flat, np.cumsum([x.size for x in xs])[:-1])
        return [piece.reshape(x.shape) for piece, x in zip(pieces, xs, strict=True)]
    out = [g - (x * g).sum() / (x * x).sum() * x for x, g in zip(xs, gs, strict=True)]
    return [o * np.linalg.norm(g) / np.linalg.norm(o) if rescale else o for o, g in zip(out, gs, strict=True)]


def test_twenty_steps_of_grokfast():
    tensors, xs, mus = leaves(), start(), None
    optimizer = make_optimizer("grokfast", tensors, base="sgd", decay=0.8, gain=3.0, **{"base.lr": 0.05})
    for step in range(20):
        gs = gradients(xs, step)
        mus = gs if mus is None else [0.8 * m + 0.2 * g for m, g in zip(mus, gs, strict=True)]
        xs = [x - 0.05 * (g + 3.0 * m) for x, g, m in zip(xs, gs, mus, strict=True)]
        (found,) = follow(optimizer, tensors, 1, step)
        for a, b in zip(found, xs, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)
        for tensor, g in zip(tensors, gs, strict=True):
            np.testing.assert_allclose(tensor.grad.numpy(), g, rtol=1e-11, atol=1e-12)  # as backward left it


@pytest.mark.parametrize("rescale", [True, False])
@pytest.mark.parametrize("scope", ["tensor", "global"])
def test_twenty_steps_of_the_orthogonal_gradient(rescale, scope):
    tensors, xs = leaves(), start()
    optimizer = make_optimizer("orthograd", tensors, base="sgd", rescale=rescale, scope=scope, **{"base.lr": 0.05})
    for step in range(20):
        steps = perpendicular(xs, gradients(xs, step), rescale, scope == "global")
        inner = [float((x * s).sum()) for x, s in zip(xs, steps, strict=True)]
        assert abs(sum(inner)) < 1e-12
        assert scope == "global" or max(map(abs, inner)) < 1e-12
        xs = [x - 0.05 * s for x, s in zip(xs, steps, strict=True)]
        (found,) = follow(optimizer, tensors, 1, step)
        for a, b in zip(found, xs, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


def test_a_finite_step_lengthens_the_weights_by_its_square():
    tensors = leaves()
    optimizer = make_optimizer("orthograd", tensors, base="sgd", lr=0.05)
    before = [float(t.detach().square().sum()) for t in tensors]
    give(tensors, 0)
    optimizer.step()
    for tensor, old in zip(tensors, before, strict=True):
        step = 0.05**2 * float(tensor.grad.square().sum())  # rescaled to the length of the gradient
        assert float(tensor.detach().square().sum()) == pytest.approx(old + step, rel=1e-12)


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("name", FILTERS)
def test_around_every_base_a_killed_run_goes_on_to_the_same_bits(name, base):
    whole = leaves()
    expected = follow(make_optimizer(name, whole, base=base), whole, 6)
    tensors = leaves()
    optimizer = make_optimizer(name, tensors, base=base)
    follow(optimizer, tensors, 3)
    state = copy.deepcopy(optimizer.state_dict())
    again = [t.detach().clone().requires_grad_() for t in tensors]
    resumed = make_optimizer(name, again, base=base)
    resumed.load_state_dict(state)
    for a, b in zip(follow(resumed, again, 3, begin=3), expected[3:], strict=True):
        assert all((x == y).all() for x, y in zip(a, b, strict=True))
    copied = copy.deepcopy(resumed)
    assert copied.param_groups is copied.base.param_groups
    assert copied.state is copied.base.state


@pytest.mark.parametrize("base", BASES)
def test_without_gain_it_is_the_base_to_the_last_bit(base):
    plain, around = leaves(), leaves()
    expected = follow(make_optimizer(base, plain), plain, 4)
    for a, b in zip(follow(make_optimizer("grokfast", around, base=base, gain=0), around, 4), expected, strict=True):
        assert all((x == y).all() for x, y in zip(a, b, strict=True))


def test_a_gradient_along_the_weights_moves_nothing():
    """What rounding leaves of it is not blown up to its length."""
    tensor = torch.from_numpy(start()[0]).requires_grad_()
    single = torch.ones((), dtype=torch.float64, requires_grad=True)
    zero = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = make_optimizer("orthograd", [tensor, single, zero], base="sgd", lr=1.0)
    before = tensor.detach().clone()
    tensor.grad, single.grad, zero.grad = 0.3 * before, torch.tensor(2.0).double(), torch.ones(3).double()
    optimizer.step()
    torch.testing.assert_close(tensor.detach(), before, rtol=0, atol=1e-12)
    assert single.item() == 1
    assert zero.tolist() == [-1, -1, -1]  # weights of 0 have no direction


@pytest.mark.parametrize("name", FILTERS)
def test_a_closure_is_called_once(name):
    tensors, calls = leaves(), []
    optimizer = make_optimizer(name, tensors)

    def closure():
        calls.append(1)
        optimizer.zero_grad()
        loss = sum(t.square().sum() for t in tensors)
        loss.backward()
        return loss

    assert optimizer.step(closure).item() > 0
    assert len(calls) == 1


def test_added_groups_belong_to_the_base():
    tensors, more = leaves(), torch.ones(2, dtype=torch.float64, requires_grad=True)
    optimizer = make_optimizer("grokfast", tensors, base="sgd", lr=0.5)
    optimizer.add_param_group({"params": [more], "lr": 0.25})
    more.grad = torch.ones(2, dtype=torch.float64)
    optimizer.step()
    assert more.tolist() == [0.25, 0.25]  # 1 - 0.25 (1 + 2)


def test_bad_requests():
    for name in FILTERS:
        with pytest.raises(RequestError, match="base=lbfgs searches along the loss's own gradient"):
            make_optimizer(name, leaves(), base="lbfgs")
        with pytest.raises(RequestError, match=f"the base of {name} can't be sam"):
            make_optimizer(name, leaves(), base="sam")
    with pytest.raises(RequestError, match="less than 1"):
        make_optimizer("grokfast", leaves(), decay=1)
    with pytest.raises(RequestError, match="at least 0"):
        make_optimizer("grokfast", leaves(), gain=-1)
    with pytest.raises(RequestError, match="tensor"):
        make_optimizer("orthograd", leaves(), scope="layer")
