"""What a store holds, in one machine-readable object and as text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from landscape.figures.analysis import barrier, checkpoints, dataset
from landscape.figures.descent_summary import descent_summary
from landscape.figures.grok_summary import grok_summary
from landscape.figures.sharpness_summary import sharpness_summary
from landscape.figures.surface_summary import surface_summary
from landscape.figures.tables import json_value

OWN_ATTRS = ("recipe", "recipe_hash", "kind", "complete")


def summary(tree: xr.DataTree) -> dict[str, Any]:
    """Summarise a store.

    Args:
        tree: A store, as `landscape.open` gives it.

    Returns:
        An object fit for JSON (None where a value is missing or isn't finite): `kind`, `complete`, `recipe`,
        `recipe_hash`, `attributes` (versions, device, creation time …), `progress` (points done, not finite,
        failed and in all, for each node) and, by kind, `checkpoints` and `curves` (one entry for each pair,
        curve and split), `surfaces`, `directions` and `marks`, `measures`, `grokking`, `descents` (one for each risk
        curve), `history` (one for each split) or, for an experiment with a grid of its own, `values` (one for each
        variable). Losses in `loss_units` (nats for cross-entropy), errors in [0, 1].
    """
    attrs = {str(name): value for name, value in tree.attrs.items()}
    found: dict[str, Any] = {
        "kind": str(attrs.get("kind", "unknown")),
        "complete": bool(attrs.get("complete", 0)),
        "recipe": _recipe(attrs.get("recipe")),
        "recipe_hash": attrs.get("recipe_hash"),
        "attributes": {name: json_value(value) for name, value in attrs.items() if name not in OWN_ATTRS},
        "progress": _progress(tree),
    }
    if "/connect" in tree.groups and tree["connect"].data_vars:
        found["checkpoints"] = _checkpoints(dataset(tree, "connect"))
        found["curves"] = _curves(tree)
        found["loss_units"] = _units(tree, "connect")
    if "/surface" in tree.groups and tree["surface"].data_vars:
        found |= surface_summary(tree)
        found["loss_units"] = _units(tree, "surface")
    if "/sharpness" in tree.groups and tree["sharpness"].data_vars:
        found |= sharpness_summary(tree)
    if "/grok" in tree.groups and tree["grok"].data_vars:
        found |= grok_summary(tree)
    if "/descent" in tree.groups and tree["descent"].data_vars:
        found |= descent_summary(tree)
    if "/train" in tree.groups:
        found["history"] = _history(dataset(tree, "train"))
        found["loss_units"] = _units(tree, "train")
    if found["kind"] == "experiment":
        found["values"] = _values(tree)
    return found


def _units(tree: xr.DataTree, node: str) -> str:
    """Units of the loss: nats for cross-entropy; those of another loss have no name."""
    data = dataset(tree, node)
    return str(data["loss"].attrs.get("units", "nats")) if "loss" in data else "nats"


def _progress(tree: xr.DataTree) -> dict[str, dict[str, int]]:
    """Points by status for each node that has one; see the codes in the store's contract."""
    progress = {}
    for node in tree.subtree:
        if "status" in node.data_vars:
            status = node.to_dataset()["status"].values
            progress[node.path.strip("/")] = {
                "points": int(status.size),
                "done": int(((status == 1) | (status == 2) | (status == 4)).sum()),
                "not_finite": int((status == 2).sum()),
                "failed": int((status == 3).sum()),
            }
    return progress


def _checkpoints(connect: xr.Dataset) -> list[dict[str, Any]]:
    """Loss and error of each checkpoint itself, with its own BatchNorm statistics."""
    entries = []
    for name in checkpoints(connect):
        entry: dict[str, Any] = {"name": name}
        for place in ("start", "end"):
            pairs = [k for k, label in enumerate(connect[place].values) if str(label) == name]
            if not len(pairs) or len(entry) > 1:
                continue
            for variable in ("loss", "error"):
                if f"checkpoint_{variable}" in connect:
                    values = connect[f"checkpoint_{variable}"].isel(pair=pairs[0]).sel(endpoint=place)
                    for split in (str(label) for label in connect["split"].values):
                        entry[f"{split}_{variable}"] = json_value(values.sel(split=split).item())
        entries.append(entry)
    return entries


def _curves(tree: xr.DataTree) -> list[dict[str, Any]]:
    """One entry for each pair, curve and split."""
    connect = dataset(tree, "connect").load()
    heights = {name: barrier(connect, name) for name in ("loss", "error") if name in connect}
    residuals = _residuals(tree)
    rows = []
    for position, pair in enumerate(connect["pair"].values):
        one = connect.isel(pair=position)
        for curve in (str(label) for label in connect["curve"].values):
            done = one["status"].sel(curve=curve).values if "status" in one else np.ones(one.sizes["t"], int)
            for split in (str(label) for label in connect["split"].values):
                at = {"curve": curve, "split": split}
                row: dict[str, Any] = {
                    "pair": int(pair),
                    "start": str(one["start"].item()),
                    "end": str(one["end"].item()),
                    **at,
                    "points": int(done.size),
                    "done": int((done > 0).sum()),
                    "not_finite": int((done == 2).sum()),
                    "failed": int((done == 3).sum()),
                    "barrier": json_value(heights["loss"].isel(pair=position).sel(at).item()),
                }
                if "error" in heights:
                    row["error_barrier"] = json_value(heights["error"].isel(pair=position).sel(at).item())
                row |= _worst(one.sel(at))
                if "arc_length" in one:
                    row["arc_length"] = json_value(one["arc_length"].sel(curve=curve).values[-1])
                if residuals.get(curve) is not None:
                    row["residual"] = json_value(residuals[curve][position])
                rows.append(row)
    return rows


def _worst(line: xr.Dataset) -> dict[str, Any]:
    """Largest finite loss along a line, where it is, and the error there."""
    loss = line["loss"].values
    if not np.isfinite(loss).any():
        return {"max_loss": None, "t": None} | ({"error": None} if "error" in line else {})
    place = int(np.nanargmax(np.where(np.isfinite(loss), loss, np.nan)))
    found = {"max_loss": json_value(loss[place]), "t": json_value(line["t"].values[place])}
    if "loss_stderr" in line:
        found["max_loss_stderr"] = json_value(line["loss_stderr"].values[place])
    if "error" in line:
        found["error"] = json_value(line["error"].values[place])
        found["max_error"] = json_value(np.nanmax(line["error"].values))
    return found


def _residuals(tree: xr.DataTree) -> dict[str, np.ndarray]:
    """Largest distance of each curve from its plane, one number for each pair."""
    if "/connect/plane" not in tree.groups:
        return {}
    found = {}
    for name in tree["connect/plane"].children:
        data = dataset(tree, f"connect/plane/{name}")
        if "residual" in data:
            found[str(name)] = data["residual"].max("t").values
    return found


def _history(train: xr.Dataset) -> list[dict[str, Any]]:
    """Last and lowest values for each split."""
    rows = []
    for split in (str(label) for label in train["split"].values):
        row: dict[str, Any] = {"split": split}
        for variable in ("loss", "error"):
            if variable not in train:
                continue
            values = train[variable].sel(split=split).values
            finite = np.flatnonzero(np.isfinite(values))
            row["step"] = int(train["step"].values[finite[-1]]) if len(finite) else None
            row[variable] = json_value(values[finite[-1]]) if len(finite) else None
            row[f"lowest_{variable}"] = json_value(values[finite].min()) if len(finite) else None
        if "seconds" in train and np.isfinite(train["seconds"].values).any():
            row["seconds"] = json_value(np.nanmax(train["seconds"].values))
        rows.append(row)
    return rows


def _values(tree: xr.DataTree) -> list[dict[str, Any]]:
    """Shape and range of every variable but the status."""
    rows = []
    for node in tree.subtree:
        for name, variable in node.to_dataset(inherit=False).data_vars.items():
            if name == "status" or variable.dtype.kind != "f":
                continue
            finite = variable.values[np.isfinite(variable.values)]
            row: dict[str, Any] = {
                "node": node.path.strip("/"),
                "variable": str(name),
                "dims": {str(dim): size for dim, size in variable.sizes.items()},
                "units": str(variable.attrs.get("units", "")),
                "finite": int(finite.size),
                "points": int(variable.size),
            }
            for label, measure in (("lowest", np.min), ("median", np.median), ("highest", np.max)):
                row[label] = json_value(measure(finite)) if finite.size else None
            rows.append(row)
    return rows


def _recipe(text: Any) -> Any:
    """The recipe as an object; the text itself if it isn't JSON."""
    if isinstance(text, Mapping):
        return dict(text)
    try:
        return json.loads(text)
    except (TypeError, ValueError):
        return text
