"""`landscape connect`: curves of low loss between checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from . import options


@click.command()
@click.argument("checkpoints", nargs=-1, required=True, metavar="START END [MORE…]")
@options.problem
@click.option(
    "--curve",
    "curves",
    multiple=True,
    metavar="NAME",
    help="bezier or polyline, repeatable (bezier, if none is given).",
)
@click.option("--bends", default=1, show_default=True, metavar="N", help="Inner control points of a curve.")
@click.option(
    "--epochs", type=int, metavar="N", help="Passes over the training data in a fit (50, unless --steps is given)."
)
@click.option("--steps", type=int, metavar="N", help="Gradient evaluations of a fit, instead of epochs.")
@click.option("--batch-size", default=128, show_default=True, metavar="N", help="Samples in a minibatch of the fit.")
@click.option(
    "--optimizer",
    default="adam",
    show_default=True,
    metavar="NAME",
    help="Optimizer of the fit, one that `landscape optimizers` lists.",
)
@options.settings("--set", "hyperparameters", "A hyperparameter of the fit's optimizer (lr=0.01 for adam).")
@click.option("--schedule", default="cosine", show_default=True, metavar="NAME", help="Learning rates of the fit.")
@click.option(
    "--nodes",
    default="golden",
    show_default=True,
    metavar="NAME",
    help="How t is drawn: golden, stratified or uniform.",
)
@click.option(
    "--points",
    type=int,
    metavar="N",
    help="Values of t at which the loss is evaluated; 61 by default, 65 with --tolerance.",
)
@click.option(
    "--tolerance",
    type=float,
    metavar="X",
    help="Certify the loss along the curves, as `landscape surface` does: values with a standard error of at most this "
    "share of the loss. All samples at every point if not given. Nothing saves recomputing BatchNorm's statistics.",
)
@click.option(
    "--plane",
    default=0,
    show_default=True,
    metavar="N",
    help="Points a side of the plane through each curve; 0 for none.",
)
@options.evaluation("recompute")
@options.seed
@options.autosave
@options.running
def connect(
    checkpoints: tuple[str, ...],
    curves: tuple[str, ...],
    bends: int,
    epochs: int | None,
    steps: int | None,
    batch_size: int,
    optimizer: str,
    hyperparameters: dict[str, Any],
    schedule: str,
    nodes: str,
    points: int | None,
    tolerance: float | None,
    plane: int,
    splits: tuple[str, ...] | None,
    samples: int | None,
    batchnorm: str | None,
    weight_decay: float,
    seed: int,
    autosave: float,
    out: Path,
    as_json: bool,
    **given: Any,
) -> None:
    """Fit a low-loss curve from START to END and store the loss along it.

    Checkpoints that `landscape train` wrote need no further options; .pt, .pth and .ckpt files do with --model and
    --data. A point of a stored curve is a checkpoint too: STORE::bezier@0.5, or STORE::bezier@0.5#1 on the curve of
    pair 1.

    The straight line is always evaluated as well. With more than two checkpoints all pairs are connected. A run that
    was killed goes on when the same command is given again, to the same store.
    """
    from landscape import figures
    from landscape.studies.connect import ConnectRecipe, CurveRecipe
    from landscape.studies.connect import connect as compute

    running = options.run_options(given)
    fit = CurveRecipe(
        bends=bends,
        epochs=50 if epochs is None and steps is None else epochs,
        steps=steps,
        batch_size=batch_size,
        optimizer=optimizer,
        hyperparameters=hyperparameters or ({"lr": 0.01} if optimizer == "adam" else {}),
        schedule=schedule,
        nodes=nodes,
        seed=seed,
    )
    recipe = ConnectRecipe(
        curves=curves or ("bezier",),
        fit=fit,
        points=points,
        plane=plane,
        tolerance=tolerance,
        splits=splits,
        samples=samples,
        batchnorm=batchnorm,
        weight_decay=weight_decay,
    )
    tree = compute(checkpoints, out, recipe, autosave_seconds=autosave, **running)
    summary = figures.summary(tree)
    same = [
        f"{row['start']} and {row['end']} are the same point of weight space: nothing to connect, the barrier is 0"
        for row in summary["curves"]
        if row["curve"] == "linear" and row["split"] == summary["curves"][0]["split"] and row["arc_length"] == 0
    ]
    options.echo({**summary, "notes": same}, [figures.report(summary, str(out)), *same], as_json)
