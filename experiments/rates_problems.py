r"""The functions of `rates`, each smooth with L = 1 and hard at every scale, in several random instances at once.

A method's rate is met by a function that stays hard at every accuracy, so each is a ladder of scales. No method
of this experiment depends on the basis (all commute with rotations), so the coordinates are those that are cheapest;
minima are at 0, where float64 keeps its relative accuracy.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

P = TypeVar("P", bound="Instances")


@dataclass(frozen=True)
class Instances(ABC):
    """Random instances of one function, with L = 1.

    Args:
        start: Where the runs start, shape `(instance, d)`.
        damping: Added to the curvature by `precondition`.
    """

    start: Tensor
    damping: float

    @abstractmethod
    def loss(self, x: Tensor) -> Tensor:
        """How far f is above its minimum at points of shape `(*, instance, d)`, shape `(*, instance)`."""

    @abstractmethod
    def gradient(self, x: Tensor) -> Tensor:
        """The gradient at points of shape `(*, instance, d)`, of the same shape."""

    @abstractmethod
    def precondition(self, gradient: Tensor) -> Tensor:
        """(H + damping)^-1 times the gradient, with H the curvature at the minimum."""

    def criterion(self, x: Tensor) -> Tensor:
        """What is to become at most epsilon, shape `(*, instance)`."""
        return self.loss(x)

    def noise(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Noise of a stochastic gradient, of mean 0 and covariance 1 (isotropic), shape `(*shape, instance, d)`."""
        return torch.randn(*shape, *self.start.shape, generator=generator, dtype=self.start.dtype)

    def only(self: P, instance: int) -> P:
        """One instance alone."""
        tensors: dict[str, Any] = {
            field.name: value[instance : instance + 1]
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return replace(self, **tensors)


@dataclass(frozen=True)
class Quadratic(Instances):
    r""":math:`\frac12\sum_i \lambda_i x_i^2` with some :math:`\lambda_i = 0`: PL, but not strongly convex.

    The least eigenvalue above 0 is :math:`\mu = L / \kappa`; the others lie on a geometric ladder from :math:`4\mu` to
    L, so that the slowest direction rules early, and each of them has about the same share of f.

    Args:
        eigenvalues: :math:`\lambda`, shape `(instance, d)`.
    """

    eigenvalues: Tensor

    @classmethod
    def random(
        cls, mu: Tensor, top: Tensor, size: int, null: int, damping: float, generator: torch.Generator
    ) -> Quadratic:
        """Instances with given extreme eigenvalues, shape `(instance,)`, `size` directions and `null` flat ones."""
        rungs = torch.linspace(0, 1, size - 1, dtype=torch.float64)
        ladder = (4 * mu)[:, None] ** (1 - rungs) * top[:, None] ** rungs
        curved = torch.cat([mu[:, None], ladder], dim=-1)
        shape = (len(mu), size)
        share = 0.5 + torch.rand(shape, generator=generator, dtype=torch.float64)
        signs = torch.randint(2, shape, generator=generator) * 2.0 - 1.0
        start = signs * (2 * share / share.sum(-1, keepdim=True) / curved).sqrt()
        flat = torch.randn(len(mu), null, generator=generator, dtype=torch.float64)
        return cls(torch.cat([start, flat], dim=-1), damping, torch.cat([curved, torch.zeros_like(flat)], dim=-1))

    def loss(self, x: Tensor) -> Tensor:
        """Half the weighted sum of squares; 1 at the start."""
        return 0.5 * (self.eigenvalues * x.square()).sum(-1)

    def gradient(self, x: Tensor) -> Tensor:
        """Each coordinate by its eigenvalue."""
        return self.eigenvalues * x

    def precondition(self, gradient: Tensor) -> Tensor:
        """Diagonal."""
        return gradient / (self.eigenvalues + self.damping)

    def expected(self, rates: Tensor, sigma: float) -> Tensor:
        r"""E f of SGD, isotropic noise: :math:`E x_i^2 \leftarrow (1-\alpha\lambda_i)^2 E x_i^2 + \alpha^2\sigma^2`.

        Args:
            rates: Step sizes, shape `(K,)`.
            sigma: Standard deviation of the noise in each direction.

        Returns:
            E f before each step and after the last, shape `(K + 1, instance)`.
        """
        square = self.start.square()
        found = [0.5 * (self.eigenvalues * square).sum(-1)]
        for rate in rates.tolist():
            square = (1 - rate * self.eigenvalues).square() * square + (rate * sigma) ** 2
            found.append(0.5 * (self.eigenvalues * square).sum(-1))
        return torch.stack(found)


@dataclass(frozen=True)
class Chain(Instances):
    r"""A ladder of Nesterov's worst functions, :math:`\sum_j \frac18 \|D x^{(j)}\|^2`, with chains of growing length.

    In each chain D takes differences of neighbours, with 0 at both ends (Nesterov's function, moved so that its
    minimum is at 0); the start is the ramp that the function is known for. On a chain of length n no method that adds
    up gradients is better than :math:`\propto 1/k^2` before :math:`k = n/2`, and GD is at :math:`\propto 1/k` where
    :math:`k \sim n^2`. With :math:`\|x_0 - x^*\| = 1` shared among all lengths the sum is hard at every k in between.

    Args:
        inside: 1 for what belongs to a chain, 0 for the walls between chains, shape `(instance, d)`.
        inverse: (H + damping)^-1, shape `(1, d, d)`.

    References:
        Nesterov, "Introductory lectures on convex optimization", 2004, section 2.1.2.
    """

    inside: Tensor
    inverse: Tensor

    @classmethod
    def random(cls, instances: int, shortest: int, longest: int, damping: float, generator: torch.Generator) -> Chain:
        """Lengths by factors of about the root of 2; each instance shares the distance among them at random."""
        rungs = round(2 * math.log2(longest / shortest))
        parts, inside = [], []
        for rung in range(rungs + 1):
            length = round(shortest * 2 ** (rung / 2))
            ramp = torch.arange(length, 0, -1, dtype=torch.float64) / (length + 1)
            share = 0.5 + torch.rand(instances, 1, generator=generator, dtype=torch.float64)
            parts.append(torch.nn.functional.pad(share.sqrt() * -ramp / ramp.norm(), (0, 1)))
            inside.append(torch.nn.functional.pad(torch.ones(instances, length, dtype=torch.float64), (0, 1)))
        start, mask = torch.cat(parts, dim=-1)[:, :-1], torch.cat(inside, dim=-1)[:, :-1]
        start = start / start.norm(dim=-1, keepdim=True)
        inverse = torch.zeros(1, 0, 0, dtype=torch.float64)
        if damping > 0:
            eye = torch.eye(start.shape[-1], dtype=torch.float64)
            hessian = mask[:1] * _chain(eye * mask[0]) + damping * eye
            inverse = torch.linalg.inv(hessian)[None]
        return cls(start, damping, mask, inverse)

    def loss(self, x: Tensor) -> Tensor:
        """An eighth of the squared differences."""
        return 0.125 * _differences(x).square().sum(-1)

    def gradient(self, x: Tensor) -> Tensor:
        """Differences of differences; the walls don't move."""
        return _chain(x) * self.inside

    def precondition(self, gradient: Tensor) -> Tensor:
        """One inverse for all instances, which differ in their starts alone."""
        return gradient @ self.inverse[0]

    def noise(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Each difference is measured with noise, as targets are in least squares: the covariance is H."""
        instances, size = self.start.shape
        drawn = torch.randn(*shape, instances, size + 1, generator=generator, dtype=self.start.dtype)
        return -0.5 * torch.diff(drawn) * self.inside

    def only(self, instance: int) -> Chain:
        """One instance alone; the inverse is everyone's."""
        return replace(self, start=self.start[instance][None], inside=self.inside[instance][None])


@dataclass(frozen=True)
class Flat(Instances):
    r"""Flat-bottomed: :math:`\sum_i |x_i|^p / (p(p-1))`, L = 1 on the unit box.

    Gradient descent goes as :math:`f \propto k^{-p/(p-2)}`: :math:`\epsilon^{-(1 - 2/p)}` steps, which meets
    :math:`O(1/\epsilon)` as p grows.

    Args:
        power: p.
    """

    power: int

    @classmethod
    def random(cls, instances: int, size: int, power: int, damping: float, generator: torch.Generator) -> Flat:
        """Starts near corners of the box."""
        start = 1 - 0.03 * torch.rand(instances, size, generator=generator, dtype=torch.float64)
        return cls(start, damping, power)

    def loss(self, x: Tensor) -> Tensor:
        """The sum of powers."""
        return x.abs().pow(self.power).sum(-1) / (self.power * (self.power - 1))

    def gradient(self, x: Tensor) -> Tensor:
        """Of each coordinate alone."""
        return x.sign() * x.abs().pow(self.power - 1) / (self.power - 1)

    def precondition(self, gradient: Tensor) -> Tensor:
        """The curvature at the minimum is 0."""
        return gradient / self.damping


@dataclass(frozen=True)
class Wells(Instances):
    r"""A ladder of saturating wells, :math:`\sum_j \frac12 u_j^2/(1+u_j^2)`, :math:`u_j = x_j/\ell_j`: not convex.

    The runs start where every well is concave (:math:`u^2 > 1/3`). Well j takes about :math:`\ell_j^2` steps and its
    squared gradient is about :math:`1/\ell_j^2` until then, so that of all is :math:`\propto 1/k`, with f - f* of a
    few units.

    Args:
        widths: :math:`\ell_j \ge 1`, shape `(instance, d)`.
    """

    widths: Tensor

    @classmethod
    def random(cls, instances: int, widest: float, damping: float, generator: torch.Generator) -> Wells:
        """Widths from 1 on, eight to a factor of two, starts at u from 1 to 2."""
        rungs = round(8 * math.log2(widest)) + 1
        place = torch.arange(rungs, dtype=torch.float64)
        jitter = torch.rand(instances, rungs, generator=generator, dtype=torch.float64)
        widths = 2 ** ((place + jitter) / 8)
        reach = 1 + torch.rand(instances, rungs, generator=generator, dtype=torch.float64)
        return cls(reach * widths, damping, widths)

    def loss(self, x: Tensor) -> Tensor:
        """Each well is half a unit deep."""
        square = (x / self.widths).square()
        return 0.5 * (square / (1 + square)).sum(-1)

    def gradient(self, x: Tensor) -> Tensor:
        """Of each coordinate alone."""
        u = x / self.widths
        return u / (1 + u.square()).square() / self.widths

    def criterion(self, x: Tensor) -> Tensor:
        """The squared norm of the gradient."""
        return self.gradient(x).square().sum(-1)

    def precondition(self, gradient: Tensor) -> Tensor:
        """The curvature at the bottoms is the largest of each well."""
        return gradient / (self.widths**-2 + self.damping)


def _differences(x: Tensor) -> Tensor:
    """Differences of neighbours with 0 at both ends, shape `(*, d + 1)`."""
    return torch.diff(torch.nn.functional.pad(x, (1, 1)))


def _chain(x: Tensor) -> Tensor:
    """A quarter of the second differences, negative: eigenvalues in (0, 1)."""
    return -0.25 * torch.diff(_differences(x))
