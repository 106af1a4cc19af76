"""What a measure returns, what it takes, and where it keeps results from which it can go on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import stdtrit
from torch import Tensor

from landscape.objective.objective import Objective

State = dict[str, Tensor]
Array = NDArray[np.float64]


class Journal(Protocol):
    """Keeps the results of long computations in their order, so that a killed measure goes on with the same bits."""

    def __call__(self, compute: Callable[[], State]) -> State:
        """The result: computed, or read if it was computed before."""


def forgetful(compute: Callable[[], State]) -> State:
    """A journal that keeps nothing."""
    return compute()


class Remembered:
    """An operator whose products go through a journal.

    Args:
        matvec: The operator, `(D,)` to `(D,)`.
        journal: Where its products are kept.
    """

    def __init__(self, matvec: Callable[[Tensor], Tensor], journal: Journal) -> None:
        self._matvec, self._journal = matvec, journal

    def __call__(self, vector: Tensor) -> Tensor:
        """The product with one vector."""
        return self._journal(lambda: {"product": self._matvec(vector)})["product"].to(vector.device)


@dataclass(frozen=True)
class Measured:
    """The value of a measure at one point.

    Args:
        value: float64, of the shape of the measure's own dimensions; `()` for a number.
        stderr: Standard error of what is random in the measure itself (draws, probes), given the samples; 0 where
            nothing is. Same shape.
        more: Further results by name, each of the shape that the measure's entry says.
        coords: Labels of dimensions that only the result knows.
    """

    value: Array
    stderr: Array
    more: Mapping[str, Array] = field(default_factory=dict)
    coords: Mapping[str, Array] = field(default_factory=dict)

    @classmethod
    def of(cls, value: Any, stderr: Any = 0.0, **more: Any) -> Measured:
        """From numbers, sequences or tensors."""
        found = array(value)
        return cls(found, np.broadcast_to(array(stderr), found.shape), {name: array(x) for name, x in more.items()})


def widened(count: float) -> float:
    """Factor of a standard error of few draws: with it 1.96 of them hold 95 %, as Student's t says."""
    return float(stdtrit(count - 1, 0.975)) / 1.96


@dataclass(frozen=True)
class Term:
    """An estimate that may be one of several in a sum.

    Args:
        value: The estimate.
        variance: Of it, widened where few numbers tell it; 0 where it is exact.
    """

    value: float
    variance: float

    @classmethod
    def of(cls, value: float, variance: float, freedom: float) -> Term:
        """With a variance that is known with some degrees of freedom only."""
        return cls(value, variance * widened(1 + max(1.0, freedom)) ** 2 if variance > 0 else 0.0)


def array(value: Any) -> Array:
    """Anything numeric as float64."""
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    return np.asarray(value, np.float64)


@dataclass(frozen=True)
class Point:
    """Where a measure is taken.

    Args:
        objective: The loss: model, split, BatchNorm policy and weight decay are its.
        theta: The point, shape `(D,)`.
        generator: Randomness, on the CPU.
        journal: Keeps intermediate results of long measures.
    """

    objective: Objective
    theta: Tensor
    generator: torch.Generator
    journal: Journal = forgetful

    def normal(self) -> Tensor:
        """A standard normal vector, the same on every device and in every precision, shape `(D,)`."""
        return torch.randn(len(self.theta), generator=self.generator).to(self.theta)

    def seed(self) -> int:
        """A seed for randomness of its own, which a result from the journal doesn't draw."""
        return int(torch.randint(2**62, (), generator=self.generator))

    def rise(self, step: Tensor) -> float:
        r""":math:`L(\theta + \epsilon)` for a step, shape `(D,)`."""
        return float(self.journal(lambda: {"loss": _number(self.objective.loss(self.theta + step))})["loss"])

    def slope(self, step: Tensor) -> tuple[float, Tensor]:
        r""":math:`L(\theta + \epsilon)` and its gradient."""

        def compute() -> State:
            value, gradient = self.objective.gradient(self.theta + step)
            return {"loss": _number(value), "gradient": gradient}

        found = self.journal(compute)
        return float(found["loss"]), found["gradient"].to(step.device)


def _number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)
