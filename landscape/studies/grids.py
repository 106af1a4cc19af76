"""The loss over a slice of parameter space, point by point: what all studies that draw one share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from landscape.geometry.slices import Slice
from landscape.objective.losses import cross_entropy
from landscape.objective.objective import Objective
from landscape.objective.sliced import SlicedObjective
from landscape.studies.network import Network
from landscape.sweeps.schema import Status, Sweep, Variable

Evaluate = Callable[[Mapping[str, Any], Any], Mapping[str, Any]]

AXES = ("alpha", "beta", "gamma")
"""The coordinates of a slice along its first, second and third direction; in a store the last comes first."""
BLOCK = {"alpha": 1 << 10, "beta": 3, "gamma": 1}
"""Points of one task along each axis: rows of a plane."""
LINE_BLOCK = {"alpha": 8}


def quantities(objective: Objective) -> dict[str, dict[str, str]]:
    """The quantities that a grid stores, with what a reader should know of them."""
    unit = "nats" if objective.loss_function is cross_entropy else "units of the loss"
    described = {"loss": {"long_name": "loss", "units": unit}}
    for name in objective.metrics:
        described[name] = {"long_name": name, "units": "1" if name == "error" else ""}
    for name in list(described):
        described[f"{name}_stderr"] = {"long_name": f"standard error of the {name}", "units": described[name]["units"]}
    return described


def variables(objective: Objective, dims: tuple[str, ...]) -> dict[str, Variable]:
    """A float64 variable for each quantity."""
    return {name: Variable(dims, attrs=attrs) for name, attrs in quantities(objective).items()}


def slice_sweep(
    node: str,
    networks: Sequence[Network],
    slices: Sequence[Slice | None],
    coords: Mapping[str, Any],
    objective: Objective,
    *,
    leading: str | None = None,
    samples: bool = False,
    attrs: Mapping[str, Any] | None = None,
) -> Sweep:
    """The loss on a grid over one slice, or over several on the same axes.

    Args:
        node: Where to store it.
        networks: What is evaluated: one for all slices, or one for each.
        slices: One for each label of `leading`; one without a slice is left out with status 4.
        coords: The node's coordinates: `leading`, `split`, and one to three of `AXES`.
        objective: Tells which quantities there are.
        leading: The dimension that tells slices apart, None if there is one slice.
        samples: Store the number of samples behind each value, too.
        attrs: Attributes of the node.
    """
    axes = tuple(axis for axis in reversed(AXES) if axis in coords)
    first = () if leading is None else (leading,)
    dims = (*first, "split", *axes)
    measured = variables(objective, dims)
    if samples:
        measured["samples"] = Variable(dims, "int64", {"long_name": "samples behind the value"})
    block = LINE_BLOCK if len(axes) == 1 else {axis: BLOCK[axis] for axis in axes}
    return Sweep(
        node=node,
        coords=coords,
        over=(*first, *axes),
        variables=measured,
        function=f"{__name__}:slice_evaluator",
        arguments={
            "networks": list(networks),
            "slices": list(slices),
            "splits": list(coords["split"]),
            "axes": axes,
            "leading": leading,
            "labels": [] if leading is None else np.asarray(coords[leading]).tolist(),
            "samples": samples,
        },
        block=block,
        attrs=attrs or {},
    )


def slice_evaluator(arguments: Mapping[str, Any]) -> Evaluate:
    """Evaluate a block of a slice: the factory of `slice_sweep`."""
    networks, slices, labels = arguments["networks"], arguments["slices"], arguments["labels"]
    axes, leading, splits = arguments["axes"], arguments["leading"], arguments["splits"]
    at_hand: dict[int, dict[str, Objective]] = {}
    on_slice: dict[int, dict[str, SlicedObjective]] = {}

    def objectives(number: int) -> dict[str, Objective]:
        number = number if len(networks) > 1 else 0
        if number not in at_hand:
            at_hand.clear()  # blocks come in order: one network in memory is enough
            at_hand[number] = networks[number].objectives(splits)
        return at_hand[number]

    def evaluate(coordinates: Mapping[str, Any], task: Any) -> Mapping[str, Any]:
        number = 0 if leading is None else labels.index(coordinates[leading][0])
        shape = (() if leading is None else (1,)) + (len(splits), *(len(coordinates[axis]) for axis in axes))
        where, losses = slices[number], objectives(number)
        if where is None:
            nothing = dict.fromkeys(quantities(next(iter(losses.values()))), np.full(shape, np.nan))
            counts = {"samples": np.zeros(shape, int)} if arguments["samples"] else {}
            return {**nothing, **counts, "status": Status.STOPPED}
        grid = np.meshgrid(*(coordinates[axis] for axis in axes), indexing="ij")
        points = torch.from_numpy(np.stack([part.ravel() for part in reversed(grid)], axis=-1))
        if number not in on_slice:
            on_slice.clear()
            on_slice[number] = sliced(losses, where)
        values = evaluate_points(on_slice[number], where, points, task)
        if arguments["samples"]:
            used = np.array([objective.num_samples for objective in losses.values()])
            values["samples"] = np.repeat(used[:, None], len(points), axis=1)
        return {key: value.reshape(shape) for key, value in values.items()}

    return evaluate


def sliced(objectives: Mapping[str, Objective], where: Slice) -> dict[str, SlicedObjective]:
    """The loss on each split over a slice; those that share a model go on doing so."""
    points, shared = where.points, dict[int, SlicedObjective]()
    result = {}
    for name, objective in objectives.items():
        key = id(objective.module)
        result[name] = shared[key].on(objective) if key in shared else SlicedObjective(objective, points)
        shared.setdefault(key, result[name])
    return result


def evaluate_points(
    objectives: Mapping[str, SlicedObjective], where: Slice, coordinates: torch.Tensor, task: Any
) -> dict[str, np.ndarray]:
    """Evaluate points of a slice, in blocks of which splits share the statistics that are recomputed at a point.

    Args:
        objectives: The loss on each split, over this slice: from `sliced`.
        where: The slice.
        coordinates: One row for each of P points.
        task: Told the progress.

    Returns:
        Each quantity, shape `(splits, P)`.
    """
    blocks: list[list[dict[str, np.ndarray]]] = []
    coefficients = where.basis(coordinates)
    size = min(objective.block for objective in objectives.values())
    for start in range(0, len(coefficients), size):
        some = coefficients[start : start + size]
        blocks.append([objective.values(some) for objective in objectives.values()])
        task.report((start + len(some)) / len(coefficients))
    rows = {name: [[row[name] for row in block] for block in blocks] for name in blocks[0][0]}
    return {name: np.concatenate([np.array(block) for block in found], axis=1) for name, found in rows.items()}


def own_values(network: Network, splits: Sequence[str]) -> dict[str, np.ndarray]:
    """A checkpoint's values with its own weights, BatchNorm statistics as they were stored.

    Args:
        network: The checkpoint's network; its BatchNorm policy doesn't count.
        splits: The splits.

    Returns:
        Each quantity, shape `(splits,)`.
    """
    objectives = replace(network, batchnorm="checkpoint").objectives(splits)
    rows = [objective.evaluate(objective.theta) for objective in objectives.values()]
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def own_sweep(node: str, networks: Sequence[Network], coords: Mapping[str, Any], objective: Objective) -> Sweep:
    """Each checkpoint's own values: a sweep over `point`.

    Args:
        node: Where to store them.
        networks: One for each point.
        coords: The node's coordinates, `point` and `split` among them.
        objective: Tells which quantities there are.
    """
    return Sweep(
        node=node,
        coords=coords,
        over=("point",),
        variables=variables(objective, ("point", "split")),
        function=f"{__name__}:own_evaluator",
        arguments={"networks": list(networks), "splits": list(coords["split"])},
    )


def own_evaluator(arguments: Mapping[str, Any]) -> Evaluate:
    """Evaluate one checkpoint: the factory of `own_sweep`."""
    networks, splits = arguments["networks"], arguments["splits"]

    def evaluate(coordinates: Mapping[str, Any], task: Any) -> Mapping[str, Any]:
        (point,) = coordinates["point"]
        return {name: value[None] for name, value in own_values(networks[point], splits).items()}

    return evaluate
