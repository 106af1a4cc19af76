"""BatchNorm's running statistics are no part of theta: what to do with them is a policy, never an accident.

At a point between two checkpoints neither the one's statistics nor the other's nor their mean belong to the weights,
and the loss computed with them is wrong (one CNN at the middle of a line: 89 % error with interpolated
statistics, 0 % with recomputed ones). The policies:

- `checkpoint`: use the buffers that the model came with. Right at the checkpoint and close to it.
- `recompute`: at each theta, forget them, pass over fixed training inputs once with only the normalisation
  layers in training mode, and weight each batch's statistics by its size.
- `batch`: normalise each microbatch by its own statistics, so the value depends on the microbatch size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from landscape.errors import unknown
from landscape.objective.samples import batch_length

POLICIES = ("checkpoint", "recompute", "batch")


def check_policy(policy: str) -> str:
    """Return the policy's name, or raise naming the nearest one."""
    if policy not in POLICIES:
        raise unknown("BatchNorm policy", policy, POLICIES)
    return policy


def tracking_layers(module: nn.Module) -> list[_NormBase]:
    """The normalisation layers of a module that carry running statistics."""
    return [layer for layer in module.modules() if isinstance(layer, _NormBase) and layer.running_mean is not None]


def freeze_statistics(layers: Iterable[_NormBase]) -> None:
    """Let BatchNorm use batch statistics in training mode without ever writing its buffers.

    InstanceNorm has no such switch (it would forget its statistics in evaluation mode as well).
    """
    for layer in layers:
        layer.track_running_stats = not isinstance(layer, _BatchNorm)


@torch.no_grad()
def recompute_statistics(layers: Iterable[_NormBase], forward: Callable[[Any], Any], inputs: Iterable[Any]) -> None:
    """Set running statistics to those of one pass over the data, in place.

    Layers leave in evaluation mode. The running mean and (unbiased) variance become the averages of the
    batches' own, each weighted by its number of samples.

    Args:
        layers: The layers to recompute.
        forward: Runs the model, all other layers in evaluation mode.
        inputs: Batches of training inputs, in a fixed order.
    """
    layers = list(layers)
    momenta = [layer.momentum for layer in layers]
    seen = 0
    try:
        for layer in layers:
            layer.track_running_stats = True
            layer.reset_running_stats()
            layer.train()
        for batch in inputs:
            size = batch_length(batch)
            seen += size
            for layer in layers:
                layer.momentum = size / seen
            forward(batch)
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
            layer.eval()
        freeze_statistics(layers)
