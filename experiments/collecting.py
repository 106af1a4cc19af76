"""Results of several studies in one store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .mechanism import Options, once

if TYPE_CHECKING:
    import xarray

    from landscape.studies.study import RunningOptions

Kept = tuple["xarray.Dataset", Sequence[str]]
"""The node of a study, and those of its variables that are kept."""


def collect(
    name: str, recipe: Any, path: Path, options: Options, studies: Callable[[Path, RunningOptions], Mapping[str, Kept]]
) -> None:
    """Run the studies of an experiment and keep what its figure needs; a finished store is left alone.

    Args:
        name: The experiment's.
        recipe: Its recipe.
        path: The store.
        options: Where to compute and what to show.
        studies: Runs them in a folder, which stands beside the store and needn't be kept, and returns by the names of
            the new nodes what is kept.
    """

    def work() -> None:
        running: RunningOptions = {"engine": options.engine, "workers": options.workers, "progress": options.progress}
        for node, (data, names) in studies(path.with_name(f"{path.stem}-parts"), running).items():
            keep(path, f"{name}/{node}", data, names)

    once(name, recipe, path, work)


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
