"""What `sharpness` computes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from landscape.errors import RequestError, unknown
from landscape.measures.registry import MEASURES, find_measure, resolve_measure
from landscape.settings import defaults
from landscape.studies.opening import EvaluationRecipe


@dataclass(frozen=True)
class SharpnessRecipe(EvaluationRecipe):
    """What to compute; on which samples and statistics as in `EvaluationRecipe`.

    Args:
        measures: Names of measures; all by default.
        rho: Radii of every measure that has them, one axis of the store; each measure's own defaults if None.
        settings: Settings as `measure.key`, or `key` for all measures chosen that have it.
        seed: Decides everything random, for each measure alike.
        splits: Splits to measure on, the training split by default; None for all that the data have.
    """

    measures: tuple[str, ...] = tuple(MEASURES)
    rho: tuple[float, ...] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    splits: tuple[str, ...] | None = field(default=("train",), kw_only=True)

    def __post_init__(self) -> None:
        """Check everything that can be checked without checkpoints."""
        super().__post_init__()
        object.__setattr__(self, "measures", tuple(dict.fromkeys(self.measures)))
        if not self.measures:
            raise RequestError(f"no measure is asked for: name one of {', '.join(MEASURES)}")
        for name in self.measures:
            find_measure(name)
        if self.seed < 0:
            raise RequestError(f"seed must be at least 0, got {self.seed}")
        self.resolved()

    def resolved(self) -> dict[str, dict[str, Any]]:
        """All settings of each measure.

        Raises:
            RequestError: If one is unknown, out of range, or of no measure that is asked for.
        """
        given: dict[str, dict[str, Any]] = {name: {} for name in self.measures}
        known = {name: defaults(MEASURES[name].function) for name in self.measures}
        for name in self.measures:
            if self.rho is not None and "rho" in known[name]:
                given[name]["rho"] = tuple(sorted(set(self.rho)))
        for key, value in self.settings.items():
            owner, dot, setting = key.rpartition(".")
            if setting == "rho":
                raise RequestError(
                    "rho is one axis for all measures: give it by --rho (in Python, by the recipe's rho)"
                )
            if dot and owner not in given:
                find_measure(owner)
                raise RequestError(f"setting '{key}': the measure '{owner}' is not asked for")
            owners = [owner] if dot else [name for name in self.measures if setting in known[name]]
            if not owners:
                raise unknown("setting of the measures", setting, {each for one in known.values() for each in one})
            for each in owners:
                given[each][setting] = value
        return {name: resolve_measure(name, settings) for name, settings in given.items()}

    def recipe(self) -> dict[str, Any]:
        """The settings that decide the values."""
        return {"measures": self.resolved(), "seed": self.seed}
