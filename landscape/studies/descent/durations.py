"""One network, trained longer, or on more samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from landscape.networks.training import TrainingRecipe
from landscape.studies.descent.networks import NetworkRecipe
from landscape.studies.descent.recipe import check_counts


def _steady() -> TrainingRecipe:
    """A training that is watched."""
    return TrainingRecipe("adam", {"lr": 0.001}, epochs=1, batch_size=32)


@dataclass(frozen=True)
class EpochRecipe(NetworkRecipe):
    """One network, watched while it is trained.

    Args:
        epochs: When to evaluate; the last one ends the training, whatever `training` says.
    """

    training: TrainingRecipe = field(default_factory=_steady)
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
    def least_samples(self) -> int:
        """The smallest training set."""
        return self.sizes[0]

    @property
    def axis(self) -> str:
        """What a capacity counts."""
        return "training samples"

    def threshold(self, parameters: Sequence[int], outputs: int) -> float | None:
        """The number of samples at which there are as many parameters as samples times outputs."""
        return parameters[0] / outputs
