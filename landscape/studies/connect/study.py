"""`connect`: fit curves between networks, evaluate the loss along them and on planes through them, and store it all."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
import torch

from landscape.errors import RequestError
from landscape.figures import analysis
from landscape.geometry.measure import arc_length
from landscape.geometry.slices import Curve, make_curve
from landscape.objective.objective import Objective
from landscape.studies.connect.certified import certified_sweep, cost
from landscape.studies.connect.evaluation import curve_sweep
from landscape.studies.connect.fits import fit_sweep
from landscape.studies.connect.planes import DISTANCE, PlaneGrid, plane_grids, settled, write_marks
from landscape.studies.connect.recipe import ConnectRecipe
from landscape.studies.curves import load_curve
from landscape.studies.grids import own_values, quantities, slice_sweep
from landscape.studies.networks import Source
from landscape.studies.opening import CheckpointStudy, Opened, Options, open_checkpoints
from landscape.sweeps import store
from landscape.sweeps.recipe import canonical, recipe_hash
from landscape.sweeps.schema import Sweep, Variable

if TYPE_CHECKING:
    import xarray

ENDS = ("start", "end")


def connect(
    checkpoints: Sequence[Source],
    out: Path | str,
    recipe: ConnectRecipe | None = None,
    *,
    autosave_seconds: float = 20.0,
    **options: Unpack[Options],
) -> xarray.DataTree:
    """Connect networks by curves of low loss and store the loss along them.

    Args:
        checkpoints: Two or more files or modules of one architecture; all pairs are connected.
        out: The store to write. One of the same recipe is resumed.
        recipe: What to compute.
        autosave_seconds: Time between saves of a fit's state.
        **options: `model`, `data` and `loss` of the checkpoints, `device`, `engine` and so on: see
            `landscape.studies.opening.Options`.

    Returns:
        The store, as `landscape.open` gives it.

    Raises:
        RequestError: If the request is wrong; nothing has been written then.
    """
    recipe = recipe or ConnectRecipe()
    if len(checkpoints) < 2:
        raise RequestError(f"connect needs at least two checkpoints, got {len(checkpoints)}")
    return ConnectStudy(open_checkpoints(checkpoints, recipe, options), recipe, autosave_seconds).compute(out)


class ConnectStudy(CheckpointStudy):
    """The steps of `connect`, in order: fit, evaluate along the curves and on the planes, derive lengths and barriers.

    Args:
        opened: The checkpoints, and what is evaluated.
        recipe: What to compute.
        autosave_seconds: Time between saves of a fit's state.
    """

    kind = "connect"

    def __init__(self, opened: Opened, recipe: ConnectRecipe, autosave_seconds: float) -> None:
        super().__init__(opened)
        self.settings, self.autosave_seconds = recipe, autosave_seconds
        self.pairs = list(itertools.combinations(range(len(self.ends.names)), 2))
        self.thetas = self.ends.thetas()
        self.t = np.linspace(0, 1, recipe.num_points)

    def recipe(self) -> dict[str, Any]:
        """Everything that the result depends on."""
        settings = self.settings
        return {
            **super().recipe(),
            "curves": settings.curves,
            "fit": settings.fit.recipe(),
            "points": settings.num_points,
            "plane": settings.plane,
            **({} if settings.tolerance is None else {"tolerance": settings.tolerance}),
        }

    def check(self) -> None:
        """Try everything on a few samples, so that a wrong request ends before anything is written."""
        super().check()
        self.network.training_objective().check()

    def run(self, path: Path) -> None:
        """Compute what the store lacks."""
        objective = self.objective()
        kinds, fit, signature = self.settings.curves, self.settings.fit, recipe_hash(self.recipe())
        named = None if self.ends.named is None else canonical(self.ends.named.recipe())
        fits = [
            fit_sweep(kind, self.network, self.thetas, self.pairs, fit, signature, named, self.autosave_seconds)
            for kind in kinds
        ]
        coords = self._coords(("linear", *kinds))
        store.add_node(path, "connect", coords, self._curve_sweep({}, coords, objective).stored())
        self.running.run(path, fits, "fit")
        fitted = {kind: [load_curve(path, kind, pair) for pair in range(len(self.pairs))] for kind in kinds}
        lines = [make_curve("linear", self.thetas[list(pair)]) for pair in self.pairs]
        curves = {name: list(map(settled, some)) for name, some in {"linear": lines, **fitted}.items()}
        grids = plane_grids(self.thetas, fitted, self.t, self.settings.plane)
        sweeps = [self._curve_sweep(curves, coords, objective)]
        sweeps += [self._plane_sweep(grid, objective) for grid in grids]
        for grid in grids:  # first, so that a store on the way can be drawn
            write_marks(path, grid)
        self.running.run(path, sweeps, "evaluate")
        self._write_derived(path, curves, coords, objective)
        if self.settings.tolerance is not None:
            store.add_node(path, "connect", coords, {}, cost(path, self.network, self.splits))

    def _coords(self, curves: Sequence[str]) -> dict[str, Any]:
        names = self.ends.names
        return {
            "pair": np.arange(len(self.pairs)),
            "start": ("pair", [names[i] for i, _ in self.pairs]),
            "end": ("pair", [names[j] for _, j in self.pairs]),
            "curve": list(curves),
            "split": list(self.splits),
            "t": self.t,
            "endpoint": list(ENDS),
        }

    def _curve_sweep(
        self, curves: Mapping[str, Sequence[Curve]], coords: Mapping[str, Any], objective: Objective
    ) -> Sweep:
        """The loss along the curves: node `connect`."""
        if self.settings.tolerance is None:
            return curve_sweep(self.network, curves, coords, objective)
        return certified_sweep(self.network, curves, coords, objective, self.settings.tolerance, self.settings.fit.seed)

    def _plane_sweep(self, grid: PlaneGrid, objective: Objective) -> Sweep:
        """The loss on a plane: node `connect/plane/<name>`."""
        alpha, beta = grid.axes()
        coords = {"split": list(self.splits), "beta": beta, "alpha": alpha}
        if grid.curves is not None:
            coords = {"pair": np.arange(len(self.pairs)), **coords}
        planes = [None if plane is None else plane.plane for plane in grid.planes]
        return slice_sweep(
            f"connect/plane/{grid.name}",
            [self.network],
            planes,
            coords,
            objective,
            leading="pair" if "pair" in coords else None,
            attrs=DISTANCE,
        )

    def _write_derived(
        self, path: Path, curves: Mapping[str, Sequence[Curve]], coords: Mapping[str, Any], objective: Objective
    ) -> None:
        """Lengths, barriers, and the checkpoints' loss with their own BatchNorm statistics."""
        t = torch.from_numpy(self.t)
        lengths = np.array([[arc_length(curve, t).numpy() for curve in pairs] for pairs in curves.values()])
        values: dict[str, np.ndarray] = {"arc_length": lengths.swapaxes(0, 1)}
        variables = {"arc_length": Variable(("pair", "curve", "t"), attrs=DISTANCE)}
        own = [own_values(network, self.splits) for network in self.networks]
        for name, attrs in quantities(objective).items():
            ends = np.array([[own[end][name] for end in pair] for pair in self.pairs])
            values[f"checkpoint_{name}"] = ends.swapaxes(1, 2)
            variables[f"checkpoint_{name}"] = Variable(("pair", "split", "endpoint"), attrs=attrs)
        connect = store.open(path)["connect"]
        for name in ("loss", "error"):
            if name in connect:
                height = analysis.barrier(connect.to_dataset(), name)
                label = "barrier" if name == "loss" else f"barrier_{name}"
                values[label] = height.values
                variables[label] = Variable(("pair", "curve", "split"), attrs=height.attrs)
        store.add_node(path, "connect", coords, variables)
        for name, array in values.items():
            store.write(path, "connect", name, array)
