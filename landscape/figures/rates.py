"""Steps to epsilon beside the theory's rates: three classes of functions, with full and with stochastic gradients."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from landscape.figures.analysis import dataset
from landscape.figures.methods import DOTTED, METHODS, MethodLook, method_look
from landscape.figures.style import INK, PAGE, StyledFigure, in_style, log_axis, new_figure

COLUMNS = (("quadratic",), ("chain", "flat"), ("wells",))
"""The functions of each column."""
TITLES = {
    "quadratic": "PL: quadratics",
    "chain": "convex: Nesterov's worst functions",
    "wells": "not convex: saturating wells",
}
SETTINGS = {"full": "full gradient", "noisy": "stochastic gradient"}
PRECONDITIONED = replace(METHODS["lbfgs"], label="quasi-Newton")
CONSTANTS = {"gd": (0.5, 1.0, "½κ"), "momentum": (0.25, 0.5, "¼√κ"), "nesterov": (0.5, 0.5, "½√κ")}
"""Of the theory's steps per e-fold on quadratics: factor, power of the condition number, and both in words."""
HALF = 0.005
"""Half a unit of the last decimal that a table shows."""
TABLE = (0.0, 0.12, 0.395, 0.635)
"""Where the columns of a table begin, in parts of its width."""


@in_style
def rates_figure(tree: xr.DataTree, node: str) -> StyledFigure:
    """Steps against 1/epsilon by class (columns) and kind of gradient (rows), each with its table of rates.

    Args:
        tree: A store of the experiment `rates`.
        node: Where it is in the store.

    Returns:
        The figure, as wide as a page.
    """
    figure = new_figure(PAGE, 7.0)
    rows = figure.add_gridspec(4, 1, height_ratios=(1.0, 0.42, 1.0, 0.42))
    grid = [figure.add_subfigure(rows[row]).subplots(1, 3) for row in range(4)]
    for row, setting in enumerate(SETTINGS):
        for column, problems in enumerate(COLUMNS):
            axes, table = grid[2 * row][column], grid[2 * row + 1][column]
            found = {problem: dataset(tree, f"{node}/{setting}/{problem}").load() for problem in problems}
            first = found[problems[0]]
            if first.attrs["measure"] == "ratio":
                linear_axes(axes, first)
            else:
                power_axes(axes, found)
            axes.set_title(f"{TITLES[problems[0]]}\n{SETTINGS[setting]}")
            table_axes(table, found)
    return figure


def linear_axes(axes: Axes, data: xr.Dataset) -> None:
    """Steps in units of kappa (or of its root) against 1/epsilon: straight lines where the rate is linear.

    Args:
        axes: Where to draw.
        data: A node `full/quadratic`.
    """
    inverse, kappa = 1 / data["epsilon"].values, data["condition"].values[:, None]
    for name, one in _methods(data):
        factor, power, _ = CONSTANTS.get(name, (np.nan, 0.5, ""))
        look = _look(name)
        steps = one["steps_to_epsilon"].values / kappa**power
        middle = steps.mean(0)
        axes.fill_between(inverse, steps.min(0), steps.max(0), color=look.color, alpha=0.18, lw=0)
        axes.plot(inverse, middle, color=look.color, ls=look.line, lw=0.9, marker=look.marker, ms=2.8, mfc="white")
        axes.plot(inverse, middle[0] + factor * np.log(inverse / inverse[0]), color=look.color, ls=DOTTED, lw=0.8)
    axes.set_xscale("log")
    axes.set(xlabel="1/ε,  f − f* ≤ ε", ylabel="steps / κ (GD), / √κ (others)", ylim=(0, None))
    _finish(axes)


