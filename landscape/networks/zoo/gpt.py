r"""GPTs: decoder-only transformers, with GPT-2's blocks or with those of the NanoGPT speedrun.

Both map tokens to the logits of the next one,

.. math:: x \leftarrow x + \text{attention}(\text{norm}(x)),\quad x \leftarrow x + \text{mlp}(\text{norm}(x))

in each block, with a last norm before the head, whose weight is the embedding's unless asked otherwise.

References:
    Radford et al., "Language models are unsupervised multitask learners", 2019 (GPT-2).
    Jordan et al., modded-nanogpt, https://github.com/KellerJordan/modded-nanogpt (the speedrun).
    So et al., "Primer", arXiv 2109.08668 (ReLU squared).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from landscape.errors import RequestError
from landscape.networks.zoo.attention import CausalAttention, rms_norm
from landscape.settings import Count, Fraction, Positive


class RMSNorm(nn.Module):
    """`rms_norm` as a module; no parameters."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last axis."""
        return rms_norm(x)


class FeedForward(nn.Module):
    """Two linear layers, four times as wide between them.

    Args:
        width: Width of the residual stream.
        activation: Between the layers.
        bias: Whether they have biases.
    """

    def __init__(self, width: int, activation: Callable[[Tensor], Tensor], *, bias: bool) -> None:
        super().__init__()
        self.expansion = nn.Linear(width, 4 * width, bias=bias)
        self.activation = activation
        self.projection = nn.Linear(4 * width, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, T, width)` to the same shape."""
        outputs: Tensor = self.projection(self.activation(self.expansion(x)))
        return outputs


class Block(nn.Module):
    r"""Attention and a feed-forward network, each added to what it was given.

    .. math::
        x \leftarrow x + f(\text{norm}(x)) \quad\text{or, with norms behind,}\quad x \leftarrow \text{norm}(x + f(x))

    Args:
        norms: The two norms.
        attention: The attention.
        mlp: The feed-forward network.
        dropout: Share of either's outputs that is dropped in training.
        behind: Whether the norms stand behind the sums, as in the first transformers (arXiv 1706.03762).
    """

    def __init__(
        self,
        norms: tuple[nn.Module, nn.Module],
        attention: CausalAttention,
        mlp: FeedForward,
        dropout: float = 0.0,
        behind: bool = False,
    ) -> None:
        super().__init__()
        self.norm1, self.norm2 = norms
        self.attention, self.mlp = attention, mlp
        self.dropout, self.behind = nn.Dropout(dropout), behind

    def forward(self, x: Tensor, last: bool = False) -> Tensor:
        """Map `(B, T, width)` to the same shape; with `last` only the last position, `(B, 1, width)`."""
        attended = self.dropout(self.attention(x if self.behind else self.norm1(x), last))
        x = x[:, -1:] + attended if last else x + attended
        if self.behind:
            x = self.norm1(x)
        outputs: Tensor = x + self.dropout(self.mlp(x if self.behind else self.norm2(x)))
        return self.norm2(outputs) if self.behind else outputs


def gelu(x: Tensor) -> Tensor:
    """GPT-2's GELU, by the tangent (arXiv 1606.08415)."""
    return F.gelu(x, approximate="tanh")


def squared_relu(x: Tensor) -> Tensor:
    r""":math:`\max(x, 0)^2` (arXiv 2109.08668)."""
    return F.relu(x).square()


def gpt2_block(width: int, heads: int, dropout: float = 0.0) -> Block:
    """GPT-2's block: LayerNorm, GELU, biases everywhere."""
    attention = CausalAttention(width, heads, bias=True, rotary=False, dropout=dropout)
    return Block((nn.LayerNorm(width), nn.LayerNorm(width)), attention, FeedForward(width, gelu, bias=True), dropout)


def modern_block(width: int, heads: int) -> Block:
    """The speedrun's block: RMSNorm without parameters, rotary positions, QK-norm, ReLU squared, no biases."""
    attention = CausalAttention(width, heads, bias=False, rotary=True)
    return Block((RMSNorm(), RMSNorm()), attention, FeedForward(width, squared_relu, bias=False))


class GPT(nn.Module):
    """A decoder-only transformer.

    Args:
        num_tokens: Size of the vocabulary.
        width: Width of the residual stream.
        blocks: The blocks.
        norm: The norm before the head.
        start: Applied to the embedded tokens before the first block.
        context: Number of learned positions; 0 for blocks that know the positions themselves.
        tied: Whether the head's weight is the embedding's.
    """

    def __init__(
        self,
        num_tokens: int,
        width: int,
        blocks: list[Block],
        norm: nn.Module,
        start: nn.Module,
        context: int,
        tied: bool,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_tokens, width)
        self.positions = nn.Embedding(context, width) if context else None
        self.start = start
        self.blocks = nn.ModuleList(blocks)
        self.norm = norm
        self.head = nn.Linear(width, num_tokens, bias=False)
        if tied:
            self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens `(B, T)` to logits `(B, T, num_tokens)`."""
        x = self.embedding(tokens)
        if self.positions is not None:
            x = x + self.positions(torch.arange(tokens.shape[1], device=tokens.device))
        x = self.start(x)
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(self.norm(x))
        return logits

    def initialize(self, std: float, residual: float) -> None:
        """Draw all weights; biases are 0.

        Args:
            std: Standard deviation of embeddings and matrices.
            residual: That of the projections which are added to the residual stream.
        """
        for name, module in self.named_modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                spread = residual if name.endswith(".projection") else std
                nn.init.normal_(module.weight, std=spread) if spread else nn.init.zeros_(module.weight)
                if isinstance(module, nn.Linear) and module.bias is not None:
                    nn.init.zeros_(module.bias)


def gpt2(
    input_shape: tuple[int, ...],
    num_outputs: int,
    *,
    layers: Count = 12,
    heads: Count = 12,
    width: Count = 768,
    context: Count = 1024,
    dropout: Fraction = 0.0,
    tied: bool = True,
    init: Positive = 0.02,
) -> GPT:
    """GPT-2, by default the smallest of 124,439,808 parameters.

    Args:
        input_shape: Shape of a sample: `(T,)` tokens, `T` no more than the context.
        num_outputs: Size of the vocabulary.
        layers: Number of blocks.
        heads: Heads of attention in each.
        width: Width of the residual stream.
        context: Number of learned positions.
        dropout: Share that is dropped of embeddings, attention weights and outputs of the branches.
        tied: Whether the head's weight is the embedding's.
        init: Standard deviation of the initial weights; that of the residual projections is less by
            the root of twice the layers.

    Raises:
        RequestError: If samples aren't windows of tokens that fit, or the heads don't divide the width.
    """
    length = _check(input_shape, width, heads, multiple=1)
    if length > context:
        raise RequestError(
            f"this GPT has {context} positions, but a window of the data has {length} tokens: set context={length} "
            "for the model, or a smaller context for the data"
        )
    blocks = [gpt2_block(width, heads, dropout) for _ in range(layers)]
    model = GPT(num_outputs, width, blocks, nn.LayerNorm(width), nn.Dropout(dropout), context, tied)
    model.initialize(init, init / math.sqrt(2 * layers))
    return model


def modern(
    input_shape: tuple[int, ...],
    num_outputs: int,
    *,
    layers: Count = 12,
    heads: Count = 6,
    width: Count = 768,
    tied: bool = True,
    init: Positive = 0.02,
) -> GPT:
    """The speedrun's GPT, by default of 123,532,032 parameters; embedded tokens are normalised as well.

    Args:
        input_shape: Shape of a sample: `(T,)` tokens; the network itself takes windows of any length.
        num_outputs: Size of the vocabulary.
        layers: Number of blocks.
        heads: Heads of attention in each.
        width: Width of the residual stream.
        tied: Whether the head's weight is the embedding's.
        init: Standard deviation of the initial weights; the residual projections begin at zero.

    Raises:
        RequestError: If samples aren't windows of tokens, or the heads don't divide the width into even parts.
    """
    _check(input_shape, width, heads, multiple=2)
    blocks = [modern_block(width, heads) for _ in range(layers)]
    model = GPT(num_outputs, width, blocks, RMSNorm(), RMSNorm(), 0, tied)
    model.initialize(init, 0.0)
    return model


def gpt_nano(
    input_shape: tuple[int, ...],
    num_outputs: int,
    *,
    layers: Count = 4,
    heads: Count = 4,
    width: Count = 64,
    tied: bool = True,
    init: Positive = 0.07,
) -> GPT:
    """The speedrun's GPT for characters, of 12 · layers · width² parameters and the embedding; see `modern`.

    The initial weights are wider than the large one's by the root of the widths' ratio, so that activations begin at
    the same size.
    """
    return modern(input_shape, num_outputs, layers=layers, heads=heads, width=width, tied=tied, init=init)


def _check(input_shape: tuple[int, ...], width: int, heads: int, multiple: int) -> int:
    """The length of a window; refuse samples that are none, and heads that don't fit the width."""
    if len(input_shape) != 1:
        raise RequestError(
            f"a GPT takes windows of tokens, but a sample has shape {tuple(input_shape)}: take text, as --data kjv or "
            "--data stdlib, or another model"
        )
    if width % (multiple * heads):
        fitting = [str(k) for k in range(1, width + 1) if width % (multiple * k) == 0]
        raise RequestError(
            f"a GPT's heads={heads} must divide width={width} into {'even ' if multiple > 1 else ''}parts: "
            f"take heads of {', '.join(fitting) or 'another width'}"
        )
    return input_shape[0]
