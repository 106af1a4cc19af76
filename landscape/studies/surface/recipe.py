"""What `surface` computes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from landscape.errors import RequestError, unknown
from landscape.geometry.directions import NORMALIZATIONS
from landscape.studies.grids import AXES
from landscape.studies.opening import EvaluationRecipe
from landscape.studies.surface.nested import FIRST, is_nested
from landscape.studies.surface.whole import check_parts, check_sides, check_tolerance
from landscape.sweeps.recipe import later

RANDOM = {"filter": "filter", "layer": "layer", "gaussian": "none"}
"""Random directions by name, with the normalisation that the name means."""
SPANNED = ("pca", "difference")
"""Directions that several checkpoints span together; all others lead away from each checkpoint alone."""
HESSIAN, OWN = "hessian", "own"
KINDS = (*RANDOM, HESSIAN, *SPANNED)
BIASES = ("zero", "include")
DEFAULT_EXTENT = (-1.0, 1.0)
DEFAULT_TOLERANCE = 0.01
DEFAULT_SIZE, SMALL_SIZE = 65, 33
MARGIN = 0.25
"""Margin beyond the checkpoints that span a slice, as a share of their largest distance along an axis."""


@dataclass(frozen=True)
class SurfaceRecipe(EvaluationRecipe):
    """What to compute; on which splits, samples and statistics as in `EvaluationRecipe`.

    Args:
        directions: One of `KINDS`: random ones (`filter`- or `layer`-normalised, plain `gaussian`), the eigenvectors of
            the `hessian` with the largest eigenvalues, principal axes of the checkpoints (`pca`), or the `difference`
            of the first to the others.
        axes: One, two or three; by default as many as there are differences or directions of one's own, or as other
            settings have values; else two.
        size: Points along each axis, in the order alpha, beta, gamma; one number stands for all. By default 65, or 33
            for three axes and for `exact`.
        extent: Lowest and highest coordinate along each axis, about the centre; one pair stands for all. In units of
            the direction. By default -1 to 1, or a margin beyond the checkpoints where these span the slice.
        center: Coordinates of the grid's centre; by default the checkpoint itself, 0.
        normalize: `none`, `unit`, `filter` or `layer`; by default what the name of the directions means.
        biases: `zero` keeps biases and the weights of normalisation layers as they are, `include` moves them, too; by
            default zero beside filter and layer normalisation, as Li et al. (arXiv 1712.09913) do.
        orthogonalize: Make the directions orthogonal, keeping their lengths.
        seed: Decides random directions.
        batchnorm: BatchNorm policy; by default `checkpoint`, or `recompute` between checkpoints (pca, difference),
            to whose weights no checkpoint's statistics belong.
        tolerance: Certify the surface: a coarse grid is evaluated on all samples, every other point on so many random
            ones that the standard error is at most this share of the loss. The default, 0.01, unless `exact`,
            `quick` or `samples` are given, a side isn't of 2^k + 1 points or none is longer than 9, or BatchNorm's
            statistics are the `batch`'s own.
        exact: Evaluate every point on all samples.
        quick: Interpolate the logarithm of a coarse grid's loss, and nothing more.
        precision: Of forward passes: `float32`, `float64`, `bf16` or `tf32`; by default the model's own.
    """

    directions: str = "filter"
    axes: int | None = None
    size: tuple[int, ...] | None = None
    extent: tuple[tuple[float, float], ...] | None = None
    center: tuple[float, ...] | None = None
    normalize: str | None = None
    biases: str | None = None
    orthogonalize: bool = False
    seed: int = 0
    tolerance: float | None = None
    exact: bool = False
    quick: bool = False
    precision: str | None = later(None)

    def __post_init__(self) -> None:
        """Check everything that can be checked without checkpoints."""
        super().__post_init__()
        if self.directions not in (*KINDS, OWN):
            raise unknown("directions", self.directions, KINDS)
        if self.normalization not in NORMALIZATIONS:
            raise unknown("normalisation", self.normalization, NORMALIZATIONS)
        if self.treatment not in BIASES:
            raise unknown("treatment of biases", self.treatment, BIASES)
        longest = max(len(given) for given in (self.size or (), self.extent or (), self.center or ()))
        if self.axes is None and longest > 1:
            object.__setattr__(self, "axes", longest)
        if self.axes is not None and not 1 <= self.axes <= len(AXES):
            raise RequestError(f"a surface has 1, 2 or 3 axes, got {self.axes}")
        for size in self.size or ():
            if size < 2:
                raise RequestError(f"size must be at least 2 points along an axis, got {size}")
        for low, high in self.extent or ():
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                raise RequestError(f"extent must be a positive, finite stretch of an axis, got {low + 0:g} to {high:g}")
        for value in self.center or ():
            if not math.isfinite(value):
                raise RequestError(f"center must be finite, got {value}")
        if self.seed < 0:
            raise RequestError(f"seed must be at least 0, got {self.seed}")
        for name in ("size", "extent", "center"):
            self.per_axis(name, self.axes)
        self._check_method()

    def _check_method(self) -> None:
        """Refuse methods that exclude each other, or that the points or the policy rule out."""
        asked = {"tolerance": self.tolerance is not None, "exact": self.exact, "quick": self.quick}
        chosen = [name for name, given in asked.items() if given]
        if len(chosen) > 1:
            raise RequestError(f"{' and '.join(chosen)} exclude each other: give one")
        if self.tolerance is not None:
            check_tolerance(self.tolerance)
        if chosen in (["tolerance"], ["quick"]):
            check_sides(self.size or ())
            check_parts(self.samples, self.policy, chosen[0])

    @property
    def method(self) -> str:
        """How points are evaluated: `exact`, `certified` or `interpolated`."""
        sizes = self.size or (FIRST + 1,)
        if self.exact or (max(sizes) <= FIRST and self.tolerance is None and not self.quick):
            return "exact"
        if self.quick:
            return "interpolated"
        fits = all(map(is_nested, self.size or ())) and self.samples is None and self.policy != "batch"
        return "certified" if fits else "exact"

    @property
    def certainty(self) -> float | None:
        """The tolerance of a certified surface, None for others."""
        return (DEFAULT_TOLERANCE if self.tolerance is None else self.tolerance) if self.method == "certified" else None

    @property
    def normalization(self) -> str:
        """How directions are normalised."""
        return self.normalize or RANDOM.get(self.directions, "none")

    @property
    def treatment(self) -> str:
        """What becomes of biases."""
        return self.biases or ("zero" if self.normalization in ("filter", "layer") else "include")

    @property
    def policy(self) -> str:
        """The BatchNorm policy."""
        return self.batchnorm or ("recompute" if self.directions in SPANNED else "checkpoint")

    def recipe(self, axes: int) -> dict[str, Any]:
        """The settings that decide the slices and the points on them, for so many axes."""
        fixed = {
            "directions": self.directions,
            "normalize": self.normalization,
            "biases": self.treatment,
            "orthogonalize": self.orthogonalize,
        }
        each = {name: self.per_axis(name, axes) for name in ("size", "extent", "center")}
        if self.directions not in SPANNED:
            each["extent"] = each["extent"] or (DEFAULT_EXTENT,) * axes
        random = {"seed": self.seed} if self.directions in (*RANDOM, HESSIAN) or self.method == "certified" else {}
        method: dict[str, Any] = {} if self.method == "exact" else {"method": self.method}
        method |= {} if self.certainty is None else {"tolerance": self.certainty}
        method |= {} if self.precision is None else {"precision": self.precision}
        return {**fixed, "axes": axes, **each, "center": each["center"] or (0.0,) * axes, **random, **method}

    def per_axis(self, name: str, axes: int | None) -> tuple[Any, ...] | None:
        """A setting for each axis; one value stands for all.

        Args:
            name: `size`, `extent` or `center`.
            axes: The number of axes, None if it isn't known yet.

        Raises:
            RequestError: If there are neither one nor as many values as axes.
        """
        given: tuple[Any, ...] | None = getattr(self, name)
        if name == "size" and given is None and axes is not None:
            given = (DEFAULT_SIZE if axes < 3 and self.method != "exact" else SMALL_SIZE,)
        if given is None or axes is None or len(given) == axes:
            return given
        if len(given) != 1:
            raise RequestError(f"{name} has {len(given)} values for {axes} axes: give one, or one for each axis")
        return given * axes

    def labels(self, points: np.ndarray | None, axes: int) -> list[np.ndarray]:
        """The coordinates of the grid along each axis, alpha first.

        Args:
            points: Coordinates of the checkpoints that span the slice, shape `(T, axes)`.
            axes: The number of axes.
        """
        sizes = self.per_axis("size", axes) or ()
        extents = self.per_axis("extent", axes)
        if extents is None:
            extents = (DEFAULT_EXTENT,) * axes if points is None else around(points)
        centers = self.per_axis("center", axes) or (0.0,) * axes
        return [grid_axis(extent, size, center) for extent, size, center in zip(extents, sizes, centers, strict=True)]


def around(points: np.ndarray) -> tuple[tuple[float, float], ...]:
    """Extents that hold some points with a margin, rounded outwards to two digits: `(T, k)` to k pairs."""
    low, high = points.min(axis=0), points.max(axis=0)
    margin = MARGIN * float((high - low).max())
    unit = 10.0 ** (math.floor(math.log10(margin / MARGIN)) - 1)
    down, up = np.floor((low - margin) / unit + 1e-6), np.ceil((high + margin) / unit - 1e-6)
    return tuple((round(a * unit, 12), round(b * unit, 12)) for a, b in zip(down.tolist(), up.tolist(), strict=True))


def grid_axis(extent: tuple[float, float], size: int, center: float = 0.0) -> np.ndarray:
    """Equally spaced labels whose ends, and whose zero and centre where they are among them, are exact.

    Args:
        extent: First and last label, less the centre.
        size: Number of labels.
        center: Added to all.

    Returns:
        Shape `(size,)`, rounded to 12 digits so that labels read as they were meant.
    """
    labels = center + np.linspace(*extent, size)
    decimals = 12 - math.ceil(math.log10(max(abs(labels[0]), abs(labels[-1]))))
    rounded: np.ndarray = np.round(labels, decimals) + 0.0  # no minus zero
    rounded[0], rounded[-1] = center + extent[0], center + extent[1]
    return rounded
