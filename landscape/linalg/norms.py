r"""Norms with their duals and linear minimisation oracles.

For a norm :math:`\|\cdot\|` the dual norm is :math:`\|g\|_* = \max_{\|x\| = 1} \langle g, x \rangle` and the oracle

.. math:: \mathrm{LMO}(g) = \operatorname*{argmin}_{\|x\| = 1} \langle g, x \rangle,
          \qquad \langle g, \mathrm{LMO}(g) \rangle = -\|g\|_*,

with :math:`\mathrm{LMO}(0) = 0` by convention. Inner products of matrices are :math:`\operatorname{tr}(A^\top B)`.

Vector norms take a tensor of any shape as one vector. Matrix norms take the last two axes as a matrix and all others as
a batch.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from landscape.errors import RequestError, unknown
from landscape.linalg.polar import polar_factor


class Norm(ABC):
    """A norm with its dual and its oracle."""

    matrix = False
    """Whether it is a norm of matrices rather than of vectors."""

    @abstractmethod
    def norm(self, x: Tensor) -> Tensor:
        r""":math:`\|x\|`; shape `()` for a vector norm, `(*)` for matrices `(*, m, n)`."""

    @abstractmethod
    def dual_norm(self, g: Tensor) -> Tensor:
        r""":math:`\|g\|_*`, shaped as `norm`."""

    @abstractmethod
    def lmo(self, g: Tensor) -> Tensor:
        r""":math:`\mathrm{LMO}(g)`, shaped as g; 0 where g is 0."""


@dataclass(frozen=True)
class Lp(Norm):
    r"""The norm :math:`\|x\|_p = (\sum_i |x_i|^p)^{1/p}`; its dual is that of q, :math:`1/p + 1/q = 1`.

    Args:
        p: From 1 to infinity.

    Raises:
        RequestError: If p is less than 1.
    """

    p: float

    def __post_init__(self) -> None:
        """Refuse what is no norm."""
        if not self.p >= 1:
            raise RequestError(f"an lp norm needs p of at least 1 (inf is allowed), got {self.p}")

    @property
    def q(self) -> float:
        """The exponent of the dual norm."""
        if self.p == 1:
            return math.inf
        return 1.0 if math.isinf(self.p) else self.p / (self.p - 1)

    def norm(self, x: Tensor) -> Tensor:
        """The p-norm of all elements."""
        return _lp(x, self.p)

    def dual_norm(self, g: Tensor) -> Tensor:
        """The q-norm of all elements."""
        return _lp(g, self.q)

    def lmo(self, g: Tensor) -> Tensor:
        r""":math:`-\operatorname{sign}(g)\,|g|^{q-1} / \|g\|_q^{q-1}`; for p = 1 one element, for p = ∞ the sign."""
        if g.numel() == 0:
            return g.clone()
        if math.isinf(self.p):
            return -g.sign()
        if self.p == 1:
            flat = g.reshape(-1)
            result = torch.zeros_like(flat)
            largest = flat.abs().argmax()
            result[largest] = -flat[largest].sign()
            return result.view(g.shape)
        peak = g.detach().abs().max()  # the scale has no part in the result, nor in its derivative
        scaled = g / torch.where(peak > 0, peak, 1.0)  # powers of numbers up to 1 can't overflow
        powers = scaled if self.p == 2 else scaled.sign() * scaled.abs().pow(self.q - 1)
        length = _lp(powers, self.p)
        return -powers / torch.where(length > 0, length, 1.0)


class MatrixNorm(Norm):
    """A norm of the matrices in the last two axes."""

    matrix = True


EXACT_POLAR: Callable[[Tensor], Tensor] = partial(polar_factor, method="svd")
"""The polar factor by singular value decomposition."""


@dataclass(frozen=True)
class Spectral(MatrixNorm):
    r"""The operator norm :math:`\sigma_1`; its dual is the nuclear norm and :math:`\mathrm{LMO}(G) = -U V^\top`.

    Args:
        polar: How the polar factor is computed; exactly by default.
    """

    polar: Callable[[Tensor], Tensor] = EXACT_POLAR

    def norm(self, x: Tensor) -> Tensor:
        """The largest singular value."""
        return _schatten(x, 2)

    def dual_norm(self, g: Tensor) -> Tensor:
        """The sum of the singular values."""
        return _schatten(g, "nuc")

    def lmo(self, g: Tensor) -> Tensor:
        """The negative polar factor."""
        return -self.polar(g)


@dataclass(frozen=True)
class Nuclear(MatrixNorm):
    r"""The nuclear norm :math:`\sum_i \sigma_i`; dual: the operator norm; :math:`\mathrm{LMO}(G) = -u_1 v_1^\top`."""

    def norm(self, x: Tensor) -> Tensor:
        """The sum of the singular values."""
        return _schatten(x, "nuc")

    def dual_norm(self, g: Tensor) -> Tensor:
        """The largest singular value."""
        return _schatten(g, 2)

    def lmo(self, g: Tensor) -> Tensor:
        """The negative outer product of the leading singular vectors."""
        u, s, vh = torch.linalg.svd(g, full_matrices=False)
        leading: Tensor = u[..., :, :1] * (s[..., :1, None] > 0) * vh[..., :1, :]
        return -leading


@dataclass(frozen=True)
class Frobenius(MatrixNorm):
    r"""The Frobenius norm :math:`\sqrt{\operatorname{tr}(A^\top A)}`, its own dual."""

    def norm(self, x: Tensor) -> Tensor:
        """The root of the sum of squares."""
        return _length(x, (-2, -1))

    def dual_norm(self, g: Tensor) -> Tensor:
        """The same."""
        return self.norm(g)

    def lmo(self, g: Tensor) -> Tensor:
        """The negative direction of g."""
        return -_unit(g, (-2, -1))


@dataclass(frozen=True)
class Largest(MatrixNorm):
    r"""The largest ℓ2 norm of a row (or column), :math:`\max_i \|A_{i\cdot}\|_2`; its dual is their sum.

    Args:
        axis: -1 for rows, -2 for columns: the axis along which ℓ2 norms are taken.
    """

    axis: int

    def norm(self, x: Tensor) -> Tensor:
        """The largest."""
        return _length(x, self.axis).amax(-1)

    def dual_norm(self, g: Tensor) -> Tensor:
        """The sum."""
        return _length(g, self.axis).sum(-1)

    def lmo(self, g: Tensor) -> Tensor:
        """Each row (or column) scaled to length 1, negative."""
        return -_unit(g, self.axis)


NORMS: dict[str, Callable[..., Norm]] = {
    "l1": lambda: Lp(1),
    "l2": lambda: Lp(2),
    "linf": lambda: Lp(math.inf),
    "lp": Lp,
    "spectral": Spectral,
    "nuclear": Nuclear,
    "frobenius": Frobenius,
    "row": lambda: Largest(-1),
    "column": lambda: Largest(-2),
}


def make_norm(name: str, **settings: Any) -> Norm:
    """A norm by name.

    Args:
        name: A name of `NORMS`.
        settings: `p` for `lp`, `polar` for `spectral`.

    Raises:
        RequestError: If the name is unknown or p is no norm's.
    """
    if name not in NORMS:
        raise unknown("norm", name, NORMS)
    return NORMS[name](**settings)


def _lp(x: Tensor, p: float) -> Tensor:
    """The p-norm of all elements, scaled by the largest so that powers don't overflow or vanish."""
    if x.numel() == 0:
        return x.new_zeros(())
    peak = x.abs().max()
    length: Tensor = peak * torch.linalg.vector_norm(x / torch.where(peak > 0, peak, 1.0), p)
    return length


def _unit(x: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    """Scaled to length 1 along some axes; 0 stays 0. Scaled by the peak first, so that squares don't vanish."""
    peak = x.abs().amax(dim, keepdim=True)
    x = x / torch.where(peak > 0, peak, 1.0)
    length = torch.linalg.vector_norm(x, dim=dim, keepdim=True)
    unit: Tensor = x / torch.where(length > 0, length, 1.0)
    return unit


def _length(x: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    """The 2-norm along some axes, scaled by the peak so that squares don't overflow or vanish."""
    peak = x.abs().amax(dim, keepdim=True)
    scaled = torch.linalg.vector_norm(x / torch.where(peak > 0, peak, 1.0), dim=dim, keepdim=True)
    length: Tensor = (peak * scaled).squeeze(dim)
    return length


def _schatten(x: Tensor, order: int | str) -> Tensor:
    """The largest singular value (2) or their sum (nuc)."""
    value: Tensor = torch.linalg.matrix_norm(x, order)
    return value
