"""Evaluate the loss along curves and on planes: the factories of two sweeps, and their layout in the store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from landscape.geometry.slices import Curve, Slice
from landscape.objective.objective import Objective
from landscape.studies.networks import Network
from landscape.sweeps.schema import Status, Sweep, Variable

Evaluate = Callable[[Mapping[str, Any], Any], Mapping[str, Any]]
POINTS_PER_TASK = 8
ROWS_PER_TASK = 3


def quantities(objective: Objective) -> dict[str, dict[str, str]]:
    """The quantities that a grid stores, with what a reader should know of them."""
    unit = "nats" if "error" in objective.metrics else "units of the loss"
    described = {"loss": {"long_name": "loss", "units": unit}}
    for name in objective.metrics:
        described[name] = {"long_name": name, "units": "1" if name == "error" else ""}
    for name in list(described):
        described[f"{name}_stderr"] = {"long_name": f"standard error of the {name}", "units": described[name]["units"]}
    return described


def variables(objective: Objective, dims: tuple[str, ...]) -> dict[str, Variable]:
    """A float64 variable for each quantity."""
    return {name: Variable(dims, attrs=attrs) for name, attrs in quantities(objective).items()}


def curve_sweep(
    network: Network, curves: Mapping[str, Sequence[Curve]], coords: Mapping[str, Any], objective: Objective
) -> Sweep:
    """The loss along every curve of every pair: node `connect` over `pair`, `curve` and `t`.

    Args:
        network: What is evaluated.
        curves: For each curve's name, one curve for each pair.
        coords: The node's coordinates.
        objective: Tells which quantities there are.
    """
    return Sweep(
        node="connect",
        coords=coords,
        over=("pair", "curve", "t"),
        variables=variables(objective, ("pair", "curve", "split", "t")),
        function=f"{__name__}:curve_evaluator",
        arguments={"network": network, "curves": dict(curves), "splits": list(coords["split"])},
        block={"t": POINTS_PER_TASK},
    )


def plane_sweep(
    node: str,
    network: Network,
    planes: Sequence[Slice | None],
    coords: Mapping[str, Any],
    objective: Objective,
) -> Sweep:
    """The loss on a plane (for each pair); a pair without one is left out with status 4.

    Args:
        node: Where to store it.
        network: What is evaluated.
        planes: One for each pair, or the only one where the coordinates have no `pair`.
        coords: The node's coordinates, `alpha` and `beta` in units of distance in weight space.
        objective: Tells which quantities there are.
    """
    leading = ("pair",) if "pair" in coords else ()
    return Sweep(
        node=node,
        coords=coords,
        over=(*leading, "beta", "alpha"),
        variables=variables(objective, (*leading, "split", "beta", "alpha")),
        function=f"{__name__}:plane_evaluator",
        arguments={"network": network, "planes": list(planes), "splits": list(coords["split"])},
        block={"beta": ROWS_PER_TASK, "alpha": len(coords["alpha"])},
        attrs={"units": "distance in weight space"},
    )


def curve_evaluator(arguments: Mapping[str, Any]) -> Evaluate:
    """Evaluate a stretch of one curve: the factory of `curve_sweep`."""
    objectives = arguments["network"].objectives(arguments["splits"])
    curves = arguments["curves"]

    def evaluate(coordinates: Mapping[str, Any], task: Any) -> Mapping[str, Any]:
        (pair,), (name,) = coordinates["pair"], coordinates["curve"]
        t = torch.from_numpy(coordinates["t"])
        values = evaluate_points(objectives, curves[str(name)][pair], t, task)
        return {key: value[None, None] for key, value in values.items()}

    return evaluate


def plane_evaluator(arguments: Mapping[str, Any]) -> Evaluate:
    """Evaluate rows of a plane: the factory of `plane_sweep`."""
    objectives = arguments["network"].objectives(arguments["splits"])
    names = quantities(next(iter(objectives.values())))
    planes = arguments["planes"]

    def evaluate(coordinates: Mapping[str, Any], task: Any) -> Mapping[str, Any]:
        plane = planes[coordinates["pair"][0] if "pair" in coordinates else 0]
        leading = (1,) if "pair" in coordinates else ()
        beta, alpha = (torch.from_numpy(coordinates[axis]) for axis in ("beta", "alpha"))
        shape = (*leading, len(objectives), len(beta), len(alpha))
        if plane is None:
            return {**dict.fromkeys(names, np.full(shape, np.nan)), "status": Status.STOPPED}
        points = torch.cartesian_prod(beta, alpha).flip(-1)
        values = evaluate_points(objectives, plane, points, task)
        return {key: value.reshape(shape) for key, value in values.items()}

    return evaluate


def evaluate_points(
    objectives: Mapping[str, Objective], where: Slice, coordinates: torch.Tensor, task: Any
) -> dict[str, np.ndarray]:
    """Evaluate points of a slice one after the other.

    Args:
        objectives: The loss on each split.
        where: The slice.
        coordinates: One row for each of P points.
        task: Told the progress.

    Returns:
        Each quantity, shape `(splits, P)`.
    """
    rows: list[list[dict[str, float]]] = []
    for number, coordinate in enumerate(coordinates):
        theta = where(coordinate)
        rows.append([objective.evaluate(theta) for objective in objectives.values()])
        task.report((number + 1) / len(coordinates))
    return {name: np.array([[row[name] for row in point] for point in rows]).T for name in rows[0][0]}
