"""What workers do for surfaces that aren't evaluated on all samples everywhere: the factories of their stages."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from landscape.studies.grids import Evaluate, sliced
from landscape.studies.surface.certified import Estimator, Value
from landscape.studies.surface.control import Control
from landscape.studies.surface.nested import Nested
from landscape.studies.surface.oracle import SliceOracle
from landscape.sweeps.schema import Status

PLANS = "plans.npy"
"""The file of the samples that each point begins with, shape `(checkpoints, splits, *grid)`."""


class Oracles:
    """The losses of one checkpoint at a time, in the order of the splits.

    Args:
        arguments: `networks`, `slices`, `splits` and `seed`.
    """

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        self._arguments = arguments
        self._at_hand: dict[int, list[SliceOracle]] = {}

    def __getitem__(self, number: int) -> list[SliceOracle]:
        """Those of one checkpoint; the last one's are forgotten."""
        if number not in self._at_hand:
            self._at_hand.clear()
            where = self._arguments["slices"][number]
            objectives = self._arguments["networks"][number].objectives(self._arguments["splits"])
            self._at_hand[number] = [
                SliceOracle(one, where, backwards=True) for one in sliced(objectives, where).values()
            ]
        return self._at_hand[number]

    def seed(self, number: int, split: int) -> tuple[int, int, int]:
        """What the random subsets of a checkpoint on a split depend on."""
        return self._arguments["seed"], number, split


def control_file(folder: Path, grid: Nested, number: int, split: int, name: str) -> Path:
    """Where a quantity's per-sample values on a coarse grid lie."""
    return folder / f"{grid.level}-{number}-{split}-{name}.npy"


def open_control(folder: Path, grid: Nested, number: int, split: int, names: Sequence[str]) -> Control:
    """The coarse values of a checkpoint on a split, mapped into memory."""
    return Control(
        grid, {name: np.load(control_file(folder, grid, number, split, name), mmap_mode="r") for name in names}
    )


def coarse_evaluator(arguments: Mapping[str, Any]) -> Evaluate:
    """Evaluate all samples at coarse points: the factory of a sweep over `checkpoint` and `point`."""
    oracles, grid = Oracles(arguments), arguments["grid"]
    places = grid.coordinates(grid.coarse()[grid.new()])

    def evaluate(coordinates: Mapping[str, Any], task: Any) -> Mapping[str, Any]:
        number = arguments["checkpoints"].index(coordinates["checkpoint"][0])
        rows: list[dict[str, np.ndarray]] = []
        for done, place in enumerate(coordinates["point"]):  # splits share statistics recomputed at a point
            row: dict[str, np.ndarray] = {}
            for split, oracle in enumerate(oracles[number]):
                found = oracle.per_sample(places[place][None], None)
                row |= {f"{name}_{split}": values for name, values in found.items()}
            rows.append(row)
            task.report((done + 1) / len(coordinates["point"]))
        return {name: np.concatenate([row[name] for row in rows])[None] for name in rows[0]}

    return evaluate


class Estimators:
    """The estimators of one checkpoint at a time, in the order of the splits.

    Args:
        arguments: Those of `Oracles`, `grid`, `tolerance` and `folder`.
    """

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        self._arguments, self._oracles = arguments, Oracles(arguments)
        self._at_hand: dict[int, list[Estimator]] = {}

    def __getitem__(self, checkpoint: str) -> tuple[int, list[Estimator]]:
        """The number of a checkpoint, and its estimators."""
        arguments = self._arguments
        number = arguments["checkpoints"].index(checkpoint)
        if number not in self._at_hand:
            self._at_hand.clear()
            self._at_hand[number] = [
                Estimator(
                    oracle,
                    open_control(
                        arguments["folder"], arguments["grid"], number, split, ("loss", *oracle.objective.metrics)
                    ),
                    arguments["tolerance"] or 0.0,
                    self._oracles.seed(number, split),
                )
                for split, oracle in enumerate(self._oracles[number])
            ]
        return number, self._at_hand[number]


def pilot_evaluator(arguments: Mapping[str, Any]) -> Evaluate:
    """Measure the variance in coarse cells: the factory of a sweep over `checkpoint` and `cell`."""
    estimators = Estimators(arguments)

    def evaluate(coordinates: Mapping[str, Any], task: Any) -> Mapping[str, Any]:
        _, some = estimators[coordinates["checkpoint"][0]]
        cells = coordinates["cell"]
        rows = []
        for done, cell in enumerate(cells):
            rows.append([one.pilot(slice(cell, cell + 1))[0] for one in some])
            task.report((done + 1) / len(cells))
        return {"variance": np.transpose(rows)[None]}

    return evaluate


