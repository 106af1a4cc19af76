"""What `connect` computes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from landscape.errors import RequestError, unknown
from landscape.geometry.slices import CURVES
from landscape.studies.connect.fitting import CurveRecipe


@dataclass(frozen=True)
class ConnectRecipe:
    """What to compute.

    Args:
        curves: Names of the curves to fit; the straight line is always evaluated.
        fit: How to fit them.
        points: Values of t at which the loss is evaluated, at equal distances from 0 to 1.
        plane: Points along each side of the plane through each curve; 0 for no planes.
        splits: Splits to evaluate on; None for all that the data have.
        samples: Evaluate on a fixed random subset of so many samples of each split; None for all.
        batchnorm: BatchNorm policy.
        weight_decay: Factor of the L2 term in the loss, when fitting and when evaluating.
    """

    curves: tuple[str, ...] = ("bezier",)
    fit: CurveRecipe = field(default_factory=CurveRecipe)
    points: int = 61
    plane: int = 0
    splits: tuple[str, ...] | None = None
    samples: int | None = None
    batchnorm: str = "recompute"
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        """Check everything that can be checked without checkpoints."""
        for curve in self.curves:
            if curve not in CURVES:
                raise unknown("curve", curve, CURVES)
        if self.points < 2:
            raise RequestError(f"points must be at least 2 (both end points), got {self.points}")
        if self.plane < 0 or self.plane == 1:
            raise RequestError(f"plane must be 0 (none) or at least 2 points a side, got {self.plane}")
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise RequestError(f"weight decay must be at least 0, got {self.weight_decay}")
        object.__setattr__(self, "curves", tuple(dict.fromkeys(self.curves)))
