"""One group of a store: its arrays, allocated ahead, and their regions, written in any order."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.core.metadata import ArrayV3Metadata

from landscape.errors import RequestError
from landscape.sweeps.recipe import plain
from landscape.sweeps.schema import Array, Region, Variable, coordinate

LONGEST_CHUNK = 2**22  # values along one dimension: 32 MiB of float64, well below the codecs' 2 GiB
DECODED_UNITS = ("days", "hours", "minutes", "seconds", "milliseconds", "microseconds", "nanoseconds")


def scratch_folder(path: Path) -> Path:
    """The hidden folder beside a store for whatever is unfinished (inside, readers would stumble over it)."""
    return path.with_name(f".{path.name}.partial")


def consolidate(path: Path) -> zarr.Group:
    """Renew the metadata that readers go by."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata")  # "not in the specification yet"
        return zarr.consolidate_metadata(path)


def add_node(
    path: str | Path,
    node: str,
    coords: Mapping[str, Any],
    variables: Mapping[str, Variable],
    attrs: Mapping[str, Any] | None = None,
) -> None:
    """Allocate a group of a store; what is there already, with the same labels and shapes, stays as it is.

    Args:
        path: The store.
        node: The group, such as `"connect/plane/bezier"`.
        coords: Dimension → labels, or its length alone; further coordinate → `(dims, labels)`.
        variables: Name → variable over these dimensions.
        attrs: Attributes of the group.

    Raises:
        RequestError: If the group is there with other labels or shapes.
        ValueError: If a dimension has no entry in `coords`, readers would decode a unit to time spans, or a
            group above or below labels the same dimension otherwise (xarray couldn't open that).
    """
    path = Path(path)
    arrays: dict[str, tuple[Variable, Array | None]] = {}
    sizes: dict[str, int] = {}
    for name, value in coords.items():
        dims, labels = coordinate(name, value)
        if dims == (name,):
            sizes[name] = labels if isinstance(labels, int) else len(labels)
        if not isinstance(labels, int):
            arrays[name] = Variable(dims, "str" if labels.dtype.kind == "U" else labels.dtype.str), labels
    extra = {name for name, (variable, _) in arrays.items() if variable.dims != (name,)}
    arrays |= {name: (variable, None) for name, variable in variables.items()}
    for name, (variable, _) in arrays.items():
        if unknown := [dim for dim in variable.dims if dim not in sizes]:
            raise ValueError(f"'{name}' has the dimensions {unknown}, which coords lack: add labels or a length")
        if (unit := str(variable.attrs.get("units", ""))) in DECODED_UNITS or " since " in unit:
            raise ValueError(f"'{name}' has the unit '{unit}', which xarray decodes to time spans: abbreviate it")

    missing = _missing(path, node, arrays, sizes)
    scratch = scratch_folder(path)
    scratch.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        for above in [*reversed(Path(node).parents), Path(node)]:
            if not (path / above).exists():
                zarr.create_group(Path(folder, "group"), zarr_format=3)
                Path(folder, "group").rename(path / above)
        for name in missing:
            _allocate(Path(folder, "array"), *arrays[name], sizes)
            Path(folder, "array").rename(path / node / name)
    group = zarr.open_group(path / node, mode="r+", use_consolidated=False)
    old = group.attrs.asdict()
    extra.update(str(old.get("coordinates", "")).split())
    new = {**old, **plain(attrs or {}, "attrs"), **({"coordinates": " ".join(sorted(extra))} if extra else {})}
    if new != old:
        group.update_attributes(new)
    consolidate(path)


