"""`sharpness`: take measures at networks, and store them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from landscape.errors import RequestError, unknown
from landscape.linalg.density import Spectrum
from landscape.measures.hessian_density import spread
from landscape.objective.determinism import check_deterministic
from landscape.objective.losses import unit_of
from landscape.studies.network import Network
from landscape.studies.networks import Checkpoints, Source, gather
from landscape.studies.sharpness.evaluation import DENSITY, described, own_coords, variable_dims
from landscape.studies.sharpness.recipe import SharpnessRecipe
from landscape.sweeps import engine as engines
from landscape.sweeps import store
from landscape.sweeps.schema import Sweep, Variable
from landscape.sweeps.sweep import run

if TYPE_CHECKING:
    import xarray

NODE = "sharpness"


def sharpness(
    checkpoints: Sequence[Source] | Source,
    out: Path | str,
    recipe: SharpnessRecipe | None = None,
    *,
    model: Any = None,
    model_settings: Mapping[str, Any] | None = None,
    data: Any = None,
    data_settings: Mapping[str, Any] | None = None,
    loss: Any = None,
    data_dir: Path | None = None,
    device: str = "cpu",
    engine: str = "serial",
    workers: int | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> xarray.DataTree:
    """Measure how sharp minima are, and store it.

    Args:
        checkpoints: Files, points of stored curves or modules, of one architecture.
        out: The store to write. One of the same recipe is resumed.
        recipe: What to compute.
        model: Architecture by name or as a module, for files that don't name it.
        model_settings: Settings of an architecture given by name.
        data: Data set by name, as `DataSet`, `(inputs, targets)` or `{"train": …, "test": …}`.
        data_settings: Settings of a data set given by name.
        loss: A name or a per-sample function; cross-entropy (mse for regression) by default.
        data_dir: First place to look for data files.
        device: Where to compute.
        engine: `serial` or `processes`.
        workers: Number of processes.
        overwrite: Replace a store of another recipe.
        progress: Whether to show progress on stderr.

    Returns:
        The store, as `landscape.open` gives it.

    Raises:
        RequestError: If the request is wrong; nothing has been written then.
    """
    recipe = recipe or SharpnessRecipe()
    ends = gather(
        [checkpoints] if isinstance(checkpoints, Source) else checkpoints,
        model=model,
        model_settings=model_settings,
        data=data,
        data_settings=data_settings,
        loss=loss,
        data_dir=data_dir,
    )
    network = Network(
        ends.models[0], ends.data, ends.loss, recipe.samples, recipe.batchnorm, recipe.weight_decay, device
    )
    study = Study(ends, network, recipe)
    study.check(engine, workers)
    resumed = store.create(out, study.recipe(), kind=NODE, attrs={"device": device}, overwrite=overwrite)
    if not (resumed and store.attributes(out)["complete"]):
        study.run(Path(out), engine=engine, workers=workers, progress=progress)
    return store.open(out)


class Study:
    """The steps of `sharpness`.

    Args:
        ends: The checkpoints.
        network: What is measured, with the first checkpoint's weights.
        recipe: What to compute.
    """

    def __init__(self, ends: Checkpoints, network: Network, recipe: SharpnessRecipe) -> None:
        self.ends, self.network, self.settings = ends, network, recipe
        self.measures = recipe.resolved()
        self.splits = tuple(dict.fromkeys(recipe.splits))
        for split in self.splits:
            if split not in ends.data.splits:
                raise unknown("split", split, ends.data.splits)

    def recipe(self) -> dict[str, Any]:
        """Everything that the result depends on."""
        return {
            "checkpoints": self.ends.digests(),
            "problem": dict(self.ends.problem),
            **self.network.recipe(),
            **self.settings.recipe(),
        }

    def check(self, engine: str, workers: int | None) -> None:
        """Try everything on a few samples, so that a wrong request ends before anything is written."""
        engines.check(engine, workers)
        objectives = self.network.objectives(self.splits)
        for objective in objectives.values():
            objective.check()
        check_deterministic(next(iter(objectives.values())))
        if engine == "processes":
            self.network.check_transport()
        count = self.ends.layout.num_parameters
        if (k := self.measures.get("hessian_top", {}).get("k", 0)) > count:
            raise RequestError(f"{k} eigenvalues were asked for, but the network has {count} parameters: lower k")

    def run(self, path: Path, *, engine: str, workers: int | None, progress: bool) -> None:
        """Compute what the store lacks, and complete it."""
        run(path, [self.sweep()], engine=engine, workers=workers, progress=progress, describe="measure")
        if DENSITY in self.measures:
            self._write_density(path)
        store.finish(path)

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
            node=NODE,
            coords=self.coords(),
            over=over,
            variables={
                name: Variable((*over, *own), attrs=self._attrs(name))
                for name, own in variable_dims(self.measures).items()
            },
            function="landscape.studies.sharpness.evaluation:sharpness_evaluator",
            arguments={
                "networks": [replace(self.network, model=model) for model in self.ends.models],
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
        node = store.open(path)[NODE]
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
        store.add_node(path, NODE, coords, variables, {"density_sigma": joint.sigma})
        for part, rows in values.items():
            stacked = torch.stack(rows).view(len(self.ends.names), len(self.splits), -1)
            store.write(path, NODE, DENSITY + part, stacked.numpy())
