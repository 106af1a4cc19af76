"""`landscape figure`: a figure of the lecture, from its stored result or computed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from . import options

FORMATS = ("pdf", "png")


@click.command()
@click.argument("name", required=False)
@click.option("--list", "listing", is_flag=True, help="List the figures.")
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
@options.data_dir
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
    Files of the same recipe are replaced.
    """
    from landscape.errors import RequestError

    if listing or name is None:
        _list(as_json)
        return

    from landscape.experiments import mechanism

    from landscape.figures.style import save
    from landscape.studies.train import prepare_folder
    from landscape.sweeps import store
    from landscape.sweeps.engine import check as check_engine
    from landscape.sweeps.recipe import from_yaml, to_yaml

    experiment = mechanism.load(name)
    recipe = experiment.preset(preset)
    if file is not None:
        try:
            text = file.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise RequestError(
                f"can't read --recipe {file}: {error.strerror if isinstance(error, OSError) else error}"
            ) from error
        recipe = mechanism.from_plain(type(recipe), from_yaml(text))
    place = options.choose_device(device, threads)
    chosen = engine or ("processes" if place == "cpu" else "serial")
    check_engine(chosen, workers)
    title = experiment.name if file is None and preset == "cpu" else f"{experiment.name}-{'own' if file else preset}"
    targets = [out / f"{title}.{suffix}" for suffix in FORMATS]
    texts = {out / f"{title}.yaml": to_yaml(recipe), out / f"{title}.txt": ""}
    replace = overwrite or _same(out / f"{title}.yaml", texts[out / f"{title}.yaml"])
    for target in (*targets, *texts):
        if target.exists() and not replace:
            raise RequestError(f"{target} exists and was made otherwise: choose another --out, or give --overwrite")
    prepare_folder(targets[0])
    found = experiment.find(recipe, [folder for folder in (results, out, *_folders()) if folder is not None])
    path = found or out / f"{title}.zarr"
    if found is None:
        experiment.compute(recipe, path, mechanism.Options(data_dir, place, chosen, workers, not quiet))
    tree = store.open(path)
    caption = experiment.caption(tree)
    drawn = experiment.figure(tree)
    texts[out / f"{title}.txt"] = f"{caption}\n"
    for target, text in texts.items():
        target.write_text(text)
    for target in targets:
        save(drawn, target, overwrite=True)
    result: dict[str, Any] = {
        "figure": [str(target) for target in targets],
        "store": str(path),
        "computed": found is None,
        "caption": caption,
    }
    origin = "computed into" if found is None else "drawn from"
    options.echo(result, [f"{', '.join(result['figure'])} {origin} {path}", caption], as_json)


def _same(path: Path, text: str) -> bool:
    """Whether a file holds this text."""
    return path.is_file() and path.read_bytes() == text.encode()


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
