"""Petzka's relative flatness."""

from __future__ import annotations

import math
import re

import torch
from torch import Tensor

from landscape.errors import RequestError, unknown
from landscape.measures.curved import budget, trace_of
from landscape.measures.measured import Measured, Point
from landscape.objective.curvature import Hessian
from landscape.objective.parameters import filter_axes
from landscape.settings import Count, Positive


def relative_flatness(
    point: Point,
    *,
    layer: str | None = None,
    relative_error: Positive = 0.02,
    max_products: Count = 1000,
    memory: Positive | None = None,
) -> Measured:
    r"""The curvature of one layer in units of its weights.

    .. math:: \sum_{s,s'} \langle w_s, w_{s'} \rangle\, \operatorname{tr} H_{s,s'}

    With :math:`W` the layer's weights, one row :math:`w_s` for each unit, and :math:`H_{s,s'}` the block of
    :math:`\nabla^2 L` that belongs to the rows s and s'. In units of the loss: a rescaling of ReLU layers leaves it as
    it is. Small means flat. It equals :math:`\operatorname{tr} (S \otimes I) H (S \otimes I)` with :math:`S^2 = W
    W^\top`, whose trace is found by Hutch++, with its standard error.

    Args:
        point: Where.
        layer: The name of its weights, such as `head.weight`; by default the last of all that have rows.
        relative_error: Stop when the standard error is at most this share of the value.
        max_products: Products with the Hessian's block at most.
        memory: MiB that kept graphs may take; 2048 on the CPU by default.

    Raises:
        RequestError: If no such weights are known.

    References:
        Petzka et al., "Relative flatness and generalization", arXiv 2001.00939, definition 3.
    """
    layout = point.objective.layout
    axes = dict(zip(layout.names, filter_axes(point.objective.module.module, layout), strict=True))
    known = [name for name in layout.names if axes[name] is not None]
    if not known:
        raise RequestError("measure 'relative_flatness': the network has no layer with a matrix of weights")
    if layer is not None and layer not in known:
        raise unknown("layer of measure 'relative_flatness'", layer, known)
    name = layer or known[-1]
    axis = axes[name] or 0
    weights = layout.named(point.theta)[name].double().movedim(axis, 0)
    shape = weights.shape
    left, sizes, _ = torch.linalg.svd(weights.flatten(1), full_matrices=False)
    root = (left * sizes) @ left.T
    block = Hessian(point.objective, point.theta, parameters=f"^{re.escape(name)}$", memory_budget=budget(memory))

    def scaled(vector: Tensor) -> Tensor:
        """S Z, for Z of the layer's own shape."""
        rows = vector.view(layout.named(point.theta)[name].shape).movedim(axis, 0).flatten(1)
        turned: Tensor = (root.to(rows) @ rows).view(shape).movedim(0, axis).reshape(-1)
        return turned

    def product(vector: Tensor) -> Tensor:
        return scaled(block(scaled(vector)))

    found = trace_of(point, product, math.prod(shape), relative_error, max_products)
    return Measured.of(found.value, found.stderr)
