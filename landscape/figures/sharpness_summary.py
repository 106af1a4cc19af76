"""Measures of sharpness as numbers and as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from landscape.figures.analysis import dataset
from landscape.figures.tables import amount, indent, json_value, table

AROUND = ("checkpoint", "split", "step")
"""The dimensions that say where a measure was taken."""


def measures_of(data: xr.Dataset) -> list[str]:
    """The measures of a node, in its order: each has a standard error beside it."""
    return [str(name) for name in data.data_vars if f"{name}_stderr" in data]


def sharpness_summary(tree: xr.DataTree) -> dict[str, Any]:
    """Summarise the node `sharpness`.

    Args:
        tree: A store.

    Returns:
        `measures`: an entry for each measure, checkpoint (or step), split and label of the measure's own dimension,
        with value, standard error and units; densities are left to figures.
    """
    data = dataset(tree, "sharpness").load()
    rows: list[dict[str, Any]] = []
    for name in measures_of(data):
        if "eigenvalue" in data[name].dims:
            continue
        for place in np.ndindex(data[name].shape):
            at = dict(zip(map(str, data[name].dims), place, strict=True))
            labels = {dim: json_value(data[dim].values[position]) for dim, position in at.items()}
            rows.append(
                {
                    "measure": name,
                    **labels,
                    "value": json_value(data[name].values[place]),
                    "stderr": json_value(data[f"{name}_stderr"].values[place]),
                    "units": str(data[name].attrs.get("units", "")),
                }
            )
    return {"measures": rows}


def sharpness_lines(found: Mapping[str, Any]) -> list[str]:
    """The measures as a table: a row for each, a column for each checkpoint and split."""
    places: list[tuple[Any, ...]] = []
    lines: dict[tuple[str, str], dict[tuple[Any, ...], str]] = {}
    for row in found["measures"]:
        place = tuple(row[dim] for dim in AROUND if dim in row)
        own = [f" {dim}={row[dim]:g}" for dim in ("rho", "k") if dim in row]
        error = f" ± {amount(row['stderr'])}" if row["stderr"] else ""
        lines.setdefault((row["measure"] + "".join(own), row["units"]), {})[place] = amount(row["value"]) + error
        if place not in places:
            places.append(place)
    head = ["measure", *(" ".join(map(str, place)) for place in places), "units"]
    body = [[name, *(cells.get(place, "–") for place in places), unit] for (name, unit), cells in lines.items()]
    return ["", "measures (± standard error where they are random)", *indent(table([head, *body]))]
