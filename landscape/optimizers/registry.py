"""Optimizers by name, with their hyperparameters checked.

An entry is a function of the parameters whose keyword-only arguments are the hyperparameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from landscape.errors import RequestError, unknown
from landscape.settings import NonNegative, Positive, Range, resolve

Decay = Annotated[float, Range(0, 1 - 1e-9)]
"""A factor such as momentum, in [0, 1)."""


def sgd(
    parameters: Iterable[Tensor],
    *,
    lr: Positive = 0.1,
    momentum: Decay = 0.0,
    nesterov: bool = False,
    weight_decay: NonNegative = 0.0,
) -> Optimizer:
    r"""Stochastic gradient descent, :math:`x \leftarrow x - \alpha v`, :math:`v \leftarrow \mu v + g`."""
    if nesterov and momentum == 0:
        raise RequestError("nesterov needs a momentum; set momentum=0.9 or leave nesterov out")
    return torch.optim.SGD(parameters, lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay)


def adam(
    parameters: Iterable[Tensor],
    *,
    lr: Positive = 1e-3,
    beta1: Decay = 0.9,
    beta2: Decay = 0.999,
    eps: Positive = 1e-8,
    weight_decay: NonNegative = 0.0,
) -> Optimizer:
    r"""Adam, :math:`x \leftarrow x - \alpha \hat m / (\sqrt{\hat v} + \epsilon)`; decay is an L2 term (1412.6980)."""
    return torch.optim.Adam(parameters, lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay)


def adamw(
    parameters: Iterable[Tensor],
    *,
    lr: Positive = 1e-3,
    beta1: Decay = 0.9,
    beta2: Decay = 0.999,
    eps: Positive = 1e-8,
    weight_decay: NonNegative = 1e-2,
) -> Optimizer:
    r"""Adam with decoupled weight decay, the step less :math:`\alpha \lambda x` (arXiv 1711.05101)."""
    return torch.optim.AdamW(parameters, lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay)


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {"sgd": sgd, "adam": adam, "adamw": adamw}


def resolve_hyperparameters(name: str, hyperparameters: dict[str, Any]) -> dict[str, Any]:
    """All hyperparameters of an optimizer with the values they will have, checked and converted from text.

    Raises:
        RequestError: If the optimizer or a hyperparameter is unknown, or a value is out of range.
    """
    if name not in OPTIMIZERS:
        raise unknown("optimizer", name, OPTIMIZERS)
    values = resolve(f"optimizer '{name}'", OPTIMIZERS[name], hyperparameters)
    OPTIMIZERS[name]([torch.zeros(1, requires_grad=True)], **values)  # refuses values that don't go together
    return values


def make_optimizer(name: str, model: nn.Module | Iterable[Tensor], **hyperparameters: Any) -> Optimizer:
    """Make an optimizer for a model's parameters (or for tensors).

    Args:
        name: A name of `OPTIMIZERS`.
        model: A module, or the tensors themselves.
        hyperparameters: Its hyperparameters, such as `lr`; the others keep their defaults.

    Raises:
        RequestError: If the optimizer or a hyperparameter is unknown, or a value is out of range.
    """
    values = resolve_hyperparameters(name, hyperparameters)
    parameters = model.parameters() if isinstance(model, nn.Module) else model
    return OPTIMIZERS[name](parameters, **values)
