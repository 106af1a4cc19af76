"""What `grok` computes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from landscape.errors import RequestError, unknown
from landscape.networks.problem import Problem
from landscape.studies.sharpness.evaluation import DENSITY
from landscape.studies.sharpness.recipe import SharpnessRecipe

Value = float | int | str
MOMENTS = ("start", "memorised", "grokked", "end")
"""The moments of a run at which a checkpoint can be kept."""


@dataclass(frozen=True)
class GrokRecipe:
    """What to train and what to record.

    Args:
        problem: Network, data and loss; the seed of a generated split is the run's, unless it is set here.
        optimizer: Name of an optimizer.
        hyperparameters: Its hyperparameters; `adamw.lr` is one for that optimizer alone, where several are swept.
        seeds: One run each: initial weights, batches, split and noisy labels.
        sweep: Values of each swept setting. A name is one of network, data, training or optimizer; where it is one of
            several, `model.`, `data.` or `optimizer.` before it tells which.
        steps: Updates at most.
        batch_size: Samples in a batch; None for all.
        schedule: Learning-rate schedule.
        warmup: Updates over which the learning rate rises to it.
        precision: `float32`, `float64`, or `bf16` or `fp16` for mixed precision.
        per_decade: Records for each tenfold number of updates, evenly on a log scale.
        every: Updates between records instead; None for the log scale.
        measures: Measures of sharpness, taken on all training samples.
        measure_settings: Their settings, as for `sharpness`.
        rho: Their radii.
        measure_every: Records from one that is measured to the next.
        sketch: Dimensions of the random sketch of the weights that is kept of each record; 0 for none.
        memorised: The accuracy on the training split that counts as memorised.
        threshold: The accuracy on the test split that counts as grokked.
        hold: Records in a row that must reach it before a run stops for itself; 0 to spend the budget.
        checkpoints: Moments at which a checkpoint is kept, of `MOMENTS`.
        checkpoint_every: Records between further checkpoints; 0 for none.

    Raises:
        RequestError: If a value is out of range, or a name is unknown.
    """

    problem: Problem = field(default_factory=lambda: Problem("quadratic", "modular"))
    optimizer: str = "adamw"
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = (0,)
    sweep: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    steps: int = 3000
    batch_size: int | None = None
    schedule: str = "constant"
    warmup: int = 0
    precision: str = "float32"
    per_decade: int = 30
    every: int | None = None
    measures: tuple[str, ...] = ()
    measure_settings: Mapping[str, Any] = field(default_factory=dict)
    rho: tuple[float, ...] | None = None
    measure_every: int = 3
    sketch: int = 0
    memorised: float = 0.99
    threshold: float = 0.95
    hold: int = 10
    checkpoints: tuple[str, ...] = ()
    checkpoint_every: int = 0

    def __post_init__(self) -> None:
        """Check everything that can be checked without data."""
        least = {
            "steps": 1,
            "per_decade": 1,
            "every": 1,
            "measure_every": 1,
            "hold": 0,
            "checkpoint_every": 0,
            "sketch": 0,
        }
        for name, minimum in least.items():
            value = getattr(self, name)
            if value is not None and value < minimum:
                raise RequestError(f"{name.replace('_', ' ')} must be at least {minimum}, got {value}")
        for name in ("memorised", "threshold"):
            if not 0 < getattr(self, name) <= 1:
                raise RequestError(f"{name} must be an accuracy in (0, 1], got {getattr(self, name):g}")
        if not self.seeds or min(self.seeds) < 0 or len(set(self.seeds)) < len(self.seeds):
            raise RequestError("seeds must be at least one, distinct and not negative")
        object.__setattr__(self, "sweep", {name: _numbers(values) for name, values in self.sweep.items()})
        for setting, values in self.sweep.items():
            if not values or len(set(values)) < len(values):
                raise RequestError(f"--sweep {setting}: expected distinct values, such as {setting}=0,0.3,1")
        for moment in self.checkpoints:
            if moment not in MOMENTS:
                raise unknown("moment of a checkpoint", moment, MOMENTS)
        self.resolved_measures()

    def resolved_measures(self) -> dict[str, dict[str, Any]]:
        """All settings of each measure.

        Raises:
            RequestError: If a measure or setting is unknown, or has no place along a run.
        """
        if not self.measures:
            if self.measure_settings or self.rho:
                raise RequestError("settings of measures were given, but none is asked for: add --measure")
            return {}
        if DENSITY in self.measures:
            raise RequestError(
                f"{DENSITY} has no axis that all steps share: keep checkpoints and give them to `landscape sharpness`"
            )
        return SharpnessRecipe(measures=self.measures, rho=self.rho, settings=self.measure_settings).resolved()

    def record_steps(self) -> list[int]:
        """Numbers of updates after which a run is recorded, 0 and the budget among them."""
        if self.every is not None:
            return sorted({*range(0, self.steps, self.every), self.steps})
        marks = range(math.floor(math.log10(self.steps) * self.per_decade) + 1)
        return sorted({0, self.steps, *(round(10 ** (mark / self.per_decade)) for mark in marks)})

    def measured_steps(self) -> list[int]:
        """Those of them after which sharpness is measured too."""
        return self.record_steps()[:: self.measure_every] if self.measures else []

    def recipe(self) -> dict[str, Any]:
        """The settings that decide the values, beside problem and training."""
        return {
            "seeds": self.seeds,
            "sweep": {name: list(values) for name, values in self.sweep.items()},
            "records": self.every if self.every is not None else f"{self.per_decade} per decade",
            "measures": self.resolved_measures(),
            **({"measure_every": self.measure_every} if self.measures else {}),
            **({"sketch": self.sketch} if self.sketch else {}),
            "memorised": self.memorised,
            "threshold": self.threshold,
            "hold": self.hold,
        }


def _numbers(values: Sequence[Value]) -> tuple[Value, ...]:
    """Texts as numbers, if all of them are: they label an axis."""
    for kind in (int, float):
        try:
            numbers = [kind(value) if isinstance(value, str) or kind is float else value for value in values]
        except ValueError:
            continue
        if kind is float or all(isinstance(number, int) for number in numbers):
            return tuple(numbers)
    return tuple(str(value) for value in values)
