"""When runs memorise and when they generalise: from the records of `grok` to steps, delays and their intervals.

A step is reached or it isn't, and "not within the budget" is no number. So each time comes as in survival analysis as a
pair: a step, and whether the event happened there; where it didn't, the step is the last one at which that was seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from landscape.errors import RequestError, unknown
from landscape.figures.tables import setting

STEP = "step"
EVENTS = {"memorised": ("train", "memorised"), "grokked": ("test", "threshold")}
"""Split whose accuracy counts, and the attribute that holds how much is enough."""
TIMES = {"memorised_step": "memorised", "grokked_step": "grokked", "delay": "delayed"}
"""Each time and what tells whether it was reached."""
BOUNDS = ("low", "median", "high")


def swept_dims(grok: xr.Dataset) -> list[str]:
    """The dimensions of the sweep, without the seeds."""
    return [str(dim) for dim in grok["accuracy"].dims if dim not in ("seed", "split", STEP)]


def chosen(grok: xr.Dataset, at: Mapping[str, Any]) -> xr.Dataset:
    """Some of the runs.

    Args:
        grok: Node `grok` of a store.
        at: The value of a swept setting or of `seed`, as a number or text, by name.

    Returns:
        The same with one label along each of these dimensions.

    Raises:
        RequestError: If a setting was not swept, or has no such value.
    """
    for name, value in at.items():
        if name not in ("seed", *swept_dims(grok)):
            raise unknown("setting of the sweep", name, ["seed", *swept_dims(grok)])
        labels = [setting(label) for label in grok[name].values]
        try:
            wanted = setting(float(value))
        except ValueError:
            wanted = str(value)
        if wanted not in labels:
            raise RequestError(f"no run has {name} {value}: choose {', '.join(labels)}")
        grok = grok.isel({name: [labels.index(wanted)]})
    return grok


def milestones(grok: xr.Dataset) -> xr.Dataset:
    """The events of each run.

    Args:
        grok: Node `grok` of a store.

    Returns:
        Over the seeds and the swept settings: `memorised` and `grokked`, whether the accuracy reached its threshold;
        `memorised_step` and `grokked_step`, the first record at which it did (else the last there is); `delayed` and
        `delay`, the steps between the two where both happened (else those that are known to have passed since the
        first); `final_accuracy(split)` at the last record, which may be lower; `lowest_after`, the lowest test accuracy
        from the first crossing on; `last_step`; `collapsed`, the largest share of training samples whose loss was
        exactly zero; and `diverged`.
    """
    accuracy = grok["accuracy"]
    steps = grok[STEP]
    recorded = accuracy.notnull().all("split")
    last = steps.where(recorded, -1).max(STEP)
    found = xr.Dataset({"last_step": last})
    for event, (split, attribute) in EVENTS.items():
        enough = accuracy.sel(split=split, drop=True) >= float(grok.attrs[attribute])
        found[event] = enough.any(STEP)
        found[f"{event}_step"] = steps[enough.argmax(STEP)].drop_vars(STEP).where(found[event], last)
    found["delayed"] = found["grokked"] & found["memorised"]
    found["delay"] = found["grokked_step"] - found["memorised_step"]
    place = recorded.cumsum(STEP).argmax(STEP)
    found["final_accuracy"] = accuracy.isel({STEP: place}).drop_vars(STEP)
    test = accuracy.sel(split="test", drop=True)
    found["lowest_after"] = test.where(steps >= found["grokked_step"]).min(STEP)
    found["collapsed"] = grok["collapsed"].max(STEP)
    found["diverged"] = (grok["status"] == 2).any(STEP)
    return found


def over_seeds(events: xr.Dataset, *, level: float = 0.95, resamples: int = 2000, seed: int = 0) -> xr.Dataset:
    """Medians over seeds with bootstrap intervals.

    A run that didn't reach an event counts as later than all that did; a median or bound that falls on such a run is
    not reached itself.

    Args:
        events: What `milestones` returned.
        level: Coverage of the intervals, by percentiles over resampled seeds.
        resamples: Number of bootstrap samples.
        seed: Seeds the resampling.

    Returns:
        Over the swept settings: `memorised_step`, `grokked_step` and `delay`, each with a dimension `bound` (`low`,
        `median`, `high`) and beside it `<name>_reached`, without which it is the last step of the runs; the number of
        `runs` that are stored, and how many of them `memorised`, `grokked` and `diverged`; the median of
        `final_accuracy`; and the largest share `collapsed`.
    """
    dims = [str(dim) for dim in events["grokked"].dims if dim != "seed"]
    shape = tuple(events.sizes[dim] for dim in dims)
    values = {name: np.zeros((*shape, len(BOUNDS))) for name in TIMES}
    reached = {name: np.zeros((*shape, len(BOUNDS)), bool) for name in TIMES}
    for place in np.ndindex(*shape):
        runs = events.isel(dict(zip(dims, place, strict=True)))
        runs = runs.isel(seed=np.flatnonzero(runs["last_step"] >= 0))
        if not runs.sizes["seed"]:
            continue
        draws = np.random.default_rng(seed).integers(runs.sizes["seed"], size=(resamples, runs.sizes["seed"]))
        for name, event in TIMES.items():
            times = np.where(runs[event], runs[name], np.inf)  # later than all that were seen
            bounds = _interval(times, draws, level)
            reached[name][place] = np.isfinite(bounds)
            values[name][place] = np.where(np.isfinite(bounds), bounds, float(runs[name].max()))
    found = xr.Dataset(coords={"bound": list(BOUNDS), **{dim: events[dim] for dim in dims}})
    for name in TIMES:
        found[name], found[f"{name}_reached"] = ([*dims, "bound"], values[name]), ([*dims, "bound"], reached[name])
    done = events["last_step"] >= 0
    found["runs"] = done.sum("seed")
    for name in ("memorised", "grokked", "diverged"):
        found[name] = events[name].sum("seed")
    found["final_accuracy"] = events["final_accuracy"].median("seed")
    found["collapsed"] = events["collapsed"].max("seed")
    return found


def best_place(grok: xr.Dataset, dim: str) -> int:
    """The place along a swept setting at which most seeds grok, of those the one at which they do so first.

    Args:
        grok: Runs over `seed` and that setting alone.
        dim: The setting's dimension.

    Returns:
        Its place; where no seed groks, that of the best final test accuracy.
    """
    events = over_seeds(milestones(grok))
    median = events.sel(bound="median")
    steps = np.where(median["grokked_step_reached"], median["grokked_step"], np.inf)
    accuracy = events["final_accuracy"].sel(split="test").values
    keys = list(zip(-events["grokked"].values, steps, -accuracy, strict=True))
    return min(range(events.sizes[dim]), key=keys.__getitem__)


def _interval(times: np.ndarray, draws: np.ndarray, level: float) -> np.ndarray:
    """Lower bound, median and upper bound; infinite where they fall on what was not reached."""
    medians = np.median(times[draws], axis=1)
    tail = (1 - level) / 2
    low = np.quantile(medians, tail, method="lower")  # no mean of a number and infinity
    high = np.quantile(medians, 1 - tail, method="higher")
    return np.array([low, np.median(times), high])
