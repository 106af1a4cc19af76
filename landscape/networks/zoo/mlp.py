r"""Fully connected networks :math:`x \mapsto W_n \sigma(\dots \sigma(W_1 x + b_1) \dots) + b_n`."""

from __future__ import annotations

import itertools
import math
from typing import Literal

from torch import nn

from landscape.settings import Count

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "silu": nn.SiLU,
    "identity": nn.Identity,
}
Activation = Literal["relu", "gelu", "tanh", "sigmoid", "silu", "identity"]


def mlp(
    input_shape: tuple[int, ...],
    num_outputs: int,
    *,
    hidden: tuple[Count, ...] = (64, 64),
    activation: Activation = "relu",
    bias: bool = True,
) -> nn.Sequential:
    """Multilayer perceptron on flattened inputs.

    Args:
        input_shape: Shape of one sample; flattened to `D` features.
        num_outputs: Number of outputs.
        hidden: Widths of the hidden layers.
        activation: Nonlinearity after each hidden layer.
        bias: Whether the linear layers have biases.

    Returns:
        Network from `(B, *input_shape)` to `(B, num_outputs)`.
    """
    widths = [math.prod(input_shape), *hidden]
    layers: list[nn.Module] = [nn.Flatten()]
    for fan_in, fan_out in itertools.pairwise(widths):
        layers += [nn.Linear(fan_in, fan_out, bias=bias), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], num_outputs, bias=bias))


def softmax(input_shape: tuple[int, ...], num_outputs: int, *, bias: bool = True) -> nn.Sequential:
    """Softmax regression: one linear layer, convex under cross-entropy; with `mse`, linear regression.

    Args:
        input_shape: Shape of one sample; flattened to `D` features.
        num_outputs: Number of outputs.
        bias: Whether the layer has a bias.

    Returns:
        Network from `(B, *input_shape)` to `(B, num_outputs)`.
    """
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(input_shape), num_outputs, bias=bias))
