"""The one look of all figures: sizes, type, line styles and colours for print, grey and colour-blind readers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from landscape.errors import RequestError

P = ParamSpec("P")
R = TypeVar("R")

COLUMN = 3.3
"""Width of a paper's column, inches."""
PAGE = 6.9
"""Width of a paper's page, inches."""
SUFFIXES = (".pdf", ".png", ".svg")
"""The formats in which a figure can be saved."""
INK = "0.15"
"""Colour of text, ticks and frames."""

STYLE: Any = {
    "pdf.fonttype": 42,  # TrueType: text stays text, as journals ask
    "ps.fonttype": 42,
    "svg.fonttype": "path",  # the same shapes where the font isn't installed
    "svg.hashsalt": "landscape",  # the same bytes for the same data
    "font.family": "DejaVu Sans",  # comes with matplotlib, so a figure looks the same everywhere
    "font.size": 7.0,
    "mathtext.fontset": "dejavusans",
    "axes.titlesize": 7.5,
    "axes.labelsize": 7.0,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5,
    "legend.title_fontsize": 6.5,
    "axes.linewidth": 0.6,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "text.color": INK,
    "axes.titlepad": 4.0,
    "axes.labelpad": 2.5,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.direction": "out",
    "ytick.direction": "out",
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "xtick.major.pad": 2.0,
    "ytick.major.pad": 2.0,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.6,
    "hatch.linewidth": 0.4,
    "legend.frameon": False,
    "legend.handlelength": 2.8,
    "legend.columnspacing": 1.8,
    "figure.dpi": 150,
    "savefig.dpi": 300,
    "savefig.bbox": "standard",  # exactly the size that was asked for
}


@dataclass(frozen=True)
class Look:
    """How one curve is drawn: distinguishable by colour, by grey value and by marker.

    Args:
        label: What it is called in a figure.
        color: Line colour; the grey values of all curves differ by at least 0.25.
        marker: Marker shape.
        zorder: Drawing order.
    """

    label: str
    color: str
    marker: str
    zorder: float


LOOKS = {
    "linear": Look("straight line", "#111111", "o", 2.1),
    "bezier": Look("Bézier curve", "#0072b2", "s", 2.3),
    "polyline": Look("polyline", "#e69f00", "^", 2.2),
}
OTHERS = (("#cc79a7", "D"), ("#009e73", "v"), ("#999999", "P"))
SPLIT_LINES: dict[str, Any] = {"train": "-", "test": (0, (3.2, 1.6))}
"""Line style of each split; a further one is dotted."""


def look(curve: str, position: int = 0) -> Look:
    """The look of a curve; an unknown one takes a spare look by its position."""
    if curve in LOOKS:
        return LOOKS[curve]
    color, marker = OTHERS[position % len(OTHERS)]
    return Look(curve, color, marker, 2.0)


def split_line(split: str) -> Any:
    """Line style of a split: train solid, test dashed, others dotted."""
    return SPLIT_LINES.get(split, (0, (1.0, 1.4)))


def halo(width: float = 1.6) -> list[patheffects.AbstractPathEffect]:
    """A white outline that keeps text and lines readable on any ground; stays vector."""
    return [patheffects.withStroke(linewidth=width, foreground="white")]


@contextmanager
def styled() -> Iterator[None]:
    """Draw in the house style, leaving matplotlib's settings as they were."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        yield


def in_style(draw: Callable[P, R]) -> Callable[P, R]:
    """Make a drawing function draw in the house style whatever the caller's settings are."""

    @wraps(draw)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        with styled():
            return draw(*args, **kwargs)

    return wrapper


class StyledFigure(Figure):
    """A figure that is saved in the house style too (fonts embedded as TrueType, exact size)."""

    def savefig(self, fname: Any, **options: Any) -> None:
        """Save as `matplotlib.figure.Figure.savefig` does, in the house style."""
        with styled():
            super().savefig(fname, **options)


