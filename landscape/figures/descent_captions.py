"""Captions of the experiments on double descent: what was measured, and beside it what was published."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import xarray as xr
from scipy.special import stdtrit

from landscape.figures.analysis import dataset
from landscape.figures.descent_analysis import (
    Landmarks,
    descent_data,
    landmarks,
    lines,
    over_repetitions,
    parts_of,
    training_error,
)
from landscape.figures.style import number


def _risk(line: xr.Dataset, place: float | None, name: str = "loss") -> float:
    """Median test risk at a capacity; NaN where there is none."""
    if place is None:
        return float("nan")
    middle = over_repetitions(line[name].sel(split="test"))[0]
    return float(middle[list(line["capacity"].values).index(place)])


def story(line: xr.Dataset, what: str, name: str = "loss") -> str:
    """Best before, peak and best beyond of a risk curve in words.

    Args:
        line: As for `landmarks`.
        what: What a capacity counts.
        name: `loss`, or `error` in per cent.
    """
    found = landmarks(line, name)
    if found.classical is None:
        return "nothing is measured yet"

    def height(place: float) -> str:
        risk = _risk(line, place, name)
        return f"{100 * risk:.1f} %" if name == "error" else number(risk, 3)

    best = f"{height(found.classical)} at {_count(found.classical)} {what}"
    if found.peak is None or found.modern is None:
        return f"no peak (lowest {best})"
    better = "lower" if _risk(line, found.modern, name) < _risk(line, found.classical, name) else "not lower"
    return (
        f"{best} before the peak, {height(found.peak)} at {_count(found.peak)}, "
        f"{height(found.modern)} at {_count(found.modern)} beyond ({better})"
    )


def _count(value: float) -> str:
    """A whole number with its thousands apart."""
    return f"{value:,.0f}"


def _thresholds(line: xr.Dataset) -> str:
    """Both thresholds in words."""
    found = landmarks(line)
    theory = "none" if found.theory is None else f"the threshold at {found.theory:,.4g}"
    measured = "nowhere" if found.measured is None else f"at {_count(found.measured)}"
    order = "last" if line.attrs["family"] == "samples" else "first"
    return f"theory puts {theory}, the training error was {order} below {line.attrs['epsilon']:g} {measured}"


def _repeated(line: xr.Dataset) -> str:
    """How many repetitions there are."""
    count = line.sizes["seed"]
    return "one training set" if count == 1 else f"medians and 10–90 % bands over {count} training sets"


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
        f"{_repeated(line)} and {line.sizes['draw']} draws of features. Test risk: "
        f"{story(line, 'features')}; {_thresholds(line)}. Test errors "
        f"there: {', '.join(errors)} %. Reproduced of Belkin et al. (arXiv 1812.11118): {_shape(found)}. Not "
        "reproduced: their size (MNIST, 10,000 samples, peak at 10,000 features)."
    )


def _shape(found: Landmarks) -> str:
    """What there is of the shape of double descent."""
    if found.peak is None:
        return "nothing of the peak"
    exact = "exactly" if found.peak == found.theory else f"near ({_count(found.peak)}), not at"
    return f"the U, the second descent, and the peak {exact} where there are as many features as samples"


def fashion_caption(tree: xr.DataTree) -> str:
    """What the figure shows, with the store's own figures."""
    features, width = parts_of(tree)
    told = [
        f"{100 * labels['noise']:g} % wrong, λ = {labels['ridge']:g}: {story(line, 'features')}"
        for labels, line in lines(features)
    ]
    wide = []
    for labels, line in lines(width):
        sharp = ""
        if "hessian_max" in line:
            values = over_repetitions(line["hessian_max"])[0]
            sharp = f"; λ max is largest at width {line['capacity'].values[int(np.nanargmax(values))]}"
        wide.append(f"{100 * labels['noise']:g} % wrong: {story(line, 'units')}; {_thresholds(line)}{sharp}")
    made = _recipe(tree)
    return (
        f"Left: random Fourier features on {made['features']['data']}, {features.attrs['threshold']} training samples, "
        f"{_repeated(features)} and {features.sizes['draw']} draws of features; test risk {'; '.join(told)}. "
        f"Right: networks with one hidden layer of tanh on {made['width']['samples']} samples of "
        f"{made['width']['problem']['data']}, squared loss on one-hot labels, Adam, full batch, "
        f"{_repeated(width)}; test risk {'; '.join(wide)}. Published for fully connected networks (Belkin et al., "
        "arXiv 1812.11118: MNIST, 4,000 samples): a peak at 40,000 parameters, as many as samples × outputs (the grey "
        "line here). With a tenth of their samples the shape can be compared, the numbers can't."
    )


