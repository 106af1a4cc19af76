"""Stores as files for other programs: surfaces for a browser and for ParaView."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import xarray as xr

from landscape.errors import RequestError, unknown
from landscape.figures.interactive import interactive_page
from landscape.figures.style import check_target
from landscape.figures.vts import grid_file

WRITERS = {".html": interactive_page, ".vts": grid_file}
OPTIONS = ("checkpoint", "split", "quantity", "height")
HEIGHTS = ("log", "linear")


def export(tree: xr.DataTree, path: str | Path, *, overwrite: bool = False, **options: Any) -> Path:
    """Write a surface for a browser or for ParaView, whole or not at all.

    Args:
        tree: A `surface` store.
        path: `.html` (one file with all it needs; needs plotly) or `.vts` (a structured grid).
        overwrite: Replace a file that exists.
        **options: `checkpoint`, `split`, `quantity` and `height` (`log` or `linear`); None means the default.

    Returns:
        The path.

    Raises:
        RequestError: If the store is of another kind, lacks what is asked for, there is no such option, or the file
            can't be written.
    """
    path = check_target(path, overwrite, tuple(WRITERS))
    suffix, kind = path.suffix.lower(), str(tree.attrs.get("kind", ""))
    if kind != "surface":
        raise RequestError(
            f"{suffix} files hold surfaces, this is a store of kind '{kind}': name a .pdf, .png or .svg file"
        )
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if name not in OPTIONS:
            raise RequestError(f"{suffix} files have no option '{name}': expected {', '.join(OPTIONS)}")
    if given.get("height", "log") not in HEIGHTS:
        raise unknown("height", given["height"], HEIGHTS)
    text = WRITERS[suffix](tree, **given)
    aside = path.with_name(f".{path.name}.partial")
    try:
        aside.write_text(text, encoding="utf-8")
        aside.replace(path)
    except OSError as error:
        raise RequestError(f"can't write the figure '{path}': {error.strerror or error}") from error
    finally:
        aside.unlink(missing_ok=True)
    return path
