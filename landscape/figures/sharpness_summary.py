"""Measures of sharpness as numbers and as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    """The measures as a table: a row for each, a column for each checkpoint and split, or a run's ends and extremes."""
    if any("step" in row for row in found["measures"]):
        return _lines_along(found["measures"])
    places: list[tuple[Any, ...]] = []
    lines: dict[tuple[str, str], dict[tuple[Any, ...], str]] = {}
    for row in found["measures"]:
        place = tuple(row[dim] for dim in AROUND if dim in row)
        lines.setdefault((_title(row), row["units"]), {})[place] = _value(row)
        if place not in places:
            places.append(place)
    head = ["measure", *(" ".join(map(str, place)) for place in places), "units"]
    body = [[name, *(cells.get(place, "–") for place in places), unit] for (name, unit), cells in lines.items()]
    return ["", "measures (± standard error where they are random)", *indent(table([head, *body]))]


def _title(row: Mapping[str, Any]) -> str:
    """A measure with the label of its own dimension."""
    return str(row["measure"]) + "".join(f" {dim}={row[dim]:g}" for dim in ("rho", "k") if dim in row)


def _value(row: Mapping[str, Any]) -> str:
    """A value with its standard error."""
    return amount(row["value"]) + (f" ± {amount(row['stderr'])}" if row["stderr"] else "")


def _lines_along(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Measures along a run: the first value, the lowest, the highest and the last, and at which step each was."""
    lines: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        lines.setdefault((_title(row), row["split"], row["units"]), []).append(row)
    body = []
    for (title, split, unit), some in lines.items():
        finite = [row for row in some if row["value"] is not None]
        shown = [
            some[0],
            *(choose(finite, key=lambda row: row["value"], default=None) for choose in (min, max)),
            some[-1],
        ]
        body.append([title, split, *("–" if row is None else f"{_value(row)} ({row['step']})" for row in shown), unit])
    head = ["measure", "split", "first (step)", "lowest (step)", "highest (step)", "last (step)", "units"]
    return ["", "measures along the run (± standard error where they are random)", *indent(table([head, *body]))]
