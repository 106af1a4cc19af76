"""A surface in numbers: its checkpoints' own values, its lowest and highest points, its directions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from landscape.figures.analysis import dataset
from landscape.figures.tables import amount, indent, json_value, percent, table

AXES = ("alpha", "beta", "gamma")
METHOD = (
    "method",
    "tolerance",
    "coarse_grid",
    "sample_evaluations",
    "dense_sample_evaluations",
    "statistics_evaluations",
    "dense_statistics_evaluations",
    "not_reached",
)
"""What values that aren't exact everywhere say of themselves."""
PRECISION = ("precision", "precision_error")
MARKS = {"trajectory": "the path of the checkpoints", "points": "the checkpoints that span the slice"}


def surface_summary(tree: xr.DataTree) -> dict[str, Any]:
    """Summarise the node `surface` and what lies in it.

    Args:
        tree: A store.

    Returns:
        `surfaces`: an entry for each checkpoint and split; `method` and its cost, unless every point is exact;
        `directions`: one for each checkpoint and axis; `marks`: one for each checkpoint that spans the slice, if any.
    """
    surface = dataset(tree, "surface").load()
    found: dict[str, Any] = {"surfaces": _surfaces(surface)}
    found |= method_of(surface)
    found |= {name: json_value(surface.attrs[name]) for name in PRECISION if name in surface.attrs}
    if "/surface/directions" in tree.groups:
        found["directions"] = _directions(surface, dataset(tree, "surface/directions"))
    for node in MARKS:
        if f"/surface/{node}" in tree.groups:
            found["marks"] = _marks(dataset(tree, f"surface/{node}"))
            found["marked"] = MARKS[node]
    return found


def method_of(data: xr.Dataset) -> dict[str, Any]:
    """The method of a node and its cost; nothing where every point is exact."""
    if data.attrs.get("method", "exact") == "exact":
        return {}
    return {name: json_value(data.attrs[name]) for name in METHOD if data.attrs.get(name) is not None}


def axes_of(surface: xr.Dataset) -> list[str]:
    """The axes of a surface, alpha first."""
    return [axis for axis in AXES if axis in surface.dims]


def _surfaces(surface: xr.Dataset) -> list[dict[str, Any]]:
    """Own values, extremes, and how many points are done, for each checkpoint and split."""
    rows = []
    for checkpoint in (str(label) for label in surface["checkpoint"].values):
        status = surface["status"].sel(checkpoint=checkpoint).values
        for split in (str(label) for label in surface["split"].values):
            at = {"checkpoint": checkpoint, "split": split}
            row: dict[str, Any] = {
                **at,
                "points": int(status.size),
                "done": int((status > 0).sum()),
                "not_finite": int((status == 2).sum()),
                "failed": int((status == 3).sum()),
            }
            for name in ("loss", "error"):
                if f"checkpoint_{name}" in surface:
                    row[name] = json_value(surface[f"checkpoint_{name}"].sel(at).item())
            loss = surface["loss"].sel(at)
            finite = loss.where(np.isfinite(loss))
            for label, place in (("lowest", finite.argmin), ("highest", finite.argmax)):
                row[label], row[f"{label}_at"] = None, None
                if bool(np.isfinite(finite).any()):
                    point = finite.isel(place(...))
                    row[label] = json_value(point.item())
                    row[f"{label}_at"] = {axis: json_value(point[axis].item()) for axis in axes_of(surface)}
            if "loss_stderr" in surface and surface.attrs.get("method") != "interpolated":
                stderr = surface["loss_stderr"].sel(at).values
                row["largest_stderr"] = json_value(np.nanmax(stderr)) if np.isfinite(stderr).any() else None
            rows.append(row)
    return rows


def _directions(surface: xr.Dataset, directions: xr.Dataset) -> list[dict[str, Any]]:
    """Range, length and angles of each axis."""
    rows = []
    for checkpoint in (str(label) for label in directions["checkpoint"].values):
        for axis in axes_of(surface):
            labels = surface[axis].values
            one = directions.sel(checkpoint=checkpoint, direction=axis)
            row: dict[str, Any] = {
                "checkpoint": checkpoint,
                "axis": axis,
                "points": len(labels),
                "low": json_value(labels[0]),
                "high": json_value(labels[-1]),
                "norm": json_value(one["norm"].item()),
                "angles": {
                    other: json_value(one["angle"].sel(other=other).item())
                    for other in axes_of(surface)
                    if other != axis
                },
            }
            for name in ("explained_variance", "eigenvalue"):
                if name in one:
                    row[name] = json_value(one[name].item())
            rows.append(row)
    return rows


