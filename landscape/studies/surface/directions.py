"""The directions that a surface's recipe asks for, around each of its checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from landscape.errors import RequestError
from landscape.geometry.directions import (
    angles,
    check,
    difference,
    gaussian,
    normalize,
    orthogonalize,
    principal_axes,
    project,
    without_biases,
)
from landscape.geometry.slices import Affine
from landscape.networks.checkpoint import load_checkpoint, strip_prefixes
from landscape.networks.sampling import mix
from landscape.objective.parameters import Layout, filter_axes
from landscape.studies.grids import AXES
from landscape.studies.networks import Checkpoints
from landscape.studies.surface.recipe import SPANNED, SurfaceRecipe

Own = Tensor | Sequence[Path | str]
"""Directions of one's own: rows `(k, D)`, or one file for each."""
DIRECTIONS_SEED = 5
"""What random directions are for (see `mix`): those of a network's own seed could be its initial weights."""


@dataclass(frozen=True)
class Slices:
    """Where a surface is evaluated.

    Args:
        origins: Numbers of the checkpoints that surfaces are drawn around.
        slices: One slice around each of these.
        explained: Share of the checkpoints' variance along each principal axis, shape `(k,)`; None but for PCA.
        coordinates: Of all checkpoints in the only slice, shape `(T, k)`; None unless they span it.
        residuals: Distance of each checkpoint from it, shape `(T,)`.
    """

    origins: tuple[int, ...]
    slices: tuple[Affine, ...]
    explained: np.ndarray | None = None
    coordinates: np.ndarray | None = None
    residuals: np.ndarray | None = None

    @property
    def num_axes(self) -> int:
        """The number k of directions."""
        return len(self.slices[0].directions)

    def norms(self) -> np.ndarray:
        """Length of each direction as a distance in weight space, shape `(origins, k)`."""
        return torch.stack([where.directions.double().norm(dim=1) for where in self.slices]).numpy()

    def angles(self) -> np.ndarray:
        """Angles between the directions of each slice in degrees, shape `(origins, k, k)`."""
        return torch.stack([angles(where.directions) for where in self.slices]).numpy()


def make_slices(ends: Checkpoints, recipe: SurfaceRecipe, own: Tensor | None = None) -> Slices:
    """Make the directions and put them through the checkpoints.

    Args:
        ends: The checkpoints.
        recipe: Which directions, and how they are normalised.
        own: Given directions, shape `(k, D)`, or `(C, k, D)` for other ones around each checkpoint.

    Raises:
        RequestError: If there are too few checkpoints for them, or they span no slice.
    """
    thetas, layout = ends.thetas(), ends.layout
    axes = filter_axes(ends.models[0], layout)

    def finish(raw: Tensor, theta: Tensor) -> Affine:
        if recipe.treatment == "zero":
            raw = without_biases(raw, layout, axes)
        made = check(normalize(raw, theta, layout, axes, recipe.normalization), AXES[: len(raw)])
        return Affine(theta, orthogonalize(made) if recipe.orthogonalize else made)

    if recipe.directions not in SPANNED:
        if own is None:
            generator = torch.Generator().manual_seed(mix(recipe.seed, DIRECTIONS_SEED))
            own = gaussian(recipe.axes or 2, thetas[0], generator)
        each = own.to(thetas).expand(len(thetas), -1, -1)
        return Slices(tuple(range(len(thetas))), tuple(map(finish, each, thetas)))
    _enough(len(thetas), recipe)
    explained = None
    if recipe.directions == "pca":
        principal = principal_axes(thetas, recipe.axes or 2)
        origin, raw, explained = len(thetas) - 1, principal.directions, principal.explained.numpy()
    else:
        count = recipe.axes or min(len(thetas) - 1, len(AXES))
        origin, raw = 0, difference(thetas[: 1 + count])
    where = finish(raw, thetas[origin])
    coordinates, residuals = project(thetas - thetas[origin], where.directions)
    return Slices((origin,), (where,), explained, coordinates.numpy(), residuals.numpy())


def _enough(count: int, recipe: SurfaceRecipe) -> None:
    """Refuse fewer checkpoints than span the slice."""
    needed = 1 + (recipe.axes or (2 if recipe.directions == "pca" else 1))
    if count < needed:
        raise RequestError(
            f"'{recipe.directions}' along {needed - 1} axes needs at least {needed} checkpoints, got {count}: "
            "give more, or fewer --axes"
        )


def read_directions(own: Own, model: nn.Module) -> Tensor:
    """Directions of one's own as rows.

    Args:
        own: Shape `(k, D)` or `(D,)`, or files that hold a tensor for each of the model's parameters.
        model: The architecture.

    Returns:
        Shape `(k, D)`.

    Raises:
        RequestError: If they are of another architecture, naming the first tensor that differs.
    """
    layout = Layout.of(model)
    if not isinstance(own, Tensor):
        return torch.stack([_read_direction(path, model, layout) for path in own])
    rows = own.detach().cpu()
    rows = rows[None] if rows.ndim == 1 else rows
    if rows.ndim != 2 or rows.shape[1] != layout.num_parameters or not 1 <= len(rows) <= len(AXES):
        raise RequestError(
            f"directions of shape {tuple(own.shape)} are of another architecture: expected one to three rows of the "
            f"model's {layout.num_parameters} parameters"
        )
    return rows


def _read_direction(path: Path | str, model: nn.Module, layout: Layout) -> Tensor:
    """One direction from a file; buffers in it don't count."""
    file = load_checkpoint(path)
    known: dict[str, Any] = model.state_dict(keep_vars=True)
    state = strip_prefixes(file.state, set(known))
    tensors = []
    for name, shape in zip(layout.names, layout.shapes, strict=True):
        twins = [other for other, tensor in known.items() if tensor is known.get(name)]
        found = next((state[other] for other in (name, *twins) if other in state), None)
        if found is None or found.shape != shape:
            got = "missing" if found is None else f"of shape {tuple(found.shape)}"
            raise RequestError(
                f"direction {file.name} is of another architecture: '{name}' is {got}, the model's is {tuple(shape)}"
            )
        tensors.append(found)
    if surplus := [name for name in state if name not in known]:
        raise RequestError(
            f"direction {file.name} is of another architecture: it holds '{surplus[0]}', which the model lacks"
        )
    return layout.flatten(tensors)
