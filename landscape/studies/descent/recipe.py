"""What the recipes of all kinds of descent share: their checks, and how a request becomes sweeps."""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from landscape.errors import RequestError
from landscape.networks.datasets import DataSet
from landscape.sweeps.schema import Sweep

NODE = "descent"
AUTOSAVE_SECONDS = 20.0
SPLITS = ("train", "test")
Evaluate = Callable[[Mapping[str, Any], Any], Mapping[str, Any]]


@dataclass(frozen=True)
class Prepared:
    """A request that has been checked.

    Args:
        contents: Everything that the result depends on.
        sweeps: What is to be evaluated.
    """

    contents: dict[str, Any]
    sweeps: Sequence[Sweep]

    def saved_every(self, seconds: float) -> list[Sweep]:
        """The sweeps as they are run, trainings saving their state that often."""
        return [replace(sweep, arguments={**sweep.arguments, "autosave_seconds": seconds}) for sweep in self.sweeps]


class Recipe(ABC):
    """What `descent` computes."""

    @abstractmethod
    def prepare(self, data_dir: Path | None, device: str) -> Prepared:
        """Load what is needed and check everything before anything is written.

        Raises:
            RequestError: If the request is wrong.
        """


def check_counts(what: str, counts: Sequence[int]) -> None:
    """Refuse capacities that are none, not positive or not increasing."""
    if not counts:
        raise RequestError(f"no number of {what} is given: give at least one")
    if min(counts) < 1:
        raise RequestError(f"the number of {what} must be at least 1, got {min(counts)}")
    if any(later <= earlier for earlier, later in itertools.pairwise(counts)):
        raise RequestError(f"the numbers of {what} must increase, got {', '.join(map(str, counts))}")


def check_at_least(least: int, **counts: int) -> None:
    """Refuse counts below a bound."""
    for name, value in counts.items():
        if value < least:
            raise RequestError(f"{name.replace('_', ' ')} must be at least {least}, got {value}")


def check_levels(what: str, levels: Sequence[float], most: float = math.inf) -> None:
    """Refuse levels of noise or ridge that are none, out of range, or given twice."""
    if not levels:
        raise RequestError(f"no {what} is given: give at least one, such as 0")
    for level in levels:
        if not 0 <= level <= most or math.isinf(level):
            limit = "of at least 0" if math.isinf(most) else f"in [0, {most:g}]"
            raise RequestError(f"{what} must be a number {limit}, got {level:g}")
    if len(set(levels)) < len(levels):
        raise RequestError(f"{what} is given twice: {', '.join(f'{level:g}' for level in levels)}")


def check_epsilon(epsilon: float) -> None:
    """Refuse thresholds of the training error that mean nothing."""
    if not 0 < epsilon < 1:
        raise RequestError(f"epsilon must lie between 0 and 1, got {epsilon:g}")


def check_samples(data: DataSet, count: int, test: int | None = None) -> None:
    """Refuse more samples than a data set has, and data without labels or test split."""
    if data.num_classes is None or data.train.targets.ndim != 1:
        raise RequestError(f"data set '{data.name}' has no classes: choose one with labels, or gaussian")
    if data.test is None:
        raise RequestError(f"data set '{data.name}' has no test split, without which there is no risk to see")
    for what, asked, there in (("training", count, len(data.train)), ("test", test or 0, len(data.test))):
        if asked > there:
            raise RequestError(
                f"{asked} {what} samples were asked for, but data set '{data.name}' has {there}: ask for fewer"
            )