def _missing(
    path: Path, node: str, arrays: Mapping[str, tuple[Variable, Array | None]], sizes: Mapping[str, int]
) -> list[str]:
    """The arrays that a group lacks, once those that it and its kin have are found to agree."""
    missing = dict.fromkeys(arrays)
    root = zarr.open_group(path, mode="r", use_consolidated=False)
    for key, member in root.members(max_depth=None):
        group, _, name = key.rpartition("/")
        if not isinstance(member, zarr.Array) or name not in arrays:
            continue
        variable, labels = arrays[name]
        if group == node:
            shape = tuple(sizes[dim] for dim in variable.dims)
            same = member.shape == shape and _dims(member) == variable.dims
            if not same or (labels is not None and not _equal(member, labels)):
                raise RequestError(f"{path} holds '{key}' with another shape or labels: give --overwrite")
            del missing[name]
        elif variable.dims == (name,) and labels is not None and _kin(group, node) and not _equal(member, labels):
            raise ValueError(f"'{node}' and '{key}' label '{name}' differently: rename one, xarray aligns them")
    return list(missing)


def _kin(one: str, other: str) -> bool:
    """Whether one of two groups lies in the other, so that xarray aligns their dimensions."""
    return one == "" or f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")


def _dims(array: zarr.Array[Any]) -> tuple[str, ...]:
    """The names of an array's dimensions."""
    assert isinstance(array.metadata, ArrayV3Metadata)
    return tuple(map(str, array.metadata.dimension_names or ()))


def _equal(stored: zarr.Array[Any], labels: Array) -> bool:
    """Whether a stored coordinate has these labels."""
    found = np.asarray(stored[...])
    return np.array_equal(found.astype(object) if labels.dtype.kind == "U" else found, labels)


def _allocate(path: Path, variable: Variable, values: Array | None, sizes: Mapping[str, int]) -> None:
    """Create one array, in one piece if it is given values, else full of "not computed"."""
    shape = tuple(sizes[dim] for dim in variable.dims)
    chunks = tuple(
        max(1, min(size, variable.chunks.get(dim, LONGEST_CHUNK)))
        for dim, size in zip(variable.dims, shape, strict=True)
    )
    dtype: Any = str if variable.dtype == "str" else np.dtype(variable.dtype)
    array = zarr.create_array(
        path,
        shape=shape,
        dtype=dtype,
        chunks=chunks,
        fill_value=np.nan if dtype is not str and dtype.kind in "fc" else None,
        attributes=plain(variable.attrs, "attrs"),
        dimension_names=variable.dims,
        zarr_format=3,
    )
    if values is not None:
        array[...] = values


class Node:
    """One group of a store, opened once to be written region by region.

    Args:
        path: The store.
        node: The group.
    """

    def __init__(self, path: str | Path, node: str) -> None:
        self._group = zarr.open_group(Path(path), path=node, mode="r+", use_consolidated=False)
        self._arrays: dict[str, zarr.Array[Any]] = {}

    def _array(self, name: str) -> zarr.Array[Any]:
        """The named array, opened at its first use."""
        if name not in self._arrays:
            array = self._group[name]
            assert isinstance(array, zarr.Array)
            self._arrays[name] = array
        return self._arrays[name]

    def read(self, name: str) -> Array:
        """All values of a variable."""
        return np.asarray(self._array(name)[...])

    def write(self, values: Mapping[str, Any], region: Region | None = None) -> None:
        """Write values one variable after the other, in their order; `status` belongs last.

        Args:
            values: Name → values with the variable's dims, those in `region` cut to it.
            region: Dimension → slice; whole variables by default.

        Raises:
            ValueError: If the values of a variable have another shape than its region.
        """
        for name, value in values.items():
            array, value = self._array(name), np.asarray(value)
            where = tuple((region or {}).get(dim, slice(None)) for dim in _dims(array))
            shape = tuple(len(range(size)[cut]) for size, cut in zip(array.shape, where, strict=True))
            if value.shape != shape:
                raise ValueError(f"'{name}' of shape {value.shape} written to a region of shape {shape}")
            array[where] = value


def write(path: str | Path, node: str, name: str, array: Any) -> None:
    """Write a whole variable; its shape must be the variable's."""
    Node(path, node).write({name: array})


def write_region(path: str | Path, node: str, values: Mapping[str, Any], region: Region) -> None:
    """Write one region of several variables; see `Node.write`."""
    Node(path, node).write(values, region)


def read_status(path: str | Path, node: str) -> Array:
    """The status of every point of a group, int8; see `Status`."""
    return Node(path, node).read("status")