def _marks(marks: xr.Dataset) -> list[dict[str, Any]]:
    """Place, distance from the slice and own values of each checkpoint."""
    rows = []
    for position, name in enumerate(marks["name"].values):
        one = marks.isel(point=position)
        row: dict[str, Any] = {"name": str(name)}
        row |= {axis: json_value(one[f"point_{axis}"].item()) for axis in AXES if f"point_{axis}" in one}
        row["residual"] = json_value(one["residual"].item())
        for variable in ("loss", "error"):
            for split in one["split"].values if variable in one else ():
                row[f"{split}_{variable}"] = json_value(one[variable].sel(split=split).item())
        rows.append(row)
    return rows


def surface_lines(found: Mapping[str, Any], units: str) -> list[str]:
    """A summary of surfaces as text.

    Args:
        found: What `surface_summary` returned.
        units: Those of the loss.
    """
    lines = ["", f"surfaces (losses in {units}, errors in %; a checkpoint's own values are with its own statistics)"]
    lines += indent(_surface_table(found["surfaces"]))
    if "method" in found:
        lines += indent(method_lines(found))
    if "precision" in found:
        far = found.get("precision_error")
        text = (
            "no finite loss to compare"
            if far is None
            else f"the loss differs from float32's by {100 * far:.2g} % at most"
        )
        lines += indent([f"forward passes in {found['precision']}: {text}, at a few points and samples"])
    if found.get("directions"):
        lines += ["", "axes (lengths as distance in weight space, angles in degrees)"]
        lines += indent(_direction_table(found["directions"]))
    if found.get("marks"):
        lines += ["", f"{found['marked']} (with their own losses and distance from the slice)"]
        lines += indent(_mark_table(found["marks"]))
    return lines


def method_lines(found: Mapping[str, Any]) -> list[str]:
    """How far the values can be trusted, and what they cost."""
    grid = " x ".join(map(str, found.get("coarse_grid", ())))
    if found["method"] == "interpolated":
        lines = [f"interpolated from {grid or 'coarse'} points and not corrected: a look, no measurement"]
    else:
        lines = [
            f"certified: the loss jitters by its standard error, at most {100 * found['tolerance']:.3g} % of it "
            f"(of 0.01 where it is smaller); exact on {grid or 'the coarse'} points"
        ]
        if found.get("not_reached"):
            lines.append(f"not reached at {found['not_reached']} points")
    if "sample_evaluations" in found:
        spent, dense = found["sample_evaluations"], found["dense_sample_evaluations"]
        lines.append(f"{spent:,} sample evaluations; all points on all samples: {dense:,} ({dense / spent:.1f} x)")
    if "statistics_evaluations" in found:
        lines.append(
            f"beside these {found['statistics_evaluations']:,} for BatchNorm's statistics, which nothing saves"
            + (f" (exact: {dense:,})" if (dense := found.get("dense_statistics_evaluations")) else "")
        )
    return lines


def _surface_table(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    error = any("error" in entry for entry in entries)
    head = ["checkpoint", "split", "own loss", *(["own error"] if error else []), "lowest", "at", "highest", "at"]
    rows = [[*head, "points"]]
    for entry in entries:
        row = [entry["checkpoint"], entry["split"], amount(entry.get("loss"))]
        row += [percent(entry.get("error"))] if error else []
        for label in ("lowest", "highest"):
            place = entry[f"{label}_at"] or {}
            row += [amount(entry[label]), "(" + ", ".join(f"{value:.3g}" for value in place.values()) + ")"]
        state = f"{entry['done']}/{entry['points']}"
        state += f", {entry['not_finite']} not finite" if entry["not_finite"] else ""
        rows.append([*row, state + (f", {entry['failed']} failed" if entry["failed"] else "")])
    return table(rows, right=range(2, len(head)))


def _direction_table(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    extra = [name for name in ("explained_variance", "eigenvalue") if name in entries[0]]
    head = [
        "checkpoint",
        "axis",
        "from",
        "to",
        "points",
        "length",
        "angles",
        *(name.replace("_", " ") for name in extra),
    ]
    rows = [head]
    for entry in entries:
        degrees = ", ".join(f"{value:.1f} to {axis}" for axis, value in entry["angles"].items())
        row = [entry["checkpoint"], entry["axis"], f"{entry['low']:.4g}", f"{entry['high']:.4g}", str(entry["points"])]
        rows.append([*row, amount(entry["norm"]), degrees or "–", *(amount(entry[name]) for name in extra)])
    return table(rows, right=range(2, 6))


def _mark_table(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    keys = [key for key in entries[0] if key != "name"]
    rows = [["name", *(key.replace("_", " ") + (" (%)" if key.endswith("error") else "") for key in keys)]]
    for entry in entries:
        rows.append([entry["name"], *((percent if key.endswith("error") else amount)(entry[key]) for key in keys)])
    return table(rows, right=range(1, len(rows[0])))
