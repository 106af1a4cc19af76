"""What torch leaves unsaid: gradients that don't fit their tensors, and states of other tensors, are refused."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from torch.optim import Optimizer

from landscape.errors import RequestError
from landscape.optimizers.base import live_parameters

ELEMENTWISE = {"momentum_buffer", "exp_avg", "exp_avg_sq", "max_exp_avg_sq", "square_avg", "acc_delta", "sum"}
"""torch's names for state that has the shape of its parameter."""


def watch(optimizer: Optimizer) -> Optimizer:
    """Hold an optimizer of torch's to three promises: gradients fit, and a loaded state belongs here and is copied.

    The state that it saves has one entry more, `shapes`, which torch ignores.
    """
    optimizer.register_step_pre_hook(_check_gradients)
    remember_shapes(optimizer)
    return optimizer


def remember_shapes(optimizer: Optimizer) -> None:
    """Keep the tensors' shapes with the state, so that a state of other tensors is refused even if it is empty."""
    optimizer.register_state_dict_post_hook(_note_shapes)
    optimizer.register_load_state_dict_pre_hook(_check_shapes)


def _check_gradients(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
    """Before each step; torch's fused versions would let the first pass and answer the second in riddles.

    Raises:
        RequestError: If a gradient has another dtype or device than its tensor, or is sparse.
    """
    live_parameters(optimizer.param_groups)


def _shapes(optimizer: Optimizer) -> list[list[tuple[int, ...]]]:
    """The shapes of all tensors, group by group."""
    return [[tuple(tensor.shape) for tensor in group["params"]] for group in optimizer.param_groups]


def _note_shapes(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Add the shapes to a state, since torch loads one of other shapes in silence."""
    state["shapes"] = _shapes(optimizer)


def _check_shapes(optimizer: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    """Before a state is loaded; torch would go on to write into the tensors that it was given.

    Returns:
        A copy of it.

    Raises:
        RequestError: If it belongs to other tensors.
    """
    here = _shapes(optimizer)
    counts = [len(group["params"]) for group in state["param_groups"]]
    if counts != [len(group) for group in here]:
        raise RequestError(
            f"the optimizer's state is for groups of {', '.join(map(str, counts))} tensors, here are "
            f"{', '.join(str(len(group)) for group in here)}; load it into an optimizer of the same model"
        )
    found = state.get("shapes")
    if found is None:  # saved by torch alone
        numbers = [number for group in state["param_groups"] for number in group["params"]]
        shapes = dict(zip(numbers, (shape for group in here for shape in group), strict=True))
        kept = {number: _kept_shape(state["state"].get(number, {}), shape) for number, shape in shapes.items()}
        found = [[kept[number] for number in group["params"]] for group in state["param_groups"]]
    for theirs, ours in zip(found, here, strict=True):
        for their, our in zip(theirs, ours, strict=True):
            if tuple(their) != our:
                raise RequestError(
                    f"the optimizer's state is for a tensor of shape {tuple(their)}, here it has {our}; load it into "
                    "an optimizer of the same model"
                )
    return {**state, "state": copy.deepcopy(state["state"])}


def _kept_shape(state: Mapping[str, Any], shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of the tensor that a state was kept for, as far as it tells; else the given one."""
    return next(
        (tuple(value.shape) for name, value in state.items() if name in ELEMENTWISE and value is not None), shape
    )
