"""Projections onto balls against their optimality conditions."""

import math

import pytest
import torch

from landscape.errors import RequestError
from landscape.linalg.balls import project
from landscape.linalg.norms import Lp


@pytest.mark.parametrize("p", [1, 1.3, 2, 3, math.inf])
def test_nothing_in_the_ball_is_nearer(p):
    generator = torch.Generator().manual_seed(0)
    y = torch.randn(7, generator=generator, dtype=torch.float64)
    norm = Lp(p)
    x = project(y, 0.8, p)
    assert float(norm.norm(x)) <= 0.8 * (1 + 1e-9)
    for _ in range(200):
        other = torch.randn(7, generator=generator, dtype=torch.float64)
        other = other * (0.8 / norm.norm(other))
        assert (y - x) @ (other - x) <= 1e-9
    assert torch.equal(project(x * 0.5, 0.8, p), x * 0.5)


def test_wrong_requests():
    with pytest.raises(RequestError, match="positive"):
        project(torch.ones(2), 0.0, 2)
    with pytest.raises(RequestError, match="at least 1"):
        project(torch.ones(2), 1.0, 0.5)
