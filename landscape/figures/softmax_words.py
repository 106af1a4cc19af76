"""What the figure of `softmax_regression` shows, in words."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr
from scipy.stats import t

from landscape.figures.analysis import dataset
from landscape.figures.methods import method_look
from landscape.figures.softmax_regression import geometric
from landscape.figures.style import number

NAMED = 4
"""How many of the best methods are named."""
NAMED_AT_EDGE = 6
"""Up to so many methods at an edge of their grids are named, more are only counted."""


def softmax_caption(tree: xr.DataTree, node: str) -> str:
    """The problem, who wins with each schedule and by how much, and the lecture's setting, with the store's figures."""
    tune, best, untuned, optimum = (dataset(tree, f"{node}/{n}").load() for n in ("tune", "best", "untuned", "optimum"))
    about = optimum.attrs
    last, passes = best.isel({"pass": -1}), float(best["pass"].values[-1])
    rankings = " ".join(_ranking(last, str(kind)) for kind in best["schedule"].values)
    tuned = best.sel({"method": untuned["method"].values})
    loss, gap, slope, error = (float(optimum[name][0]) for name in ("loss", "gap", "gradient_norm", "test_error"))
    return (
        f"Softmax regression on {about['samples']} samples of {optimum['data'].values[0]} with an L2 term (μ = "
        f"{about['mu']:g}). Weights and biases are one {about['classes']} × {about['inputs']} matrix, on which Muon "
        f"and every norm acts: nothing is left to AdamW. f* = {loss:.6f} nats, known to {gap:.0e} by strong convexity "
        f"(‖∇f‖ = {slope:.0e}). {best.sizes['method']} methods, each with {tune.sizes['rate']} learning rates in half "
        f"decades: that with the lowest mean f − f* at the end on {tune.sizes['tuning_seed']} seeds is shown on "
        f"{best.sizes['seed']} others, with the same starts and the same batches of {about['batch_size']} for all. "
        f"{_edges(best)} Only the learning rate is tuned; all else is at its default{_settings(tune)}; AdamW's own "
        f"decay comes on top of the L2 term. All runs take {passes:g} passes of gradients: GD and L-BFGS of the full "
        "batch, L-BFGS with every evaluation of its line search, whose first trial the rate is; SAM and ASAM two for "
        "each step, so half the steps. steepest-NORM is x + α LMO(g), scaled-NORM x + α ‖g‖∗ LMO(g); for one matrix "
        "Frobenius is ℓ2. Top: geometric mean and range over seeds. Middle: mean over the seeds of the tuning, the "
        f"chosen rate marked. Right, and here in brackets: 95 % intervals of geometric means. {rankings} The lecture's "
        f"setting, not tuned, test accuracy: {_accuracies(untuned)}. Tuned: {_accuracies(tuned)}. At the minimum of f: "
        f"{1 - error:.1%}."
    )


def _settings(tune: xr.Dataset) -> str:
    """Hyperparameters that aren't default ones, but for the norms, which are in the methods' names."""
    found = {
        method_look(str(name)).label: json.loads(str(text))
        for name, text in zip(tune["method"].values, tune["hyperparameters"].values, strict=True)
    }
    texts = [
        f"{name} {' '.join(f'{key}={value}' for key, value in settings.items())}"
        for name, settings in found.items()
        if settings and "norm" not in settings
    ]
    return f" but for {', '.join(texts)}" if texts else ""


def _edges(best: xr.Dataset) -> str:
    """Which methods have their best learning rate at an edge of the grid."""
    at_edge = [
        f"{method_look(str(name)).label} ({kind})"
        for name in best["method"].values
        for kind in best["schedule"].values
        if bool(best["at_edge"].sel({"method": name, "schedule": kind}))
    ]
    if not at_edge:
        return "No chosen rate is at an edge of its grid."
    if len(at_edge) > NAMED_AT_EDGE:
        return f"{len(at_edge)} of {best['at_edge'].size} chosen rates are at an edge of their grids."
    return f"At an edge of their grids, so not tuned to the end: {', '.join(at_edge)}."


def _ranking(last: xr.Dataset, schedule: str) -> str:
    """The best methods with one schedule, and how Muon compares with AdamW and with the best of the others."""
    ends = last["excess"].sel(schedule=schedule)
    found = {str(name): geometric(ends.sel({"method": name}).values) for name in ends["method"].values}
    order = sorted(found, key=lambda name: float(np.nan_to_num(found[name][0], nan=np.inf)))
    first = ", ".join(f"{method_look(name).label} {_interval(found[name])}" for name in order[:NAMED])
    other = next(name for name in order if name != "muon")
    ratios = [
        f"{_interval(geometric((ends.sel({'method': 'muon'}) / ends.sel({'method': name})).values))} times "
        f"{method_look(name).label}'s"
        for name in dict.fromkeys(("adamw", other))
    ]
    muon = order.index("muon") + 1
    return (
        f"With {'a' if schedule[0] not in 'aeiou' else 'an'} {schedule} learning rate the lowest are {first}; Muon is "
        f"number {muon} of {len(order)}, its f − f* {' and '.join(ratios)}."
    )


def _interval(parts: tuple[np.ndarray, np.ndarray, np.ndarray]) -> str:
    """A mean with its interval."""
    middle, low, high = (number(float(part), 2) for part in parts)
    return f"{middle} [{low}, {high}]"


def _accuracies(runs: xr.Dataset) -> str:
    """Test accuracy at the end of each method and schedule, mean with its 95 % interval."""
    parts = []
    for name in runs["method"].values:
        for kind in runs["schedule"].values:
            one = runs.sel({"method": name, "schedule": kind})
            right, label = 1 - one["test_error"].isel({"pass": -1}).values, method_look(str(name)).label
            half = float(t.ppf(0.975, right.size - 1) * right.std(ddof=1) / np.sqrt(right.size))
            parts.append(f"{label} (α = {float(one['learning_rate']):g}, {kind}) {right.mean():.1%} ± {half:.1%}")
    return ", ".join(parts)
