"""Double descent in numbers and as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import xarray as xr

from landscape.figures.descent_analysis import descent_data, landmarks, lines, over_repetitions
from landscape.figures.style import number
from landscape.figures.tables import Row, amount, indent, json_value, table


def descent_summary(tree: xr.DataTree) -> dict[str, Any]:
    """Summarise the node `descent`.

    Args:
        tree: A store.

    Returns:
        `descents`: an entry for each basis, noise and ridge: `theory` and `measured` thresholds, and capacity and
        median test risk of the best `classical` model, of the `peak` and of the best model beyond, `modern`.
    """
    data = descent_data(tree)
    rows = []
    for labels, line in lines(data):
        found = landmarks(line)
        risk = over_repetitions(line["loss"].sel(split="test"))[0]
        row: dict[str, Any] = {**labels, "theory": json_value(found.theory), "measured": json_value(found.measured)}
        for name in ("classical", "peak", "modern"):
            place = getattr(found, name)
            at = None if place is None else float(risk[list(line["capacity"].values).index(place)])
            row |= {name: json_value(place), f"{name}_risk": json_value(at)}
        rows.append(row)
    return {"descents": rows, "capacity": str(data.attrs["capacity_name"])}


def descent_lines(found: Mapping[str, Any]) -> list[str]:
    """The entries as a table: capacities, and median test risks behind a colon."""
    keys = [key for key in ("basis", "noise", "ridge") if key in found["descents"][0]]
    head: Row = [*keys, "threshold", "error < ε", "best before", "peak", "best beyond"]
    rows: list[Row] = [head]
    for row in found["descents"]:
        cells = [row[key] if key == "basis" else f"{row[key]:g}" for key in keys]
        cells += [_capacity(row["theory"]), _capacity(row["measured"])]
        for name in ("classical", "peak", "modern"):
            risk = "" if row[name] is None else f": {amount(row[f'{name}_risk'])}"
            cells.append(_capacity(row[name]) + risk)
        rows.append(cells)
    start = len([key for key in keys if key == "basis"])
    title = f"risk by {found['capacity']} (capacity: median test loss)"
    return ["", title, *indent(table(rows, right=range(start, len(head))))]


def _capacity(value: float | None) -> str:
    """A capacity, or a dash."""
    return "–" if value is None else number(value, 3) if value != int(value) else f"{int(value):,}"
