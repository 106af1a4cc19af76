r"""Networks that read symbols: small ones that generalise on operation tables, after memorising them.

A sample is a row of `k` symbols, int64 of shape `(B, k)`, each one of as many as there are outputs.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from landscape.errors import RequestError
from landscape.networks.zoo.mlp import ACTIVATIONS, Activation
from landscape.settings import Count, Positive


def check_symbols(model: str, input_shape: tuple[int, ...]) -> int:
    """The number of symbols in a sample.

    Raises:
        RequestError: If samples aren't rows of symbols.
    """
    if len(input_shape) != 1:
        raise RequestError(
            f"model '{model}' takes rows of symbols, but a sample has shape {tuple(input_shape)}: take --data modular, "
            "permutations or parity with --data-set encoding=symbols"
        )
    return input_shape[0]


class Quadratic(nn.Module):
    r"""The quadratic network :math:`x \mapsto W \bigl(\sum_j E_j[x_j]\bigr)^2`, squared coordinate by coordinate.

    Args:
        length: Number `k` of symbols in a sample, each of which has a table :math:`E_j` of its own.
        num_symbols: Number of symbols, and of outputs.
        width: Number of hidden units.
        init_scale: Factor `s` of the initial weights, :math:`E_j \sim s N(0, 1) / \sqrt{k p}` and
            :math:`W \sim s N(0, 1) / \sqrt{\text{width}}`.
    """

    offsets: Tensor

    def __init__(self, length: int, num_symbols: int, width: int, init_scale: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(length * num_symbols, width)
        self.head = nn.Linear(width, num_symbols, bias=False)
        self.register_buffer("offsets", num_symbols * torch.arange(length), persistent=False)
        nn.init.normal_(self.embedding.weight, std=init_scale / math.sqrt(length * num_symbols))
        nn.init.normal_(self.head.weight, std=init_scale / math.sqrt(width))

    def forward(self, symbols: Tensor) -> Tensor:
        """Map symbols `(B, k)` to logits `(B, num_symbols)`."""
        logits: Tensor = self.head(self.embedding(symbols + self.offsets).sum(1).square())
        return logits


def quadratic(
    input_shape: tuple[int, ...], num_outputs: int, *, width: Count = 128, init_scale: Positive = 1.0
) -> Quadratic:
    r"""The quadratic network :math:`(A[a] + B[b])^2 W`, which groks modular addition within seconds.

    Args:
        input_shape: Shape of one sample: `(k,)` symbols.
        num_outputs: Number of symbols and classes.
        width: Number of hidden units.
        init_scale: Factor of the initial weights; larger ones memorise longer before they generalise.

    Raises:
        RequestError: If samples aren't rows of symbols.

    References:
        A. Gromov, Grokking modular arithmetic, arXiv:2301.02679.
    """
    return Quadratic(check_symbols("quadratic", input_shape), num_outputs, width, init_scale)


class EmbeddedMLP(nn.Module):
    """A multilayer perceptron on embedded symbols.

    Args:
        length: Number of symbols in a sample; all share one table.
        num_symbols: Number of symbols, and of outputs.
        width: Width of the embedding.
        hidden: Widths of the hidden layers.
        activation: Nonlinearity after each.
    """

    def __init__(self, length: int, num_symbols: int, width: int, hidden: tuple[int, ...], activation: str) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_symbols, width)
        layers: list[nn.Module] = []
        fan_in = length * width
        for fan_out in hidden:
            layers += [nn.Linear(fan_in, fan_out), ACTIVATIONS[activation]()]
            fan_in = fan_out
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(fan_in, num_symbols)

    def forward(self, symbols: Tensor) -> Tensor:
        """Map symbols `(B, k)` to logits `(B, num_symbols)`."""
        logits: Tensor = self.head(self.layers(self.embedding(symbols).flatten(1)))
        return logits


def embedding_mlp(
    input_shape: tuple[int, ...],
    num_outputs: int,
    *,
    width: Count = 128,
    hidden: tuple[Count, ...] = (256,),
    activation: Activation = "relu",
    init_scale: Positive = 1.0,
) -> EmbeddedMLP:
    """Multilayer perceptron on embedded symbols.

    Args:
        input_shape: Shape of one sample: `(k,)` symbols.
        num_outputs: Number of symbols and classes.
        width: Width of the embedding.
        hidden: Widths of the hidden layers.
        activation: Nonlinearity after each hidden layer.
        init_scale: Factor of all of PyTorch's initial weights (the embedding's by 1/√width, so that it begins at
            length one).

    Raises:
        RequestError: If samples aren't rows of symbols.

    References:
        Z. Liu et al., Omnigrok, arXiv:2210.01117 (the scale of the initial weights).
    """
    model = EmbeddedMLP(check_symbols("embedding-mlp", input_shape), num_outputs, width, hidden, activation)
    with torch.no_grad():
        model.embedding.weight.div_(math.sqrt(width))
        for parameter in model.parameters():
            parameter.mul_(init_scale)
    return model
