"""Networks of growing width, trained longer, or on more samples: what is asked for, and the sweep that answers it."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from landscape.errors import RequestError
from landscape.measures.registry import LOSS, find_measure, measure
from landscape.networks.datasets import DataSet
from landscape.networks.models import resolve_settings
from landscape.networks.problem import Problem
from landscape.networks.training import TrainingRecipe
from landscape.objective.objective import Objective
from landscape.optimizers.registry import make_optimizer
from landscape.studies.descent.recipe import (
    NODE,
    SPLITS,
    Prepared,
    Recipe,
    check_at_least,
    check_counts,
    check_epsilon,
    check_levels,
    check_samples,
)
from landscape.sweeps.recipe import entries
from landscape.sweeps.schema import Sweep, Variable

FULL_BATCH = 2**20
"""A batch size that is more than there are samples, and so means all of them."""
FAST = TrainingRecipe("adam", {"lr": 0.01}, epochs=None, steps=2000, batch_size=FULL_BATCH, schedule="cosine")
"""The recipe that shows double descent of small networks in seconds."""

STEADY = TrainingRecipe("adam", {"lr": 0.001}, epochs=1, batch_size=32)
"""The recipe of a training that is watched."""


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
    training: TrainingRecipe = FAST
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
        """Evaluate and differentiate a network on two samples; returns its number of parameters."""
        model = problem.build_model(data)
        objective = Objective(model, data.train[:2], problem.find_loss(data), device=device)
        objective.check()
        if "error" not in objective.metrics:
            raise RequestError("the loss has no error beside it: use square or cross-entropy")
        make_optimizer(self.training.optimizer, model, **self.training.hyperparameters)
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
        """Take the measures on two samples, too, of the narrowest network."""
        count = super()._try(problem, data, device)
        if problem == self.problem_at(self.widths[0]):
            objective = Objective(problem.build_model(data), data.train[:2], problem.find_loss(data), device=device)
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


@dataclass(frozen=True)
class EpochRecipe(NetworkRecipe):
    """One network, watched while it is trained.

    Args:
        epochs: When to evaluate; the last one ends the training, whatever `training` says.
    """

    training: TrainingRecipe = STEADY
    epochs: tuple[int, ...] = (1, 2, 3, 5, 8, 12, 20, 30, 50, 80, 120, 200)
    family: ClassVar[str] = "epoch"

    def __post_init__(self) -> None:
        """The training's length is that of the axis."""
        super().__post_init__()
        check_counts("epochs", self.epochs)
        object.__setattr__(self, "training", replace(self.training, epochs=self.epochs[-1], steps=None))

    @property
    def capacities(self) -> tuple[int, ...]:
        """The epochs."""
        return self.epochs

    @property
    def together(self) -> bool:
        """One training passes all epochs."""
        return True

    @property
    def axis(self) -> str:
        """What a capacity counts."""
        return "epochs"

    def threshold(self, parameters: Sequence[int], outputs: int) -> float | None:
        """Theory has none along a training."""
        return None


@dataclass(frozen=True)
class SamplesRecipe(NetworkRecipe):
    """One network, trained on more and more samples.

    Args:
        sizes: Numbers of training samples; smaller sets are parts of larger ones.
    """

    sizes: tuple[int, ...] = (50, 75, 100, 150, 200, 250, 300, 400, 600, 800, 1200)
    family: ClassVar[str] = "samples"

    def __post_init__(self) -> None:
        """The largest training set is that of the axis."""
        super().__post_init__()
        check_counts("samples", self.sizes)
        object.__setattr__(self, "samples", self.sizes[-1])

    @property
    def capacities(self) -> tuple[int, ...]:
        """The numbers of samples."""
        return self.sizes

    @property
    def axis(self) -> str:
        """What a capacity counts."""
        return "training samples"

    def threshold(self, parameters: Sequence[int], outputs: int) -> float | None:
        """The number of samples at which there are as many parameters as samples times outputs."""
        return parameters[0] / outputs
