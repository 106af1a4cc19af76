"""Whether a minimum widens after it was memorised, and how the weights move: from the records of `grok`.

Sharpness falls along with the loss, for a cross-entropy's Hessian is small where the network is sure of its answers. So
it is taken three ways: as it is; times the squared length of the weights, which no rescaling of all of them changes in
a homogeneous network; and over the training loss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from landscape.figures.diffusion import SHORTEST, diffusion
from landscape.figures.grokking import STEP, milestones

MEASURED = "measured_step"
MOMENTS = ("memorised", "grokked", "end")
WIDTHS: dict[str, str] = {
    "hessian_max": "λmax",
    "sam_sharpness": "SAM sharpness",
    "times_norm": "λmax ‖w‖²",
    "over_loss": "λmax / training loss",
}
"""What is compared between moments, and what it is called."""
RESAMPLES = 4000


def widths(grok: xr.Dataset) -> xr.Dataset:
    """The sharpness of each run at its moments.

    Args:
        grok: Node of a study with `hessian_max` and `sam_sharpness` at one radius.

    Returns:
        Each of `WIDTHS` over `moment`, at the first measured step from there on; NaN where a run has no such moment.
    """
    events = milestones(grok)
    measured = grok[MEASURED]
    at_measured = {"step": measured.values}
    norm, loss = (grok[name].sel(at_measured).rename({STEP: MEASURED}) for name in ("weight_norm", "loss"))
    top, sam = grok["hessian_max"], grok["sam_sharpness"].isel(rho=0, drop=True)
    values = {
        "hessian_max": top,
        "sam_sharpness": sam,
        "times_norm": top * norm**2,
        "over_loss": top / loss.sel(split="train", drop=True),
    }
    steps = {
        "memorised": events["memorised_step"].where(events["memorised"]),
        "grokked": events["grokked_step"].where(events["grokked"]),
        "end": xr.full_like(events["grokked_step"], measured.values[-1]).where(events["memorised"]),
    }
    found: dict[str, xr.DataArray] = {}
    for name, value in values.items():
        along = []
        for step in steps.values():
            place = (measured >= step).argmax(MEASURED)
            along.append(value.isel({MEASURED: place}).drop_vars(MEASURED).where(step.notnull()))
        stacked: xr.DataArray = xr.concat(along, "moment")
        found[name] = stacked.assign_coords(moment=list(MOMENTS))
    return xr.Dataset(found)


def ratios(values: xr.DataArray, level: float = 0.95, seed: int = 0) -> xr.DataArray:
    """How a positive quantity has changed since memorisation.

    Args:
        values: Dimensions `moment` and `seed`, and others.
        level: Of the intervals, by percentiles over resampled seeds.
        seed: Seeds the resampling.

    Returns:
        The geometric mean over seeds of its ratio to that at memorisation, with dimensions `bound` (low, mean, high)
        and `moment` (grokked, end) beside the others.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        logs = xr.apply_ufunc(np.log, values / values.sel(moment="memorised")).sel(moment=list(MOMENTS[1:]))
    found: xr.DataArray = xr.apply_ufunc(
        lambda array: np.exp(interval(array, np.mean, level, seed)),
        logs,
        input_core_dims=[["seed"]],
        output_core_dims=[["bound"]],
        vectorize=True,
    )
    return found.assign_coords(bound=["low", "middle", "high"])


def interval(
    values: np.ndarray, statistic: Callable[..., np.ndarray], level: float = 0.95, seed: int = 0
) -> np.ndarray:
    """A statistic over runs with its bootstrap interval by percentiles, `(runs,)` to low, middle and high.

    Runs that have no value are left out; NaN where none has one, and as bounds where only one has.
    """
    kept = values[np.isfinite(values)]
    if len(kept) < 2:
        return np.array([np.nan, kept.mean() if len(kept) else np.nan, np.nan])
    draws = np.random.default_rng(seed).integers(len(kept), size=(RESAMPLES, len(kept)))
    resampled = statistic(kept[draws], axis=1)
    tail = (1 - level) / 2
    return np.array([np.quantile(resampled, tail), statistic(kept), np.quantile(resampled, 1 - tail)])


def paths(grok: xr.Dataset) -> xr.Dataset:
    """How the displacement of each run grows with the lag, from memorisation to the end of the run.

    Args:
        grok: Node of a study with a `sketch` at equally spaced steps; of one weight decay.

    Returns:
        Over the seeds `exponent` and its jackknife `exponent_stderr`; `displacement` over `lag` (in steps), relative
        to that of the shortest lag; and `cosine`, the mean cosine of successive records' ways in that stretch. NaN
        for a run that has memorised too late.
    """
    events = milestones(grok)
    spacing = int(grok[STEP].values[1] - grok[STEP].values[0])
    rows: list[Mapping[str, Any]] = []
    for seed in grok["seed"].values:
        one, event = grok.sel(seed=seed), events.sel(seed=seed)
        kept = one[STEP] >= event["memorised_step"]
        path = one["sketch"].transpose(STEP, "bucket").values[kept.values]
        if not bool(event["memorised"]) or len(path) < SHORTEST or not np.isfinite(path).all():
            continue
        walk = diffusion(path)
        rows.append(
            {
                "seed": seed,
                "lag": walk.lags * spacing,
                "displacement": walk.displacement / walk.displacement[0],
                "exponent": walk.exponent,
                "exponent_stderr": walk.stderr,
                "cosine": one["update_cosine"].values[kept.values][2:].mean(),
            }
        )
    lags = sorted({int(lag) for row in rows for lag in row["lag"]})
    found = xr.Dataset(coords={"seed": [row["seed"] for row in rows], "lag": lags})
    for name in ("exponent", "exponent_stderr", "cosine"):
        found[name] = ("seed", np.array([float(row[name]) for row in rows]))
    table = np.full((len(rows), len(lags)), np.nan)
    for place, row in enumerate(rows):
        table[place, np.searchsorted(lags, row["lag"])] = row["displacement"]
    found["displacement"] = (("seed", "lag"), table)
    return found
