"""`grok`: train small networks on operation tables, and store what happens along the way."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import torch

from landscape.errors import RequestError
from landscape.networks.checkpoint import read_recipe
from landscape.networks.parallel import ALONE
from landscape.networks.training import check_machine
from landscape.studies.grok.evaluation import make_probes, quantities
from landscape.studies.grok.probes import STEP, Probe, Quantity
from landscape.studies.grok.recipe import GrokRecipe, Value
from landscape.studies.grok.runs import Run, make_run, place, set_as
from landscape.studies.study import Running, RunningOptions, Study
from landscape.studies.train import prepare_folder
from landscape.studies.trial import check_training
from landscape.sweeps.recipe import environment, recipe_hash
from landscape.sweeps.schema import Sweep, Variable

if TYPE_CHECKING:
    import xarray


def grok(
    recipe: GrokRecipe,
    out: Path | str,
    *,
    data_dir: Path | None = None,
    autosave_seconds: float = 20.0,
    **options: Unpack[RunningOptions],
) -> xarray.DataTree:
    """Train one network for each seed and each point of a sweep, and store what happens along the way.

    Args:
        recipe: What to train and what to record.
        out: The store to write. One of the same recipe is resumed. Checkpoints go to the folder of the same name that
            ends in `-checkpoints` instead of `.zarr`.
        data_dir: First place to look for data files.
        autosave_seconds: Time between saves of a run's state, from which a killed run goes on.
        **options: `device`, `engine` and so on: see `landscape.studies.study.RunningOptions`. One task is one run.

    Returns:
        The store, as `landscape.open` gives it.

    Raises:
        RequestError: If the request is wrong; nothing has been written then.
    """
    return GrokStudy(recipe, data_dir, autosave_seconds, Running(**options)).compute(out)


class GrokStudy(Study):
    """The steps of `grok`.

    Args:
        recipe: What to train and what to record.
        data_dir: First place to look for data files.
        autosave_seconds: Time between saves of a run's state.
        running: Where and how it runs.
    """

    kind = "grok"

    def __init__(self, recipe: GrokRecipe, data_dir: Path | None, autosave_seconds: float, running: Running) -> None:
        super().__init__(running)
        self.settings, self.data_dir, self.autosave_seconds = recipe, data_dir, autosave_seconds

    @cached_property
    def runs(self) -> list[Run]:
        """The first seed's run at each point of the sweep."""
        return [make_run(self.settings, self.settings.seeds[0], values) for values in points(self.settings)]

    def recipe(self) -> dict[str, Any]:
        """Everything that the result depends on: the first run, and what is swept."""
        first, problem = self.runs[0], self.settings.problem
        return {
            "problem": first.problem.identity(),
            "training": {key: value for key, value in first.training.recipe().items() if key != "seed"},
            "data": first.problem.load_data(self.data_dir).digest,
            "given": {
                "model": dict(problem.model_settings),
                "data": dict(problem.data_settings),
                "optimizer": dict(self.settings.hyperparameters),
            },
            **self.settings.recipe(),
        }

    def check(self) -> None:
        """Try every point of the sweep on a few samples."""
        super().check()
        self._check_names()
        device = self.running.device
        for one in self.runs:
            data = one.problem.load_data(self.data_dir)
            if data.test is None or data.num_classes is None:
                raise RequestError(
                    f"data set '{one.problem.data}' has no {'test split' if data.test is None else 'classes'}: "
                    "grokking is test accuracy that rises late"
                )
            check_training(one.problem.build_model(data), data, one.problem.find_loss(data), one.training, device)
            check_machine(one.training, torch.device(device), ALONE)

    def _check_names(self) -> None:
        """A swept setting is given once, and labels an axis that isn't called as another axis or a variable."""
        own = {*self.quantities, *(dim for probe in self.probes for dim in probe.coords()), "status"}
        places: dict[tuple[str, str], str] = {}
        for name in self.settings.sweep:
            family, key = place(self.settings, name)
            if (family, key) in places:
                raise RequestError(f"{places[family, key]} and {name} are one setting: sweep it once, with all values")
            places[family, key] = name
            if given := set_as(self.settings, family, key):
                raise RequestError(f"{name} is swept, so {given} can't be set too: leave out one of the two")
            if name in own:
                raise RequestError(
                    f"'{name}' is the name of something that is recorded: sweep it as "
                    f"{'training' if family == 'problem' else family}.{name}"
                )

    @cached_property
    def probes(self) -> list[Probe]:
        """What is recorded, as far as it doesn't depend on the run."""
        first = self.runs[0]
        return make_probes(self.settings, first, first.problem.find_loss(first.problem.load_data(self.data_dir)))

    @cached_property
    def quantities(self) -> dict[str, Quantity]:
        """All variables of the store."""
        return quantities(self.probes)

    @cached_property
    def coords(self) -> dict[str, Any]:
        """Labels of all dimensions."""
        found: dict[str, Any] = {
            "seed": list(self.settings.seeds),
            **{name: list(values) for name, values in self.settings.sweep.items()},
            "split": ["train", "test"],
            STEP: self.settings.record_steps(),
        }
        for probe in self.probes:
            found |= probe.coords()
        return found

    def run(self, path: Path) -> None:
        """Train whatever the store lacks."""
        if self.running.overwrite:  # the store is new, so that checkpoints beside it are of runs which it doesn't hold
            remove_checkpoints(checkpoint_folder(path))
        if self.settings.checkpoints or self.settings.checkpoint_every:
            prepare_folder(checkpoint_folder(path) / "file")
        self.running.run(path, [self.sweep(path)], "grok")

    def sweep(self, path: Path) -> Sweep:
        """One run for each seed and each point."""
        settings, device = self.settings, self.running.device
        over = ("seed", *settings.sweep)
        return Sweep(
            node=self.kind,
            coords=self.coords,
            over=over,
            along=(STEP,),
            variables={
                name: Variable((*over, *one.dims), attrs={"long_name": one.words, "units": one.units})
                for name, one in self.quantities.items()
            },
            function="landscape.studies.grok.evaluation:grok_evaluator",
            arguments={
                "recipe": settings,
                "data_dir": self.data_dir,
                "device": device,
                "folder": checkpoint_folder(path),
                "header": {"environment": environment(device)},
                "signature": recipe_hash(self.recipe()),
                "autosave_seconds": self.autosave_seconds,
            },
            attrs={"threshold": settings.threshold, "memorised": settings.memorised},
        )


def checkpoint_folder(out: Path) -> Path:
    """The folder of a store's checkpoints."""
    return out.with_name(f"{out.stem}-checkpoints")


def remove_checkpoints(folder: Path) -> None:
    """Remove the checkpoints that `grok` wrote into a folder, and the folder if nothing else is in it."""
    if not folder.is_dir():
        return
    for file in folder.glob("seed=*.safetensors"):
        if (read_recipe(file) or {}).keys() >= {"problem", "training", "signature", "step"}:
            file.unlink()
    if not any(folder.iterdir()):
        folder.rmdir()


def points(recipe: GrokRecipe) -> Iterator[dict[str, Value]]:
    """The points of the sweep, without the seeds."""
    for values in itertools.product(*recipe.sweep.values()):
        yield dict(zip(recipe.sweep, values, strict=True))
