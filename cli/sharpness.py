"""`landscape sharpness`: measures of how sharp minima are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from . import options


@click.command()
@click.argument("checkpoints", nargs=-1, required=True, metavar="CHECKPOINT [MORE…]")
@options.problem
@options.measures("all")
@options.evaluation("checkpoint", "train")
@options.seed
@options.running
def sharpness(
    checkpoints: tuple[str, ...],
    measures: tuple[str, ...] | None,
    measure_settings: dict[str, Any],
    rho: tuple[float, ...] | None,
    splits: tuple[str, ...],
    samples: int | None,
    batchnorm: str | None,
    weight_decay: float,
    seed: int,
    out: Path,
    as_json: bool,
    **given: Any,
) -> None:
    """Measure how sharp the loss is at each CHECKPOINT.

    Checkpoints that `landscape train` wrote need no further options; STORE::bezier@0.5 is a point of a curve. Each
    measure is taken over all samples of the split, with its standard error where it is random: sam_sharpness,
    pgd_sharpness, keskar_sharpness, adaptive_sharpness, adaptive_average_sharpness, average_sharpness, hessian_max,
    hessian_top, hessian_trace, hessian_frobenius, hessian_density, ggn_trace, fisher_trace, pac_bayes_sigma,
    relative_flatness, fisher_rao_norm, gradient_noise_scale, sam_bound.

    A run that was killed goes on when the same command is given again, to the same store.
    """
    from landscape.studies.sharpness import SharpnessRecipe
    from landscape.studies.sharpness import sharpness as compute

    running = options.run_options(given)
    chosen = {} if measures is None else {"measures": measures}
    recipe = SharpnessRecipe(
        **chosen,
        rho=rho,
        settings=measure_settings,
        seed=seed,
        splits=splits,
        samples=samples,
        batchnorm=batchnorm,
        weight_decay=weight_decay,
    )
    tree = compute(checkpoints, out, recipe, **running)
    options.tell(tree, out, as_json)
