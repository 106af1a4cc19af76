"""Captions of the experiments on double descent: what was measured, and beside it what was published."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr

from landscape.figures.analysis import dataset
from landscape.figures.descent_analysis import (
    Landmarks,
    descent_data,
    landmarks,
    lines,
    over_repetitions,
    training_error,
)
from landscape.figures.style import number


def _risk(line: xr.Dataset, place: float | None, name: str = "loss") -> float:
    """Median test risk at a capacity; NaN where there is none."""
    if place is None:
        return float("nan")
    middle = over_repetitions(line[name].sel(split="test"))[0]
    return float(middle[list(line["capacity"].values).index(place)])


def story(line: xr.Dataset, what: str) -> str:
    """Best before, peak and best beyond of a risk curve in words."""
    found = landmarks(line)
    if found.classical is None:
        return "nothing is measured yet"
    best = f"{number(_risk(line, found.classical), 3)} at {_count(found.classical)} {what}"
    if found.peak is None or found.modern is None:
        return f"no peak (lowest {best})"
    better = "lower" if _risk(line, found.modern) < _risk(line, found.classical) else "not lower"
    return (
        f"{best} before the peak, {number(_risk(line, found.peak), 3)} at {_count(found.peak)}, "
        f"{number(_risk(line, found.modern), 3)} at {_count(found.modern)} beyond ({better})"
    )


def _count(value: float) -> str:
    """A whole number with its thousands apart."""
    return f"{value:,.0f}"


def _thresholds(found: Landmarks, epsilon: float) -> str:
    """Both thresholds in words."""
    theory = "none" if found.theory is None else f"{found.theory:,.4g}"
    measured = "nowhere" if found.measured is None else f"at {_count(found.measured)}"
    return f"theory puts the threshold at {theory}, the training error was first below {epsilon:g} {measured}"


def polynomial_caption(tree: xr.DataTree) -> str:
    """What the figure shows, with the store's own figures."""
    data = descent_data(tree)
    formula = dataset(tree, "descent/fit").attrs["formula"]
    told = [f"{labels['basis']} {story(line, 'functions')}" for labels, line in lines(data) if labels["ridge"] == 0]
    first, tallest = str(data["basis"].values[0]), []
    for labels, line in lines(data):
        if labels["ridge"] > 0 and labels["basis"] == first:
            highest = float(over_repetitions(line["loss"].sel(split="test"))[0].max())
            tallest.append(f"λ = {labels['ridge']:g} keeps it below {number(highest, 2)}")
    found = {labels["basis"]: landmarks(line) for labels, line in lines(data) if labels["ridge"] == 0}
    there = [name for name, marks in found.items() if marks.peak is not None and marks.peak == marks.theory]
    never = [name for name, marks in found.items() if marks.peak is None]
    return (
        f"Minimum-norm fits of {formula} through {data.attrs['threshold']} points, x ~ U(−1, 1), by the first "
        f"functions of a basis, a constant among them. Top: one training set, {first} basis. Bottom: median "
        f"squared error on a grid over {data.sizes['seed']} training sets, 10–90 % band. Minimum norm: "
        f"{'; '.join(told)}. Ridge in the {first} basis: {', '.join(tallest) or 'none'}. The peak stands exactly "
        f"where there are as many functions as points in these bases: {', '.join(there) or 'none'}; no descent "
        f"beyond it in these: {', '.join(never) or 'none'}."
    )


