"""Networks of growing width, trained longer, or on more samples: what their recipes share, and the sweep."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from landscape.errors import RequestError
from landscape.networks.datasets import DataSet
from landscape.networks.problem import Problem
from landscape.networks.training import TrainingRecipe
from landscape.objective.objective import Objective
from landscape.studies.descent.recipe import (
    NODE,
    SPLITS,
    Prepared,
    Recipe,
    check_at_least,
    check_epsilon,
    check_levels,
    check_samples,
)
from landscape.studies.trial import check_training
from landscape.sweeps.recipe import entries
from landscape.sweeps.schema import Sweep, Variable

FULL_BATCH = 2**20
"""A batch size that is more than there are samples, and so means all of them."""


def _fast() -> TrainingRecipe:
    """The training that shows double descent of small networks in seconds."""
    return TrainingRecipe("adam", {"lr": 0.01}, epochs=None, steps=2000, batch_size=FULL_BATCH, schedule="cosine")


@dataclass(frozen=True)
class NetworkRecipe(Recipe):
    """What the sweeps over networks share.

    Args:
        problem: Network, data and loss; its label noise is `noise`.
        training: How each network is trained; its seed is replaced by that of the repetition.
        samples: Training samples.
        test_samples: Test samples, a fixed random subset; None for all.
        repetitions: Training sets and initial weights.
        noise: Fractions of the training labels that are wrong, the same for every network.
        epsilon: Training error below which a network counts as interpolating.
        seed: First of the repetitions' seeds.
    """

    problem: Problem = field(
        default_factory=lambda: Problem("mlp", "digits", "square", model_settings={"activation": "tanh"})
    )
    training: TrainingRecipe = field(default_factory=_fast)
    samples: int = 200
    test_samples: int | None = None
    repetitions: int = 1
    noise: tuple[float, ...] = (0.2,)
    epsilon: float = 0.1
    seed: int = 0
    family: ClassVar[str]

    def __post_init__(self) -> None:
        """Check everything that can be checked without data."""
        check_at_least(1, samples=self.samples, repetitions=self.repetitions)
        check_at_least(0, seed=self.seed)
        check_levels("noise", self.noise, most=1.0)
        check_epsilon(self.epsilon)
        if self.problem.label_noise:
            raise RequestError("label noise is an axis of the sweep: give it by noise, not in the problem")
        if self.test_samples is not None:
            check_at_least(1, test_samples=self.test_samples)

    @property
    @abstractmethod
    def capacities(self) -> tuple[int, ...]:
        """The numbers along the axis."""

    @property
    def most_samples(self) -> int:
        """The largest training set."""
        return self.samples

    @property
    def least_samples(self) -> int:
        """The smallest training set."""
        return self.samples

    @property
    def together(self) -> bool:
        """Whether one task computes all capacities, because they follow from each other."""
        return False

    def problem_at(self, capacity: int) -> Problem:
        """Network and data at a capacity."""
        return self.problem

    def prepare(self, data_dir: Path | None, device: str) -> Prepared:
        """Load the data, try the networks on a few samples, and lay out the sweep."""
        data = self.problem.load_data(data_dir)
        check_samples(data, self.most_samples, self.test_samples)
        counts = [self._try(self.problem_at(capacity), data, device) for capacity in self._tried()]
        contents = {
            "descent": self.family,
            **entries(self),
            "problem": self.problem.identity(),
            "training": self.training.recipe(),
            "data": data.digest,
        }
        return Prepared(contents, [self._sweep(data, counts, data_dir, device)])

    def _tried(self) -> Sequence[int]:
        """Capacities that stand for the different networks."""
        return self.capacities[:1]

    def _try(self, problem: Problem, data: DataSet, device: str) -> int:
        """Try a training on a few samples; returns the network's number of parameters."""
        model, loss = problem.build_model(data), problem.find_loss(data)
        check_training(model, data, loss, self.training, device, fewest=self.least_samples)
        objective = Objective(model, data.train, loss, device=device)
        if "error" not in objective.metrics:
            raise RequestError("the loss has no error beside it: use square or cross-entropy")
        return objective.num_parameters

    @abstractmethod
    def threshold(self, parameters: Sequence[int], outputs: int) -> float | None:
        """Where theory puts the interpolation threshold: parameters = samples x outputs; None if it isn't met."""

    def _sweep(self, data: DataSet, parameters: list[int], data_dir: Path | None, device: str) -> Sweep:
        """One task for each network, or for all that follow from each other."""
        over = ("seed", "noise") if self.together else ("capacity", "seed", "noise")
        inner = ("capacity", "seed", "noise")
        unit = "nats" if self.problem.loss == "cross-entropy" else "units of the loss"
        variables = {
            "loss": Variable((*inner, "split"), attrs={"long_name": "loss", "units": unit}),
            "error": Variable((*inner, "split"), attrs={"long_name": "error", "units": "1"}),
            "norm": Variable(inner, attrs={"long_name": "norm of the weights", "units": "1"}),
            **self.further(unit),
        }
        coords: dict[str, Any] = {
            "capacity": list(self.capacities),
            "seed": list(range(self.seed, self.seed + self.repetitions)),
            "noise": list(self.noise),
            "split": list(SPLITS),
        }
        if len(parameters) == len(self.capacities):
            coords["parameters"] = ("capacity", np.array(parameters))
        return Sweep(
            node=NODE,
            coords=coords,
            over=over,
            variables=variables,
            function="landscape.studies.descent.training:network_evaluator",
            arguments={"recipe": self, "data_dir": data_dir, "device": device, "variables": list(variables)},
            attrs={
                "family": self.family,
                "capacity_name": self.axis,
                "threshold": self.threshold(parameters, data.num_outputs),
                "threshold_name": "parameters = samples × outputs",
                "epsilon": self.epsilon,
                "samples": self.samples,
                "parameters": parameters[0] if len(parameters) == 1 else None,
            },
        )

    def further(self, unit: str) -> dict[str, Variable]:
        """Variables beside loss, error and norm."""
        return {}

    @property
    @abstractmethod
    def axis(self) -> str:
        """What a capacity counts."""
