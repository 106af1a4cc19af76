"""`train`: a network from its names to a checkpoint file, with its history as a store beside it."""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from landscape.errors import RequestError, WorkError
from landscape.networks.checkpoint import read_recipe, save_checkpoint
from landscape.networks.datasets import DataSet
from landscape.networks.loop import Resume
from landscape.networks.parallel import ALONE, Ranks
from landscape.networks.problem import Problem
from landscape.networks.progress import TrainingBar
from landscape.networks.training import Trained, TrainingRecipe, check_machine, train
from landscape.objective.losses import Loss
from landscape.studies.network import Network
from landscape.studies.sharpness.along import MeasureRecorder
from landscape.studies.sharpness.recipe import SharpnessRecipe
from landscape.studies.trial import check_training
from landscape.sweeps import store
from landscape.sweeps.recipe import environment, recipe_hash
from landscape.sweeps.schema import Variable

UNITS = {"error": "1", "learning_rate": "1", "seconds": "s"}


@dataclass(frozen=True)
class TrainedFiles:
    """What a run left behind.

    Args:
        checkpoint: The weights, safetensors with the recipe in the header.
        history: The store of what was recorded.
        fresh: False if both were there already.
    """

    checkpoint: Path
    history: Path
    fresh: bool


def train_to_files(
    problem: Problem,
    recipe: TrainingRecipe,
    out: Path,
    *,
    data_dir: Path | None = None,
    device: str = "cpu",
    checkpoint_every: int = 0,
    evaluate_every: int = 1,
    evaluate_samples: int | None = None,
    measures: SharpnessRecipe | None = None,
    measure_every: int | None = None,
    overwrite: bool = False,
    progress: bool = False,
    autosave_seconds: float = 20.0,
    ranks: Ranks = ALONE,
) -> TrainedFiles:
    """Train a network and write its checkpoint and history; a killed run goes on from where it was.

    Args:
        problem: Network, data and loss by name.
        recipe: How to train.
        out: The checkpoint; the history goes to the same name with `.zarr`.
        data_dir: First place to look for data files.
        device: Where to train.
        checkpoint_every: Epochs between further checkpoints, `<name>-epoch0010.safetensors`; 0 for none.
        evaluate_every: Epochs between records of the history; 0 for the end only.
        evaluate_samples: Record the history on a fixed random subset of so many samples of each split; None for all.
        measures: Measures of sharpness to take along the run.
        measure_every: Updates between these, from before the first to after the last; 0 for the end only, None for
            once an epoch.
        overwrite: Replace files of another recipe.
        progress: Whether to show progress on stderr.
        autosave_seconds: Time between saves of the run's state.
        ranks: The processes that train together, each of which calls this; the first alone writes, and the others read
            the state of an unfinished run from the same place.

    Raises:
        RequestError: If the request is wrong; nothing has been written then.
        WorkError: If the training diverged.
    """
    for name, count in {"checkpoint every": checkpoint_every, "evaluate every": evaluate_every}.items():
        if count < 0:
            raise RequestError(f"{name} K epochs: K must be at least 0 (0 for the end only), got {count}")
    if evaluate_samples is not None and evaluate_samples < 1:
        raise RequestError(f"the number of samples to evaluate on must be at least 1, got {evaluate_samples}")
    data = problem.load_data(data_dir)
    model = problem.build_model(data, recipe.seed)
    loss = problem.find_loss(data)
    check_training(model, data, loss, recipe, device)
    check_machine(recipe, torch.device(device), ranks)
    along = _recorder(model, data, loss, recipe, device, measures, measure_every)
    contents = {
        "problem": problem.recipe(),
        "data": data.digest,
        "training": recipe.recipe(),
        "checkpoint_every": checkpoint_every,
        "evaluate_every": evaluate_every,
    }
    if evaluate_samples is not None:
        contents["evaluate_samples"] = evaluate_samples
    if along is not None:
        contents["measures"] = along.recipe()
    identity = {**contents, "problem": problem.identity()}
    signature = recipe_hash(identity)
    history_path = out.with_suffix(".zarr")
    resume = Resume(out.with_name(f".{out.name}.partial"), signature, autosave_seconds)
    epochs = _epoch_files(out, recipe, len(data.train), checkpoint_every)

    def prepare() -> str:
        if _finished(out, history_path, signature, overwrite):
            resume.path.unlink(missing_ok=True)
            return "finished"
        for path in epochs.values():
            _refuse_other(path, signature, overwrite)
        prepare_folder(out)
        resume.claim(overwrite)
        store.create(history_path, identity, kind="train", attrs={"device": device}, overwrite=overwrite)
        return "go on" if resume.path.exists() else "begin"

    way = ranks.decide(prepare)
    if way == "finished":
        return TrainedFiles(out, history_path, fresh=False)
    header = {**contents, "signature": signature, "environment": environment(device)}

    def on_epoch(epoch: int, module: nn.Module) -> None:
        if epoch in epochs:
            save_checkpoint(epochs[epoch], module, {**header, "epoch": epoch})

    run = partial(
        train,
        model,
        data,
        recipe,
        loss=loss,
        device=device,
        evaluate_every=evaluate_every,
        evaluate_samples=evaluate_samples,
        recorders=() if along is None else (along,),
        ranks=ranks,
    )
    if not ranks.first:
        if resume.path.exists() != (way == "go on"):
            raise RequestError(f"rank {ranks.number} doesn't see {resume.path} as rank 0 does: they need one folder")
        run(resume=replace(resume, every_seconds=math.inf))
        return TrainedFiles(out, history_path, fresh=True)
    with store.claim(history_path), TrainingBar(out.stem, show=progress) as bar:
        trained = run(on_epoch=on_epoch, resume=resume, report=bar.report)
        _write_history(history_path, trained, loss)
        if along is not None:
            along.write(history_path, trained.history)
        store.finish(history_path)
        diverged = trained.history.diverged_at
        if diverged is None:
            save_checkpoint(out, trained.model, header)
        resume.path.unlink(missing_ok=True)
    if diverged is not None:
        raise WorkError(
            f"the training diverged: the loss is not finite after step {diverged}; no checkpoint was written, "
            f"the history is in {history_path}; try a smaller learning rate"
        )
    return TrainedFiles(out, history_path, fresh=True)