def training_caption(tree: xr.DataTree) -> str:
    """What the figure shows, with the store's own figures."""
    sweeps = dict(zip(("epoch", "samples"), parts_of(tree), strict=True))
    made = _recipe(tree)
    told: dict[str, list[str]] = {}
    for part, what in (("epoch", "epochs"), ("samples", "samples")):
        for labels, line in lines(sweeps[part]):
            risks = "; ".join(
                f"test {name} {story(line, what, name)}{_fallen(line, name)}" for name in ("loss", "error")
            )
            ends = f"training error ends at {100 * training_error(line)[-1]:.1f} %"
            also = ends if part == "epoch" else f"{_thresholds(line)}; {ends}"
            told[part] = [*told.get(part, []), f"{100 * labels['noise']:g} % wrong: {risks}; {also}"]
    network = {part: f"{made[part]['problem']['model']} of width {_width(made[part])}" for part in sweeps}
    losses = {part: made[part]["problem"]["loss"] for part in sweeps}
    return (
        f"Networks on {made['epoch']['problem']['data']}, Adam. Left: {network['epoch']}, {losses['epoch']} loss, "
        f"along its training on {made['epoch']['samples']:,} samples (augmentation: "
        f"{made['epoch']['training']['augmentation']}), {_repeated(sweeps['epoch'])}. {'; '.join(told['epoch'])}. "
        f"Right: {network['samples']}, {losses['samples']} loss, on more samples, equal steps, "
        f"{_repeated(sweeps['samples'])}. {'; '.join(told['samples'])}. Nakkiran et al. (arXiv 1912.02292; ResNet18, "
        "CIFAR-10, 4,000 epochs, 10–20 % noise) see the test error rise and fall again along a training, and more "
        "samples do harm near the threshold. Where the sentences above name a peak and a fall of more than "
        "chance (95 %), this shape is reproduced; elsewhere it isn't, and neither is their size."
    )


def fall(line: xr.Dataset, name: str) -> tuple[float, float] | None:
    """How far test risk has come down from its peak at the last capacity, which, unlike the best, nobody chose.

    Args:
        line: As for `landmarks`.
        name: `loss` or `error`.

    Returns:
        Mean over repetitions, each from its own value at the median's peak, and half of its 95 % interval by Student's
        t (NaN of one repetition); None if there is no peak.
    """
    found = landmarks(line, name)
    if found.peak is None:
        return None
    test = line[name].sel(split="test")
    drops = (test.sel(capacity=found.peak) - test.isel(capacity=-1)).values.ravel()
    drops = drops[np.isfinite(drops)]
    if len(drops) < 2:
        return float(drops.mean()), float("nan")
    return float(drops.mean()), float(stdtrit(len(drops) - 1, 0.975) * drops.std(ddof=1) / np.sqrt(len(drops)))


def _fallen(line: xr.Dataset, name: str) -> str:
    """What is left of a peak at the last capacity."""
    found = fall(line, name)
    if found is None:
        return ""
    factor, unit = (100, " points") if name == "error" else (1, "")
    mean, half = (factor * value for value in found)
    if not np.isfinite(half):
        return f", a fall of {number(mean, 2)}{unit} by the last"
    verdict = "more" if mean > half else "no more"
    return f", a fall of {number(mean, 2)} ± {number(half, 2)}{unit} by the last, {verdict} than chance"


def _recipe(tree: xr.DataTree) -> dict[str, Any]:
    """The recipe of an experiment made of several sweeps."""
    made: dict[str, Any] = json.loads(tree.attrs["recipe"])["recipe"]
    return made


def _width(sweep: dict[str, Any]) -> int:
    """The width of a sweep's network."""
    return int(sweep["problem"]["model_settings"]["width"])
