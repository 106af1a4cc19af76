"""Densities of the Hessian's eigenvalues at several places, on one grid and smoothed alike."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from landscape.linalg.density import Spectrum
from landscape.measures.hessian_density import spread
from landscape.objective.losses import Loss
from landscape.studies.sharpness.evaluation import DENSITY, measure_attrs
from landscape.sweeps import store
from landscape.sweeps.schema import Variable


def write_density(
    path: Path,
    node: str,
    coords: Mapping[str, Any],
    measures: Mapping[str, Mapping[str, Any]],
    loss: str | Loss,
    num_parameters: int,
) -> None:
    """Turn the quadratures of a node into densities over common eigenvalues, and store these.

    Args:
        path: The store.
        node: The node, whose quadratures are complete; those that aren't finite give densities of NaN.
        coords: Its coordinates; the first two dimensions say where the measures were taken.
        measures: Settings of the measures by name.
        loss: Name of the loss, or the function.
        num_parameters: The number D of parameters.
    """
    over = tuple(coords)[:2]
    found = store.open(path)[node]
    nodes, weights = (torch.from_numpy(found[f"{DENSITY}_{part}"].values) for part in ("nodes", "weights"))
    shape = nodes.shape[:2]
    nodes, weights = nodes.flatten(0, 1), weights.flatten(0, 1)
    sound = nodes.isfinite().flatten(1).all(1) & weights.isfinite().flatten(1).all(1)
    if not bool(sound.any()):
        return
    points = measures[DENSITY]["points"]
    joint = Spectrum(nodes[sound].flatten(0, 1), weights[sound].flatten(0, 1), num_parameters, 0).density(
        num_points=points
    )
    nothing = joint.grid.new_full((len(nodes), len(joint.grid)), torch.nan)
    values = {part: nothing.clone() for part in ("", "_stderr", "_low", "_high")}
    for place in sound.nonzero()[:, 0]:
        spectrum = Spectrum(nodes[place], weights[place], num_parameters, 0)
        one = spectrum.density(joint.grid, sigma=joint.sigma)
        own = (one.density, spread(spectrum, joint.grid, joint.sigma), one.low, one.high)
        for rows, value in zip(values.values(), own, strict=True):
            rows[place] = torch.as_tensor(value)
    variables = {
        DENSITY + part: Variable((*over, "eigenvalue"), attrs=measure_attrs(DENSITY + part, measures, loss))
        for part in values
    }
    store.add_node(path, node, {**coords, "eigenvalue": joint.grid.numpy()}, variables, {"density_sigma": joint.sigma})
    for part, rows in values.items():
        store.write(path, node, DENSITY + part, rows.view(*shape, -1).numpy())