def power_axes(axes: Axes, found: dict[str, xr.Dataset]) -> None:
    """Steps against 1/epsilon, both logarithmic, with the theory's slope for the plain method.

    Args:
        axes: Where to draw.
        found: Nodes of one kind of gradient by function; all but the first are drawn open and thin.
    """
    for place, data in enumerate(found.values()):
        inverse = 1 / data["epsilon"].values
        shift = 1.0 if place == 0 else _shift(next(iter(found.values())), data)
        for name, one in _methods(data):
            look, steps = _look(name), one["steps_to_epsilon"].values
            middle = _geometric(steps)
            line, marker = ("-", "v") if place else (look.line, look.marker)
            axes.fill_between(inverse * shift, steps.min(0), steps.max(0), color=look.color, alpha=0.14, lw=0)
            axes.plot(inverse * shift, middle, color=look.color, ls=line, lw=0.9, marker=marker, ms=2.8, mfc="white")
        for power in np.unique(data["theory"].values):
            plain = next(name for name, one in _methods(data) if float(one["theory"]) == power)
            middle = _geometric(data["steps_to_epsilon"].sel({"method": plain}).values)
            last = np.flatnonzero(np.isfinite(middle))[-1]
            slope = middle[last] * (inverse / inverse[last]) ** power
            axes.plot(inverse * shift, slope, color=INK, ls=DOTTED, lw=0.9, zorder=3)
    axes.set(xscale="log", yscale="log")
    first = next(iter(found.values()))
    criterion = first["curve"].attrs["long_name"].replace(" ", " ")
    axes.set(xlabel=f"1/ε,  {criterion} ≤ ε", ylabel="steps")
    log_axis(axes)
    axes.yaxis.set_minor_locator(NullLocator())
    _finish(axes)


def table_axes(axes: Axes, found: dict[str, xr.Dataset]) -> None:
    """The theory's rates beside the measured ones; its marks are the legend.

    Args:
        axes: Where to write.
        found: Nodes of one kind of gradient by function.
    """
    rows = [(problem, name, one) for problem, data in found.items() for name, one in _methods(data)]
    axes.axis("off")
    axes.set(xlim=(0, 1), ylim=(5.6, -0.7))
    ratio = next(iter(found.values())).attrs["measure"] == "ratio"
    heads = ("", "method", "theory", "rate / theory's" if ratio else "power of 1/ε")
    for x, head in zip(TABLE, heads, strict=True):
        axes.text(x, 0, head, fontsize=6.0, va="center", color="0.35")
    axes.plot([0, 1], [0.5, 0.5], color="0.6", lw=0.5)
    for place, (problem, name, one) in enumerate(rows, start=1):
        look = _look(name)
        flat = problem == "flat"
        line, marker = ("-", "v") if flat else (look.line, look.marker)
        axes.plot([0.0, 0.05, 0.1], [place] * 3, color=look.color, ls=line, lw=0.9)
        axes.plot([0.05], [place], color=look.color, marker=marker, ms=2.8, mfc="white")
        axes.text(TABLE[1], place, look.label + (", flat" if flat else ""), fontsize=6.0, va="center")
        axes.text(TABLE[2], place, theory_words(one, name, ratio), fontsize=6.0, va="center")
        axes.text(TABLE[3], place, measured_words(one), fontsize=6.0, va="center")


def theory_words(one: xr.Dataset, name: str, ratio: bool) -> str:
    """The theory's number of steps, up to constants (on quadratics with the full gradient, with them)."""
    if ratio:
        return f"{CONSTANTS.get(name, (0, 0, '≤ ½κ'))[2]} ln 1/ε"
    power = float(one["theory"])
    return {0.5: "1/√ε", 1.0: "1/ε", 2.0: "1/ε²"}.get(power, f"1/ε$^{{{power:.2f}}}$")


def measured_words(one: xr.Dataset) -> str:
    """The measured rate, its interval, and whether the theory's is inside (=), above (<) or below (>)."""
    value, low, high = (float(one[f"measured{end}"]) for end in ("", "_low", "_high"))
    return f"{sign(one)} {value:.2f} [{low:.2f}, {high:.2f}]"


def sign(one: xr.Dataset) -> str:
    """How the measured interval lies to the theory's rate, to the decimals that are shown."""
    low, high, theory = (float(one[name]) for name in ("measured_low", "measured_high", "theory"))
    if low - HALF <= theory <= high + HALF:
        return "="
    return "<" if high < theory else ">"


