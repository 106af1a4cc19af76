"""The methods whose torch version equals the lecture's formula, with its fused or foreach kernels."""

from __future__ import annotations

from typing import Annotated

import torch
from torch.optim import Optimizer

from landscape.errors import RequestError
from landscape.optimizers.parameters import Parameters, groups_of
from landscape.settings import NonNegative, Positive, Range

Decay = Annotated[float, Range(0, 1 - 1e-9)]
"""A factor such as momentum, in [0, 1)."""


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
    return torch.optim.SGD(groups_of(model), lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay)


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
    return torch.optim.Adam(groups_of(model), lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay)


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
    return torch.optim.AdamW(groups_of(model), lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay)
