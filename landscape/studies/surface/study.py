"""`surface`: evaluate the loss on a grid over slices through networks, and store it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
import torch
from torch import Tensor

from landscape.errors import RequestError
from landscape.objective.losses import Loss
from landscape.objective.objective import Objective
from landscape.studies.grids import AXES, own_sweep, own_values, quantities, slice_sweep
from landscape.studies.network import Network
from landscape.studies.networks import Source
from landscape.studies.opening import CheckpointStudy, Opened, Options, open_checkpoints
from landscape.studies.surface.directions import Own, Slices, make_slices, read_directions
from landscape.studies.surface.precision import precision_error
from landscape.studies.surface.recipe import HESSIAN, OWN, SurfaceRecipe
from landscape.studies.surface.stages import Stages
from landscape.sweeps import store
from landscape.sweeps.recipe import digest
from landscape.sweeps.schema import Sweep, Variable

if TYPE_CHECKING:
    import xarray

DISTANCE = {"units": "distance in weight space"}
MARKS = {"pca": "trajectory", "difference": "points"}
"""The node that holds the checkpoints which span the slice."""


def surface(
    checkpoints: Sequence[Source] | Source,
    out: Path | str,
    recipe: SurfaceRecipe | None = None,
    *,
    directions: Own | None = None,
    metrics: Mapping[str, Loss] | None = None,
    **options: Unpack[Options],
) -> xarray.DataTree:
    """Evaluate the loss on a grid around networks, along one to three directions, and store it.

    Args:
        checkpoints: Files or modules of one architecture: one surface around each, on the same axes; or, for the
            directions `pca` (in the order of the training) and `difference`, those that span the only surface.
        out: The store to write. One of the same recipe is resumed.
        recipe: What to compute.
        directions: Directions of one's own instead of the recipe's: rows `(k, D)`, or for each a file with a tensor for
            each of the model's parameters.
        metrics: Further per-sample functions by name, evaluated beside the loss.
        **options: `model`, `data` and `loss` of the checkpoints, `device`, `engine` and so on: see
            `landscape.studies.opening.Options`.

    Returns:
        The store, as `landscape.open` gives it.

    Raises:
        RequestError: If the request is wrong; nothing has been written then.
    """
    recipe = recipe or SurfaceRecipe()
    opened = open_checkpoints(checkpoints, recipe, options, metrics)
    own = None if directions is None else read_directions(directions, opened.ends.models[0])
    if own is not None:
        recipe = replace(recipe, directions=OWN, axes=len(own))
    return SurfaceStudy(opened, recipe, own).compute(out)


class SurfaceStudy(CheckpointStudy):
    """The steps of `surface`, in order: make the slices, evaluate them, and add the checkpoints' own values.

    Args:
        opened: The checkpoints, and what is evaluated.
        recipe: What to compute.
        own: Directions of one's own, shape `(k, D)`.
    """

    kind = "surface"

    def __init__(self, opened: Opened, recipe: SurfaceRecipe, own: Tensor | None = None) -> None:
        super().__init__(opened)
        self.settings, self.own = recipe, own
        self.evaluated = replace(self.network, precision=recipe.precision)
        self.eigenvectors: Tensor | None = None
        """Of the Hessian, shape `(C, k, D)`, once they are found."""

    @cached_property
    def slices(self) -> Slices:
        """Where the loss is evaluated."""
        return make_slices(self.ends, self.settings, self.own if self.eigenvectors is None else self.eigenvectors)

    @property
    def num_axes(self) -> int:
        """The number k of directions, known before eigenvectors are."""
        return (self.settings.axes or 2) if self.settings.directions == HESSIAN else self.slices.num_axes

    def objective(self) -> Objective:
        """The loss on the first split, as grids evaluate it."""
        return next(iter(self.evaluated.objectives(self.splits).values()))

    def recipe(self) -> dict[str, Any]:
        """Everything that the result depends on."""
        own = {} if self.own is None else {"vectors": digest(self.own.numpy())}
        return {**super().recipe(), **self.settings.recipe(self.num_axes), **own}

    def check(self) -> None:
        """Try everything on a few samples, so that a wrong request ends before anything is written."""
        super().check()
        if self.settings.precision is not None:
            for objective in self.evaluated.objectives(self.splits).values():
                objective.check()
        if self.num_axes > (count := self.ends.layout.num_parameters):
            raise RequestError(f"{self.num_axes} axes, but the network has {count} parameters: give fewer --axes")
        self._coords()

    def run(self, path: Path) -> None:
        """Compute what the store lacks."""
        objective, coords = self.objective(), self._coords()
        if self.settings.directions == HESSIAN:
            sweep = self.eigenvector_sweep(coords)
            self.running.run(path, [sweep], "eigenvectors")
            self.eigenvectors = torch.from_numpy(store.open(path)[sweep.node]["vector"].values)
        around = [replace(self.networks[origin], precision=self.settings.precision) for origin in self.slices.origins]
        method, tolerance = self.settings.method, self.settings.certainty
        attrs: dict[str, Any] = {
            "directions": self.settings.directions,
            "normalize": self.settings.normalization,
            "method": method,
        }
        where = self.slices.slices
        attrs |= ({} if tolerance is None else {"tolerance": tolerance}) | precision_error(around, where, self.splits)
        stages = None
        if method == "exact":
            grid = slice_sweep(
                "surface", around, where, coords, objective, leading="checkpoint", samples=True, attrs=attrs
            )
        else:
            stages = Stages(path, around, where, coords, objective, tolerance, self.settings.seed)
            grid = stages.sweep(attrs)
        store.add_node(path, "surface", coords, grid.stored(), attrs)
        self._write_directions(path, coords)
        sweeps = [] if self.slices.coordinates is None else [self._marks(path, objective)]
        if stages is not None:
            stages.prepare(self.recipe(), self.running)
            grid = stages.sweep(attrs)
        self.running.run(path, [grid, *sweeps], "evaluate")
        self._write_own(path, around, coords, objective)
        if stages is not None:
            store.add_node(path, "surface", coords, {}, stages.cost())

    def _coords(self) -> dict[str, Any]:
        """The coordinates of the grid; the axis that changes fastest comes last."""
        found = self.settings.directions == HESSIAN
        coordinates = None if found else self.slices.coordinates
        origins = range(len(self.ends.names)) if found else self.slices.origins
        axes = dict(zip(AXES, self.settings.labels(coordinates, self.num_axes), strict=False))
        return {
            "checkpoint": [self.ends.names[origin] for origin in origins],
            "split": list(self.splits),
            **dict(reversed(axes.items())),
        }

    def _direction_coords(self, coords: Mapping[str, Any]) -> dict[str, Any]:
        """The coordinates of the node that describes the directions."""
        axes = list(AXES[: self.num_axes])
        return {"checkpoint": coords["checkpoint"], "direction": axes, "other": axes}

    def eigenvector_sweep(self, coords: Mapping[str, Any]) -> Sweep:
        """The Hessian's eigenvectors at each checkpoint; stored, since they cost more than the surface may."""
        along = ("checkpoint", "direction")
        return Sweep(
            node="surface/directions",
            coords={**self._direction_coords(coords), "parameter": self.ends.layout.num_parameters},
            over=("checkpoint",),
            variables={
                "vector": Variable((*along, "parameter"), str(self.ends.thetas().numpy().dtype)),
                "eigenvalue": Variable(along, attrs={"long_name": "eigenvalue of the training loss's Hessian"}),
                "eigenvalue_residual": Variable(along, attrs={"long_name": "relative residual", "units": "1"}),
            },
            function="landscape.studies.surface.hessian:eigenvector_evaluator",
            arguments={"networks": self.networks, "labels": coords["checkpoint"], "seed": self.settings.seed},
        )

    def _write_directions(self, path: Path, coords: Mapping[str, Any]) -> None:
        """Lengths of the directions, the angles between them, and where they come from."""
        labels = self._direction_coords(coords)
        along, degrees = ("checkpoint", "direction"), {"long_name": "angle between directions", "units": "degrees"}
        values = {"norm": self.slices.norms(), "angle": self.slices.angles()}
        variables = {
            "norm": Variable(along, attrs={"long_name": "length of the direction", **DISTANCE}),
            "angle": Variable((*along, "other"), attrs=degrees),
        }
        if self.slices.explained is not None:
            values["explained_variance"] = self.slices.explained
            variables["explained_variance"] = Variable(("direction",), attrs={"units": "1"})
        chosen = self.settings.recipe(self.num_axes)
        attrs: dict[str, Any] = {name: chosen[name] for name in ("seed", "biases", "orthogonalize") if name in chosen}
        _write(path, "surface/directions", labels, variables, values, attrs)

    def _marks(self, path: Path, objective: Objective) -> Sweep:
        """Where the checkpoints that span the slice lie in it; the sweep for their own values."""
        assert self.slices.coordinates is not None
        assert self.slices.residuals is not None
        node = f"surface/{MARKS[self.settings.directions]}"
        names = self.ends.names
        labels = {"point": np.arange(len(names)), "name": ("point", list(names)), "split": list(self.splits)}
        values = {f"point_{axis}": column for axis, column in zip(AXES, self.slices.coordinates.T, strict=False)}
        values["residual"] = self.slices.residuals
        variables = dict.fromkeys(values, Variable(("point",), attrs={"units": "units of the direction"}))
        variables["residual"] = Variable(("point",), attrs={"long_name": "distance from the slice", **DISTANCE})
        _write(path, node, labels, variables, values)
        return own_sweep(node, self.networks, labels, objective)

    def _write_own(
        self, path: Path, around: Sequence[Network], coords: Mapping[str, Any], objective: Objective
    ) -> None:
        """The values of each surface's checkpoint itself, with its own BatchNorm statistics."""
        own = [own_values(network, self.splits) for network in around]
        described = quantities(objective)
        values = {f"checkpoint_{name}": np.array([row[name] for row in own]) for name in described}
        variables = {
            f"checkpoint_{name}": Variable(("checkpoint", "split"), attrs=attrs) for name, attrs in described.items()
        }
        _write(path, "surface", coords, variables, values)


def _write(
    path: Path,
    node: str,
    coords: Mapping[str, Any],
    variables: Mapping[str, Variable],
    values: Mapping[str, np.ndarray],
    attrs: Mapping[str, Any] | None = None,
) -> None:
    """Allocate variables and fill them."""
    store.add_node(path, node, coords, variables, attrs)
    for name, value in values.items():
        store.write(path, node, name, value)
