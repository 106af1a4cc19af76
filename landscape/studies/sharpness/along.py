"""Measures along a training run: a recorder that takes them now and then, and their node in the run's store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from landscape.errors import RequestError
from landscape.networks.loop import History, Row
from landscape.objective.determinism import check_deterministic
from landscape.objective.parameters import Layout
from landscape.studies.network import Network
from landscape.studies.sharpness.density import write_density
from landscape.studies.sharpness.evaluation import DENSITY, check_measures, flat_along, measure_variables, own_coords
from landscape.studies.sharpness.recipe import SharpnessRecipe
from landscape.studies.study import choose_splits
from landscape.sweeps import store
from landscape.sweeps.schema import STATUS_FLAGS, Status, Variable

NODE = "sharpness"
KEY = "measures"
"""What a row of the history calls them."""


class MeasureRecorder:
    """Takes measures along a run.

    Each is taken with the same random numbers at every step, so that a curve shows how the weights change, and nothing
    of the draws.

    Args:
        recipe: Which measures, on what.
        network: The loss and its data; the weights don't count.
        every: Updates between two looks, from before the first to after the last; 0 for the last only.
        num_steps: Number of updates of the run.
    """

    def __init__(self, recipe: SharpnessRecipe, network: Network, every: int, num_steps: int) -> None:
        if every < 0:
            raise RequestError(
                f"measures are taken every K updates: K must be at least 0 (0 for the end only), got {every}"
            )
        self.settings, self.measures = recipe, recipe.resolved()
        self.network = replace(
            network, samples=recipe.samples, batchnorm=recipe.policy, weight_decay=recipe.weight_decay
        )
        self.splits = choose_splits(recipe.splits, network.data.splits)
        self.every, self.steps = every, {num_steps, *(range(0, num_steps, every) if every else ())}

    def recipe(self) -> dict[str, Any]:
        """What decides the values, beside the run."""
        settings = self.settings
        return {
            **settings.recipe(),
            "splits": self.splits,
            "samples": settings.samples,
            "batchnorm": settings.policy,
            "weight_decay": settings.weight_decay,
            "every": self.every,
        }

    def check(self) -> None:
        """Try the network on a few samples.

        Raises:
            RequestError: If it can't be measured.
        """
        check_measures(self.measures, self._num_parameters)
        objectives = self.network.objectives(self.splits)
        for objective in objectives.values():
            objective.check()
        check_deterministic(objectives[self.splits[0]])

    def record(self, step: int, model: nn.Module) -> Row:
        """All measures of the network; NaN where the run has diverged."""
        objectives = replace(self.network, model=model).objectives(self.splits)
        found = [flat_along(self.measures, objective, self.settings.seed) for objective in objectives.values()]
        shapes = self._shapes.items()
        return {KEY: {name: [np.broadcast_to(one[name], shape).tolist() for one in found] for name, shape in shapes}}

    def write(self, path: Path, history: History) -> None:
        """Store what was recorded: node `sharpness` over `step` and `split`.

        Args:
            path: The run's store.
            history: Of the finished run.
        """
        rows = [row for row in history.rows if KEY in row]
        if not rows:
            return
        over = ("step", "split")
        around = {"step": np.array([row["step"] for row in rows]), "split": list(self.splits)}
        coords = {**around, **self._own}
        values = {name: np.array([row[KEY][name] for row in rows], float) for name in self._shapes}
        finite = [np.isfinite(value).reshape(len(rows), len(self.splits), -1).all(-1) for value in values.values()]
        variables = {**self._variables(over), "status": Variable(over, "int8", STATUS_FLAGS)}
        attrs = {"batches": "all samples at once", "batchnorm": self.network.batchnorm}
        store.add_node(path, NODE, coords, variables, attrs)
        for name, value in values.items():
            store.write(path, NODE, name, value)
        if DENSITY in self.measures:
            write_density(path, NODE, coords, self.measures, self.network.loss, self._num_parameters)
        status = np.where(np.all(finite, axis=0), Status.DONE, Status.NON_FINITE)
        store.write(path, NODE, "status", status.astype(np.int8))

    @property
    def _num_parameters(self) -> int:
        return Layout.of(self.network.model).num_parameters

    @property
    def _own(self) -> dict[str, Any]:
        """Labels of the measures' own dimensions."""
        return own_coords(self.measures, self._num_parameters)

    def _variables(self, over: tuple[str, ...]) -> dict[str, Variable]:
        return measure_variables(self.measures, over, self.network.loss)

    @cached_property
    def _shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of each result at one step on one split."""
        sizes = {dim: one if isinstance(one, int) else len(one) for dim, one in self._own.items()}
        return {name: tuple(sizes[dim] for dim in one.dims) for name, one in self._variables(()).items()}
