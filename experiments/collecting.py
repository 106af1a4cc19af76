"""Results of several studies in one store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import xarray


def keep(path: Path, node: str, data: xarray.Dataset, names: Sequence[str]) -> None:
    """Write some variables of a study's node, in single precision, as a node of an experiment's store.

    Args:
        path: The experiment's store.
        node: Its node.
        data: The study's.
        names: Variables that are kept.
    """
    from landscape.sweeps import store
    from landscape.sweeps.schema import Variable

    chosen = data[list(names)]
    labels = {name: one.values for name, one in chosen.coords.items() if one.dims}
    labels = {name: one.astype(object) if one.dtype.kind == "T" else one for name, one in labels.items()}
    coords: dict[str, Any] = {
        str(name): one if chosen[name].dims == (name,) else (tuple(map(str, chosen[name].dims)), one)
        for name, one in labels.items()
    }
    coords |= {str(dim): size for dim, size in chosen.sizes.items() if dim not in coords}
    variables = {
        str(name): Variable(
            tuple(map(str, one.dims)),
            "float32" if one.dtype.kind == "f" else str(one.dtype),
            {key: value for key, value in one.attrs.items() if key in ("long_name", "units")},
        )
        for name, one in chosen.data_vars.items()
    }
    attrs = {key: value for key, value in data.attrs.items() if isinstance(value, str | int | float | np.number)}
    store.add_node(path, node, coords, variables, attrs)
    for name, variable in variables.items():
        store.write(path, node, name, chosen[name].values.astype(variable.dtype))
