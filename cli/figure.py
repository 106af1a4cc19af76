"""`landscape figure`: a figure of the lecture, from its stored result or computed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from . import options

FORMATS = ("pdf", "png")


@click.command()
@click.argument("name", required=False)
@click.option("--list", "listing", is_flag=True, help="List the figures and their presets.")
@click.option("--preset", default="cpu", show_default=True, metavar="NAME", help="Recipe: smoke, cpu or gpu.")
@click.option(
    "--recipe", "file", type=click.Path(path_type=Path), metavar="FILE.yaml", help="A recipe of one's own instead."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("results"),
    show_default=True,
    metavar="FOLDER",
    help="Where the figure goes.",
)
@click.option(
    "--results",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="First folder to look in for stored results; then $LANDSCAPE_RESULTS and results/.",
)
@click.option("--data-dir", type=click.Path(path_type=Path), help="First folder to look in for data files.")
@options.device
@options.engine
@options.overwrite
@options.quiet
@options.as_json
def figure(
    name: str | None,
    listing: bool,
    preset: str,
    file: Path | None,
    out: Path,
    results: Path | None,
    data_dir: Path | None,
    device: str,
    threads: int,
    engine: str | None,
    workers: int | None,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Draw the figure NAME into FOLDER: from its stored result where there is one, else computed first.

    FOLDER gets NAME.pdf, NAME.png, the caption NAME.txt and the recipe NAME.yaml, which --recipe takes back.
    """
    from landscape.errors import RequestError

    if listing or name is None:
        _list(as_json)
        return

    from landscape.experiments import mechanism

    from landscape.figures.style import check_target, save
    from landscape.sweeps import store
    from landscape.sweeps.recipe import from_yaml, to_yaml

    experiment = mechanism.load(name)
    recipe = experiment.preset(preset)
    if file is not None:
        try:
            text = file.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise RequestError(f"can't read --recipe {file}: {error}") from error
        recipe = mechanism.from_plain(type(recipe), from_yaml(text))
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RequestError(f"can't write to {out}: {error.strerror}; choose another --out") from error
    title = experiment.name if file is None and preset == "cpu" else f"{experiment.name}-{'own' if file else preset}"
    targets = [check_target(out / f"{title}.{suffix}", overwrite) for suffix in FORMATS]
    found = experiment.find(recipe, [folder for folder in (results, *_folders()) if folder is not None])
    path = found or out / f"{title}.zarr"
    if found is None:
        place = options.choose_device(device, threads)
        chosen = engine or ("processes" if place == "cpu" else "serial")
        experiment.compute(recipe, path, mechanism.Options(data_dir, place, chosen, workers, not quiet))
    tree = store.open(path)
    caption = experiment.caption(tree)
    drawn = experiment.figure(tree)
    for target in targets:
        save(drawn, target, overwrite=overwrite)
    (out / f"{title}.txt").write_text(caption + "\n")
    (out / f"{title}.yaml").write_text(to_yaml(recipe))
    result: dict[str, Any] = {
        "figure": [str(target) for target in targets],
        "store": str(path),
        "computed": found is None,
        "caption": caption,
    }
    origin = "computed into" if found is None else "drawn from"
    options.echo(result, [f"{', '.join(result['figure'])} {origin} {path}", caption], as_json)


def _folders() -> list[Path]:
    """Where stored results are looked for, after --results."""
    import os

    given = [Path(part) for part in os.environ.get("LANDSCAPE_RESULTS", "").split(os.pathsep) if part]
    return [*given, Path("results"), Path("results/reference")]


def _list(as_json: bool) -> None:
    """Print the figures there are."""
    from landscape.experiments import EXPERIMENTS

    width = max(map(len, EXPERIMENTS))
    options.echo(EXPERIMENTS, [f"{name.ljust(width)}  {summary}" for name, summary in EXPERIMENTS.items()], as_json)
