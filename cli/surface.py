"""`landscape surface`: the loss on a grid around checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from . import options
from .types import Numbers


class Extent(Numbers):
    """Half the length of an axis, or its two ends."""

    def __init__(self) -> None:
        super().__init__(float, "1 (from -1 to 1) or -1,2")

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Any, ...]:
        """Read one number or two."""
        from landscape.errors import RequestError

        found = super().convert(value, param, ctx)
        if len(found) > 2:
            raise RequestError(f"--extent '{value}': expected {self.example}; repeat --extent for the other axes")
        return (-found[0], found[0]) if len(found) == 1 else found


@click.command()
@click.argument("checkpoints", nargs=-1, required=True, metavar="CHECKPOINT [MORE…]")
@options.problem
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="NAME",
    help="package.module:function with one value per sample, stored beside loss and error; repeatable.",
)
@click.option(
    "--directions",
    multiple=True,
    metavar="NAME|FILE",
    help="filter (default), layer, gaussian, hessian, pca or difference; or a file of tensors by name for each axis.",
)
@click.option("--axes", type=int, metavar="N", help="Number of axes, 1 to 3; 2 by default, or one for each file.")
@click.option(
    "--size",
    type=Numbers(int, "33 or 33,21"),
    metavar="N[,N…]",
    help="Points along each axis, alpha first; one number stands for all. 65; 33 for three axes or --exact.",
)
@click.option(
    "--extent",
    "extents",
    type=Extent(),
    multiple=True,
    metavar="X|LOW,HIGH",
    help="Stretch of an axis about the centre, in units of the direction; once for all axes, or once for each.",
)
@click.option(
    "--center",
    type=Numbers(float, "0 or 0.5,0"),
    metavar="X[,Y…]",
    help="Coordinates of the centre; 0 by default.",
)
@click.option("--normalize", metavar="NAME", help="none, unit, filter or layer; by default what --directions means.")
@click.option(
    "--biases",
    metavar="NAME",
    help="zero leaves biases and BatchNorm's weights alone (default if normalised by filter or layer); or include.",
)
@click.option("--orthogonalize", is_flag=True, help="Make the directions orthogonal; lengths are kept.")
@options.evaluation("checkpoint (recompute for pca and difference)")
@click.option(
    "--tolerance",
    type=float,
    metavar="X",
    help="Certify the surface: values with a standard error of at most this share of the loss, from a coarse grid on "
    "all samples and random ones at each point. The default, 0.01, where all sizes are 2^k + 1.",
)
@click.option("--exact", is_flag=True, help="Evaluate every point on all samples.")
@click.option("--quick", is_flag=True, help="Interpolate a coarse grid and correct nothing: a look, no measurement.")
@click.option(
    "--precision",
    metavar="NAME",
    help="Of forward passes: float32, float64, bf16, or tf32 (CUDA); the model's own by default. How far losses are "
    "from float32's is measured and stored.",
)
@options.seed
@options.running
def surface(
    checkpoints: tuple[str, ...],
    metrics: tuple[str, ...],
    directions: tuple[str, ...],
    axes: int | None,
    size: tuple[int, ...] | None,
    extents: tuple[tuple[float, float], ...],
    center: tuple[float, ...] | None,
    normalize: str | None,
    biases: str | None,
    orthogonalize: bool,
    splits: tuple[str, ...] | None,
    samples: int | None,
    batchnorm: str | None,
    weight_decay: float,
    tolerance: float | None,
    exact: bool,
    quick: bool,
    precision: str | None,
    seed: int,
    out: Path,
    as_json: bool,
    **given: Any,
) -> None:
    """Evaluate the loss on a grid around each CHECKPOINT, along one to three directions.

    Checkpoints that `landscape train` wrote need no further options; .pt, .pth and .ckpt files do with --model and
    --data. Several checkpoints get the same axes, and the same random directions, each normalised by its own weights.
    --directions pca takes a run's checkpoints in their order, and stores the path they made, with its distance from
    the plane; --directions difference takes the first as the origin, and 1 on an axis is the next.

    A run that was killed goes on when the same command is given again, to the same store.
    """
    from landscape.studies.surface import SurfaceRecipe, find_metrics, tell_directions
    from landscape.studies.surface import surface as compute

    running = options.run_options(given)
    kind, files = tell_directions(directions)
    recipe = SurfaceRecipe(
        directions=kind,
        axes=axes if not files else len(files),
        size=size,
        extent=extents or None,
        center=center,
        normalize=normalize,
        biases=biases,
        orthogonalize=orthogonalize,
        seed=seed,
        splits=splits,
        samples=samples,
        batchnorm=batchnorm,
        weight_decay=weight_decay,
        tolerance=tolerance,
        exact=exact,
        quick=quick,
        precision=precision,
    )
    tree = compute(checkpoints, out, recipe, directions=files or None, metrics=find_metrics(metrics), **running)
    options.tell(tree, out, as_json)
