"""L-BFGS: its directions are the two-loop recursion's, its steps fulfil the strong Wolfe conditions."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from landscape.errors import RequestError
from landscape.optimizers.registry import make_optimizer


def rosenbrock(x):
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def descend(history, steps):
    """The points visited from Rosenbrock's usual start, with value and gradient at each."""
    x = torch.tensor([-1.2, 1.0, -1.2, 1.0], dtype=torch.float64, requires_grad=True)
    optimizer = make_optimizer("lbfgs", [x], history=history)

    def evaluate():
        optimizer.zero_grad()
        value = rosenbrock(x)
        value.backward()
        return value

    path = []
    for _ in range(steps + 1):
        value = evaluate()
        path.append((x.detach().numpy().copy(), value.item(), x.grad.numpy().copy()))
        optimizer.step(evaluate)
    return path


def two_loops(g, pairs):
    """The direction -H g, by algorithm 7.4 of Nocedal & Wright, from pairs of (step, gradient difference)."""
    q, factors = g.copy(), []
    for s, y in reversed(pairs):
        factors.append(s @ q / (y @ s))
        q -= factors[-1] * y
    if pairs:
        s, y = pairs[-1]
        q *= s @ y / (y @ y)
    for (s, y), a in zip(pairs, reversed(factors), strict=True):
        q += s * (a - y @ q / (y @ s))
    return -q


@pytest.mark.parametrize("history", [1, 3, 10])
def test_directions_and_line_search(history):
    path, pairs = descend(history, steps=20), []
    for (x, f, g), (x_next, f_next, g_next) in pairwise(path):
        direction = two_loops(g, pairs)
        step = (x_next - x) @ direction / (direction @ direction)
        assert np.abs(x_next - x - step * direction).max() <= 1e-10 * np.abs(x_next - x).max()
        assert f_next <= f + 1e-4 * step * (g @ direction)
        assert abs(g_next @ direction) <= 0.9 * abs(g @ direction)
        pairs = [*pairs, (x_next - x, g_next - g)][-history:]


def test_it_reaches_the_minimum():
    x, value, _ = descend(10, steps=60)[-1]
    assert value < 1e-8  # torch keeps no pair whose product is below 1e-10, so that it slows down from there
    np.testing.assert_allclose(x, 1, rtol=1e-3)


def test_groups_are_refused():
    tensors = [torch.zeros(2, requires_grad=True) for _ in range(2)]
    with pytest.raises(RequestError, match="'lbfgs' takes all tensors in one group"):
        make_optimizer("lbfgs", [{"params": tensors[:1]}, {"params": tensors[1:]}])
