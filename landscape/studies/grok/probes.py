"""What is recorded along a run: each probe looks at the network at some steps and returns named values."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor, nn

from landscape.objective.losses import unit_of
from landscape.objective.objective import Objective
from landscape.studies.sharpness.evaluation import described, flat_along, own_coords, variable_dims

STEP, MEASURED = "step", "measured_step"


@dataclass(frozen=True)
class Look:
    """The network at one step.

    Args:
        step: Updates made so far.
        model: The network; only read.
        objectives: The loss on each split.
    """

    step: int
    model: nn.Module
    objectives: Mapping[str, Objective]

    @cached_property
    def theta(self) -> Tensor:
        """The parameters, shape `(D,)`."""
        return self.objectives["train"].theta


@dataclass(frozen=True)
class Quantity:
    """A variable of the store.

    Args:
        words: What it is.
        units: Its unit.
        dims: Its own dimensions, beside the swept ones, `step` or `measured_step` the last.
    """

    words: str
    units: str
    dims: tuple[str, ...] = (STEP,)


class Probe(ABC):
    """One kind of record.

    Args:
        steps: Where it looks; None for every record.
    """

    steps: Collection[int] | None = None

    @abstractmethod
    def quantities(self) -> dict[str, Quantity]:
        """What it records, by name."""

    @abstractmethod
    def record(self, look: Look) -> Mapping[str, Any]:
        """The values, each of the shape of its own dimensions without the step's; numbers or arrays."""

    def coords(self) -> dict[str, Any]:
        """Labels of its own dimensions, or their lengths."""
        return {}

    def state_dict(self) -> dict[str, Tensor]:
        """What it remembers from one record to the next."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:  # noqa: B027 - most remember nothing
        """Remember that again."""


class Fit(Probe):
    """Loss and accuracy on each split, and how much of the loss float32 has lost.

    Args:
        loss: Name of the loss, or the function.
    """

    def __init__(self, loss: Any) -> None:
        self._unit = unit_of(loss)

    def quantities(self) -> dict[str, Quantity]:
        """`loss`, `accuracy` and `collapsed`."""
        return {
            "loss": Quantity("loss", self._unit, ("split", STEP)),
            "accuracy": Quantity("share of samples classified rightly", "1", ("split", STEP)),
            "collapsed": Quantity("share of training samples whose loss is exactly zero (softmax collapse)", "1"),
        }

    def record(self, look: Look) -> Mapping[str, Any]:
        """One pass over both splits."""
        values = {split: objective.per_sample(look.theta) for split, objective in look.objectives.items()}
        means = {
            name: [float(value[name][0].double().mean()) for value in values.values()] for name in ("loss", "error")
        }
        return {
            "loss": means["loss"],
            "accuracy": [1 - error for error in means["error"]],
            "collapsed": float((values["train"]["loss"][0] == 0).double().mean()),
        }


class Norms(Probe):
    """Length of the weights and of the gradient on all training samples."""

    def quantities(self) -> dict[str, Quantity]:
        """`weight_norm` and `gradient_norm`."""
        return {
            "weight_norm": Quantity("length of the weights", "distance in weight space"),
            "gradient_norm": Quantity("length of the training loss's gradient", "loss / distance"),
        }

    def record(self, look: Look) -> Mapping[str, Any]:
        """One pass forward and back."""
        _, gradient = look.objectives["train"].gradient(look.theta)
        return {"weight_norm": float(look.theta.double().norm()), "gradient_norm": float(gradient.double().norm())}


class Sharpness(Probe):
    """Measures on all training samples, at fewer steps.

    Args:
        measures: Settings by name.
        steps: Where they are taken.
        loss: Name of the loss, or the function.
        seed: Decides what is random in them.
    """

    def __init__(self, measures: Mapping[str, Mapping[str, Any]], steps: Collection[int], loss: Any, seed: int) -> None:
        self.steps, self._measures, self._unit, self._seed = steps, measures, unit_of(loss), seed

    def quantities(self) -> dict[str, Quantity]:
        """Each measure, its standard error, and what it adds."""
        return {
            name: Quantity(*described(name, self._measures, self._unit), (*dims, MEASURED))
            for name, dims in variable_dims(self._measures).items()
        }

    def coords(self) -> dict[str, Any]:
        """The measured steps, and the measures' own dimensions."""
        return {MEASURED: sorted(self.steps or ()), **own_coords(self._measures)}

    def record(self, look: Look) -> Mapping[str, Any]:
        """Every measure; NaN where the run has diverged."""
        return flat_along(self._measures, look.objectives["train"], self._seed)
