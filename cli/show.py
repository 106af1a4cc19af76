"""`landscape show`: what a store holds, as text or as JSON, and its figure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from .options import settings


@click.command()
@click.argument("store", type=click.Path(path_type=Path))
@click.option(
    "--figure",
    "target",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Draw the store: FILE.pdf and FILE.svg are vector graphics, FILE.png has 300 dots per inch. Of a surface, "
    "FILE.html can be turned in a browser (needs plotly), and FILE.vts is for ParaView; FILE.gif moves through "
    "the fits of descent polynomial.",
)
@click.option(
    "--picture",
    metavar="NAME",
    help="Which picture: all (default); planes, curves or matrix of a connect store, relief or sections of a surface, "
    "spectrum or rho of sharpness, milestones or progress of grok, fits or parts of descent.",
)
@click.option("--pair", type=int, help="The pair that is drawn, where a store has several; the first by default.")
@click.option("--checkpoint", metavar="NAME", help="The checkpoint whose surface is drawn; all by default.")
@click.option("--quantity", metavar="NAME", help="What is drawn of a surface: loss (default), error or a metric.")
@settings("--at", "at", "The runs that are drawn of a grok store, such as weight_decay=1 or seed=0; repeatable.")
@click.option("--basis", metavar="NAME", help="The basis that is drawn of a descent store; all by default.")
@click.option("--split", metavar="NAME", help="Split of the contour panels and the matrix, train by default.")
@click.option("--against", metavar="AXIS", help="Horizontal axis of the lines: t (default) or arc-length.")
@click.option(
    "--height", metavar="SCALE", help="Height in FILE.html and FILE.vts: log (default), as the colours, or linear."
)
@click.option("--overwrite", is_flag=True, help="Replace FILE if it exists.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON object.")
def show(
    store: Path,
    target: Path | None,
    picture: str | None,
    pair: int | None,
    checkpoint: str | None,
    quantity: str | None,
    at: dict[str, Any],
    basis: str | None,
    split: str | None,
    against: str | None,
    height: str | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Summarise STORE and draw its figure.

    STORE is the folder that a command wrote with --out, finished or not. The barrier is the maximum over t of
    the loss minus the linear interpolation of the end points' losses; "≥" marks one of which points are missing.
    """
    from landscape import figures
    from landscape.errors import RequestError
    from landscape.figures import export, style
    from landscape.sweeps import store as stores

    options: dict[str, Any] = {"pair": pair, "split": split, "against": against}
    options |= {"checkpoint": checkpoint, "quantity": quantity, "basis": basis, "height": height, "at": at or None}
    for option, value in {**options, "picture": picture}.items():
        if target is None and value is not None:
            raise RequestError(f"--{option} is about the figure, but none is asked for: add --figure FILE")
    if target is not None:
        figures.check_target(target, overwrite, (*style.SUFFIXES, *export.WRITERS))
    tree = stores.open(store)
    try:
        found = figures.summary(tree)
        if target is not None and target.suffix.lower() in export.WRITERS:
            export.export(tree, target, overwrite=overwrite, picture=picture, **options)
            click.echo(f"drawn: {target}", err=True)
        elif target is not None:
            drawn = figures.draw(tree, picture or "all", **options)
            figures.save(drawn, target, overwrite=overwrite)
            click.echo(f"drawn: {target}", err=True)
    finally:
        tree.close()
    click.echo(json.dumps(found, ensure_ascii=False, allow_nan=False) if as_json else figures.report(found, str(store)))
