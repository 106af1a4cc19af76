"""Bases of functions on [-1, 1]: one design matrix holds every size, as its first columns."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from landscape.errors import unknown


def legendre(x: Tensor, count: int) -> Tensor:
    """Legendre's polynomials, by Bonnet's recursion (k + 1) P_{k+1} = (2k + 1) x P_k - k P_{k-1}."""
    columns = [torch.ones_like(x), x]
    for k in range(1, count - 1):
        columns.append(((2 * k + 1) * x * columns[k] - k * columns[k - 1]) / (k + 1))
    return torch.stack(columns[:count], dim=-1)


def chebyshev(x: Tensor, count: int) -> Tensor:
    """Chebyshev's polynomials, by T_{k+1} = 2 x T_k - T_{k-1}."""
    columns = [torch.ones_like(x), x]
    for k in range(1, count - 1):
        columns.append(2 * x * columns[k] - columns[k - 1])
    return torch.stack(columns[:count], dim=-1)


def monomial(x: Tensor, count: int) -> Tensor:
    """Powers of x."""
    return x[..., None] ** torch.arange(count, dtype=x.dtype)


def fourier(x: Tensor, count: int) -> Tensor:
    """1, cos πx, sin πx, cos 2πx, … of period 2."""
    k = torch.arange(count)
    angles = torch.pi * x[..., None] * ((k + 1) // 2).to(x)
    return torch.where(k % 2 == 1, angles.cos(), torch.where(k > 0, angles.sin(), 1.0))


BASES: dict[str, Callable[[Tensor, int], Tensor]] = {
    "legendre": legendre,
    "chebyshev": chebyshev,
    "monomial": monomial,
    "fourier": fourier,
}
"""Maps points of shape `(*)` to the values of the first `count` functions, shape `(*, count)`; the first is 1."""


def find_basis(name: str) -> Callable[[Tensor, int], Tensor]:
    """A basis by name.

    Raises:
        RequestError: If there is none, naming the nearest.
    """
    if name not in BASES:
        raise unknown("basis", name, BASES)
    return BASES[name]