def two_panel_caption(tree: xr.DataTree) -> str:
    """What the figure shows, with the store's own figures."""
    data = descent_data(tree)
    line = data.isel(basis=0, noise=0, ridge=0)
    found = landmarks(line)
    errors = [f"{100 * _risk(line, place, 'error'):.1f}" for place in (found.classical, found.peak, found.modern)]
    return (
        f"Random Fourier features on digits, {data.attrs['threshold']} training samples with "
        f"{100 * float(data['noise'].values[0]):g} % wrong labels, minimum-norm least squares on one-hot labels; "
        f"medians and 10–90 % bands over {line.sizes['seed']} training sets and {line.sizes['draw']} draws of "
        f"features. Test risk: {story(line, 'features')}; {_thresholds(found, data.attrs['epsilon'])}. Test errors "
        f"there: {', '.join(errors)} %. Reproduced of Belkin et al. (arXiv 1812.11118): {_shape(found)}. Not "
        "reproduced: their size (MNIST, 10,000 samples, peak at 10,000 features)."
    )


def _shape(found: Landmarks) -> str:
    """What there is of the shape of double descent."""
    if found.peak is None:
        return "nothing of the peak"
    exact = "exactly" if found.peak == found.theory else f"near ({_count(found.peak)}), not at"
    return f"the U, the second descent, and the peak {exact} where there are as many features as samples"


def fashion_caption(tree: xr.DataTree, node: str) -> str:
    """What the figure shows, with the store's own figures."""
    features, width = (descent_data(tree, node=f"{node}/{part}") for part in ("features", "width"))
    told = [
        f"{100 * labels['noise']:g} % wrong, λ = {labels['ridge']:g}: {story(line, 'features')}"
        for labels, line in lines(features)
    ]
    wide = []
    for labels, line in lines(width):
        found = landmarks(line)
        sharp = ""
        if "hessian_max" in line:
            values = over_repetitions(line["hessian_max"])[0]
            sharp = f"; λ max is largest at width {line['capacity'].values[int(np.nanargmax(values))]}"
        both = _thresholds(found, width.attrs["epsilon"])
        wide.append(f"{100 * labels['noise']:g} % wrong: {story(line, 'units')}; {both}{sharp}")
    name = json.loads(tree.attrs["recipe"])["recipe"]["data"]
    return (
        f"Data: {name}. Top: random Fourier features, {features.attrs['threshold']} training samples. "
        f"{'; '.join(told)}. "
        "Bottom: networks with one hidden layer of tanh, squared loss on one-hot labels, Adam, full batch. "
        f"{'; '.join(wide)}. Published for fully connected networks (Belkin et al., arXiv 1812.11118: MNIST, 4,000 "
        "samples): a peak at 40,000 parameters, as many as samples × outputs (the grey line here). With a tenth of "
        "their samples the shape can be compared, the numbers can't."
    )


def training_caption(tree: xr.DataTree, node: str) -> str:
    """What the figure shows, with the store's own figures."""
    told: dict[str, list[str]] = {}
    for part, what in (("epoch", "epochs"), ("samples", "samples")):
        for labels, line in lines(descent_data(tree, node=f"{node}/{part}")):
            last = training_error(line)[-1]
            errors = over_repetitions(line["error"].sel(split="test"))[0]
            told.setdefault(part, []).append(
                f"{100 * labels['noise']:g} % wrong: test loss {story(line, what)}; test error from "
                f"{100 * errors[0]:.1f} to {100 * errors[-1]:.1f} %, lowest {100 * errors.min():.1f}, highest "
                f"{100 * errors.max():.1f}; training error ends at {100 * last:.1f} %"
            )
    made = json.loads(tree.attrs["recipe"])["recipe"]
    return (
        f"{made['model']} on {made['data']}, {made['loss']} loss, Adam. Left, width {made['epoch_width']} along its "
        f"training on {made['epoch_samples']:,} samples: "
        f"{'; '.join(told['epoch'])}. Right, width {made['sizes_width']} on more samples, equal "
        f"steps: {'; '.join(told['samples'])}. Nakkiran et al. (arXiv 1912.02292; ResNet18, CIFAR-10, 4,000 "
        "epochs, 10–20 % noise) see the test error rise and fall again along a training, and more samples do harm near "
        "the threshold. Where the sentences above name a peak, this shape is reproduced; where they say no peak, it "
        "isn't."
    )
