"""The speedrun's figure in words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from landscape.figures.analysis import dataset
from landscape.figures.methods import method_look
from landscape.figures.speedrun import REACHED, last_losses, ranking

PUBLISHED = {
    "Adam": "5,625",
    "Shampoo": "4,100",
    "Muon": "3,600 and later 3,250",
    "momentum-free spectral descent": "8,225",
}
"""Steps of a GPT of 124M parameters to a validation loss of 3.28 on FineWeb, the batch fixed, as the NanoGPT speedrun
has published them (https://github.com/KellerJordan/modded-nanogpt)."""
SOURCES = {
    "kjv": "characters of the King James Bible",
    "stdlib": "characters of Python's source files",
    "tokens": "the tokens of shards",
}


def speedrun_caption(tree: xr.DataTree, node: str) -> str:
    """What the figure shows, with the store's own figures.

    Args:
        tree: A store of the experiment `speedrun`.
        node: Where it is in the store.
    """
    race = dataset(tree, f"{node}/race").load()
    race = race.isel(optimizer=ranking(race))
    tuning = dataset(tree, f"{node}/tuning").load() if f"/{node}/tuning" in tree.groups else None
    recipe = json.loads(tree.attrs["recipe"])["experiment"]
    sentences = [
        _setting(race, recipe),
        _tuning(tuning, recipe),
        _methods(race, recipe),
        _target(race) if "outcome" in race else _pace(race),
        _published(race) if "outcome" in race else "",
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def _setting(race: xr.Dataset, recipe: dict[str, Any]) -> str:
    """Network, text, and what is equal for all."""
    about, steps = race.attrs, int(race["step"][-1])
    seeds = race.sizes["seed"]
    cpu = about["device_name"] == "cpu"
    clock = "the process time of one thread" if cpu else f"by the clock on {about['device_name']}"
    text = SOURCES.get(about["data"], about["data"])
    runs = f"median of {seeds} seeds, which are thin lines for the methods in colour" if seeds > 1 else "one seed"
    return (
        f"Validation loss of {about['model']} with {about['parameters']:,} parameters on {text} ({about['symbols']} "
        f"symbols; measured on {about['validation_tokens']:,} of them) for {steps} steps of {about['batch_tokens']:,} "
        f"symbols, {recipe['precision']}, schedule '{recipe['schedule']}' without warm-up for all; {runs}. Seconds are "
        f"{clock}, without evaluation: batches times the median time of one."
    )


def _tuning(tuning: xr.Dataset | None, recipe: dict[str, Any]) -> str:
    """How the learning rates were chosen, and where the grid was too narrow."""
    if tuning is None:
        return "Learning rates were fixed beforehand, not tuned."
    losses = np.where(np.isfinite(tuning["loss"]), tuning["loss"], np.inf)
    best = losses.argmin(axis=1)
    edge = [
        str(name) for name, k in zip(tuning["optimizer"].values, best, strict=True) if k in (0, losses.shape[1] - 1)
    ]
    edges = f"; it is at the edge of the grid for {_names(edge)}" if edge else "; it is never at the edge of the grid"
    return (
        f"The learning rate of each is the best of {losses.shape[1]} by one run of full length from another seed "
        f"({recipe['tuning_seed']}), lower right{edges}."
    )


def _methods(race: xr.Dataset, recipe: dict[str, Any]) -> str:
    """What differs from the defaults, and what the full batch is."""
    parts = []
    for method in recipe["methods"]:
        settings = {**method["hyperparameters"], **{name: f"{ratio:g} lr" for name, ratio in method["tied"].items()}}
        if settings:
            words = ", ".join(f"{name} {_plain(value)}" for name, value in settings.items())
            parts.append(f"{method_look(method['label'] or method['optimizer']).label} ({words})")
    found = f"Not the defaults: {'; '.join(parts)}." if parts else "All else are the defaults."
    full = [str(name) for name in race["optimizer"].values[race["full_batch"].values]]
    if not full:
        return found
    share = race.attrs["full_batches"] * race.attrs["batch_tokens"] / race.attrs["training_tokens"]
    steps = int(race["step"][-1]) // race.attrs["full_batches"]
    return (
        f"{found} The whole text as a batch would be more than a run sees; the 'full batch' of {_names(full)} are "
        f"{race.attrs['full_batches']} batches' windows ({share:.1%} of the training text), drawn once for each seed, "
        f"and they take {steps} steps, so that all see equally many symbols. Line searches "
        "and SAM's second gradients show in the seconds only."
    )


def _target(race: xr.Dataset) -> str:
    """Who reached the target, after how many steps and seconds, and who didn't."""
    reached = (race["outcome"] == REACHED).all("seed").values
    some = (race["outcome"] == REACHED).any("seed").values & ~reached
    words = []
    for name in race["optimizer"].values[reached]:
        one = race.sel(optimizer=name)
        low, high = float(one["steps_to_target"].min()), float(one["steps_to_target"].max())
        seconds = float(one["seconds_to_target"].mean())
        words.append(
            f"{_names([str(name)])} {float(one['steps_to_target'].mean()):.0f} ({low:.0f}–{high:.0f}; {seconds:.1f} s)"
        )
    found = (
        f"Mean steps to {race.attrs['target']:g} nats (range over seeds; mean seconds): {', '.join(words) or 'none'}."
    )
    if some.any():
        counts = (race["outcome"] == REACHED).sum("seed").values
        parts = [f"{_names([str(race['optimizer'].values[k])])} {counts[k]}" for k in np.flatnonzero(some)]
        found += f" By some seeds only (of {race.sizes['seed']}): {', '.join(parts)}."
    missed = race["optimizer"].values[~reached & ~some]
    if len(missed):
        last = last_losses(race)
        parts = [f"{_names([str(name)])} {_loss(float(last.sel(optimizer=name)))}" for name in missed]
        found += f" Not reached (open triangles, at the run's end; by the median of the last loss): {', '.join(parts)}."
    found += _exploded(race)
    found += " The target was fixed before the race: what AdamW had in a pilot after about three quarters of a run. "
    return (found + _against_adamw(race, reached)).rstrip()


def _exploded(race: xr.Dataset) -> str:
    """The runs that ended above where they began."""
    first, last = race["loss"].isel(step=0), race["loss"].isel(step=-1)
    rows = np.argwhere(~(last < first).transpose("optimizer", "seed").values)
    runs = [f"{_names([str(race['optimizer'].values[k])])} from seed {race['seed'].values[j]}" for k, j in rows]
    return f" Higher at the end than at the start: {', '.join(runs)}." if runs else ""


def _against_adamw(race: xr.Dataset, reached: np.ndarray) -> str:
    """Steps and seconds of Muon against AdamW's."""
    names = [str(name) for name in race["optimizer"].values[reached]]
    if not {"adamw", "muon"} <= set(names):
        return ""
    steps, seconds = (
        float(race[name].sel(optimizer="adamw").mean() / race[name].sel(optimizer="muon").mean())
        for name in ("steps_to_target", "seconds_to_target")
    )
    return f"AdamW takes {steps:.2f} times Muon's steps and {seconds:.2f} times its seconds."


def _against_published(race: xr.Dataset) -> str:
    """Whether spectral descent without momentum is behind Muon, as it is in the published race."""
    if not {"muon", "spectral-gd"} <= {str(name) for name in race["optimizer"].values}:
        return ""
    pair = race.sel(optimizer=["muon", "spectral-gd"])
    if not bool((pair["outcome"] == REACHED).all()):
        return ""
    muon, spectral = pair["steps_to_target"].mean("seed").values
    order = "is behind Muon here too" if spectral > muon else "is ahead of Muon here, in a run this short"
    return f" Spectral descent without momentum, the slowest there, {order}."


def _pace(race: xr.Dataset) -> str:
    """Loss at equal tokens, tokens per second and the share of the peak."""
    words = []
    for name in race["optimizer"].values:
        one = race.sel(optimizer=name)
        loss, pace = float(one["loss"].isel(step=-1).mean()), float(one["tokens_per_second"].mean())
        share = f", {float(one['peak_share'].mean()):.1%} of the peak" if "peak_share" in race else ""
        words.append(f"{_names([str(name)])} {_loss(loss)} nats at {pace:,.0f} tokens/s{share}")
    tokens = int(race["step"][-1]) * race.attrs["batch_tokens"]
    peak = (
        f" Operations per token by PaLM's count ({race.attrs['operations_per_token']:.2e}), the peak is "
        f"{race.attrs['peak'] / 1e12:.0f} · 10¹² a second."
        if "peak" in race.attrs
        else " The device's peak isn't known, so its share isn't either."
    )
    return f"After {tokens:,} tokens: {'; '.join(words)}.{peak}"


def _published(race: xr.Dataset) -> str:
    """The published speedrun's figures, which are of another size altogether."""
    known = ", ".join(f"{name} {steps}" for name, steps in PUBLISHED.items())
    return (
        f"Published, not measured here: a GPT of 124M parameters takes these steps to 3.28 nats per token on FineWeb "
        f"in the NanoGPT speedrun with a fixed batch: {known}.{_against_published(race)}"
    )


def _names(names: Sequence[str]) -> str:
    """The methods as the figure calls them."""
    return ", ".join(method_look(name).label for name in names)


def _loss(value: float) -> str:
    """A loss, or that there is none."""
    return f"{value:.2f}" if np.isfinite(value) else "diverged"


def _plain(value: Any) -> str:
    """A setting's value."""
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
