"""What a store holds: variables, the status of every point, and the sweep that fills them.

Light enough for a worker process to import: numpy only, neither zarr nor xarray.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Region = Mapping[str, slice]


class Status(IntEnum):
    """What is known about a point; stored apart, because NaN is a result and can't mean "not computed"."""

    TO_DO = 0
    DONE = 1
    NON_FINITE = 2
    FAILED = 3
    STOPPED = 4


STATUS_FLAGS = {"flag_values": [int(s) for s in Status], "flag_meanings": " ".join(s.name.lower() for s in Status)}
"""Attributes of a variable that holds the status."""


@dataclass(frozen=True)
class Variable:
    """One array of a store, allocated ahead and filled with NaN (floats) or 0.

    Args:
        dims: Names of the dimensions, in order.
        dtype: Type of the values, as numpy names it.
        attrs: What a reader should know: `long_name`, `units`.
        chunks: Length of a chunk along a dimension; by default all of it, within reason.
    """

    dims: tuple[str, ...]
    dtype: str = "float64"
    attrs: Mapping[str, Any] = field(default_factory=dict)
    chunks: Mapping[str, int] = field(default_factory=dict)


def coordinate(name: str, value: Any) -> tuple[tuple[str, ...], Array | int]:
    """Bring one coordinate into the form `(dims, labels)`.

    Args:
        name: Name of the dimension or of the coordinate.
        value: Labels of the dimension `name`, shape `(n,)`; or its length alone, for a dimension without
            labels; or `(dims, labels)` for a further coordinate along other dimensions.

    Returns:
        The dimensions and the labels, or the length where there are no labels.

    Raises:
        ValueError: If the labels don't have one axis for each dimension.
    """
    if isinstance(value, int | np.integer):
        return (name,), int(value)
    dims: tuple[str, ...] = (name,)
    if isinstance(value, tuple) and len(value) == 2 and np.ndim(value[1]) > 0:
        dims = (value[0],) if isinstance(value[0], str) else tuple(value[0])
        value = value[1]
    labels = np.asarray(value)
    if labels.dtype.kind not in "biufc":
        labels = labels.astype(str)
    if labels.ndim != len(dims):
        raise ValueError(f"coordinate '{name}' has shape {labels.shape}, expected one axis for each of {dims}")
    return dims, labels


