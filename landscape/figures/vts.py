"""Surfaces and spaces for ParaView: VTK's XML format for structured grids, written with nothing but numpy."""

from __future__ import annotations

import base64
import sys
from collections.abc import Mapping
from xml.sax.saxutils import escape, quoteattr

import numpy as np
import xarray as xr

from landscape.errors import RequestError, unknown
from landscape.figures.surface import choose
from landscape.figures.surface_summary import axes_of

HEIGHT = 0.5
"""Height of a surface, in units of its longer side."""
HIDDEN = 2
"""VTK's bit for a point that isn't drawn."""
TYPES = {"float64": "Float64", "int64": "Int64", "int8": "Int8", "uint8": "UInt8"}


def grid_file(
    tree: xr.DataTree,
    *,
    checkpoint: str | None = None,
    split: str | None = None,
    quantity: str | None = None,
    height: str = "log",
) -> str:
    """One checkpoint's surface as a structured grid, or its space as a volume.

    A surface's points are (alpha, beta, height), with half the longer side as the whole height; all checkpoints of a
    store have the same scale. A volume's points are (alpha, beta, gamma). Each point has all metrics of the split with
    their standard errors, as they were measured, in the store's units; points that are not finite or not computed are
    hidden (`vtkGhostType`).

    Args:
        tree: A `surface` store with two or three axes.
        checkpoint: Name of the checkpoint; None where there is only one.
        split: The split, `train` if None.
        quantity: What the height shows and what hides a point: `loss` if None, `error` or another metric.
        height: `log`, the log-like scale of the contour figure, or `linear`, both up to the cap.

    Returns:
        The file's text.

    Raises:
        RequestError: If the store lacks what is asked for, has one axis, or has several checkpoints and none is named.
    """
    chosen = choose(tree, None, split, quantity, limit=None)
    axes, names = chosen.axes, [str(name) for name in chosen.data["checkpoint"].values]
    if len(axes) == 1:
        raise RequestError(
            "a .vts file needs a surface with 2 or 3 axes, this one has 1: name a .pdf, .png or .svg file"
        )
    if checkpoint is None and len(names) > 1:
        raise RequestError(f"a .vts file holds one checkpoint: choose one with --checkpoint ({', '.join(names)})")
    if checkpoint is not None and checkpoint not in names:
        raise unknown("checkpoint", checkpoint, names)
    position = 0 if checkpoint is None else names.index(checkpoint)
    values = chosen.values.isel(checkpoint=position)
    measured = np.where(chosen.computed[position], values.values, np.nan)
    hidden = ~np.isfinite(measured)
    labels = [np.asarray(values[axis].values, float) for axis in reversed(axes)]
    places = list(reversed(np.meshgrid(*labels, indexing="ij")))  # alpha first, its index the fastest
    if len(axes) == 2:
        side = max(float(np.ptp(label)) for label in labels)
        top = chosen.scale.levels[[0, -1]]
        low, high = chosen.scale.relief(top, height)
        places.append(
            np.where(hidden, 0.0, (chosen.scale.relief(measured, height) - low) / (high - low) * HEIGHT * side)
        )
    one = chosen.data.isel(checkpoint=position).sel(split=chosen.split)
    data = {name: one[name].transpose(*values.dims).values for name in _variables(chosen.data)}
    data["vtkGhostType"] = np.where(hidden, HIDDEN, 0).astype(np.uint8)
    about = f"{names[position]}: {chosen.label}, height {height}"
    return structured_grid(np.stack(places, axis=-1), data, str(values.name), about)


def structured_grid(points: np.ndarray, data: Mapping[str, np.ndarray], active: str, about: str = "") -> str:
    """A structured grid as the text of a `.vts` file.

    Args:
        points: Shape `(rows, columns, 3)` or `(layers, rows, columns, 3)`; the columns' index is the fastest.
        data: Arrays of the points, shape `(rows, columns)` or `(layers, rows, columns)`. NaN and infinities are kept:
            numbers are written as base64, for VTK reads no NaN as text.
        active: The array that is shown first.
        about: What the file holds, for a comment in it.

    Returns:
        The file's text.
    """
    sizes = [*reversed(points.shape[:-1])]
    extent = " ".join(f"0 {size - 1}" for size in [*sizes, 1][:3])
    order = "LittleEndian" if sys.byteorder == "little" else "BigEndian"
    arrays = [_array(name, np.ravel(values)) for name, values in data.items()]
    return "\n".join(
        [
            '<?xml version="1.0" encoding="utf-8"?>',
            f"<!-- {escape(about).replace('--', '- -')} -->",
            f'<VTKFile type="StructuredGrid" version="1.0" byte_order="{order}" header_type="UInt64">',
            f'<StructuredGrid WholeExtent="{extent}">',
            f'<Piece Extent="{extent}">',
            f"<PointData Scalars={quoteattr(active)}>",
            *arrays,
            "</PointData>",
            "<CellData/>",
            "<Points>",
            _array("Points", points.reshape(-1, 3)),
            "</Points>",
            "</Piece>",
            "</StructuredGrid>",
            "</VTKFile>",
            "",
        ]
    )


def _variables(surface: xr.Dataset) -> list[str]:
    """What is measured at every point of every split: metrics, standard errors, numbers of samples."""
    dims = {"checkpoint", "split", *axes_of(surface)}
    return [str(name) for name, values in surface.data_vars.items() if set(values.dims) == dims]


def _array(name: str, values: np.ndarray) -> str:
    """An array, shape `(n,)` or `(n, 3)`, as base64 behind its number of bytes."""
    if values.dtype.name not in TYPES:
        values = values.astype(float)
    content = np.ascontiguousarray(values).tobytes()
    text = base64.b64encode(np.uint64(len(content)).tobytes() + content).decode("ascii")
    width = f' NumberOfComponents="{values.shape[1]}"' if values.ndim > 1 else ""
    kind = TYPES[values.dtype.name]
    return f'<DataArray type="{kind}" Name={quoteattr(name)}{width} format="binary">\n{text}\n</DataArray>'
