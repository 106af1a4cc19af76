"""`landscape sharpness`: measures of how sharp minima are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from . import options
from .surface import Numbers


@click.command()
@click.argument("checkpoints", nargs=-1, required=True, metavar="CHECKPOINT [MORE…]")
@options.problem
@click.option(
    "--measure",
    "measures",
    multiple=True,
    metavar="NAME[,NAME…]",
    help="Measures, such as hessian_max,sam_sharpness; repeatable, all by default.",
)
@options.settings("--set", "settings", "A setting: measure.key=value, or key=value for all measures that have it.")
@click.option(
    "--rho",
    type=Numbers(float, "0.05 or 0.01,0.05"),
    metavar="X[,Y…]",
    help="Radii of the balls around the weights; 0.02,0.05,0.1,0.2 by default.",
)
@click.option("--split", "splits", default="train", show_default=True, metavar="NAMES", help="Splits to measure on.")
@click.option("--samples", type=int, metavar="N", help="Measure on a fixed random subset of N samples of each split.")
@click.option(
    "--batchnorm",
    default="checkpoint",
    show_default=True,
    metavar="NAME",
    help="BatchNorm statistics: checkpoint, recompute or batch.",
)
@click.option("--weight-decay", default=0.0, show_default=True, metavar="X", help="Factor of the L2 term in the loss.")
@options.seed
@options.device
@options.engine
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="STORE.zarr", help="The store to write.")
@options.overwrite
@options.quiet
@options.as_json
@options.config
def sharpness(
    checkpoints: tuple[str, ...],
    data: str | None,
    data_settings: dict[str, Any],
    model: str | None,
    model_settings: dict[str, Any],
    loss: str | None,
    data_dir: Path | None,
    measures: tuple[str, ...],
    settings: dict[str, Any],
    rho: tuple[float, ...] | None,
    splits: str,
    samples: int | None,
    batchnorm: str,
    weight_decay: float,
    seed: int,
    device: str,
    threads: int,
    engine: str | None,
    workers: int | None,
    out: Path,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Measure how sharp the loss is at each CHECKPOINT.

    Checkpoints that `landscape train` wrote need no further options; STORE::bezier@0.5 is a point of a curve. Each
    measure is taken over all samples of the split, with its standard error where it is random: sam_sharpness,
    pgd_sharpness, keskar_sharpness, adaptive_sharpness, adaptive_average_sharpness, average_sharpness, hessian_max,
    hessian_top, hessian_trace, hessian_frobenius, hessian_density, ggn_trace, fisher_trace, pac_bayes_sigma,
    relative_flatness, fisher_rao_norm, gradient_noise_scale, sam_bound.

    A run that was killed goes on when the same command is given again, to the same store.
    """
    from landscape import figures
    from landscape.studies.sharpness import SharpnessRecipe
    from landscape.studies.sharpness import sharpness as compute

    place = options.choose_device(device, threads)
    names = tuple(name.strip() for text in measures for name in text.split(",") if name.strip())
    chosen: dict[str, Any] = {"measures": names} if measures else {}
    recipe = SharpnessRecipe(
        **chosen,
        rho=rho,
        settings=settings,
        seed=seed,
        splits=tuple(splits.split(",")),
        samples=samples,
        batchnorm=batchnorm,
        weight_decay=weight_decay,
    )
    tree = compute(
        checkpoints,
        out,
        recipe,
        model=model,
        model_settings=model_settings,
        data=data,
        data_settings=data_settings,
        loss=loss,
        data_dir=data_dir,
        device=place,
        engine=engine or ("processes" if place == "cpu" else "serial"),
        workers=workers,
        overwrite=overwrite,
        progress=not quiet,
    )
    summary = figures.summary(tree)
    options.echo(summary, [figures.report(summary, str(out))], as_json)
