"""Causal self-attention, and the two things that the NanoGPT speedrun adds to it: rotary positions and QK-norm."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ROTARY_BASE = 10_000.0
"""The base of the wavelengths in arXiv 2104.09864, section 3.2.2."""


def rms_norm(x: Tensor) -> Tensor:
    r"""Divide by the root mean square over the last axis, :math:`x / \sqrt{\overline{x^2} + \epsilon}`.

    No parameters; :math:`\epsilon` is the dtype's machine epsilon (arXiv 1910.07467).
    """
    return F.rms_norm(x, x.shape[-1:])


def rotate(x: Tensor, start: int = 0) -> Tensor:
    r"""Rotary positions: turn the pair :math:`(x_j, x_{j + d/2})` at position `m` by :math:`m \cdot b^{-2j/d}`.

    The product of a rotated query and a rotated key then depends on their positions' difference alone.

    Args:
        x: Queries or keys, shape `(*, T, d)`, `d` even.
        start: Position of the first.

    Returns:
        Same shape and dtype; computed in float32 at least.

    References:
        Su et al., "RoFormer: enhanced transformer with rotary position embedding", arXiv 2104.09864, equation 34.
    """
    length, size = x.shape[-2:]
    exact = torch.promote_types(x.dtype, torch.float32)
    rates = ROTARY_BASE ** -torch.linspace(0, 1, size // 2 + 1, device=x.device, dtype=exact)[:-1]
    angles = torch.outer(torch.arange(start, start + length, device=x.device, dtype=exact), rates)
    cosine, sine = angles.cos(), angles.sin()
    first, second = x.to(exact).chunk(2, dim=-1)
    return torch.cat([first * cosine - second * sine, first * sine + second * cosine], dim=-1).to(x.dtype)


class CausalAttention(nn.Module):
    r"""Multi-head attention in which no token sees a later one.

    .. math:: \operatorname{softmax}\bigl(QK^\top / \sqrt d + M\bigr) V,\quad M_{ij} = -\infty \text{ for } j > i

    Queries, keys and values come from one weight `qkv`, whose rows are those of the three in this order. PyTorch's
    fused kernels can't be differentiated twice: for second derivatives call the model inside
    `torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)`.

    Args:
        width: Width of the residual stream; the number of heads divides it.
        heads: Number of heads.
        bias: Whether the linear layers have biases.
        rotary: Whether queries and keys are normalised (QK-norm, arXiv 2010.04245) and rotated by their positions.
        dropout: Share of the attention weights that is dropped in training.
    """

    def __init__(self, width: int, heads: int, *, bias: bool, rotary: bool, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads, self.rotary, self.dropout = heads, rotary, dropout
        self.qkv = nn.Linear(width, 3 * width, bias=bias)
        self.projection = nn.Linear(width, width, bias=bias)

    def forward(self, x: Tensor, last: bool = False) -> Tensor:
        """Map `(B, T, width)` to the same shape; with `last` only the last position, `(B, 1, width)`."""
        batch, length, width = x.shape
        if last:
            parts = self._project(x[:, -1:], slice(0, width)) + self._project(x, slice(width, None))
        else:
            parts = self._project(x, slice(None))
        queries, keys, values = parts
        if self.rotary:
            queries, keys = (
                rotate(rms_norm(part), length - part.shape[-2]).to(values.dtype) for part in (queries, keys)
            )
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(queries, keys, values, dropout_p=dropout, is_causal=not last)
        outputs: Tensor = self.projection(mixed.transpose(1, 2).reshape(batch, -1, width))
        return outputs

    def _project(self, x: Tensor, rows: slice) -> tuple[Tensor, ...]:
        """Some of queries, keys and values, each `(B, heads, T, d)`."""
        if rows == slice(None):
            projected = self.qkv(x)
        else:
            bias = None if self.qkv.bias is None else self.qkv.bias[rows]
            projected = F.linear(x, self.qkv.weight[rows], bias)
        batch, length, width = x.shape
        parts = projected.view(batch, length, -1, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        return tuple(part for part in parts)
