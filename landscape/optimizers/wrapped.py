"""The methods whose torch version equals the lecture's formula, with torch's fused or foreach kernels.

As in all of torch, a non-finite gradient goes through; the loss that follows tells.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.optim import Optimizer

from landscape.errors import RequestError
from landscape.optimizers.parameters import Parameters, groups_of
from landscape.settings import Count, Decay, NonNegative, Positive


def fused(groups: list[dict[str, Any]], devices: tuple[str, ...] = ("cpu", "cuda")) -> bool | None:
    """Whether torch has the update of these tensors as one kernel; None lets it choose among the other versions."""
    tensors = [tensor for group in groups for tensor in group["params"]]
    return all(tensor.is_floating_point() and tensor.device.type in devices for tensor in tensors) or None


def gd(model: Parameters, *, lr: Positive = 0.5, weight_decay: NonNegative = 0.0) -> Optimizer:
    r"""Gradient descent, :math:`x \leftarrow x - \alpha \nabla f(x)` on the full batch."""
    return sgd(model, lr=lr, weight_decay=weight_decay)


def sgd(
    model: Parameters,
    *,
    lr: Positive = 0.1,
    momentum: Decay = 0.0,
    nesterov: bool = False,
    weight_decay: NonNegative = 0.0,
) -> Optimizer:
    r"""Stochastic gradient descent, :math:`x \leftarrow x - \alpha v`, :math:`v \leftarrow \mu v + g`."""
    if nesterov and momentum == 0:
        raise RequestError("nesterov needs a momentum; set momentum=0.9 or leave nesterov out")
    groups = groups_of(model)
    return torch.optim.SGD(
        groups, lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay, fused=fused(groups)
    )


def momentum(
    model: Parameters, *, lr: Positive = 0.1, momentum: Decay = 0.9, weight_decay: NonNegative = 0.0
) -> Optimizer:
    r"""Heavy ball, :math:`v \leftarrow \mu v + g`, :math:`x \leftarrow x - \alpha v` (Polyak 1964)."""
    return sgd(model, lr=lr, momentum=momentum, weight_decay=weight_decay)


def nesterov(
    model: Parameters, *, lr: Positive = 0.1, momentum: Decay = 0.9, weight_decay: NonNegative = 0.0
) -> Optimizer:
    r"""Nesterov's momentum, :math:`v \leftarrow \mu v + g`, :math:`x \leftarrow x - \alpha (g + \mu v)`.

    References:
        Sutskever et al., "On the importance of initialization and momentum in deep learning", ICML 2013.
    """
    if momentum == 0:
        raise RequestError("optimizer 'nesterov' needs a momentum above 0; for none take optimizer 'sgd'")
    return sgd(model, lr=lr, momentum=momentum, nesterov=True, weight_decay=weight_decay)


def adagrad(
    model: Parameters, *, lr: Positive = 0.01, eps: Positive = 1e-6, weight_decay: NonNegative = 0.0
) -> Optimizer:
    r"""AdaGrad, :math:`v \leftarrow v + g^2`, :math:`x \leftarrow x - \alpha g / \sqrt{v + \epsilon}`.

    In torch's terms :math:`\epsilon` inside the root is where the sum starts, and its own `eps` is 0.

    References:
        Duchi, Hazan & Singer, "Adaptive subgradient methods", JMLR 2011.
    """
    groups = groups_of(model)
    return torch.optim.Adagrad(
        groups,
        lr=lr,
        eps=0,
        initial_accumulator_value=eps,
        weight_decay=weight_decay,
        fused=fused(groups, devices=("cpu",)),
    )


def adadelta(
    model: Parameters,
    *,
    lr: Positive = 1.0,
    gamma: Decay = 0.9,
    eps: Positive = 1e-6,
    weight_decay: NonNegative = 0.0,
) -> Optimizer:
    r"""AdaDelta, :math:`x \leftarrow x - \alpha d`, :math:`d = g \sqrt{u + \epsilon} / \sqrt{v + \epsilon}`.

    :math:`v` and :math:`u` are averages of :math:`g^2` and :math:`d^2` with the factor :math:`\gamma`.

    References:
        Zeiler, "ADADELTA: an adaptive learning rate method", arXiv 1212.5701.
    """
    return torch.optim.Adadelta(groups_of(model), lr=lr, rho=gamma, eps=eps, weight_decay=weight_decay, foreach=True)


def adam(
    model: Parameters,
    *,
    lr: Positive = 1e-3,
    beta1: Decay = 0.9,
    beta2: Decay = 0.999,
    eps: Positive = 1e-8,
    weight_decay: NonNegative = 0.0,
) -> Optimizer:
    r"""Adam, :math:`x \leftarrow x - \alpha \hat m / (\sqrt{\hat v} + \epsilon)`; decay is an L2 term (1412.6980)."""
    groups = groups_of(model)
    return torch.optim.Adam(
        groups, lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay, fused=fused(groups)
    )


def adamw(
    model: Parameters,
    *,
    lr: Positive = 1e-3,
    beta1: Decay = 0.9,
    beta2: Decay = 0.999,
    eps: Positive = 1e-8,
    weight_decay: NonNegative = 1e-2,
) -> Optimizer:
    r"""Adam with decoupled weight decay, the step less :math:`\alpha \lambda x` (arXiv 1711.05101)."""
    groups = groups_of(model)
    return torch.optim.AdamW(
        groups, lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay, fused=fused(groups)
    )


def lbfgs(
    model: Parameters, *, lr: Positive = 1.0, history: Count = 10, max_iter: Count = 1, tolerance: NonNegative = 1e-9
) -> Optimizer:
    r"""L-BFGS with a strong Wolfe line search on the full batch; a step is `max_iter` iterations.

    `lr` is where the line search starts, `history` the number of pairs of steps and gradient differences that stand for
    the Hessian, and `tolerance` the largest component of a gradient, or of a step, at which it is done.

    References:
        Nocedal & Wright, "Numerical optimization", algorithms 7.4 and 3.5.
    """
    groups = groups_of(model)
    if len(groups) != 1:
        raise RequestError("optimizer 'lbfgs' takes all tensors in one group, since its Hessian couples them")
    return torch.optim.LBFGS(
        groups,
        lr=lr,
        max_iter=max_iter,
        max_eval=25 * max_iter,  # the longest line search, at every iteration
        history_size=history,
        tolerance_grad=tolerance,
        tolerance_change=tolerance,
        line_search_fn="strong_wolfe",
    )
