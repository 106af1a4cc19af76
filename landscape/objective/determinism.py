"""Whether a model gives the same outputs for the same inputs: without that, a surface is noise."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from landscape.errors import RequestError
from landscape.objective.module import preserved_rng
from landscape.objective.objective import Objective
from landscape.objective.samples import leaves

TOLERANCE = 1e-4
"""Relative difference that the order of a parallel sum may make in float32."""
SAMPLES = 8


@torch.no_grad()
def check_deterministic(objective: Objective) -> None:
    """Run the model twice in evaluation mode, with different random states, and compare.

    Args:
        objective: The model and its data, of which a few samples are used.

    Raises:
        RequestError: If the outputs differ, naming the innermost module that made the difference.
    """
    inputs, _ = objective.samples.first(SAMPLES)
    runs = [_outputs(objective, inputs, seed) for seed in (0, 1)]
    for (name, first), (_, second) in zip(*runs, strict=False):
        if not _alike(first, second):
            raise RequestError(
                f"the model is not deterministic in evaluation mode: {name} gives other outputs for the same inputs; "
                "make its randomness depend on `self.training`"
            )


def _outputs(objective: Objective, inputs: Any, seed: int) -> list[tuple[str, list[Tensor]]]:
    """What each module returned, innermost first, in the order in which they were done."""
    found: list[tuple[str, list[Tensor]]] = []
    whole = objective.module.module
    handles = []
    for name, part in whole.named_modules():
        called = f"'{name}' ({type(part).__name__})" if name else f"the model itself ({type(part).__name__})"

        def record(module: nn.Module, arguments: Any, output: Any, called: str = called) -> None:
            found.append((called, [tensor.detach().clone() for tensor in leaves(output)]))

        handles.append(part.register_forward_hook(record))
    try:
        objective.module.write(objective.theta)
        with preserved_rng(objective.device, seed):
            found.append(("the model itself", list(leaves(objective.module(inputs)))))
    finally:
        for handle in handles:
            handle.remove()
    return found


def _alike(first: list[Tensor], second: list[Tensor]) -> bool:
    """Whether two lists of tensors are equal but for rounding."""
    return len(first) == len(second) and all(
        one.shape == other.shape
        and torch.allclose(one, other, rtol=TOLERANCE, atol=TOLERANCE * float(_scale(one)), equal_nan=True)
        for one, other in zip(first, second, strict=True)
    )


def _scale(tensor: Tensor) -> Tensor:
    """The largest finite magnitude."""
    values = tensor.double().abs()
    return torch.where(values.isfinite(), values, 0.0).max() if tensor.numel() else values.new_zeros(())
