"""Labelled data to pictures, without torch: one file per kind of plot, one style, `draw` for a whole store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import xarray as xr

from landscape.errors import RequestError, unknown
from landscape.figures.analysis import barrier, barrier_matrix, checkpoints
from landscape.figures.connect import connect_figure, planes_figure
from landscape.figures.curve import curve_figure
from landscape.figures.descent import descent_figure
from landscape.figures.descent_fits import fits_figure
from landscape.figures.descent_parts import parts_figure
from landscape.figures.grok import grok_figure, milestones_figure
from landscape.figures.grok_progress import progress_figure
from landscape.figures.grokking import milestones, over_seeds
from landscape.figures.matrix import matrix_figure
from landscape.figures.relief import relief_figure, sections_figure
from landscape.figures.report import report
from landscape.figures.sharpness import measures_figure, rho_figure, spectrum_figure
from landscape.figures.style import StyledFigure, check_target, save
from landscape.figures.summary import summary
from landscape.figures.surface import surface_figure
from landscape.figures.train import train_figure

__all__ = [
    "PICTURES",
    "barrier",
    "barrier_matrix",
    "check_target",
    "checkpoints",
    "connect_figure",
    "curve_figure",
    "descent_figure",
    "draw",
    "fits_figure",
    "grok_figure",
    "matrix_figure",
    "measures_figure",
    "milestones",
    "milestones_figure",
    "over_seeds",
    "parts_figure",
    "planes_figure",
    "progress_figure",
    "relief_figure",
    "report",
    "rho_figure",
    "save",
    "sections_figure",
    "spectrum_figure",
    "summary",
    "surface_figure",
    "train_figure",
]

PICTURES: dict[str, dict[str, Callable[..., StyledFigure]]] = {
    "connect": {
        "all": connect_figure,
        "planes": planes_figure,
        "curves": curve_figure,
        "matrix": matrix_figure,
    },
    "surface": {"all": surface_figure, "relief": relief_figure, "sections": sections_figure},
    "sharpness": {"all": measures_figure, "spectrum": spectrum_figure, "rho": rho_figure},
    "grok": {"all": grok_figure, "milestones": milestones_figure, "progress": progress_figure},
    "descent": {"all": descent_figure, "fits": fits_figure, "parts": parts_figure},
    "train": {"all": train_figure, "spectrum": spectrum_figure},
}
"""The pictures of each kind of store; `all` is the one drawn unless another is asked for."""

OPTIONS: dict[Callable[..., StyledFigure], tuple[str, ...]] = {
    connect_figure: ("pair", "split", "against"),
    planes_figure: ("pair", "split"),
    curve_figure: ("pair", "against"),
    matrix_figure: ("split",),
    surface_figure: ("checkpoint", "split", "quantity"),
    relief_figure: ("checkpoint", "split", "quantity"),
    sections_figure: ("checkpoint", "quantity"),
    measures_figure: ("split",),
    spectrum_figure: ("split",),
    rho_figure: ("split",),
    grok_figure: ("at",),
    milestones_figure: ("at",),
    progress_figure: ("at",),
    descent_figure: ("basis",),
    fits_figure: ("basis",),
    parts_figure: (),
    train_figure: (),
}


def draw(tree: xr.DataTree, picture: str = "all", **options: Any) -> StyledFigure:
    """Draw a store: the picture that belongs to its kind.

    Args:
        tree: A store, as `landscape.open` gives it.
        picture: One of `PICTURES[kind]`.
        **options: Those of the picture (`pair`, `split`, `checkpoint` …); None means its default.

    Returns:
        The figure.

    Raises:
        RequestError: If there is no picture for this kind of store, no such picture, or the picture has no
            such option.
    """
    kind = str(tree.attrs.get("kind", ""))
    if kind == "experiment":
        name = tree.attrs.get("experiment", "NAME")
        raise RequestError(f"an experiment draws its own figure: use `landscape figure {name}`")
    if kind not in PICTURES:
        raise RequestError(f"no figure for a store of kind '{kind}': expected one of {', '.join(PICTURES)}")
    if picture not in PICTURES[kind]:
        raise unknown("picture", picture, PICTURES[kind])
    function = PICTURES[kind][picture]
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if name not in OPTIONS[function]:
            raise RequestError(
                f"the picture '{picture}' of a {kind} store has no option '{name}': "
                f"expected {', '.join(OPTIONS[function]) or 'none'}"
            )
    return function(tree, **given)
