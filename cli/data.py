"""`landscape data`: which data sets there are, where they were found, and how to get the rest."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click


@click.command()
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    help="First folder to look in; $LANDSCAPE_DATA and the system's folders follow.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def data(data_dir: Path | None, as_json: bool) -> None:
    """List the data sets and where they were found. Nothing is ever downloaded.

    Besides these, --data takes FILE.npz (arrays inputs, targets, or train_inputs, train_targets, test_inputs,
    test_targets), package.module:factory, and torchvision:NAME.
    """
    from landscape.networks.datasets import list_data
    from landscape.networks.search import search_path

    listings = list_data(data_dir)
    if as_json:
        places = [str(place) for place in search_path(data_dir)]
        found = [dataclasses.asdict(listing) for listing in listings]
        click.echo(json.dumps({"search_path": places, "data": found}))
        return
    rows = [("name", "samples", "shape", "classes", "found")]
    for listing in listings:
        rows.append(
            (
                listing.name,
                "?" if listing.samples is None else " + ".join(f"{count:,}" for count in listing.samples),
                "x".join(map(str, listing.shape)),
                "regression" if listing.num_classes is None else str(listing.num_classes),
                listing.found or f"not found; get it with: {listing.obtain}",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        click.echo("  ".join([*cells, row[-1]]))
