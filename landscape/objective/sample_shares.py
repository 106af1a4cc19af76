r"""Shares of single samples' gradients by the parameters of a call, from its inputs and the slopes at its output.

Of a linear layer it is :math:`\sum_t g_{it} x_{it}^\top` for sample i; a convolution is one on patches of an image, an
embedding one on one-hot tokens.

References:
    Goodfellow, "Efficient per-example gradient computations", arXiv 1510.01799.
    Rochette et al., "Efficient per-example gradient computations in convolutional neural networks", arXiv 1912.06015.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

Arguments = dict[str, Any]
Share = tuple[Tensor, Tensor | None]
"""A share of the samples' gradients by one parameter: matrices `(B, m, T)` and `(B, T, n)` to be multiplied, or the
share itself, `(B, *)`, and None."""
Rule = Callable[[Arguments, Tensor], dict[str, Share]]
"""From a call's arguments and the slopes at its output to the shares by argument."""

LARGE = 2**22
"""More entries than this aren't spent on a sample's one-hot tokens."""


def _linear(given: Arguments, slopes: Tensor) -> dict[str, Share]:
    """`x W^T + b` over the last axis."""
    x, g = (tensor.flatten(1, -2) if tensor.ndim > 2 else tensor[:, None] for tensor in (given["input"], slopes))
    return {"weight": (g.mT, x), "bias": (g.sum(1), None)}


def embedding(given: Arguments, slopes: Tensor) -> dict[str, Share]:
    """A linear map of one-hot tokens; that of padding is no token."""
    tokens = given["input"].flatten(1)
    hot = F.one_hot(tokens, len(given["weight"])).to(slopes)
    if given["padding_idx"] is not None:
        hot[tokens == given["padding_idx"] % len(given["weight"])] = 0
    return {"weight": (hot.mT, slopes.flatten(1, -2))}


def convolution(given: Arguments, slopes: Tensor) -> dict[str, Share]:
    """A convolution along one or two axes: a linear map of patches, in groups of channels."""
    x, weight, groups = given["input"], given["weight"], given["groups"]
    axes = weight.ndim - 2
    kernel, dilation = _pair(list(weight.shape[2:]), axes, 1), _pair(given["dilation"], axes, 1)
    padding = given["padding"]
    images = x if axes == 2 else x[:, :, None]
    if padding == "same":
        reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        images = F.pad(images, [side for width in reversed(reach) for side in (width // 2, width - width // 2)])
    border = (0, 0) if isinstance(padding, str) else _pair(padding, axes, 0)
    patches = F.unfold(images, kernel, dilation=dilation, padding=border, stride=_pair(given["stride"], axes, 1))
    g = slopes.flatten(2)
    batch, _, places = g.shape
    left, right = g.view(batch, groups, -1, places), patches.view(batch, groups, -1, places)
    if groups == 1:
        return {"weight": (left[:, 0], right[:, 0].mT), "bias": (g.sum(2), None)}
    return {"weight": (left @ right.mT, None), "bias": (g.sum(2), None)}


def _channel_norm(slopes: Tensor, normalized: Tensor) -> dict[str, Share]:
    """A normalisation with a scale and a shift for each channel, axis 1."""
    g = slopes.flatten(2) if slopes.ndim > 2 else slopes[..., None]
    return {"weight": ((g * normalized.view_as(g)).sum(2), None), "bias": (g.sum(2), None)}


def _batch_norm(given: Arguments, slopes: Tensor) -> dict[str, Share]:
    mean, variance = given["running_mean"], given["running_var"]
    return _channel_norm(slopes, F.batch_norm(given["input"], mean, variance, eps=given["eps"]))


def _group_norm(given: Arguments, slopes: Tensor) -> dict[str, Share]:
    return _channel_norm(slopes, F.group_norm(given["input"], given["num_groups"], eps=given["eps"]))


def _layer_norm(given: Arguments, slopes: Tensor) -> dict[str, Share]:
    shape = given["normalized_shape"]
    normalized = F.layer_norm(given["input"], shape, eps=given["eps"])
    axes = tuple(range(1, slopes.ndim - len(shape)))
    parts = {"weight": slopes * normalized, "bias": slopes}
    return {name: (part.sum(axes) if axes else part, None) for name, part in parts.items()}


def _named(*names: str, **defaults: Any) -> Callable[[Any, Any], Arguments]:
    """Bind the arguments of a function that has no signature."""

    def bind(args: Any, kwargs: Any) -> Arguments:
        given: Arguments = defaults | dict(zip(names, args, strict=False)) | kwargs
        return given

    return bind


def _signed(function: Any) -> Callable[[Any, Any], Arguments]:
    """Bind the arguments of a function of Python."""
    signature = inspect.signature(function)

    def bind(args: Any, kwargs: Any) -> Arguments:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return dict(bound.arguments)

    return bind


_CONV = _named(
    *("input", "weight", "bias", "stride", "padding", "dilation", "groups"),
    bias=None,
    stride=1,
    padding=0,
    dilation=1,
    groups=1,
)
RULES: dict[Any, tuple[Callable[[Any, Any], Arguments], Rule]] = {
    F.embedding: (_signed(F.embedding), embedding),
    F.linear: (_named("input", "weight", "bias", bias=None), _linear),
    torch.conv1d: (_CONV, convolution),
    torch.conv2d: (_CONV, convolution),
    F.batch_norm: (_signed(F.batch_norm), _batch_norm),
    F.group_norm: (_signed(F.group_norm), _group_norm),
    F.layer_norm: (_signed(F.layer_norm), _layer_norm),
}
"""By function: how its arguments are named, and the shares of its weight and bias."""


def _pair(value: Any, axes: int, fill: int) -> tuple[int, ...]:
    """An argument of a convolution for each of two axes."""
    values = [value] if isinstance(value, int) else list(value)
    values = values * axes if len(values) < axes else values
    return (*[fill] * (2 - axes), *values)
