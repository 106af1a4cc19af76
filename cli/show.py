"""`landscape show`: what a store holds, as text or as JSON, and its figure."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command()
@click.argument("store", type=click.Path(path_type=Path))
@click.option(
    "--figure",
    "target",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Draw the store: FILE.pdf and FILE.svg are vector graphics, FILE.png has 300 dots per inch.",
)
@click.option(
    "--picture",
    metavar="NAME",
    help="Which picture: all (default); planes, curves or matrix of a connect store, relief or sections of a surface.",
)
@click.option("--pair", type=int, help="The pair that is drawn, where a store has several; the first by default.")
@click.option("--checkpoint", metavar="NAME", help="The checkpoint whose surface is drawn; all by default.")
@click.option("--quantity", metavar="NAME", help="What is drawn of a surface: loss (default), error or a metric.")
@click.option("--split", metavar="NAME", help="Split of the contour panels and the matrix, train by default.")
@click.option("--against", metavar="AXIS", help="Horizontal axis of the lines: t (default) or arc-length.")
@click.option("--overwrite", is_flag=True, help="Replace FILE if it exists.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON object.")
def show(
    store: Path,
    target: Path | None,
    picture: str | None,
    pair: int | None,
    checkpoint: str | None,
    quantity: str | None,
    split: str | None,
    against: str | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Summarise STORE and draw its figure.

    STORE is the folder that a command wrote with --out, finished or not. The barrier is the maximum over t of
    the loss minus the linear interpolation of the end points' losses; "≥" marks one of which points are missing.
    """
    from landscape import figures
    from landscape.errors import RequestError
    from landscape.sweeps import store as stores

    options = {"pair": pair, "split": split, "against": against, "checkpoint": checkpoint, "quantity": quantity}
    for option, value in {**options, "picture": picture}.items():
        if target is None and value is not None:
            raise RequestError(f"--{option} is about the figure, but none is asked for: add --figure FILE")
    if target is not None:
        figures.check_target(target, overwrite)
    tree = stores.open(store)
    try:
        found = figures.summary(tree)
        if target is not None:
            drawn = figures.draw(tree, picture or "all", **options)
            figures.save(drawn, target, overwrite=overwrite)
            click.echo(f"drawn: {target}", err=True)
    finally:
        tree.close()
    click.echo(json.dumps(found, ensure_ascii=False, allow_nan=False) if as_json else figures.report(found, str(store)))
