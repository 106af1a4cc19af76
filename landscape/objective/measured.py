"""Each sample's loss and metrics, at several points together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from landscape.objective.losses import cross_entropies, cross_entropy, per_sample
from landscape.objective.objective import Objective
from landscape.objective.samples import batch_length

OUTPUT_BYTES = 1 << 24
"""What outputs at several points may take, of which the loss is computed at once."""

Measured = dict[str, tuple[Tensor, Tensor]]
"""Values and counts of loss and metrics by name."""


def measure(objective: Objective, outputs: Iterable[Any], targets: Any, exactly: bool = False) -> Measured:
    """Values and counts of a batch at some points.

    Args:
        objective: Whose loss and metrics.
        outputs: The model's, at one point after the other.
        targets: The batch's.
        exactly: Whether the loss function itself is to be called, for its own bits.

    Returns:
        Each of shape `(P, B)`.
    """
    functions = {"loss": objective.loss_function, **objective.metrics}
    found: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in functions}
    for some in _groups(outputs):
        for name, function in functions.items():
            at_once = None if exactly or function is not cross_entropy else cross_entropies(some, targets)
            if at_once is not None:
                found[name].append((at_once, torch.ones_like(at_once)))
                continue
            for one in some:
                values, counts = per_sample(function, one, targets, batch_length(targets), name)
                found[name].append((values[None], (torch.ones_like(values) if counts is None else counts)[None]))
    return {name: _cat(parts, 0) for name, parts in found.items()}


def points_of(pieces: Sequence[Measured], count: int | None = None) -> Iterator[Measured]:
    """Values and counts of batches in a row, each `(P, B)`, as those of each point: `(n,)`, or the first `count`."""
    whole = {name: _cat([piece[name] for piece in pieces], 1) for name in pieces[0]}
    for number in range(len(next(iter(whole.values()))[0])):
        yield {name: (values[number, :count], counts[number, :count]) for name, (values, counts) in whole.items()}


def _groups(outputs: Iterable[Any]) -> Iterator[list[Any]]:
    """Outputs in groups of which the loss may be computed at once."""
    group: list[Any] = []
    for one in outputs:
        group.append(one)
        if not isinstance(one, Tensor) or one.nbytes * (len(group) + 1) > OUTPUT_BYTES:
            yield group
            group = []
    if group:
        yield group


def _cat(parts: Sequence[tuple[Tensor, Tensor]], axis: int) -> tuple[Tensor, Tensor]:
    """Values and counts joined along an axis."""
    return torch.cat([values for values, _ in parts], axis), torch.cat([counts for _, counts in parts], axis)
