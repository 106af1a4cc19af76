"""Networks of growing width, with their sharpness and their effective model complexity."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from landscape.errors import RequestError
from landscape.measures.registry import LOSS, find_measure, measure
from landscape.networks.datasets import DataSet
from landscape.networks.models import resolve_settings
from landscape.networks.problem import Problem
from landscape.objective.objective import Objective
from landscape.studies.descent.networks import NetworkRecipe
from landscape.studies.descent.recipe import check_counts
from landscape.sweeps.schema import Variable

TRIED = 4
"""Samples on which measures are tried; the learning coefficient needs three."""


@dataclass(frozen=True)
class WidthRecipe(NetworkRecipe):
    """Networks of growing width.

    Args:
        widths: Widths, increasing.
        reuse: Begin each network where the narrower one ended (see `growth.grow`).
        measures: Measures of sharpness to take at the end of each training, such as `hessian_max`.
        complexity: Search for each network's effective model complexity, too.
    """

    widths: tuple[int, ...] = (2, 4, 6, 10, 16, 20, 24, 28, 32, 40, 64, 96, 160, 256)
    reuse: bool = False
    measures: tuple[str, ...] = ()
    complexity: bool = False
    family: ClassVar[str] = "width"

    def __post_init__(self) -> None:
        """Check everything that can be checked without data."""
        super().__post_init__()
        check_counts("units (width)", self.widths)
        for name in self.measures:
            if find_measure(name).dims:
                raise RequestError(f"measure '{name}' is no single number: choose one such as hessian_max")

    @property
    def capacities(self) -> tuple[int, ...]:
        """The widths."""
        return self.widths

    @property
    def together(self) -> bool:
        """With reuse, each network needs the one before."""
        return self.reuse

    @property
    def axis(self) -> str:
        """What a capacity counts."""
        return "width"

    def problem_at(self, capacity: int) -> Problem:
        """The network of a width: its setting `width`, or every hidden layer, one if nothing else is said."""
        given = dict(self.problem.model_settings)
        settings = resolve_settings(self.problem.model, given)
        if "hidden" in settings:
            layers = len(settings["hidden"]) if "hidden" in given else 1
            return replace(self.problem, model_settings={**given, "hidden": (capacity,) * layers})
        if "width" in settings or ":" in self.problem.model:
            return replace(self.problem, model_settings={**given, "width": capacity})
        raise RequestError(f"model '{self.problem.model}' has no setting 'width' or 'hidden': choose another --model")

    def _tried(self) -> Sequence[int]:
        """Every width is a network of its own."""
        return self.widths

    def _try(self, problem: Problem, data: DataSet, device: str) -> int:
        """Take the measures on a few samples, too, of the narrowest network."""
        count = super()._try(problem, data, device)
        if problem == self.problem_at(self.widths[0]):
            few = data.train[: min(TRIED, self.samples)]
            objective = Objective(problem.build_model(data), few, problem.find_loss(data), device=device)
            for name in self.measures:
                measure(name, objective)
        return count

    def threshold(self, parameters: Sequence[int], outputs: int) -> float | None:
        """The width, between two of the sweep, at which there are as many parameters as samples times outputs."""
        wanted = self.samples * outputs
        if not parameters[0] <= wanted <= parameters[-1]:
            return None
        return float(np.exp(np.interp(math.log(wanted), np.log(parameters), np.log(self.widths))))

    def further(self, unit: str) -> dict[str, Variable]:
        """Sharpness, with its standard error, and complexity."""
        dims = ("capacity", "seed", "noise")
        found = {}
        for name in self.measures:
            entry = find_measure(name)
            units = entry.units.replace(LOSS, unit, 1) if entry.units.startswith(LOSS) else entry.units
            found[name] = Variable(dims, attrs={"long_name": entry.words, "units": units})
            found[f"{name}_stderr"] = Variable(
                dims, attrs={"long_name": f"standard error of the {entry.words}", "units": units}
            )
        if self.complexity:
            words = {"long_name": f"most samples trained to an error below {self.epsilon:g}", "units": "samples"}
            found["complexity"] = Variable(dims, attrs=words)
        return found
