r"""Convolution whose second derivative is made of convolutions again.

A convolution is one trilinear form, :math:`T(x, w, g) = \langle x * w, g \rangle`, and the derivatives by its three
arguments are all that any derivative of it needs. torch's own second derivative goes by convolutions with kernels as
large as images, for which fast kernels aren't made.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

Geometry = tuple[list[int], list[int], list[int], int]
"""Stride, padding, dilation and groups."""

FUNCTIONS = {torch.conv1d: 1, torch.conv2d: 2, torch.conv3d: 3}
"""What `torch.nn` calls, with the number of spatial axes."""


def _apply(function: Any, *arguments: Any) -> Any:
    """Call a function of autograd, which torch leaves untyped."""
    return function.apply(*arguments)


def _backward(gradient: Tensor, x: Tensor, weight: Tensor, geometry: Geometry, wanted: int) -> Tensor:
    """The derivative by the input (0) or the weight (1); of the other argument only the shape is read."""
    stride, padding, dilation, groups = geometry
    mask = [wanted == 0, wanted == 1, False]
    zeros = [0] * len(stride)
    results: tuple[Tensor, ...] = torch.ops.aten.convolution_backward(
        gradient, x, weight, None, stride, padding, dilation, False, zeros, groups, mask
    )
    return results[wanted]


class Convolution(torch.autograd.Function):
    """The derivative by g: the convolution `x * w` itself, with a bias where there is one."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
        """Convolve `(B, C, *)` with `(C', C / groups, *)`."""
        ctx.save_for_backward(x, weight)
        ctx.geometry = geometry
        stride, padding, dilation, groups = geometry
        return torch.convolution(x, weight, bias, stride, padding, dilation, False, [0] * len(stride), groups)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        """By input, weight and bias."""
        x, weight = ctx.saved_tensors
        needed = ctx.needs_input_grad
        return (
            _apply(InputGradient, gradient, weight, x.shape, ctx.geometry) if needed[0] else None,
            _apply(WeightGradient, gradient, x, weight.shape, ctx.geometry) if needed[1] else None,
            gradient.sum((0, *range(2, gradient.ndim))) if needed[2] else None,
            None,
        )


class InputGradient(torch.autograd.Function):
    """The derivative by x, bilinear in g and w."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, weight: Tensor, shape: torch.Size, geometry: Geometry) -> Tensor:
        """Of the input's shape."""
        ctx.save_for_backward(gradient, weight)
        ctx.geometry = geometry
        return _backward(gradient, gradient.new_empty(shape), weight, geometry, 0)

    @staticmethod
    def backward(ctx: Any, x: Tensor) -> Any:
        """By g and w."""
        gradient, weight = ctx.saved_tensors
        needed = ctx.needs_input_grad
        return (
            _apply(Convolution, x, weight, None, ctx.geometry) if needed[0] else None,
            _apply(WeightGradient, gradient, x, weight.shape, ctx.geometry) if needed[1] else None,
            None,
            None,
        )


class WeightGradient(torch.autograd.Function):
    """The derivative by w, bilinear in g and x."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, x: Tensor, shape: torch.Size, geometry: Geometry) -> Tensor:
        """Of the weight's shape."""
        ctx.save_for_backward(gradient, x)
        ctx.geometry = geometry
        return _backward(gradient, x, gradient.new_empty(shape), geometry, 1)

    @staticmethod
    def backward(ctx: Any, weight: Tensor) -> Any:
        """By g and x."""
        gradient, x = ctx.saved_tensors
        needed = ctx.needs_input_grad
        return (
            _apply(Convolution, x, weight, None, ctx.geometry) if needed[0] else None,
            _apply(InputGradient, gradient, weight, x.shape, ctx.geometry) if needed[1] else None,
            None,
            None,
        )


def convolve(
    function: Any,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """A convolution of `torch.nn.functional` by the functions above; what they can't do is left to torch.

    Args:
        function: One of `FUNCTIONS`.
        x: Input, shape `(B, C, *)`.
        weight: Shape `(C', C / groups, *)`.
        bias: Shape `(C',)`.
        stride: As for torch.
        padding: As for torch.
        dilation: As for torch.
        groups: As for torch.

    Returns:
        What `function` returns.
    """
    axes = FUNCTIONS[function]
    stride, dilation = _each(stride, axes), _each(dilation, axes)
    exact: list[int] | None
    if isinstance(padding, str):
        reach = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
        uneven = padding == "same" and any(width % 2 for width in reach)
        exact = None if uneven else [width // 2 if padding == "same" else 0 for width in reach]
    else:
        exact = _each(padding, axes)
    if exact is None or x.ndim != axes + 2:
        result: Tensor = function(x, weight, bias, stride, padding, dilation, groups)
        return result
    output: Tensor = _apply(Convolution, x, weight, bias, (stride, exact, dilation, groups))
    return output


def _each(value: Any, axes: int) -> list[int]:
    """One number for each axis."""
    values = [value] if isinstance(value, int) else list(value)
    return values * axes if len(values) == 1 else values
