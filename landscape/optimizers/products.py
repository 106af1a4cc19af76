"""Hessian-vector products of whatever a closure computes, without a graph of its gradient."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.autograd.forward_ad as forward
from torch import Tensor

from landscape.errors import RequestError, reason


def hessian_product(tensors: Sequence[Tensor], vectors: Sequence[Tensor], closure: Callable[[], Any]) -> list[Tensor]:
    r"""The derivative of a closure's gradient along a direction, :math:`H v`.

    Forward over reverse: for the time of the call the tensors carry `vectors` as tangents, and so do the gradients that
    the closure's `backward` computes; no graph of them is kept.

    Args:
        tensors: Parameters, leaves that require a gradient.
        vectors: :math:`v`, shaped as the tensors.
        closure: Computes the gradients; what it leaves in `p.grad` is the gradient as ever.

    Returns:
        :math:`H v`, shaped as the tensors; zero for those that the closure doesn't reach.

    Raises:
        RequestError: If torch has no forward derivative of some step of the backward pass.
    """
    products = [torch.zeros_like(tensor) for tensor in tensors]

    def receive(number: int) -> Callable[[Tensor], None]:
        def hook(gradient: Tensor) -> None:
            tangent = forward.unpack_dual(gradient).tangent  # type: ignore[no-untyped-call]
            if tangent is not None:
                products[number] += tangent.detach()

        return hook

    hooks: list[Any] = []
    for number, tensor in enumerate(tensors):
        hooks.append(tensor.register_hook(receive(number)))  # type: ignore[no-untyped-call]
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", category=DeprecationWarning
            )  # torch's own, when it first loads these rules
            with forward.dual_level():
                with torch.no_grad():
                    for tensor, vector in zip(tensors, vectors, strict=True):
                        dual = forward.make_dual(tensor.detach().clone(), vector)  # type: ignore[no-untyped-call]
                        tensor.copy_(dual)
                torch.clear_autocast_cache()
                with torch.enable_grad():
                    closure()
    except NotImplementedError as failure:
        raise RequestError(
            f"torch can't differentiate this gradient once more, set exact=false: {reason(failure)}"
        ) from failure
    finally:
        for hook in hooks:
            hook.remove()
        torch.clear_autocast_cache()
    return products
