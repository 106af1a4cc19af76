"""Stores as files for other programs: surfaces for a browser and for ParaView, fits as an animation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from landscape.errors import RequestError, unknown
from landscape.figures.descent_fits import fits_animation
from landscape.figures.interactive import interactive_page
from landscape.figures.style import check_target
from landscape.figures.vts import grid_file


@dataclass(frozen=True)
class Writer:
    """How a kind of file is made.

    Args:
        function: Makes its contents, text or bytes, of a store and its options.
        kind: The kind of store that it holds.
        options: The options it takes.
    """

    function: Callable[..., str | bytes]
    kind: str
    options: tuple[str, ...]


SURFACE = ("checkpoint", "split", "quantity", "height")
WRITERS = {
    ".html": Writer(interactive_page, "surface", SURFACE),
    ".vts": Writer(grid_file, "surface", SURFACE),
    ".gif": Writer(fits_animation, "descent", ("basis",)),
}
HEIGHTS = ("log", "linear")
WORDS = {"surface": "surfaces", "descent": "fits by degree"}


def export(tree: xr.DataTree, path: str | Path, *, overwrite: bool = False, **options: Any) -> Path:
    """Write a surface for a browser or for ParaView, or an animation, whole or not at all.

    Args:
        tree: A `surface` store; of `descent polynomial` for an animation.
        path: `.html` (one file with all it needs; needs plotly), `.vts` (a structured grid) or `.gif`.
        overwrite: Replace a file that exists.
        **options: `checkpoint`, `split`, `quantity` and `height` (`log` or `linear`) of surfaces, `basis` of
            animations; None means the default.

    Returns:
        The path.

    Raises:
        RequestError: If the store is of another kind, lacks what is asked for, there is no such option, or the file
            can't be written.
    """
    path = check_target(path, overwrite, tuple(WRITERS))
    suffix, kind = path.suffix.lower(), str(tree.attrs.get("kind", ""))
    writer = WRITERS[suffix]
    if kind != writer.kind:
        raise RequestError(
            f"{suffix} files hold {WORDS[writer.kind]}, this is a store of kind '{kind}': "
            "name a .pdf, .png or .svg file"
        )
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if name not in writer.options:
            raise RequestError(f"{suffix} files have no option '{name}': expected {', '.join(writer.options)}")
    if given.get("height", "log") not in HEIGHTS:
        raise unknown("height", given["height"], HEIGHTS)
    contents = writer.function(tree, **given)
    aside = path.with_name(f".{path.name}.partial")
    try:
        aside.write_bytes(contents.encode("utf-8") if isinstance(contents, str) else contents)
        aside.replace(path)
    except OSError as error:
        raise RequestError(f"can't write the figure '{path}': {error.strerror or error}") from error
    finally:
        aside.unlink(missing_ok=True)
    return path
