r"""Transformers that answer one question: a row of symbols goes in, the logits of the answer come out.

The symbols `a b` are read as the equation `a ∘ b =`. The answer stands after the last token, so of the last block only
the last position is computed: its queries, its MLP, the head. Keys and values of all positions are needed even there.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from landscape.errors import RequestError
from landscape.networks.zoo.attention import CausalAttention
from landscape.networks.zoo.gpt import Block, FeedForward
from landscape.networks.zoo.symbols import check_symbols
from landscape.settings import Count, Positive

Norm = Literal["none", "pre", "post"]


class Transformer(nn.Module):
    r"""A decoder-only transformer whose last position answers.

    Args:
        length: Number `k` of symbols in a sample.
        num_symbols: Number of symbols, and of outputs.
        layers: Number of blocks.
        heads: Heads of attention in each.
        width: Width of the residual stream.
        norm: Where LayerNorm stands: nowhere, before each branch and the head, or behind each sum as in Power et al.'s.
        operator: Whether a token for the operation stands before the last symbol, as in `a ∘ b =`.
        init_scale: Factor of the initial weights, :math:`N(0, 1) / \sqrt{\text{width}}`; biases are 0.
        all_positions: Compute all positions everywhere, then drop all but the last: the same outputs at twice the
            cost, for comparison.
    """

    def __init__(
        self,
        length: int,
        num_symbols: int,
        *,
        layers: int,
        heads: int,
        width: int,
        norm: Norm,
        operator: bool,
        init_scale: float,
        all_positions: bool = False,
    ) -> None:
        super().__init__()
        self.num_symbols, self.operator, self.all_positions = num_symbols, operator, all_positions
        self.embedding = nn.Embedding(num_symbols + 1 + operator, width)
        self.positions = nn.Embedding(length + 1 + operator, width)

        def layernorm() -> nn.Module:
            return nn.Identity() if norm == "none" else nn.LayerNorm(width)

        self.blocks = nn.ModuleList(
            Block(
                (layernorm(), layernorm()),
                CausalAttention(width, heads, bias=False, rotary=False),
                FeedForward(width, F.relu, bias=True),
                behind=norm == "post",
            )
            for _ in range(layers)
        )
        self.norm = layernorm() if norm == "pre" else nn.Identity()
        self.head = nn.Linear(width, num_symbols, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=init_scale / math.sqrt(width))
                if isinstance(module, nn.Linear) and module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, symbols: Tensor) -> Tensor:
        """Map symbols `(B, k)` to logits `(B, num_symbols)`."""
        x = self.embedding(self.tokens(symbols)) + self.positions.weight
        for block in self.blocks[:-1]:
            x = block(x)
        x = self.blocks[-1](x, last=not self.all_positions)
        logits: Tensor = self.head(self.norm(x))[:, -1]
        return logits

    def tokens(self, symbols: Tensor) -> Tensor:
        """The tokens of the equation, `(B, k + 1)` or, with an operator, `(B, k + 2)`."""
        equals = symbols.new_full((len(symbols), 1), self.num_symbols)
        middle = [equals + 1] if self.operator else []
        return torch.cat([symbols[:, :-1], *middle, symbols[:, -1:], equals], dim=1)


def transformer(
    input_shape: tuple[int, ...],
    num_outputs: int,
    *,
    layers: Count = 1,
    heads: Count = 4,
    width: Count = 128,
    norm: Norm = "none",
    operator: bool = False,
    init_scale: Positive = 1.0,
) -> Transformer:
    """Transformer for equations; by default Nanda et al.'s: one layer, no LayerNorm, ReLU, 512 neurons.

    Power et al.'s has two layers, LayerNorm behind each sum and a token for the operation; positions are learned here,
    sines there.

    Args:
        input_shape: Shape of one sample: `(k,)` symbols.
        num_outputs: Number of symbols and classes.
        layers: Number of blocks.
        heads: Heads of attention in each.
        width: Width of the residual stream; the MLP is four times as wide.
        norm: Where LayerNorm stands: nowhere, before each branch and the head, or behind each sum as in Power et al.'s.
        operator: Whether a token for the operation stands before the last symbol.
        init_scale: Factor of the initial weights.

    Raises:
        RequestError: If samples aren't rows of symbols, or the heads don't divide the width.

    References:
        N. Nanda et al., Progress measures for grokking via mechanistic interpretability, arXiv:2301.05217.
        A. Power et al., Grokking, arXiv:2201.02177.
    """
    length = check_symbols("transformer", input_shape)
    if width % heads:
        fitting = ", ".join(str(k) for k in range(1, width + 1) if width % k == 0)
        raise RequestError(f"a transformer's heads={heads} must divide width={width}: take heads of {fitting}")
    return Transformer(
        length,
        num_outputs,
        layers=layers,
        heads=heads,
        width=width,
        norm=norm,
        operator=operator,
        init_scale=init_scale,
    )