def _recorder(
    model: nn.Module,
    data: DataSet,
    loss: str | Loss,
    recipe: TrainingRecipe,
    device: str,
    measures: SharpnessRecipe | None,
    every: int | None,
) -> MeasureRecorder | None:
    """What takes the measures along the run, tried on a few samples; None if none are asked for."""
    if measures is None:
        return None
    every = recipe.batches(len(data.train)).steps_per_epoch if every is None else every
    recorder = MeasureRecorder(
        measures, Network(model, data, loss, device=device), every, recipe.num_steps(len(data.train))
    )
    recorder.check()
    return recorder


def _finished(out: Path, history: Path, signature: str, overwrite: bool) -> bool:
    """Whether this very run has been finished; raises if something else may not be replaced."""
    if out.suffix != ".safetensors":
        raise RequestError(f"a checkpoint is written as .safetensors, not '{out.name}': choose another --out")
    _refuse_other(out, signature, overwrite)
    return out.exists() and not overwrite and history.exists()


def _refuse_other(path: Path, signature: str, overwrite: bool) -> None:
    """Refuse to replace a file, unless this very run made it or it may be overwritten."""
    if not path.exists() or (path.is_file() and (overwrite or _signature(path) == signature)):
        return
    advice = "choose another --out, or replace it by --overwrite" if path.is_file() else "choose another --out"
    raise RequestError(f"{path} exists and was made otherwise: {advice}")


def _signature(path: Path) -> Any:
    """The signature of the run that wrote a checkpoint; None for any other file."""
    return (read_recipe(path) or {}).get("signature")


def _epoch_files(out: Path, recipe: TrainingRecipe, num_samples: int, every: int) -> dict[int, Path]:
    """The further checkpoints that a run will write, by epoch."""
    if not every:
        return {}
    epochs = recipe.num_steps(num_samples) // recipe.batches(num_samples).steps_per_epoch
    numbers = range(every, epochs + 1, every)
    return {number: out.with_name(f"{out.stem}-epoch{number:04d}.safetensors") for number in numbers}


def prepare_folder(out: Path) -> None:
    """Make the folder of a file that will be written.

    Raises:
        RequestError: If it can't be made or written.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out.parent):
            pass
    except OSError as error:
        raise RequestError(f"can't write to {out.parent}: {error.strerror or error}; choose another --out") from error


def _write_history(path: Path, trained: Trained, loss: str | Loss) -> None:
    """Store the history: node `train` over `step` and `split`."""
    rows = trained.history.rows
    splits = list(trained.samples)
    quantities = [name.removesuffix(f".{splits[0]}") for name in rows[-1] if name.endswith(f".{splits[0]}")]
    values: dict[str, np.ndarray] = {
        name: np.array([[row[f"{name}.{split}"] for split in splits] for row in rows]) for name in quantities
    }
    values |= {name: np.array([row[name] for row in rows]) for name in ("learning_rate", "seconds")}
    values["samples"] = np.array(list(trained.samples.values()), np.int64)
    units = {**UNITS, "loss": "nats" if loss == "cross-entropy" else "units of the loss"}
    dims = {"learning_rate": ("step",), "seconds": ("step",), "samples": ("split",)}
    variables = {
        name: Variable(dims.get(name, ("step", "split")), value.dtype.str, {"units": units.get(name, "1")})
        for name, value in values.items()
    }
    coords = {"step": np.array([int(row["step"]) for row in rows]), "split": splits}
    store.add_node(path, "train", coords, variables, {"diverged_at": trained.history.diverged_at})
    for name, value in values.items():
        store.write(path, "train", name, value)
