"""`landscape train`: a network from its names to a checkpoint and its history."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click

from . import options


@click.command()
@options.problem
@click.option(
    "--optimizer", default="sgd", show_default=True, metavar="NAME", help="A method that `landscape optimizers` lists."
)
@options.settings("--set", "hyperparameters", "A hyperparameter of the optimizer, such as lr=0.1.")
@click.option("--epochs", type=int, metavar="N", help="Passes over the training data (30, unless --steps is given).")
@click.option("--steps", type=int, metavar="N", help="Updates, instead of epochs.")
@click.option(
    "--batch-size", default=128, show_default=True, metavar="N", help="Samples in a batch; full-batch methods take all."
)
@click.option(
    "--micro-batch-size",
    type=int,
    metavar="N",
    help="Samples computed at once, to save memory: a batch's gradients add up. Whole batches if not given.",
)
@options.schedule
@options.warmup
@click.option("--augment", default="none", show_default=True, metavar="NAME", help="none, crop, flip or crop-flip.")
@options.label_noise
@click.option(
    "--label-noise-seed",
    type=options.SEED,
    default=0,
    show_default=True,
    metavar="N",
    help="Decides which labels; networks of several seeds see the same ones.",
)
@click.option(
    "--precision", default="float32", show_default=True, metavar="NAME", help="float32, float64, bf16 or fp16."
)
@options.seed
@click.option(
    "--checkpoint-every", default=0, metavar="K", help="Keep a checkpoint every K epochs as well, FILE-epoch0010 …"
)
@click.option(
    "--eval-every", default=1, show_default=True, metavar="K", help="Epochs between records of the history; 0: the end."
)
@click.option(
    "--eval-samples",
    type=int,
    metavar="N",
    help="Record on a fixed random subset of N samples of each split; all if not given.",
)
@options.measures("none", "--measure-set")
@click.option(
    "--every", type=int, metavar="K", help="Updates between measures; 0: the end only. Once an epoch if not given."
)
@click.option(
    "--measure-samples", type=int, metavar="N", help="Measure on a fixed random subset of N training samples."
)
@options.device
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), metavar="FILE.safetensors", help="The checkpoint."
)
@options.autosave
@options.overwrite
@options.quiet
@options.as_json
@options.config
def train(
    data: str | None,
    data_settings: dict[str, Any],
    model: str | None,
    model_settings: dict[str, Any],
    loss: str | None,
    data_dir: Path | None,
    optimizer: str,
    hyperparameters: dict[str, Any],
    epochs: int | None,
    steps: int | None,
    batch_size: int,
    micro_batch_size: int | None,
    schedule: str,
    warmup: int,
    augment: str,
    label_noise: float,
    label_noise_seed: int,
    precision: str,
    seed: int,
    checkpoint_every: int,
    eval_every: int,
    eval_samples: int | None,
    measures: tuple[str, ...] | None,
    measure_settings: dict[str, Any],
    rho: tuple[float, ...] | None,
    every: int | None,
    measure_samples: int | None,
    device: str,
    threads: int,
    out: Path,
    autosave: float,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Train a network and store its checkpoint and, beside it as .zarr, its history.

    The checkpoint says by itself which network, data and loss it belongs to. A run that was killed goes on from where
    it was when the same command is given again, to the same weights. --measure hessian_max --every 50 takes measures,
    those of `landscape sharpness`, along the way and stores them beside the history. Under torchrun (torchrun
    --no-python --nproc-per-node=N landscape train ...) N processes share each batch.
    """
    from landscape.errors import RequestError
    from landscape.networks.parallel import launched
    from landscape.networks.problem import Problem
    from landscape.networks.training import TrainingRecipe
    from landscape.studies.sharpness import SharpnessRecipe
    from landscape.studies.train import train_to_files
    from landscape.sweeps import store

    place = options.choose_device(device, threads)
    problem = Problem(
        model=model or "mlp",
        data=data or "digits",
        loss=loss,
        model_settings=model_settings,
        data_settings=data_settings,
        label_noise=label_noise,
        label_noise_seed=label_noise_seed,
    )
    recipe = TrainingRecipe(
        optimizer=optimizer,
        hyperparameters=hyperparameters,
        epochs=30 if epochs is None and steps is None else epochs,
        steps=steps,
        batch_size=batch_size,
        schedule=schedule,
        warmup=warmup,
        augmentation=augment,
        precision=precision,
        seed=seed,
        micro_batch_size=micro_batch_size,
    )
    along = None
    if measures is not None:
        along = SharpnessRecipe(measures, rho, measure_settings, seed, samples=measure_samples)
    elif rho or measure_settings or every is not None or measure_samples is not None:
        raise RequestError("it is said how to measure, but not what: give --measure NAME as well")
    with launched(place) as (ranks, own_device):
        files = train_to_files(
            problem,
            recipe,
            out,
            data_dir=data_dir,
            device=own_device,
            checkpoint_every=checkpoint_every,
            evaluate_every=eval_every,
            evaluate_samples=eval_samples,
            measures=along,
            measure_every=every,
            overwrite=overwrite,
            progress=not quiet,
            autosave_seconds=autosave,
            ranks=ranks,
        )
    if not ranks.first:  # torchrun's other processes have nothing to say
        return
    last = store.open(files.history)["train"].isel(step=-1)
    result: dict[str, Any] = {"checkpoint": str(files.checkpoint), "history": str(files.history), "fresh": files.fresh}
    for name in ("loss", "error"):
        if name in last:
            values = {str(split): float(last[name].sel(split=split)) for split in last["split"].values}
            result[name] = {split: value if math.isfinite(value) else None for split, value in values.items()}
    state = "trained" if files.fresh else "was trained already"
    lines = [f"{files.checkpoint} {state}; history in {files.history}"]
    for name in ("loss", "error"):
        if name in result:
            shown = {split: "not finite" if value is None else f"{value:.4g}" for split, value in result[name].items()}
            lines.append(f"  {name:5}  " + "  ".join(f"{split} {text}" for split, text in shown.items()))
    options.echo(result, lines, as_json)