def rates_caption(tree: xr.DataTree, node: str) -> str:
    """What the figure shows, with the store's own figures."""
    lists: dict[str, list[str]] = {"=": [], "<": [], ">": []}
    furthest = 0.0
    for setting, words in SETTINGS.items():
        for problem in (p for column in COLUMNS for p in column):
            data = dataset(tree, f"{node}/{setting}/{problem}").load()
            for name, one in _methods(data):
                label = f"{_look(name).label} ({problem}, {words.split()[0]})"
                value, theory = float(one["measured"]), float(one["theory"])
                lists[sign(one)].append(f"{label} {value:.3g} for {theory:.3g}")
                if setting == "noisy":
                    furthest = max(furthest, abs(value / theory - 1))
    full, noisy = (dataset(tree, f"{node}/{setting}/quadratic").load() for setting in SETTINGS)
    counts = {mark: len(found) for mark, found in lists.items()}
    kappa = ", ".join(
        f"{_look(name).label} κ^{float(one['kappa_power']):.2f} "
        f"[{float(one['kappa_power_low']):.2f}, {float(one['kappa_power_high']):.2f}]"
        for name, one in _methods(full)
    )
    return (
        f"Steps to ε against 1/ε: mean over {full.sizes['instance']} random instances of each function (band: all of "
        "them), for stochastic gradients of the mean over seeds "
        f"({noisy.sizes['seed']} on the quadratics, fewer on the larger functions); dotted: the theory's rate. Tables: "
        "fitted rate with its 95 % bootstrap interval over instances and seeds; '=': theory inside it to the decimals "
        "shown, '<': below theory's, '>': above. L-BFGS counts gradients; 'quasi-Newton' is SGD preconditioned by the "
        "exact damped curvature. 'flat' is the flat-bottomed Σ|x|ᵖ, whose own power is 1 − 2/p of the bound's, moved "
        f"along the axis to stand beside the others. Of {sum(counts.values())} rates {counts['=']} agree. Below the "
        f"bound: {_listed(lists['<'])}. Above: {_listed(lists['>'])}. The bounds are worst cases: L-BFGS has no better "
        "one than GD's, nor has Nesterov's method where the function isn't convex, yet both gain on these instances; "
        "no method that sees gradients alone can go below 1/√ε on Nesterov's functions. The small gaps are those of a "
        "finite range: rates hold in the limit, the ladders of scales end, and on the quadratics the slowest mode of "
        f"momentum and Nesterov decays as kρᵏ. There steps per e-fold grow as {kappa}; L-BFGS is followed to f − f* = "
        "10⁻⁸, near which its line search ends. With stochastic gradients every method has the theory's power within "
        f"{furthest:.1%}: momentum and preconditioning change the constant only (for better or worse: the steps "
        "are the theory's and not tuned)."
    )


def _listed(found: list[str]) -> str:
    """Entries in a row, or none."""
    return "; ".join(found) or "none"


def _methods(data: xr.Dataset) -> Iterator[tuple[str, xr.Dataset]]:
    """Each method of a node with its data."""
    for name in data["method"].values:
        yield str(name), data.sel({"method": name})


def _look(name: str) -> MethodLook:
    """The look of a method; preconditioned SGD is the quasi-Newton method of the stochastic row."""
    return PRECONDITIONED if name == "preconditioned" else method_look(name)


def _geometric(steps: np.ndarray) -> np.ndarray:
    """Geometric mean over instances, shape `(epsilon,)`; NaN where one instance didn't get there."""
    mean: np.ndarray = np.exp(np.log(np.maximum(steps, 1)).mean(0))
    return mean


def _shift(first: xr.Dataset, other: xr.Dataset) -> float:
    """Factor on 1/epsilon that lets the other's largest epsilon stand at the first's."""
    return float(other["epsilon"].max() / first["epsilon"].max())


def _finish(axes: Axes) -> None:
    """No frame at the top and the right, and few ticks on the logarithmic axis below."""
    low, high = axes.get_xlim()
    if high < 60 * low:
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    else:
        axes.xaxis.set_major_locator(LogLocator(numticks=6))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.spines[["top", "right"]].set_visible(False)
