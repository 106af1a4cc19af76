"""Optimizers on closed-form problems: the iterates of many runs at once, each optimizer by its name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from landscape.optimizers.registry import make_optimizer


def follow(
    name: str,
    start: Tensor,
    gradient: Callable[[Tensor, int], Tensor],
    steps: int,
    *,
    hyperparameters: dict[str, Any],
    schedule: Callable[[int], float] | None = None,
    momentum: Callable[[int], float] | None = None,
    interval: tuple[float, float] | None = None,
    lrs: Sequence[float] | None = None,
) -> Iterator[Tensor]:
    """Follow an optimizer whose steps act on each element by itself, so that runs can be stacked in one tensor.

    Args:
        name: Name of the optimizer.
        start: Where it starts, of any shape: one run or many.
        gradient: The gradient at a tensor of that shape in a step, counted from 0.
        steps: Number of steps.
        hyperparameters: Of the optimizer.
        schedule: Factor on the learning rate in a step; 1 by default.
        momentum: The momentum in a step, for an optimizer that has one; constant by default.
        interval: Bounds onto which every element is projected after each step.
        lrs: Learning rates instead of the one among the hyperparameters, one for each slice of the start's first axis.

    Yields:
        The iterate, `steps + 1` times from the start on: one tensor that changes, to be copied if it is kept.
    """
    point = start.clone()
    parts = [point] if lrs is None else list(point.unbind())  # views, which the optimizer changes in place
    own: list[dict[str, Any]] = [{}] if lrs is None else [{"lr": float(lr)} for lr in lrs]
    leaves = [part.requires_grad_() for part in parts]
    groups = [{"params": [leaf], **options} for leaf, options in zip(leaves, own, strict=True)]
    optimizer = make_optimizer(name, groups, **hyperparameters)
    rates = [group["lr"] for group in optimizer.param_groups]
    yield point.detach()
    for step in range(steps):
        if schedule is not None:
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * schedule(step)
        if momentum is not None:
            for group in optimizer.param_groups:
                group["momentum"] = momentum(step)
        with torch.no_grad():
            found = gradient(point.detach(), step)
        for leaf, slope in zip(leaves, [found] if lrs is None else found.unbind(), strict=True):
            leaf.grad = slope
        optimizer.step()
        if interval is not None:
            point.detach().clamp_(*interval)
        yield point.detach()
