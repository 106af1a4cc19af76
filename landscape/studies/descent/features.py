"""Least squares on a growing number of features: what is asked for, and the sweep that answers it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from landscape.errors import RequestError, unknown
from landscape.networks.datasets import DataSet, load_data, resolve_settings
from landscape.studies.descent.decomposition import PARTS
from landscape.studies.descent.maps import find_map
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

GAUSSIAN = "gaussian"
DIMENSION = 100
TARGETS = ("one-hot", "signs")
WORDS = {"fourier": "Fourier features", "relu": "ReLU features", "linear": "features"}
MULTIPLES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1, 1.05, 1.1, 1.2, 1.4, 1.7, 2, 3, 5, 7, 10)
"""The numbers of features of a sweep, over the number of samples, unless others are asked for."""


@dataclass(frozen=True)
class FeaturesRecipe(Recipe):
    r"""Least squares :math:`\|Fw - y\|^2 + \lambda\|w\|^2` on features F of the inputs.

    Args:
        features: `fourier`, `relu` or `linear` (the inputs themselves, in random order).
        data: A data set with classes by name, or `gaussian`: isotropic inputs with a linear target.
        data_settings: Settings of the data set.
        capacities: Numbers of features N; by default multiples of the number of samples, 1 among them.
        samples: Training samples n.
        test_samples: Test samples.
        repetitions: Training sets.
        draws: Draws of features for each training set.
        noise: Fractions of wrong training labels; for `gaussian`, standard deviations of the targets' noise.
        ridge: Values of :math:`\lambda`, 0 for the minimum-norm solution.
        targets: `one-hot` or `signs`.
        scale: Width of the features' weights; see `maps.Features`.
        dimension: Inputs of `gaussian` data.
        epsilon: Training error (loss in units of the targets' variance, for `gaussian`) that counts as none.
        seed: First of the training sets' seeds; those of feature draws follow from it.
    """

    features: str = "fourier"
    data: str = "digits"
    data_settings: Mapping[str, Any] = field(default_factory=dict)
    capacities: tuple[int, ...] | None = None
    samples: int = 300
    test_samples: int = 360
    repetitions: int = 5
    draws: int = 2
    noise: tuple[float, ...] = (0.0,)
    ridge: tuple[float, ...] = (0.0,)
    targets: str = "one-hot"
    scale: float = 2.0
    dimension: int = DIMENSION
    epsilon: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        """Check everything that can be checked without data."""
        find_map(self.features)
        if self.targets not in TARGETS:
            raise unknown("kind of targets", self.targets, TARGETS)
        check_at_least(
            1,
            samples=self.samples,
            test_samples=self.test_samples,
            repetitions=self.repetitions,
            draws=self.draws,
            dimension=self.dimension,
        )
        check_at_least(0, seed=self.seed)
        if not 0 < self.scale < float("inf"):
            raise RequestError(f"scale must be a positive number, got {self.scale:g}")
        check_levels("noise", self.noise, most=float("inf") if self.data == GAUSSIAN else 1.0)
        check_levels("ridge", self.ridge)
        check_epsilon(self.epsilon)
        if self.capacities is None:
            counts = sorted({max(1, round(multiple * self.samples)) for multiple in MULTIPLES})
            object.__setattr__(self, "capacities", tuple(counts))
        check_counts("features", self.numbers)
        self._check_effects()
        if self.features == "linear" and self.data == GAUSSIAN and self.draws > 1:
            raise RequestError("isotropic inputs are alike, so draws of linear features change nothing: ask for 1 draw")

    def _check_effects(self) -> None:
        """Refuse what would have no effect on these data."""
        if self.data != GAUSSIAN and self.dimension != DIMENSION:
            raise RequestError(f"dimension is one of gaussian data, but the data are '{self.data}': leave it out")
        if self.data == GAUSSIAN and self.data_settings:
            raise RequestError(f"gaussian data have no setting '{next(iter(self.data_settings))}', only a dimension")
        if self.data == GAUSSIAN and self.targets != TARGETS[0]:
            raise RequestError(f"gaussian data have targets of their own: leave out '{self.targets}'")

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers of features."""
        return self.capacities or ()

    @property
    def exact(self) -> bool:
        """Whether the risk is known: linear regression on isotropic Gaussian data."""
        return self.features == "linear" and self.data == GAUSSIAN

    def prepare(self, data_dir: Path | None, device: str) -> Prepared:
        """Load the data and lay out the sweep."""
        data = None if self.data == GAUSSIAN else load_data(self.data, data_dir=data_dir, settings=self.data_settings)
        if data is not None:
            check_samples(data, self.samples, self.test_samples)
        inputs = self.dimension if data is None else int(np.prod(data.input_shape))
        if self.features == "linear" and self.numbers[-1] > inputs:
            raise RequestError(
                f"{self.numbers[-1]} linear features were asked for, but '{self.data}' has {inputs} inputs: "
                f"ask for at most {inputs}"
            )
        contents = {"descent": "features", **entries(self)}
        if data is not None:
            settings = resolve_settings(self.data, self.data_settings)
            contents |= {"data": Path(self.data).name, "data_settings": settings, "digest": data.digest}
        return Prepared(contents, [self._sweep(data, data_dir)])

    def _sweep(self, data: DataSet | None, data_dir: Path | None) -> Sweep:
        """All training sets and feature draws of one number of features are one task."""
        inner = ("capacity", "seed", "draw", "noise", "ridge")
        coords: dict[str, Any] = {
            "capacity": list(self.numbers),
            "seed": list(range(self.seed, self.seed + self.repetitions)),
            "draw": list(range(self.draws)),
            "noise": list(self.noise),
            "ridge": list(self.ridge),
            "split": list(SPLITS),
        }
        units = "units of the target squared"
        described = {
            "loss": ((*inner, "split"), "mean squared error", units),
            "error": ((*inner, "split"), "error", "1"),
            "norm": (inner, "norm of the solution", "1"),
            "ensemble_loss": (
                ("capacity", "seed", "member", "noise", "ridge"),
                "test loss of the mean of draws",
                units,
            ),
            "decomposition": (("capacity", "noise", "ridge", "part"), "part of the mean squared test error", units),
            "theory": (("capacity", "noise", "ridge"), "expected risk by theory", units),
        }
        if data is None:
            del described["error"]
        if not self.exact:
            del described["theory"]
        if self.draws > 1:
            coords["member"] = list(range(1, self.draws + 1))
        else:
            del described["ensemble_loss"]
        if self.repetitions > 1 and not self.exact:
            coords["part"] = list(PARTS)
        else:
            del described["decomposition"]
        return Sweep(
            node=NODE,
            coords=coords,
            over=("capacity",),
            variables={
                name: Variable(dims, attrs={"long_name": words, "units": unit})
                for name, (dims, words, unit) in described.items()
            },
            function="landscape.studies.descent.solving:features_evaluator",
            arguments={"recipe": self, "data_dir": data_dir, "variables": list(described)},
            attrs={
                "family": "features",
                "capacity_name": WORDS[self.features],
                "threshold": self.samples,
                "threshold_name": "features = samples",
                "epsilon": self.epsilon,
                **({"target_variance": 1.0} if data is None else {}),
            },
        )
