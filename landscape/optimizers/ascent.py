r"""The step to a ball's worst point, :math:`\hat\epsilon = -\rho\, T\, \mathrm{LMO}_p(T g)`, and its derivatives."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from landscape.linalg.norms import Lp


def ascent(
    weights: Sequence[Tensor], gradients: Sequence[Tensor], rhos: Sequence[float], norm: Lp, eta: float | None
) -> list[Tensor]:
    r"""The first-order worst step within a ball around the weights, all tensors taken as one vector.

    Args:
        weights: :math:`w`; in units of them, :math:`T = |w| + \eta`, is the step where `eta` is given.
        gradients: :math:`g`, shaped as the weights.
        rhos: :math:`\rho` for each tensor, in units of distance in weight space (of :math:`T` with `eta`).
        norm: That of the ball.
        eta: :math:`\eta`; None for :math:`T = 1`.

    Returns:
        :math:`\hat\epsilon`, shaped as the weights; differentiable in weights and gradients.
    """
    if not weights:
        return []
    units = None if eta is None else torch._foreach_add(torch._foreach_abs(list(weights)), eta)
    if units is not None:
        gradients = torch._foreach_mul(units, list(gradients))
    dtype = torch.float32
    for gradient in gradients:
        dtype = torch.promote_types(dtype, gradient.dtype)
    vector = torch.cat([gradient.reshape(-1).to(weights[0].device, dtype) for gradient in gradients])
    direction, alike = norm.lmo(vector), len(set(rhos)) == 1
    pieces = torch.split(-rhos[0] * direction if alike else direction, [weight.numel() for weight in weights])
    steps = [
        (piece if alike else -rho * piece).view(weight.shape).to(weight.device, weight.dtype)
        for rho, piece, weight in zip(rhos, pieces, weights, strict=True)
    ]
    return steps if units is None else list(torch._foreach_mul(units, steps))


def pull_back(
    weights: Sequence[Tensor],
    gradients: Sequence[Tensor],
    rhos: Sequence[float],
    norm: Lp,
    eta: float | None,
    cotangents: Sequence[Tensor],
) -> tuple[list[Tensor], list[Tensor]]:
    r"""The derivatives of :math:`\langle \hat\epsilon(w, g), x \rangle` with respect to :math:`g` and to :math:`w`.

    Args:
        weights: As for `ascent`.
        gradients: As for `ascent`. For p > 2 the derivative is infinite where one is 0, and taken as 0 there.
        rhos: As for `ascent`.
        norm: As for `ascent`.
        eta: As for `ascent`.
        cotangents: :math:`x`, shaped as the weights.
    """
    weights = [weight.detach().clone().requires_grad_() for weight in weights]
    gradients = [gradient.detach().clone().requires_grad_() for gradient in gradients]
    with torch.enable_grad():
        steps = ascent(weights, gradients, rhos, norm, eta)
        products = [(step * x).sum().to(steps[0]) for step, x in zip(steps, cotangents, strict=True)]
        value = torch.stack(products).sum()
    found = torch.autograd.grad(value, [*gradients, *weights], allow_unused=True, materialize_grads=True)
    of_gradients, of_weights = list(found[: len(gradients)]), list(found[len(gradients) :])
    if norm.p > 2:
        of_gradients = [torch.where(g == 0, 0, v) for g, v in zip(gradients, of_gradients, strict=True)]
    return of_gradients, of_weights
