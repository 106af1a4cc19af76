"""Functions on [-1, 1] that are to be fitted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from landscape.errors import RequestError, unknown
from landscape.factories import is_factory, load_factory

Function = Callable[[Tensor], Tensor]

TARGETS: dict[str, tuple[Function, str]] = {
    "cosine": (lambda x: 2 * x + torch.cos(25 * x), "2x + cos 25x"),
    "runge": (lambda x: 1 / (1 + 25 * x.square()), "1 / (1 + 25x²)"),
    "sine": (lambda x: torch.sin(2 * torch.pi * x), "sin 2πx"),
    "step": (torch.sign, "sign x"),
}
"""Function and formula by name."""


def find_target(name: str) -> tuple[Function, str]:
    """A function by name, or `package.module:function` of a float64 tensor, and its formula.

    Raises:
        RequestError: If there is none, or it doesn't map a tensor to one of its shape.
    """
    if name in TARGETS:
        return TARGETS[name]
    if not is_factory(name):
        raise unknown("target", name, [*TARGETS, "package.module:function"])
    function = load_factory("target", name)
    x = torch.linspace(-1, 1, 3, dtype=torch.float64)
    try:
        value: Any = function(x)
    except Exception as error:
        raise RequestError(f"target '{name}' failed on a tensor of points: {error}") from error
    if not isinstance(value, Tensor) or value.shape != x.shape or not bool(value.isfinite().all()):
        raise RequestError(f"target '{name}' must map a tensor of points in [-1, 1] to as many finite values")
    return function, name
