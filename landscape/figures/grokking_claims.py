"""What the figure of `grokking_sweeps` says in numbers, and which published claims it bears out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import xarray as xr

from landscape.figures.analysis import dataset
from landscape.figures.grokking import milestones, over_seeds
from landscape.figures.grokking_sweeps import COMPARED, Tuned, compared

SOON = 3
"""Multiple of the steps to memorise within which a method counts as one that groks at once."""


def sweeps_caption(tree: xr.DataTree, node: str) -> str:
    """What the figure shows, with the store's own figures.

    Args:
        tree: The experiment's store.
        node: Its node.
    """
    grid, *both = (dataset(tree, f"{node}/{name}").load() for name in ("grid", *COMPARED))
    events = over_seeds(milestones(grid))
    need = []
    for decay in grid["weight_decay"].values:
        one = events.sel(weight_decay=decay)
        enough = one["fraction"].values[(one["grokked"] == one["runs"]).values]
        need.append(f"{decay:g}: {enough.min():g}" if enough.size else f"{decay:g}: none")
    decayed, undecayed = (compared(tree, node, name) for name in COMPARED)
    seeds = [str(one.sizes["seed"]) for one in (grid, *both)]
    steps = [str(int(one["step"].max())) for one in (grid, *both)]
    tuning = [str(dataset(tree, f"{node}/{name}_tuning").sizes["seed"]) for name in COMPARED]
    said_of_both = claims({one.name: one for one in decayed}, {one.name: one for one in undecayed})
    return (
        "Quadratic network on addition mod 31, full batch; medians with 95 % bootstrap intervals over "
        f"{seeds[0]} seeds (left), {' and '.join(seeds[1:])} (right, above and below); budgets of {', '.join(steps)} "
        f"steps. Left: smallest fraction with which all seeds grokked, by weight decay, {', '.join(need)}; Power et "
        "al. found that decay more than halves the data that is needed, within this budget only the order is seen. "
        f"Right: steps to 95 % test accuracy. With weight decay: {said(decayed)}. Without: {said(undecayed)}. Learning "
        f"rates, half a decade apart, were chosen on {' and '.join(tuning)} other seeds (*: the best is the last or "
        f"first of those tried). {' '.join(said_of_both)}"
    )


def said(chosen: list[Tuned]) -> str:
    """Each method with its median step, or how far it got."""
    return "; ".join(
        f"{one.name} {one.grokked:.0f}"
        if np.isfinite(one.grokked)
        else f"{one.name} not within the budget ({100 * one.test:.0f} % at the end)"
        for one in chosen
    )


def claims(decayed: Mapping[str, Tuned], undecayed: Mapping[str, Tuned]) -> list[str]:
    """Published claims, each with what these runs say of it.

    Args:
        decayed: The methods with weight decay, by name.
        undecayed: Those without.
    """
    found = []
    prieto = [*_collapse(undecayed), *_orthogonal(undecayed)]
    if prieto:
        found.append(f"Prieto et al. report that without decay {'; '.join(prieto)}.")
    pairs = (("at equal decay", decayed, "AdamW"), ("without", undecayed, "Adam, StableMax"))
    ratios = {
        words: methods[f"Grokfast {base}"].grokked / methods[base].grokked
        for words, methods, base in pairs
        if {base, f"Grokfast {base}"} <= methods.keys() and np.isfinite(methods[base].grokked)
    }
    if ratios:
        numbers = ", ".join(
            f"{ratio:.2g} times the steps {words}" if np.isfinite(ratio) else f"more than the budget {words}"
            for words, ratio in ratios.items()
        )
        found.append(
            "Grokfast's 39,890 → 790 iterations are against a baseline without decay, on a two-layer transformer "
            f"(Lee et al.): here it takes {numbers} (a speed-up: {verdict(min(ratios.values()) < 1)})."
        )
    return found


def _collapse(undecayed: Mapping[str, Tuned]) -> Iterator[str]:
    """What becomes of softmax and of StableMax."""
    if softmax := undecayed.get("Adam, softmax"):
        borne_out = np.isinf(softmax.grokked) and softmax.collapsed > 0.5
        words = f"{verdict(borne_out)}: up to {100 * softmax.collapsed:.0f} % of the samples with a loss of exactly 0"
        double = undecayed.get("Adam, softmax in float64")
        if double and np.isinf(double.grokked):  # so that it isn't the collapse which keeps float32 from grokking
            words += f"; but float64, with {100 * double.collapsed:.0f} %, doesn't grok within the budget either"
        yield f"Adam's softmax collapses in float32 and never groks ({words})"
    if stable := undecayed.get("Adam, StableMax"):
        yield f"StableMax groks ({verdict(np.isfinite(stable.grokked))})"


def _orthogonal(undecayed: Mapping[str, Tuned]) -> Iterator[str]:
    """Whether the orthogonal gradient delays, and what that is against the best with decay."""
    if orthogonal := undecayed.get("⊥ Adam, softmax"):
        memorised = float(orthogonal.found["memorised_step"].sel(bound="median"))
        decayed = undecayed.get("with decay 1: AdamW")
        against = f", where tuned AdamW with decay takes {_step(decayed)}" if decayed else ""
        yield (
            f"the orthogonal gradient groks at once ({verdict(orthogonal.grokked <= SOON * memorised)}: "
            f"{_step(orthogonal)}, memorised at {memorised:.0f}{against})"
        )


def verdict(borne_out: bool) -> str:
    """In a word."""
    return "reproduced" if borne_out else "not reproduced"


def _step(one: Tuned) -> str:
    """The median step at which a method groks."""
    return f"{one.grokked:.0f} steps" if np.isfinite(one.grokked) else "more than the budget"
