r"""Roots of the loss's curvature by the outputs, :math:`\nabla_z^2 \ell_i = M_i = S_i S_i^\top`, sample by sample.

With them :math:`\operatorname{tr} J_i^\top M_i J_i` is a sum of squared lengths: :math:`\sum_c \|J_i^\top s_{ic}\|^2`
over the columns of :math:`S_i`, and the mean of :math:`\|J_i^\top S_i \epsilon\|^2` over random signs
:math:`\epsilon`. Where :math:`M_i` has negative eigenvalues, it is the difference of two such squares.

`mse` over C components has :math:`S = \sqrt{2 / C}\, I`, and cross-entropy of tokens or of many classes
:math:`S = \operatorname{diag}(\sqrt p) - p \sqrt p^\top` for the softmax p. Where the outputs are few,
:math:`M_i` is decomposed, whatever the loss: near the end of training one eigenvalue of it rules, and the square then
hardly depends on the signs.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from landscape.objective.fisher import slopes
from landscape.objective.losses import IGNORED_TOKEN, Loss, cross_entropy, mse, per_sample

FEW_OUTPUTS = 64
"""Up to so many outputs of a sample a metric is decomposed."""

Signed = tuple[Tensor, Tensor]
"""Signs, shape `(B,)`, and slopes, of the outputs' shape `(B, *)`: squares of the ones count with those signs."""


class UnknownRootError(Exception):
    """The metric is too large to be decomposed."""


class Root(ABC):
    """The root for one batch."""

    @abstractmethod
    def times(self, signs: Tensor) -> Iterator[Signed]:
        """S times some vectors of the outputs' shape: what is to be pulled back and squared."""

    def draw(self, generator: torch.Generator, like: Tensor) -> Iterator[Signed]:
        """Of random signs, independent for each sample."""
        return self.times(random_signs(like, generator))

    def columns(self, like: Tensor) -> Iterator[Signed]:
        """All columns; there are as many as a sample has outputs."""
        for number in range(like[0].numel()):
            unit = torch.zeros_like(like)
            unit.flatten(1)[:, number] = 1
            yield from self.times(unit)


def random_signs(like: Tensor, generator: torch.Generator) -> Tensor:
    """Independent random signs, drawn on the generator's own device."""
    drawn = torch.randint(2, like.shape, generator=generator, device=generator.device, dtype=torch.int8)
    return (2 * drawn - 1).to(like)


@dataclass(frozen=True)
class _Softmax(Root):
    """Cross-entropy's; tokens without a target have none."""

    chance: Tensor
    kept: Tensor

    def times(self, signs: Tensor) -> Iterator[Signed]:
        scaled = self.chance.sqrt() * signs
        turned = scaled - self.chance * scaled.sum(-1, keepdim=True)
        yield torch.ones_like(turned.flatten(1)[:, 0]), turned * self.kept[..., None]


@dataclass(frozen=True)
class _Squares(Root):
    """That of `mse`."""

    def times(self, signs: Tensor) -> Iterator[Signed]:
        yield torch.ones_like(signs.flatten(1)[:, 0]), signs * math.sqrt(2 / signs[0].numel())


@dataclass(frozen=True)
class _Decomposed(Root):
    """By eigenvectors, scaled, in the columns of `(B, C, C)`, and the signs of their eigenvalues, `(B, C)`."""

    vectors: Tensor
    signs: Tensor

    def times(self, signs: Tensor) -> Iterator[Signed]:
        for side in (1, -1):
            wanted = (signs.flatten(1) * (self.signs == side))[:, :, None]
            if wanted.any():
                turned = (self.vectors @ wanted)[..., 0].view_as(signs)
                yield torch.full_like(turned.flatten(1)[:, 0], side), turned


def root_of(loss: Loss, outputs: Tensor, targets: Tensor) -> Root:
    """The root for a batch's outputs, shape `(B, *)`.

    Raises:
        UnknownRootError: If a loss of the user's own has more outputs than can be decomposed.
    """
    count = outputs[0].numel()
    if loss is mse:
        return _Squares()
    if loss is cross_entropy:
        chance = outputs.double().softmax(-1)
        if outputs.ndim == 2 and count <= FEW_OUTPUTS:
            metric = torch.diag_embed(chance) - chance[:, :, None] * chance[:, None, :]
            return _decomposed(metric, outputs, convex=True)
        return _Softmax(chance.to(outputs), (targets != IGNORED_TOKEN).to(outputs))
    if count <= FEW_OUTPUTS:
        return _decomposed(_second_derivative(loss, outputs, targets), outputs)
    raise UnknownRootError


def _decomposed(metric: Tensor, outputs: Tensor, convex: bool = False) -> Root:
    """Of the metrics of some samples, shape `(B, C, C)`; what is negative in a convex loss's is rounding."""
    finite = metric.isfinite().all(2).all(1)[:, None, None]
    values, vectors = torch.linalg.eigh(torch.where(finite, metric + metric.mT, 0).double() / 2)
    vectors = torch.where(finite, vectors, math.nan)
    values = values.clamp_min(0) if convex else values
    floor = 100 * torch.finfo(metric.dtype).eps * values.abs().amax(1, keepdim=True)
    signs = torch.where(values.abs() > floor, values.sign(), 0) + ~finite[:, 0]
    return _Decomposed((vectors * values.abs().sqrt()[:, None]).to(outputs), signs.to(outputs))


def _second_derivative(loss: Loss, outputs: Tensor, targets: Tensor) -> Tensor:
    """That of any loss by a sample's outputs, shape `(B, C, C)`."""
    with torch.enable_grad():
        place = outputs.detach().requires_grad_()
        values, _ = per_sample(loss, place, targets, len(outputs), "loss")
        slope = torch.zeros_like(place)
        if values.requires_grad:
            (slope,) = torch.autograd.grad(
                values.sum(), place, create_graph=True, allow_unused=True, materialize_grads=True
            )
        rows = [
            torch.autograd.grad(entry.sum(), place, retain_graph=True, allow_unused=True, materialize_grads=True)[0]
            if entry.requires_grad
            else torch.zeros_like(outputs)
            for entry in slope.flatten(1).unbind(1)
        ]
    return torch.stack([row.flatten(1) for row in rows], 1)


class Empirical(Root):
    """The samples' own gradients as the one column of the root: that of the empirical Fisher matrix."""

    def __init__(self, loss: Loss, outputs: Tensor, targets: Tensor) -> None:
        self._slopes = slopes(loss, outputs, targets)

    def times(self, signs: Tensor) -> Iterator[Signed]:
        """The gradients."""
        yield torch.ones_like(self._slopes.flatten(1)[:, 0]), self._slopes

    def columns(self, like: Tensor) -> Iterator[Signed]:
        """The gradients."""
        return self.times(like)
