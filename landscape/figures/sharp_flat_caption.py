"""What the figure of a sharp and a wide minimum shows, in words and numbers."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import xarray as xr

from landscape.figures.analysis import dataset
from landscape.figures.style import number
from landscape.figures.widths import RISE, Verdict, called, ratios, verdict, yardsticks

ANSWERS = {
    "wider": "SAM's minimum is wider",
    "sharper": "SAM's minimum is sharper",
    "disagree": "the measures disagree",
    "undecided": "it is undecided which minimum is wider",
}
SETTINGS = {"lr": "learning rate", "momentum": "momentum", "weight_decay": "weight decay"}


def sharp_flat_caption(tree: xr.DataTree, node: str) -> str:
    """The caption of `sharp_flat_figure`.

    Args:
        tree: A store of the experiment `sharp_flat`.
        node: Where it is in the store.
    """
    recipe = json.loads(tree.attrs["recipe"])["recipe"]
    networks, values = dataset(tree, node).load(), yardsticks(tree, node)
    found = ratios(values)
    kinds = {normalized: verdict(found, normalized) for normalized in (True, False)}
    count = networks.sizes["seed"]
    radii = values["value"].sel(yardstick="radius").mean("seed")
    return (
        f"{_training(recipe)} {_results(networks)} "
        f"Is SAM's minimum wider after normalisation? In units of the weights {answer(kinds[True], found)} "
        f"In raw distance {answer(kinds[False], found)} "
        f"Ratios SAM/SGD, geometric means over {count} seeds with their range in the paired 95 % interval (Student's t "
        f"on logarithms, {count - 1} degree{'s' if count > 2 else ''} of freedom; not corrected for the number of "
        f"measures): {_listed(found)}. On the plane of filter-normalised directions the loss has risen by {RISE:g} nat "
        f"at a mean radius of {_radius(radii, 'sgd')} (SGD) and {_radius(radii, 'sam')} (SAM). "
        "Above: the training loss over the same random directions, filter-normalised for each network, of the first "
        "seed; height and colour are one log-like scale. Middle: train (solid) and test (dashed) loss along the "
        "first of these directions, the gap shaded, and the loss along each Hessian's top eigenvector; first seed "
        "strong, others faint, bands are 95 % intervals. Below: dots are seeds, diamonds their means; bars on dots are "
        "95 % intervals of what is random in the measure itself. Largest rises are what a few steps of ascent found, "
        "lower bounds of the maximum."
    )


def answer(found: Verdict, numbers: xr.Dataset) -> str:
    """A verdict in a sentence, with what speaks for what.

    Args:
        found: The verdict.
        numbers: From `ratios`.
    """
    parts = [
        f"{word} by {', '.join(map(called, names))}"
        for word, names in (("wider", found.wider), ("sharper", found.sharper), ("undecided", found.undecided))
        if names
    ]
    total = len(found.wider) + len(found.sharper) + len(found.undecided)
    means = [float(numbers["mean"].sel(yardstick=name)) for name in (*found.wider, *found.sharper, *found.undecided)]
    below = sum(mean < 1 for mean in means)
    return f"{ANSWERS[found.answer]}: {'; '.join(parts)} (the mean is below 1 for {below} of {total})."


def _training(recipe: dict[str, Any]) -> str:
    """What was trained, and what is alike."""
    sgd, sam, problem = recipe["sgd"], recipe["sam"], recipe["problem"]
    data = problem["data_settings"].get("data", problem["data"])
    samples = problem["data_settings"].get("samples")
    some = f"{samples:,} images of {data}" if samples else data
    length = f"{sgd['epochs']} epochs" if sgd["epochs"] else f"{sgd['steps']} steps"
    settings = sgd["hyperparameters"]
    told = ", ".join(f"{words} {settings[name]:g}" for name, words in SETTINGS.items() if name in settings)
    measured = recipe["sharpness"]["samples"]
    return (
        f"The same {problem['model']} on {some}, trained by SGD ({told}) and by SAM around it (ρ = "
        f"{sam['hyperparameters']['rho']:g}): {length} on the same batches from the same weights, so that SAM computed "
        f"twice as many gradients. Measures are taken on {f'{measured:,}' if measured else 'all'} training samples."
    )


def _results(networks: xr.Dataset) -> str:
    """Loss, error and weight norm of both, seed by seed."""
    parts = []
    for method, word in (("sgd", "SGD"), ("sam", "SAM")):
        one = networks.sel({"method": method})
        errors = {
            str(split): " / ".join(f"{100 * value:.2f}" for value in one["error"].sel(split=split).values)
            for split in one["split"].values
        }
        losses = " and ".join(
            f"{split} {number(float(one['loss'].sel(split=split).mean()), 3)}" for split in one["split"].values
        )
        listed = ", ".join(f"{split} error {values} %" for split, values in errors.items())
        norm = float(one["weight_norm"].mean())
        gap = float((one["loss"].isel(split=-1) - one["loss"].isel(split=0)).mean())
        parts.append(f"{word}: {listed} by seed, mean loss {losses} nats (a gap of {number(gap)}), ‖θ‖ = {norm:.1f}")
    return "; ".join(parts) + "."


def _listed(found: xr.Dataset) -> str:
    """Every yardstick with its mean ratio and interval."""
    parts = []
    for name in found["yardstick"].values:
        one = found.sel(yardstick=name)
        mean, low, high = (float(one[part]) for part in ("mean", "low", "high"))
        if np.isfinite(mean):
            interval = f" ({number(low)} to {number(high)})" if np.isfinite(low) else ""
            parts.append(f"{called(str(name))} {number(mean)}{interval}")
    return ", ".join(parts)


def _radius(radii: xr.DataArray, method: str) -> str:
    """A mean radius, or that the plane ends first."""
    value = float(radii.sel({"method": method}))
    return f"{value:.3f}" if np.isfinite(value) else "more than the plane shows"
