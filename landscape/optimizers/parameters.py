"""What an optimizer is given: a module, tensors, or groups of tensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from landscape.errors import RequestError

Parameters = nn.Module | Iterable[Tensor] | Iterable[Mapping[str, Any]]
"""A module, tensors, or parameter groups: mappings with `params` and the options that differ there."""


class Placeholder(nn.Module):
    """Stands for a model while hyperparameters are checked: the names of its parameters say nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2, 2))


def groups_of(model: Parameters) -> list[dict[str, Any]]:
    """The parameter groups, each with a list of tensors that require a gradient under `params`.

    Args:
        model: A module or tensors (one group), or groups, whose other entries are kept.

    Raises:
        RequestError: If there is no tensor to train.
    """
    items: list[Any] = list(model.parameters()) if isinstance(model, nn.Module) else list(model)
    grouped = bool(items) and all(isinstance(item, Mapping) for item in items)
    groups = [dict(item) for item in items] if grouped else [{"params": items}]
    for group in groups:
        if "params" not in group:
            raise RequestError(f"a parameter group needs its tensors under 'params', got only {', '.join(group)}")
        tensors = group["params"]
        tensors = [tensors] if isinstance(tensors, Tensor) else list(tensors)
        if not all(isinstance(tensor, Tensor) for tensor in tensors):
            raise RequestError("an optimizer takes a module, tensors, or groups {'params': tensors, ...}, no mixture")
        group["params"] = [tensor for tensor in tensors if tensor.requires_grad]
    if not any(group["params"] for group in groups):
        raise RequestError("there is nothing to train: no tensor requires a gradient")
    return groups


def parameters_of(model: Parameters) -> list[Tensor]:
    """All tensors of a module, of an iterable or of parameter groups that require a gradient."""
    return [tensor for group in groups_of(model) for tensor in group["params"]]
