"""`sharpness`: take measures at networks, and store them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import torch

from landscape.errors import RequestError
from landscape.linalg.density import Spectrum
from landscape.measures.hessian_density import spread
from landscape.objective.losses import unit_of
from landscape.studies.networks import Source
from landscape.studies.opening import CheckpointStudy, Opened, Options, open_checkpoints
from landscape.studies.sharpness.evaluation import DENSITY, described, own_coords, variable_dims
from landscape.studies.sharpness.recipe import SharpnessRecipe
from landscape.sweeps import store
from landscape.sweeps.schema import Sweep, Variable

if TYPE_CHECKING:
    import xarray


def sharpness(
    checkpoints: Sequence[Source] | Source,
    out: Path | str,
    recipe: SharpnessRecipe | None = None,
    **options: Unpack[Options],
) -> xarray.DataTree:
    """Measure how sharp minima are, and store it.

    Args:
        checkpoints: Files, points of stored curves or modules, of one architecture.
        out: The store to write. One of the same recipe is resumed.
        recipe: What to compute.
        **options: `model`, `data` and `loss` of the checkpoints, `device`, `engine` and so on: see
            `landscape.studies.opening.Options`.

    Returns:
        The store, as `landscape.open` gives it.

    Raises:
        RequestError: If the request is wrong; nothing has been written then.
    """
    recipe = recipe or SharpnessRecipe()
    return SharpnessStudy(open_checkpoints(checkpoints, recipe, options), recipe).compute(out)


class SharpnessStudy(CheckpointStudy):
    """The steps of `sharpness`.

    Args:
        opened: The checkpoints, and what is measured.
        recipe: What to compute.
    """

    kind = "sharpness"

    def __init__(self, opened: Opened, recipe: SharpnessRecipe) -> None:
        super().__init__(opened)
        self.settings, self.measures = recipe, recipe.resolved()

    def recipe(self) -> dict[str, Any]:
        """Everything that the result depends on."""
        return {**super().recipe(), **self.settings.recipe()}

    def check(self) -> None:
        """Try everything on a few samples, so that a wrong request ends before anything is written."""
        super().check()
        count = self.ends.layout.num_parameters
        if (k := self.measures.get("hessian_top", {}).get("k", 0)) > count:
            raise RequestError(f"{k} eigenvalues were asked for, but the network has {count} parameters: lower k")

    def run(self, path: Path) -> None:
        """Compute what the store lacks."""
        self.running.run(path, [self.sweep()], "measure")
        if DENSITY in self.measures:
            self._write_density(path)

    def coords(self) -> dict[str, Any]:
        """Labels of all dimensions that are known before anything is measured."""
        found: dict[str, Any] = {"checkpoint": list(self.ends.names), "split": list(self.splits)}
        found |= own_coords(self.measures)
        if DENSITY in self.measures:
            density = self.measures[DENSITY]
            found["probe"] = density["probes"]
            found["lanczos"] = min(density["steps"], self.ends.layout.num_parameters)
        return found

    def sweep(self) -> Sweep:
        """All measures at each checkpoint on each split."""
        over = ("checkpoint", "split")
        return Sweep(
            node=self.kind,
            coords=self.coords(),
            over=over,
            variables={
                name: Variable((*over, *own), attrs=self._attrs(name))
                for name, own in variable_dims(self.measures).items()
            },
            function="landscape.studies.sharpness.evaluation:sharpness_evaluator",
            arguments={
                "networks": self.networks,
                "labels": list(self.ends.names),
                "measures": self.measures,
                "seed": self.settings.seed,
            },
            attrs={"batches": "all samples at once", "batchnorm": self.network.batchnorm},
        )

    def _attrs(self, name: str) -> dict[str, Any]:
        """What a reader should know of a variable."""
        words, units = described(name, self.measures, unit_of(self.network.loss))
        return {"long_name": words, "units": units}

    def _write_density(self, path: Path) -> None:
        """The densities of all checkpoints on one grid, smoothed alike."""
        node = store.open(path)[self.kind]
        nodes, weights = (torch.from_numpy(node[f"{DENSITY}_{part}"].values) for part in ("nodes", "weights"))
        count = self.ends.layout.num_parameters
        spectra = [
            Spectrum(one, weight, count, 0)
            for one, weight in zip(nodes.flatten(0, 1), weights.flatten(0, 1), strict=True)
        ]
        points = self.measures[DENSITY]["points"]
        joint = Spectrum(nodes.flatten(0, 2), weights.flatten(0, 2), count, 0).density(num_points=points)
        values: dict[str, list[Any]] = {part: [] for part in ("", "_stderr", "_low", "_high")}
        for spectrum in spectra:
            found = spectrum.density(joint.grid, sigma=joint.sigma)
            own = (found.density, spread(spectrum, joint.grid, joint.sigma), found.low, found.high)
            for part, value in zip(values, own, strict=True):
                values[part].append(torch.as_tensor(value))
        dims = ("checkpoint", "split", "eigenvalue")
        coords = {**self.coords(), "eigenvalue": joint.grid.numpy()}
        variables = {DENSITY + part: Variable(dims, attrs=self._attrs(DENSITY + part)) for part in values}
        store.add_node(path, self.kind, coords, variables, {"density_sigma": joint.sigma})
        for part, rows in values.items():
            stacked = torch.stack(rows).view(len(self.ends.names), len(self.splits), -1)
            store.write(path, self.kind, DENSITY + part, stacked.numpy())
