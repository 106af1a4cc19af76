r"""How far the gradients of single samples lie from that of all."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from landscape.errors import RequestError
from landscape.objective.losses import per_sample
from landscape.objective.objective import Objective
from landscape.objective.samples import batch_length, map_tensors


def deviations(objective: Objective, theta: Tensor, gradient: Tensor, index: Tensor) -> Tensor:
    r"""The squared distances :math:`\|g_i - G\|^2` of some samples' gradients from the whole gradient.

    For token losses with sums :math:`s_i` and counts :math:`c_i` they are those of the ratio estimator,
    :math:`\|\nabla s_i - c_i G\|^2 / \bar c^2`, with the mean count of these samples. The L2 term has no part in them.

    Args:
        objective: Model, data and loss.
        theta: The point, shape `(D,)`.
        gradient: :math:`G` there, with the L2 term, shape `(D,)`.
        index: Numbers of the samples, ascending, shape `(m,)`.

    Returns:
        float64, shape `(m,)`.

    Raises:
        RequestError: If BatchNorm takes its statistics from each batch.
    """
    if objective.batchnorm == "batch" and objective.module.norm_layers:
        raise RequestError(
            "single samples have no BatchNorm statistics: take the BatchNorm policy checkpoint or recompute"
        )
    mean = gradient - objective.weight_decay * theta.to(gradient)
    wanted = iter(index.tolist())
    number, start = next(wanted, None), 0
    squares: list[Tensor] = []
    counts: list[float] = []
    objective.module.place(theta)
    with objective.evaluation_mode(), objective.module.differentiable():
        for inputs, targets in objective.samples.batches(objective.batch_size):
            length = batch_length(targets)
            while number is not None and number < start + length:
                place = slice(number - start, number - start + 1)
                one, target = map_tensors(cut(place), inputs), map_tensors(cut(place), targets)
                values, weights = per_sample(objective.loss_function, objective.module(one), target, 1, "loss")
                count = 1.0 if weights is None else float(weights)
                apart = objective.module.gradient_of(values.sum()) - count * mean
                squares.append(apart.double().square().sum().cpu())
                counts.append(count)
                number = next(wanted, None)
            start += length
    return torch.stack(squares) / (sum(counts) / len(counts)) ** 2


def cut(place: slice) -> Callable[[Tensor], Tensor]:
    """Cuts tensors to a copy of some rows."""
    return lambda tensor: tensor[place].clone()
