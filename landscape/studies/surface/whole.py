"""A whole surface or curve in memory: the coarse grid, the pilots, and every other point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from landscape.errors import RequestError
from landscape.studies.surface.certified import PILOT, Estimator, Value, saved
from landscape.studies.surface.control import Control, Oracle
from landscape.studies.surface.nested import FIRST, Nested, is_nested

POINTS = 8
"""Coarse points that are evaluated at once."""


@dataclass(frozen=True)
class Whole:
    """A whole surface.

    Args:
        grid: The grids.
        values: Loss and metrics by name, each of the shape of the fine grid.
        stderr: Their standard errors.
        samples: Samples behind each point.
        reached: Where the loss is as certain as was asked for.
        evaluations: Sample evaluations in all: coarse grid, pilots and discarded draws included.
    """

    grid: Nested
    values: dict[str, np.ndarray]
    stderr: dict[str, np.ndarray]
    samples: np.ndarray
    reached: np.ndarray
    evaluations: int


def check_tolerance(tolerance: float) -> None:
    """Refuse a tolerance that means nothing.

    Raises:
        RequestError: If so.
    """
    if not 0 < tolerance < 1:
        raise RequestError(f"tolerance must lie between 0 and 1, got {tolerance:g}: 0.01 is one per cent of the loss")


def check_parts(samples: int | None, policy: str, asked: str) -> None:
    """Refuse to evaluate parts of the data where the request itself is about parts, or a part tells nothing.

    Args:
        samples: Samples that are asked for.
        policy: The BatchNorm policy.
        asked: What asks for parts, such as `tolerance`.

    Raises:
        RequestError: If so.
    """
    if samples is not None:
        raise RequestError(f"samples and {asked} exclude each other: both say how many samples to evaluate")
    if policy == "batch":
        raise RequestError(
            "with BatchNorm by the batch a sample's loss depends on the others beside it, so that none can be "
            "left out: use exact, or another policy"
        )


def check_sides(shape: Sequence[int]) -> None:
    """Refuse sides that don't hold coarser grids.

    Raises:
        RequestError: If so.
    """
    for size in shape:
        if not is_nested(size):
            below = 1 + (1 << max(1, (size - 2).bit_length() - 1))
            raise RequestError(
                f"certified values need sides of 2^k + 1 points, got {size}: choose {below} or {2 * below - 1}, "
                "or evaluate every point (exact)"
            )


def certify(
    oracle: Oracle,
    labels: Sequence[np.ndarray],
    tolerance: float = 0.01,
    seed: Sequence[int] = (0,),
    memory_budget: int = 1 << 31,
) -> Whole:
    """Evaluate a certified surface or curve.

    Args:
        oracle: The loss.
        labels: Coordinates along each axis of 2^k + 1 points, in the order of the oracle's.
        tolerance: Standard error that is asked for, as a share of the loss (of 0.01 where that is smaller).
        seed: Numbers that random subsets depend on, beside the point.
        memory_budget: Bytes that the per-sample values of the coarse grid may take; it isn't halved beyond.

    Returns:
        Values, standard errors and cost.

    Raises:
        RequestError: If a side isn't 2^k + 1 or the tolerance not between 0 and 1.
    """
    check_tolerance(tolerance)
    check_sides([len(axis) for axis in labels])
    grid, population = Nested(tuple(labels)), oracle.num_samples
    control = Control(grid, coarse_values(oracle, grid, None))
    evaluations = 0
    while True:
        estimator = Estimator(oracle, control, tolerance, seed)
        planned = estimator.plan(estimator.pilot())
        evaluations += pilot_evaluations(grid, population)
        if saved(grid, planned, population) <= 0 or room(control, grid.halved()) > memory_budget:
            break
        grid = grid.halved()
        control = Control(grid, coarse_values(oracle, grid, control))
    found = [estimator.at(np.array(position), int(planned[position])) for position in np.ndindex(grid.shape)]
    return collect(grid, found, evaluations)


def room(control: Control, grid: Nested) -> int:
    """Bytes that the per-sample values take on another coarse grid."""
    return sum(values.dtype.itemsize * len(values) for values in control.values.values()) * grid.num_coarse


def pilot_evaluations(grid: Nested, population: int) -> int:
    """Sample evaluations of the pilot on a grid."""
    if grid.finest or population <= PILOT:
        return 0
    return int(np.prod(grid.cells)) * PILOT


def coarse_values(oracle: Oracle, grid: Nested, before: Control | None) -> dict[str, np.ndarray]:
    """Evaluate the coarse points that the grid before lacks.

    Returns:
        By name, the values of all samples at all coarse points, shape `(N, K)`.
    """
    coordinates, new = grid.coordinates(grid.coarse()), grid.new()
    old = np.setdiff1d(np.arange(grid.num_coarse), new)
    values: dict[str, np.ndarray] = {}
    for start in range(0, len(new), POINTS):
        some = new[start : start + POINTS]
        for name, found in oracle.per_sample(coordinates[some], None).items():
            if name not in values:
                values[name] = np.empty((found.shape[1], grid.num_coarse), found.dtype)
                if before is not None:
                    values[name][:, old] = before.values[name]
            values[name][:, some] = found.T
    return values


def collect(grid: Nested, found: Sequence[Value], evaluations: int) -> Whole:
    """Put the values of all points together, in C order."""
    shape = grid.shape

    def part(kind: str, name: str) -> np.ndarray:
        return np.reshape([getattr(value, kind)[name] for value in found], shape)

    names = found[0].values
    return Whole(
        grid,
        {name: part("values", name) for name in names},
        {name: part("stderr", name) for name in names},
        np.reshape([value.samples for value in found], shape),
        np.reshape([value.reached for value in found], shape),
        evaluations + sum(value.evaluations for value in found),
    )


__all__ = [
    "FIRST",
    "Whole",
    "certify",
    "check_parts",
    "check_sides",
    "check_tolerance",
    "coarse_values",
    "pilot_evaluations",
]