def new_figure(width: float, height: float) -> StyledFigure:
    """An empty figure of a size in inches, with constrained layout and no pyplot state."""
    layout = ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.03, wspace=0.02, hspace=0.02)
    return StyledFigure(figsize=(width, height), layout=layout)


def whole(axes: Axes) -> Figure:
    """The figure, not merely the part of it, that axes belong to."""
    part = axes.figure
    return part.figure if isinstance(part, SubFigure) else part


def check_target(path: str | Path, overwrite: bool = False, suffixes: Sequence[str] = SUFFIXES) -> Path:
    """Check that a figure can be saved at a path, before anything is computed.

    Raises:
        RequestError: If the suffix is unknown, the folder doesn't exist, or the file exists and may not be
            overwritten.
    """
    path = Path(path)
    if path.suffix.lower() not in suffixes:
        raise RequestError(f"can't save a figure as '{path.name}': expected a name that ends in {', '.join(suffixes)}")
    if path.is_dir():
        raise RequestError(f"can't save a figure as '{path}': it is a folder; name a file in it")
    if not path.parent.is_dir():
        raise RequestError(f"can't save a figure as '{path}': the folder '{path.parent}' doesn't exist; make it")
    if path.exists() and not overwrite:
        raise RequestError(f"'{path}' exists already: choose another name or add --overwrite")
    return path


def save(figure: Figure, path: str | Path, *, overwrite: bool = False) -> Path:
    """Save a figure whole or not at all, in the format that the suffix names.

    Args:
        figure: The figure.
        path: `.pdf` (vector, TrueType fonts), `.svg` or `.png` (300 dots per inch).
        overwrite: Replace a file that exists.

    Returns:
        The path.

    Raises:
        RequestError: As `check_target`, or if the file can't be written.
    """
    path = check_target(path, overwrite)
    aside = path.with_name(f".{path.name}.partial")
    # no date inside: the same data give the same file
    metadata = {"png": {}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}[path.suffix.lower()[1:]]
    try:
        with styled():
            figure.savefig(aside, format=path.suffix.lower()[1:], metadata=metadata)
        aside.replace(path)
    except OSError as error:
        raise RequestError(f"can't write the figure '{path}': {error.strerror or error}") from error
    finally:
        aside.unlink(missing_ok=True)
    return path


def number(value: float, digits: int = 2) -> str:
    """A number for people: two significant digits, powers of ten from 10,000 on, an en dash for NaN."""
    if np.isnan(value):
        return "–"
    if np.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0 or abs(value) < 1e-8:
        return "0"
    mantissa, _, power = f"{value:.{digits - 1}e}".partition("e")  # rounds first: 9.99 is 10
    exponent = int(power)
    if -4 < exponent < 4:
        return f"{value:.{max(digits - 1 - exponent, 0)}f}".replace("-", "−")
    return f"{mantissa}·10".replace("-", "−") + str(exponent).translate(SUPERSCRIPT)


def log_axis(axes: Axes, horizontal: bool = False) -> None:
    """A logarithmic axis, the vertical one or the other, with plain numbers: 0.1, 1, 10; 2 and 5 too on a short one."""
    scale, axis, limits = (
        (axes.set_xscale, axes.xaxis, axes.get_xlim) if horizontal else (axes.set_yscale, axes.yaxis, axes.get_ylim)
    )
    scale("log")
    low, high = limits()
    steps = (1.0, 2.0, 5.0) if high < 60 * low else (1.0,)
    axis.set_major_locator(LogLocator(subs=steps, numticks=8))
    axis.set_major_formatter(FuncFormatter(_log_tick))
    axis.set_minor_formatter(NullFormatter())


def _log_tick(value: float, position: int | None = None) -> str:
    """The number at a tick of a logarithmic axis."""
    return f"{value:g}" if value < 1e4 else number(value).removeprefix("1.0·")


SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def plain(text: str) -> str:
    """A name as it is: a dollar sign in it doesn't begin a formula."""
    return text.replace("$", r"\$")
