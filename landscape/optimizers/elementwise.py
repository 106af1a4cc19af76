"""What methods that treat each element by itself have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


def decayed_gradients(group: Mapping[str, Any], tensors: list[Tensor]) -> list[Tensor]:
    r"""The gradients plus that of an L2 term, :math:`g + \lambda x`; `p.grad` stays as it is."""
    gradients = [tensor.grad for tensor in tensors if tensor.grad is not None]
    if not group["weight_decay"]:
        return gradients
    return list(torch._foreach_add(gradients, tensors, alpha=group["weight_decay"]))


def zeros(optimizer: Optimizer, tensors: list[Tensor], name: str) -> list[Tensor]:
    """A state of each tensor that has its shape and begins at zero."""
    for tensor in tensors:
        if name not in optimizer.state[tensor]:
            optimizer.state[tensor][name] = torch.zeros_like(tensor, memory_format=torch.preserve_format)
    return [optimizer.state[tensor][name] for tensor in tensors]
