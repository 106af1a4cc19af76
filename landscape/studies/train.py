"""`train`: a network from its names to a checkpoint file, with its history as a store beside it."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn

from landscape.errors import RequestError, WorkError
from landscape.networks.checkpoint import read_recipe, save_checkpoint
from landscape.networks.loop import Report, Resume
from landscape.networks.problem import Problem
from landscape.networks.training import Trained, TrainingRecipe, train
from landscape.objective.objective import Objective
from landscape.sweeps import store
from landscape.sweeps.recipe import environment, recipe_hash
from landscape.sweeps.schema import Variable

UNITS = {"loss": "nats", "error": "1", "learning_rate": "1", "seconds": "s"}


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
    overwrite: bool = False,
    report: Report | None = None,
    autosave_seconds: float = 20.0,
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
        overwrite: Replace files of another recipe.
        report: Told the progress.
        autosave_seconds: Time between saves of the run's state.

    Raises:
        RequestError: If the request is wrong; nothing has been written then.
        WorkError: If the training diverged.
    """
    for name, count in {"checkpoint_every": checkpoint_every, "evaluate_every": evaluate_every}.items():
        if count < 0:
            raise RequestError(f"{name.replace('_', ' ')} must be at least 0, got {count}")
    data = problem.load_data(data_dir)
    model = problem.build_model(data, recipe.seed)
    loss = problem.find_loss(data)
    Objective(model, data.train, loss, device=device).check()
    contents = {
        "problem": problem.recipe(),
        "data": data.digest,
        "training": recipe.recipe(),
        "checkpoint_every": checkpoint_every,
        "evaluate_every": evaluate_every,
    }
    signature = recipe_hash(contents)
    if _finished(out, signature, overwrite):
        return TrainedFiles(out, out.with_suffix(".zarr"), fresh=False)
    prepare_folder(out)
    resume = Resume(out.with_name(f".{out.name}.partial"), signature, autosave_seconds)
    resume.claim(overwrite)
    history_path = out.with_suffix(".zarr")
    store.create(history_path, contents, kind="train", attrs={"device": device}, overwrite=overwrite)
    header = {**contents, "signature": signature, "environment": environment(device)}

    def on_epoch(epoch: int, module: nn.Module) -> None:
        if checkpoint_every and epoch % checkpoint_every == 0:
            save_checkpoint(
                out.with_name(f"{out.stem}-epoch{epoch:04d}.safetensors"), module, {**header, "epoch": epoch}
            )

    trained = train(
        model,
        data,
        recipe,
        loss=loss,
        device=device,
        evaluate_every=evaluate_every,
        on_epoch=on_epoch,
        resume=resume,
        report=report,
    )
    _write_history(history_path, trained)
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


def _finished(out: Path, signature: str, overwrite: bool) -> bool:
    """Whether this very run has been finished; raises if something else may not be replaced."""
    if out.suffix != ".safetensors":
        raise RequestError(f"a checkpoint is written as .safetensors, not '{out.name}': choose another --out")
    if not out.exists() or (overwrite and out.is_file()):
        return False
    if out.is_file() and (read_recipe(out) or {}).get("signature") == signature:
        return True
    raise RequestError(f"{out} exists and was made otherwise: choose another --out, or replace it by --overwrite")


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


def _write_history(path: Path, trained: Trained) -> None:
    """Store the history: node `train` over `step` and `split`."""
    rows = trained.history.rows
    splits = list(trained.samples)
    quantities = [name.removesuffix(f".{splits[0]}") for name in rows[-1] if name.endswith(f".{splits[0]}")]
    values: dict[str, np.ndarray] = {
        name: np.array([[row[f"{name}.{split}"] for split in splits] for row in rows]) for name in quantities
    }
    values |= {name: np.array([row[name] for row in rows]) for name in ("learning_rate", "seconds")}
    values["samples"] = np.array(list(trained.samples.values()), np.int64)
    dims = {"learning_rate": ("step",), "seconds": ("step",), "samples": ("split",)}
    variables = {
        name: Variable(dims.get(name, ("step", "split")), value.dtype.str, {"units": UNITS.get(name, "1")})
        for name, value in values.items()
    }
    coords = {"step": np.array([int(row["step"]) for row in rows]), "split": splits}
    store.add_node(path, "train", coords, variables, {"diverged_at": trained.history.diverged_at})
    for name, value in values.items():
        store.write(path, "train", name, value)
    store.finish(path)