def point_evaluator(arguments: Mapping[str, Any]) -> Evaluate:
    """Estimate a block of points: the factory of the sweep that fills `surface`."""
    estimators = Estimators(arguments)
    planned = np.load(arguments["folder"] / PLANS, mmap_mode="r")

    def evaluate(coordinates: Mapping[str, Any], task: Any) -> Mapping[str, Any]:
        number, some = estimators[coordinates["checkpoint"][0]]
        positions = _positions(arguments, coordinates)
        found: list[list[Value]] = []
        for done, position in enumerate(positions):
            counts = planned[(number, slice(None), *position)]
            found.append([one.at(position, int(count)) for one, count in zip(some, counts, strict=True)])
            task.report((done + 1) / len(positions))
        shape = (1, len(some), *(len(coordinates[axis]) for axis in arguments["axes"]))
        values = {
            name: np.array([[value.values[name] for value in point] for point in found]) for name in found[0][0].values
        }
        values |= {
            f"{name}_stderr": np.array([[value.stderr[name] for value in point] for point in found])
            for name in found[0][0].stderr
        }
        for note in ("samples", "evaluations", "reached"):
            values[note] = np.array([[int(getattr(value, note)) for value in point] for point in found])
        return {name: array.T.reshape(shape) for name, array in values.items()}

    return evaluate


def look_evaluator(arguments: Mapping[str, Any]) -> Evaluate:
    """Interpolate a block of points without any correction: the factory of the sweep for a quick look."""
    estimators = Estimators(arguments)
    grids: dict[int, list[dict[str, np.ndarray]]] = {}

    def evaluate(coordinates: Mapping[str, Any], task: Any) -> Mapping[str, Any]:
        number, some = estimators[coordinates["checkpoint"][0]]
        if number not in grids:
            grids.clear()
            grids[number] = [interpolated(one) for one in some]
        positions = _positions(arguments, coordinates)
        shape = (1, len(some), *(len(coordinates[axis]) for axis in arguments["axes"]))
        where = tuple(positions.T)
        values = {name: np.stack([grid[name][where] for grid in grids[number]]) for name in grids[number][0]}
        exact = np.array([some[0].grid.number(position) is not None for position in positions])
        counts = np.array([[one.control.num_samples] for one in some]) * exact
        for name in list(values):
            values[f"{name}_stderr"] = np.broadcast_to(np.where(exact, 0.0, np.nan), counts.shape)
        values |= {"samples": counts, "evaluations": counts, "reached": np.broadcast_to(exact, counts.shape)}
        finite = np.isfinite(values["loss"]).all(axis=0)
        status = np.where(finite, Status.DONE, Status.NON_FINITE).reshape(1, *shape[2:])
        return {**{name: array.reshape(shape) for name, array in values.items()}, "status": status}

    return evaluate


def interpolated(estimator: Estimator) -> dict[str, np.ndarray]:
    """The spline through the logarithm of the loss, and through metrics, on the whole fine grid: nobody knows how good.

    Cells with a corner that isn't finite are left out (NaN). A loss that isn't positive is interpolated itself.
    """
    control, grid = estimator.control, estimator.grid
    result = {}
    for name, means in control.means.items():
        coarse = means + (estimator.oracle.penalty(grid.coordinates(grid.coarse())) if name == "loss" else 0.0)
        finite = coarse[np.isfinite(coarse)]
        logarithmic = name == "loss" and len(finite) > 0 and finite.min() > 0
        filled = np.where(np.isfinite(coarse), coarse, finite.max(initial=-np.inf) if len(finite) else 1.0)
        values = np.exp(grid.spline.grid(np.log(filled))) if logarithmic else grid.spline.grid(filled)
        if name in estimator.oracle.discrete:
            values = values.clip(0, 1)
        values[tuple(grid.coarse().T)] = coarse
        if len(finite) < len(coarse):
            for position in map(np.array, np.ndindex(grid.shape)):
                if grid.number(position) is None and not np.isfinite(coarse[list(grid.corners(position))]).all():
                    values[tuple(position)] = np.nan
        result[name] = values
    return result


def _positions(arguments: Mapping[str, Any], coordinates: Mapping[str, Any]) -> np.ndarray:
    """Positions in the fine grid of the points of a block, in C order."""
    grid = arguments["grid"]
    axes = [
        np.searchsorted(labels, coordinates[axis]) for labels, axis in zip(grid.labels, arguments["axes"], strict=True)
    ]
    return np.array(list(itertools.product(*axes)))