@dataclass(frozen=True)
class Sweep:
    r"""A function :math:`f` mapped over a grid: `values[i, j, …] = f(labels_0[i], labels_1[j], …)`.

    `function` names a factory, `"package.module:factory"`, that is imported where it runs and called once in
    each worker: `evaluate = factory(arguments)`. Each task calls `evaluate(coordinates, task)`, where
    `coordinates` maps every dimension to its labels (a swept one to the labels of the task's block), and
    which returns an array for every variable, with the variable's dims and the swept ones cut to the block.
    It may add `status`, one number or one for each point; else points are done, or non-finite. A point is to do as long
    as any of it is.

    Args:
        node: Group inside the store, such as `"connect/plane/bezier"`.
        coords: Labels of every dimension and further coordinates; see `coordinate`.
        over: Swept dimensions, in order.
        variables: Results. Each has all swept dimensions and any others.
        function: The factory, `"package.module:factory"`.
        arguments: Given to the factory; must be picklable for an engine with several processes.
        block: Points of one task along a swept dimension, 1 by default. One task is one chunk and has one
            writer, so a block of cheap points is a row or a tile.
        attrs: Attributes of the node.
        along: Further dimensions along which the status is told, for a task that may end before it has filled them.

    Raises:
        ValueError: If these don't fit together.
    """

    node: str
    coords: Mapping[str, Any]
    over: tuple[str, ...]
    variables: Mapping[str, Variable]
    function: str
    arguments: Mapping[str, Any]
    block: Mapping[str, int] = field(default_factory=dict)
    attrs: Mapping[str, Any] = field(default_factory=dict)
    along: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for dim, size in self.block.items():
            if dim not in self.over or size < 1:
                raise ValueError(f"block {dim}={size}: expected at least 1 along one of the swept {self.over}")
        for name, variable in self.variables.items():
            if missing := [dim for dim in self.over if dim not in variable.dims]:
                raise ValueError(
                    f"variable '{name}' of a sweep over {self.over} lacks {missing}: two tasks would write one chunk"
                )
        if "status" in self.variables:
            raise ValueError("'status' is kept by the sweep itself: give that variable another name")
        used = {*self.over, *self.along, *(dim for variable in self.variables.values() for dim in variable.dims)}
        if missing := sorted(used - self.labels.keys()):
            raise ValueError(f"dimensions {missing} have no labels: add them to coords")

    @cached_property
    def labels(self) -> dict[str, Array]:
        """The labels of every dimension; positions where it has none."""
        found = {name: coordinate(name, value) for name, value in self.coords.items()}
        return {
            name: np.arange(labels) if isinstance(labels, int) else labels
            for name, (dims, labels) in found.items()
            if dims == (name,)
        }

    def stored(self) -> dict[str, Variable]:
        """The variables as the store has them: chunked as the tasks, and the status beside them."""
        block = {dim: self.block.get(dim, 1) for dim in self.over}
        flags = STATUS_FLAGS
        variables = {
            name: Variable(v.dims, v.dtype, v.attrs, {**v.chunks, **block}) for name, v in self.variables.items()
        }
        return {**variables, "status": Variable((*self.over, *self.along), "int8", flags, block)}

    def blocks(self) -> Iterator[dict[str, slice]]:
        """The regions of the tasks, in the order in which they are run."""
        axes = []
        for dim in self.over:
            size, step = len(self.labels[dim]), self.block.get(dim, 1)
            axes.append([slice(start, min(start + step, size)) for start in range(0, size, step)])
        for region in itertools.product(*axes):
            yield dict(zip(self.over, region, strict=True))

    def coordinates(self, region: Region) -> dict[str, Array]:
        """The labels of every dimension, a swept one cut to the block."""
        return {dim: labels[region.get(dim, slice(None))] for dim, labels in self.labels.items()}

    def checked(self, values: Mapping[str, Any], region: Region) -> dict[str, Array]:
        """The values of a block, with its status.

        Args:
            values: What `evaluate` returned.
            region: The block.

        Returns:
            An array for each variable, and `status` for each point of the block.

        Raises:
            ValueError: If a variable is missing, unknown or has the wrong shape.
        """
        if wrong := sorted((self.variables.keys() ^ values.keys()) - {"status"}):
            raise ValueError(
                f"{self.function} returned {sorted(values)}, expected {sorted(self.variables)}: see {wrong}"
            )
        length = {dim: len(labels) for dim, labels in self.coordinates(region).items()}
        told = (*self.over, *self.along)
        finite = np.ones([length[dim] for dim in told], bool)
        result: dict[str, Array] = {}
        for name, variable in self.variables.items():
            value = result[name] = np.asarray(values[name], variable.dtype)
            if value.shape != (shape := tuple(length[dim] for dim in variable.dims)):
                raise ValueError(f"{self.function} returned '{name}' of shape {value.shape}, expected {shape}")
            rest = tuple(axis for axis, dim in enumerate(variable.dims) if dim not in told)
            kept = [dim for dim in variable.dims if dim in told]
            sound = np.isfinite(value).all(axis=rest).transpose([kept.index(dim) for dim in told if dim in kept])
            finite &= np.expand_dims(sound, tuple(axis for axis, dim in enumerate(told) if dim not in kept))
        status = values.get("status", np.where(finite, Status.DONE, Status.NON_FINITE))
        result["status"] = np.broadcast_to(np.asarray(status, np.int8), finite.shape)
        return result
