"""`grok`: train small networks on operation tables, and store what happens along the way."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from landscape.errors import RequestError
from landscape.networks.parallel import ALONE
from landscape.networks.training import check_machine
from landscape.studies.grok.evaluation import make_probes, quantities
from landscape.studies.grok.probes import MEASURED, STEP, Probe
from landscape.studies.grok.recipe import GrokRecipe, Value
from landscape.studies.grok.runs import Run, make_run
from landscape.studies.train import check_training, prepare_folder
from landscape.sweeps import engine as engines
from landscape.sweeps import store
from landscape.sweeps.recipe import environment, recipe_hash
from landscape.sweeps.schema import Sweep, Variable
from landscape.sweeps.sweep import run

if TYPE_CHECKING:
    import xarray

NODE = "grok"
RESERVED = ("seed", "split", STEP, MEASURED, "rho", "k", "chain", "bucket", "frequency", "status")


def grok(
    recipe: GrokRecipe,
    out: Path | str,
    *,
    data_dir: Path | None = None,
    device: str = "cpu",
    engine: str = "serial",
    workers: int | None = None,
    overwrite: bool = False,
    progress: bool = True,
    autosave_seconds: float = 20.0,
) -> xarray.DataTree:
    """Train one network for each seed and each point of a sweep, and store what happens along the way.

    Args:
        recipe: What to train and what to record.
        out: The store to write. One of the same recipe is resumed. Checkpoints go to the folder of the same name that
            ends in `-checkpoints` instead of `.zarr`.
        data_dir: First place to look for data files.
        device: Where to compute.
        engine: `serial` or `processes`; one task is one run.
        workers: Number of processes.
        overwrite: Replace a store of another recipe.
        progress: Whether to show progress on stderr.
        autosave_seconds: Time between saves of a run's state, from which a killed run goes on.

    Returns:
        The store, as `landscape.open` gives it.

    Raises:
        RequestError: If the request is wrong; nothing has been written then.
    """
    engines.check(engine, workers)
    out = Path(out)
    first = _check(recipe, data_dir, device)
    data = first.problem.load_data(data_dir)
    training = {key: value for key, value in first.training.recipe().items() if key != "seed"}
    identity = {
        "problem": first.problem.identity(),
        "training": training,
        "data": data.digest,
        "given": {
            "model": dict(recipe.problem.model_settings),
            "data": dict(recipe.problem.data_settings),
            "optimizer": dict(recipe.hyperparameters),
        },
        **recipe.recipe(),
    }
    folder = checkpoint_folder(out)
    resumed = store.create(out, identity, kind=NODE, attrs={"device": device}, overwrite=overwrite)
    if recipe.checkpoints or recipe.checkpoint_every:
        prepare_folder(folder / "file")
    if not (resumed and store.attributes(out)["complete"]):
        probes = make_probes(recipe, first, first.problem.find_loss(data))
        over = ("seed", *recipe.sweep)
        sweep = Sweep(
            node=NODE,
            coords=_coords(recipe, probes),
            over=over,
            along=(STEP,),
            variables={
                name: Variable((*over, *one.dims), attrs={"long_name": one.words, "units": one.units})
                for name, one in quantities(probes).items()
            },
            function="landscape.studies.grok.evaluation:grok_evaluator",
            arguments={
                "recipe": recipe,
                "data_dir": data_dir,
                "device": device,
                "folder": folder,
                "header": {"environment": environment(device)},
                "signature": recipe_hash(identity),
                "autosave_seconds": autosave_seconds,
            },
            attrs={"threshold": recipe.threshold, "memorised": recipe.memorised, "swept": list(recipe.sweep)},
        )
        run(out, [sweep], engine=engine, workers=workers, progress=progress, describe="grok")
        store.finish(out)
    return store.open(out)


def checkpoint_folder(out: Path) -> Path:
    """The folder of a store's checkpoints."""
    return out.with_name(f"{out.stem}-checkpoints")


def points(recipe: GrokRecipe) -> Iterator[dict[str, Value]]:
    """The points of the sweep, without the seeds."""
    for values in itertools.product(*recipe.sweep.values()):
        yield dict(zip(recipe.sweep, values, strict=True))


def _check(recipe: GrokRecipe, data_dir: Path | None, device: str) -> Run:
    """Try every point of the sweep on a few samples; the first run."""
    for name in recipe.sweep:
        if name in RESERVED:
            raise RequestError(
                f"'{name}' is an axis of the store already: sweep optimizer.{name}, data.{name} or model.{name}"
            )
    runs = [make_run(recipe, recipe.seeds[0], values) for values in points(recipe)]
    for one in runs:
        data = one.problem.load_data(data_dir)
        if data.test is None or data.num_classes is None:
            raise RequestError(
                f"data set '{one.problem.data}' has no {'test split' if data.test is None else 'classes'}: "
                "grokking is test accuracy that rises late"
            )
        check_training(one.problem.build_model(data), data, one.problem.find_loss(data), one.training, device)
        check_machine(one.training, torch.device(device), ALONE)
    return runs[0]


def _coords(recipe: GrokRecipe, probes: Sequence[Probe]) -> dict[str, Any]:
    """Labels of all dimensions."""
    found: dict[str, Any] = {
        "seed": list(recipe.seeds),
        **{name: list(values) for name, values in recipe.sweep.items()},
        "split": ["train", "test"],
        STEP: recipe.record_steps(),
    }
    for probe in probes:
        found |= probe.coords()
    return found
