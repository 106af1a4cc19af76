"""What `connect` computes."""

from __future__ import annotations

from dataclasses import dataclass, field

from landscape.errors import RequestError, unknown
from landscape.geometry.slices import CURVES
from landscape.studies.connect.fitting import CurveRecipe
from landscape.studies.opening import EvaluationRecipe


@dataclass(frozen=True)
class ConnectRecipe(EvaluationRecipe):
    """What to compute; on which splits, samples and statistics as in `EvaluationRecipe`.

    Args:
        curves: Names of the curves to fit; the straight line is always evaluated.
        fit: How to fit them.
        points: Values of t at which the loss is evaluated, at equal distances from 0 to 1.
        plane: Points along each side of the plane through each curve; 0 for no planes.
        batchnorm: BatchNorm policy; by default `recompute`, since no checkpoint's statistics belong to points between.
        weight_decay: Factor of the L2 term in the loss, when fitting and when evaluating.
    """

    curves: tuple[str, ...] = ("bezier",)
    fit: CurveRecipe = field(default_factory=CurveRecipe)
    points: int = 61
    plane: int = 0
    batchnorm: str | None = field(default="recompute", kw_only=True)

    @property
    def policy(self) -> str:
        """The BatchNorm policy."""
        return self.batchnorm or "recompute"

    def __post_init__(self) -> None:
        """Check everything that can be checked without checkpoints."""
        super().__post_init__()
        for curve in self.curves:
            if curve not in CURVES:
                raise unknown("curve", curve, CURVES)
        if self.points < 2:
            raise RequestError(f"points must be at least 2 (both end points), got {self.points}")
        if self.plane < 0 or self.plane == 1:
            raise RequestError(f"plane must be 0 (none) or at least 2 points a side, got {self.plane}")
        object.__setattr__(self, "curves", tuple(dict.fromkeys(self.curves)))
