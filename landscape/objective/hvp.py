r"""Products of one microbatch's curvature with vectors: graphs that are built once and used as often as they are kept.

- :math:`\nabla^2 \ell\, v` by double backward: the gradient's graph, differentiated along :math:`v`;
- the same by linearisation: the gradient's derivative traced, and all that doesn't depend on :math:`v` worked out;
- :math:`J^\top M J v` of the outputs' Jacobian :math:`J`. Backward is linear in the vector :math:`u` that it starts
  from, :math:`u \mapsto J^\top u`, so its own transpose is :math:`J`; no forward-mode rule is needed, which some layers
  lack.

Each maps a list of tensors shaped as the parameters to another; sums over the samples, not means.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge

from landscape.errors import RequestError, reason

Tensors = Sequence[Tensor]
Product = Callable[[Tensors], list[Tensor]]
Metric = Callable[[Tensor], Tensor]
"""A symmetric linear map of tensors shaped as the outputs."""


def double_backward(loss: Tensor, tensors: Tensors) -> Product:
    """Hessian-vector products by the graph of the gradient.

    Args:
        loss: A scalar that depends on the tensors.
        tensors: Leaves that require a gradient.
    """
    edges = _gradients(loss, tensors, None)
    return lambda vectors: _pull_back(edges, vectors, tensors)


def linearized(gradient: Callable[[tuple[Tensor, ...]], tuple[Tensor, ...]], tensors: Tensors) -> tuple[Product, int]:
    """Hessian-vector products by the linearised gradient.

    Args:
        gradient: The gradient as a function of the tensors, made with `torch.func`.
        tensors: The point.

    Returns:
        The products, and the bytes that they keep.

    Raises:
        RequestError: If torch can't trace it.
    """
    point = tuple(tensor.detach() for tensor in tensors)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own, about its own rules
            _, derivative = torch.func.linearize(gradient, point)
            derivative(tuple(torch.zeros_like(tensor) for tensor in point))  # works out the constants
    except (RuntimeError, TypeError, ValueError, AttributeError, KeyError, AssertionError) as failure:
        raise RequestError(
            f"torch can't linearise this model's gradient, use strategy='auto': {reason(failure)}"
        ) from failure

    @torch.no_grad()
    def product(vectors: Tensors) -> list[Tensor]:
        return list(derivative(tuple(vectors)))

    cells = [cell.cell_contents for cell in derivative.__closure__ or ()]
    graphs = [cell for cell in cells if isinstance(cell, torch.nn.Module)]
    held = [value for graph in graphs for part in graph.modules() for value in _values(part)]
    return product, sum(
        {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in held}.values()
    )


def gauss_newton(outputs: Tensor, metric: Metric, tensors: Tensors) -> Product:
    r"""Products with :math:`J^\top M J`.

    Args:
        outputs: What the model returned, with its graph.
        metric: :math:`M`.
        tensors: Leaves that require a gradient.
    """
    start = torch.zeros_like(outputs, requires_grad=True)
    edges = _gradients(outputs, tensors, start)
    end = _edge(outputs)

    def product(vectors: Tensors) -> list[Tensor]:
        (tangent,) = _pull_back(edges, vectors, [start])
        return _pull_back([end], [metric(tangent)], tensors)

    return product


def loss_metric(loss: Callable[[Tensor], Tensor], outputs: Tensor) -> Metric:
    r"""The Hessian :math:`\nabla_z^2 \ell` of a summed loss by the outputs.

    Args:
        loss: The loss as a function of the outputs, a scalar.
        outputs: Where.
    """
    place = outputs.detach().requires_grad_()
    edges = _gradients(loss(place), [place], None)
    return lambda tangent: _pull_back(edges, [tangent], [place])[0]


def outer_metric(slopes: Tensor) -> Metric:
    r"""The mean over draws of each sample's outer product, :math:`r_i r_i^\top`.

    Args:
        slopes: :math:`r_i`, the gradients of each sample's loss by its outputs; shape `(draws, B, *)`.
    """
    draws, batch = slopes.shape[:2]
    rows = slopes.reshape(draws, batch, -1)

    def metric(tangent: Tensor) -> Tensor:
        along = (rows * tangent.reshape(batch, -1)).sum(-1, keepdim=True)
        return (rows * along).mean(0).reshape(tangent.shape)

    return metric


def _gradients(value: Tensor, tensors: Tensors, start: Tensor | None) -> list[GradientEdge | None]:
    """The graph of the gradients by the tensors; None for one that is constant. Their values are not kept."""
    if not value.requires_grad:
        return [None] * len(tensors)
    gradients = torch.autograd.grad(value, tensors, start, create_graph=True, allow_unused=True)
    return [None if gradient is None else _edge(gradient) for gradient in gradients]


def _edge(tensor: Tensor) -> GradientEdge | None:
    return get_gradient_edge(tensor) if tensor.requires_grad else None


def _pull_back(edges: Sequence[GradientEdge | None], vectors: Tensors, tensors: Tensors) -> list[Tensor]:
    """The vectors through a transposed Jacobian by the tensors; its graph is kept."""
    pairs = [(edge, vector) for edge, vector in zip(edges, vectors, strict=True) if edge is not None]
    if not pairs:
        return [torch.zeros_like(tensor) for tensor in tensors]
    live, starts = zip(*pairs, strict=True)
    results = torch.autograd.grad(live, tensors, starts, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(of) if one is None else one for one, of in zip(results, tensors, strict=True)]


def _values(part: torch.nn.Module) -> list[Tensor]:
    """The tensors that a traced graph holds, whether as parameters, buffers or plain attributes."""
    own = [*part.parameters(recurse=False), *part.buffers(recurse=False), *vars(part).values()]
    return [value for value in own if isinstance(value, Tensor)]
