"""What the figure of `grokking_widths` says in numbers."""

from __future__ import annotations

import numpy as np
import xarray as xr

from landscape.figures.analysis import dataset
from landscape.figures.grokking import EVENTS, milestones
from landscape.figures.grokking_widths import Group, Groups
from landscape.figures.style import look, number
from landscape.figures.widening import WIDTHS, interval, paths, ratios, widths


def widths_caption(tree: xr.DataTree, node: str) -> str:
    """What the figure shows, with the store's own figures."""
    groups = Groups(tree, node)
    between = dataset(tree, f"{node}/between").load().isel(pair=0)
    barrier = {str(c): float(between["barrier"].sel(curve=c, split="train")) for c in between["curve"].values}
    heights = ", ".join(f"{look(c).label} {value:.2g}" for c, value in barrier.items())
    all_groups = list(groups)
    said = [_said(one) for one in all_groups]
    ends = [{key: ratios(values).sel(moment="end") for key, values in widths(one.runs).items()} for one in all_groups]
    lower = sum(bool(one["hessian_max"].sel(bound="high") < 1) for one in ends)
    steeper = sum(bool(one["over_loss"].sel(bound="low") > 1) for one in ends)
    walks = {one.name: float(paths(one.runs)["exponent"].mean()) for one in all_groups}
    nearest = sorted((abs(value - 1), name) for name, value in walks.items() if np.isfinite(value))[:1]
    looked_at = float(dataset(tree, f"{node}/surface").attrs["weight_decay"])
    collapsed = max(float(one.runs["collapsed"].max()) for one in groups.of["transformer"])
    return (
        "Addition modulo a prime by AdamW; medians and ranges over seeds. Top: accuracy, then λmax of the training "
        "loss along the same runs, then λmax over the loss (dotted: median step of generalisation). Then sharpness in "
        "ratio to that at memorisation (geometric mean, 95 % bootstrap over seeds) and mean squared displacement after "
        f"it. Bottom: training loss around the memorising and the generalising point of a transformer (decay "
        f"{looked_at:g}) along one pair of filter-normalised directions, equal axes and levels, and on the way between "
        f"them (barrier in nats: {heights}). In numbers, from memorisation to the end, 95 % intervals. "
        + ". ".join(said)
        + f". The lecture's drift to a wider minimum: λmax ends below its value at memorisation, interval and all, for "
        f"{lower} of these {len(all_groups)} settings, but λmax over the loss ends above it for {steeper}, where the "
        "minimum widens no more than the loss falls. Its random walk would have exponent 1 and cosine 0; "
        + "".join(f"nearest to it comes the {name} with {walks[name]:.2f}. " for _, name in nearest)
        + f"In float32 up to {100 * collapsed:.0f} % of a transformer's training losses have rounded to 0 (softmax "
        f"collapse). Power et al. trained a two-layer transformer on division mod 97 from half of the table, which "
        f"memorised before 10³ steps and generalised after 10⁵. {_plateau(groups)} Their network and operation "
        "were not reproduced here."
    )


def _said(one: Group) -> str:
    """One group in numbers."""
    events, found, walk = milestones(one.runs), widths(one.runs), paths(one.runs)
    text = {key: _factor(ratios(found[key]).sel(moment="end").values) for key in WIDTHS}
    exponents = walk["exponent"].values
    spread = _factor(interval(exponents, np.mean)) if len(exponents) else "not fitted"
    cosine = float(walk["cosine"].mean())
    turns = f"{cosine:.2f}" if np.isfinite(cosine) else "not to be had of so few records"
    steps = " and ".join(_step(events, event) for event in EVENTS)
    return (
        f"{one.name} ({int(events['grokked'].sum())} of {one.runs.sizes['seed']} seeds grokked; median steps of "
        f"memorisation and generalisation {steps}): λmax × {text['hessian_max']}, SAM sharpness × "
        f"{text['sam_sharpness']}, λmax ‖w‖² × {text['times_norm']}, λmax over the loss × {text['over_loss']}; "
        f"exponent {spread}, mean cosine of successive ways {turns}"
    )


def _step(events: xr.Dataset, event: str) -> str:
    """The median step of an event, where most runs have reached it."""
    steps = np.where(events[event], events[f"{event}_step"], np.inf)
    middle = float(np.median(steps))
    return f"{middle:.0f}" if np.isfinite(middle) else "beyond the budget"


def _plateau(groups: Groups) -> str:
    """How long the longest plateau of each network lasts."""
    slowest = max(groups.of["transformer"], key=lambda one: -one.decay)
    return (
        "Here the plateau lasts "
        + ", and ".join(
            f"with the {one.name} from step {_step(events, 'memorised')} to {_step(events, 'grokked')} "
            f"({int(events['grokked'].sum())} of {one.runs.sizes['seed']} seeds)"
            for one in (slowest, groups.slow)
            for events in (milestones(one.runs),)
        )
        + "."
    )


def _factor(bounds: np.ndarray) -> str:
    """A mean with its interval, where there are runs enough for one."""
    low, middle, high = bounds
    if not np.isfinite(middle):
        return "unknown, for no run grokked"
    return f"{number(middle)} ({number(low)} to {number(high)})" if np.isfinite(low) else f"{number(middle)} (one run)"
