"""Progress measures of both networks that grok, side by side, and what they amount to."""

from __future__ import annotations

import numpy as np
import xarray as xr

from landscape.figures.analysis import dataset
from landscape.figures.grok_panels import AGREE, LLC, MEASURED
from landscape.figures.grok_progress import draw_runs
from landscape.figures.grokking import EVENTS, milestones
from landscape.figures.style import StyledFigure, in_style, number
from landscape.figures.widening import interval

NETWORKS = {"quadratic": "quadratic network", "transformer": "one-layer transformer"}


@in_style
def inside_figure(tree: xr.DataTree, node: str) -> StyledFigure:
    """The first run of each network.

    Args:
        tree: The experiment's store.
        node: Its node, with `quadratic` and `transformer` below it.
    """
    return draw_runs({title: _runs(tree, node, name).isel(seed=0) for name, title in NETWORKS.items()})


def inside_caption(tree: xr.DataTree, node: str) -> str:
    """What the figure shows, with the store's own figures."""
    said = [_said(title, _runs(tree, node, name)) for name, title in NETWORKS.items()]
    return (
        "Addition modulo a prime by AdamW, the first seed of each network. Top: share of each frequency in the "
        "embedding's power. Then losses; restricted: the test loss of the logits' key frequencies alone; excluded: the "
        "training loss without them (Nanda et al.; key frequencies: the fewest with 90 % of the embedding's power at "
        "that step). Then the local learning coefficient with 95 % of its error over chains, and the path of the "
        f"weights in its two principal axes. In numbers. {' '.join(said)} Nanda et al. (arXiv 2301.05217: mod 113, 30 "
        "% of the table, full batch) saw memorisation up to epoch 1,400, the circuit formed up to 9,400, and the rest "
        "cleaned up to 14,000, with 5 key frequencies: their order — the restricted loss falls and the excluded one "
        "rises before the test loss falls — can be compared with the steps above; their lengths can't, for another "
        "modulus, fraction and batch."
    )


def _runs(tree: xr.DataTree, node: str, name: str) -> xr.Dataset:
    """The runs of a network."""
    return dataset(tree, f"{node}/{name}").load()


def halved(values: xr.DataArray, fall: bool = True) -> np.ndarray:
    """When a loss has come half its way from the first record, on a log scale.

    Args:
        values: Positive, with dimensions `seed` and `step`.
        fall: Whether its way leads to its lowest value rather than to its highest.

    Returns:
        For each seed the first step at which it is beyond the middle, shape `(S,)`; NaN where it goes nowhere.
    """
    found = []
    for one in np.log(values.transpose("seed", "step").values):
        kept = np.isfinite(one)
        table, steps = (one if fall else -one)[kept], values["step"].values[kept]
        if not len(table) or not table.min() < table[0]:
            found.append(np.nan)
            continue
        found.append(float(steps[np.argmax(table <= (table[0] + table.min()) / 2)]))
    return np.array(found)


def _said(title: str, runs: xr.Dataset) -> str:
    """One network in numbers, over its seeds."""
    events = milestones(runs)
    last = runs.isel(step=-1)
    middle = {
        "restricted loss": halved(runs["restricted_loss"]),
        "excluded loss": halved(runs["excluded_loss"], fall=False),
        "test loss": halved(runs["loss"].sel(split="test")),
    }
    steps = " and ".join(f"{float(events[f'{event}_step'].median()):.0f}" for event in EVENTS)
    coefficient, agree = runs[LLC], runs[f"{LLC}_r_hat"] < AGREE
    moments = []
    for event in EVENTS:
        kept = events["memorised"] & events["grokked"]
        place = (runs[MEASURED] >= events[f"{event}_step"]).argmax(MEASURED)
        moments.append(coefficient.isel({MEASURED: place}).where(kept).values)
    before, after = (_with(interval(values, np.mean)) for values in moments)
    return (
        f"{title[:1].upper()}{title[1:]}, decay {float(runs.attrs['weight_decay']):g} "
        f"({int(events['grokked'].sum())} of {runs.sizes['seed']} seeds grokked; median steps of "
        f"memorisation and generalisation {steps}): halfway (log scale) to their end are "
        + ", ".join(f"the {name} {_median(values)}" for name, values in middle.items())
        + f"; at the end {float(last['key_frequencies'].median()):.0f} key frequencies, the five strongest with "
        f"{100 * float(last['strongest_share'].median()):.0f} % of the power; restricted loss "
        f"{number(float(last['restricted_loss'].median()))} beside a test loss of "
        f"{number(float(last['loss'].sel(split='test').median()))}, excluded loss "
        f"{number(float(last['excluded_loss'].median()))}; learning coefficient {before} when memorised, {after} when "
        f"grokked (chains agree in {100 * float(agree.where(coefficient.notnull()).mean()):.0f} % of all)."
    )


def _median(values: np.ndarray) -> str:
    """The median step of the seeds that have one."""
    kept = values[np.isfinite(values)]
    return f"at step {np.median(kept):.0f}" if len(kept) else "never"


def _with(bounds: np.ndarray) -> str:
    """A mean with its 95 % interval over seeds, if there are several."""
    low, middle, high = bounds
    if not np.isfinite(middle):
        return "unknown"
    return f"{number(middle)} ({number(low)} to {number(high)})" if np.isfinite(low) else number(middle)
