r"""The loss of a batch and its gradient, computed in micro-batches where the whole doesn't fit into memory.

The gradients of the micro-batches add up, each weighted by its samples, or by its tokens where the loss counts them:

.. math:: \nabla L = \sum_k \nabla \frac{\sum_{i \in B_k} \ell_i}{\sum_{i \in B} n_i},

which is the gradient of the whole batch but for rounding. What depends on more than one sample isn't: BatchNorm sees
each micro-batch alone, and dropout draws other numbers in each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from landscape.networks.parallel import Ranks
from landscape.objective.samples import map_tensors


@dataclass(frozen=True)
class MicroBatch:
    """Samples that are computed at once.

    Args:
        inputs: This rank's inputs.
        targets: Their targets.
        size: Number of samples, those of all ranks together.
        weight: Of this rank's part: 0 where the rank has none and repeats another's sample, else 1.
        seed: Of dropout.
    """

    inputs: Any
    targets: Any
    size: int
    weight: float
    seed: int


def cut(indices: Tensor, size: int | None) -> list[Tensor]:
    """Parts of `size` samples, the last one smaller; a single one left over joins the part before, for BatchNorm.

    Args:
        indices: Sample numbers, shape `(B,)`.
        size: Samples in a part; None for one part.
    """
    parts = [indices] if size is None else list(torch.split(indices, size))
    if len(parts) > 1 and len(parts[-1]) == 1 < len(parts[-2]):
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


def select_parts(inputs: Any, targets: Any, sizes: Sequence[int]) -> list[tuple[Any, Any]]:
    """Cut samples into parts of these sizes, in order.

    Args:
        inputs: A tensor, or a tuple or dictionary of them, whose first axis counts the samples.
        targets: The same.
        sizes: Samples in each part.
    """
    found, start = [], 0
    for size in sizes:
        here = slice(start, start + size)
        found.append((_slice(inputs, here), _slice(targets, here)))
        start += size
    return found


def _slice(tree: Any, here: slice) -> Any:
    return map_tensors(lambda tensor: tensor[here], tree)


class BatchLoss:
    """The mean loss of a batch as a closure: each call adds its gradient to `p.grad` and returns it.

    Args:
        parts: The batch.
        losses: Of a micro-batch: losses `(B,)`, or their sums over tokens with the counts `(B,)`.
        parameters: The network's.
        scale: What multiplies the loss before each backward pass, as a `GradScaler` does.
        precision: Makes the context of each forward pass.
        ranks: The processes that share the batch.
    """

    def __init__(
        self,
        parts: Sequence[MicroBatch],
        losses: Callable[[MicroBatch], tuple[Tensor, Tensor | None]],
        parameters: Sequence[Tensor],
        scale: Callable[[Tensor], Tensor],
        precision: Callable[[], AbstractContextManager[Any]],
        ranks: Ranks,
    ) -> None:
        self.parts, self.losses, self.parameters = parts, losses, parameters
        self.scale, self.precision, self.ranks = scale, precision, ranks
        self._total: Tensor | None = None

    @property
    def size(self) -> int:
        """Number of samples."""
        return sum(part.size for part in self.parts)

    def __call__(self) -> Tensor:
        """The mean over samples or tokens; the gradients of all ranks have been added up."""
        value = self._at_once(self.parts[0]) if len(self.parts) == 1 else self._added_up()
        return self.ranks.add(value, self.parameters)

    def _at_once(self, part: MicroBatch) -> Tensor:
        with self.precision():
            value = self.ranks.mean(*self.losses(part), part.weight)
        self.scale(value).backward()  # type: ignore[no-untyped-call]
        return value.detach()

    def _added_up(self) -> Tensor:
        """The number of tokens is known only when all have been seen: at first it is guessed from the first part."""
        total, own = self._total, []
        value: Tensor | float = 0.0
        for part in self.parts:
            with self.precision():
                losses, counts = self.losses(part)
                own.append(part.weight * (losses.new_tensor(len(losses)) if counts is None else counts.sum()).double())
                if total is None:
                    total = (self.ranks.total(own[0]) * self.size / part.size).clamp(min=1)
                term = part.weight * losses.sum() / total.to(losses.dtype)
            self.scale(term).backward()  # type: ignore[no-untyped-call]
            value = value + term.detach()
        assert total is not None
        if self._total is None:
            self._total = self.ranks.total(torch.stack(own).sum())
            error = float(total / self._total)
            if error != 1:  # a guess is off where parts differ in tokens; on the batch's next call it isn't made
                value = value * error
                gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
                torch._foreach_mul_(gradients, error)
        assert isinstance(value, Tensor)
        return value
