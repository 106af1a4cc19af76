"""How optimizers look: one colour, line and marker for each in all figures, and shades for ordered settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, to_hex


@dataclass(frozen=True)
class MethodLook:
    """How one optimizer is drawn: methods that share a figure differ by colour, by grey value and by line.

    Args:
        label: What it is called in a figure.
        color: Line colour.
        line: Line style.
        marker: Marker shape.
    """

    label: str
    color: str
    line: Any
    marker: str


DASHED, DOTTED, MIXED = (0, (4.0, 1.4)), (0, (1.0, 1.1)), (0, (4.0, 1.2, 1.0, 1.2))
METHODS = {
    "gd": MethodLook("GD", "#111111", DASHED, "o"),
    "sgd": MethodLook("SGD", "#111111", "-", "o"),
    "momentum": MethodLook("momentum", "#d98200", DASHED, "D"),
    "nesterov": MethodLook("Nesterov", "#d98200", MIXED, "d"),
    "adagrad": MethodLook("AdaGrad", "#009e73", MIXED, "^"),
    "rmsprop": MethodLook("RMSProp", "#cc79a7", DOTTED, "v"),
    "adadelta": MethodLook("AdaDelta", "#999999", DOTTED, "P"),
    "adam": MethodLook("Adam", "#0072b2", "-", "s"),
    "adamw": MethodLook("AdamW", "#0072b2", DASHED, "s"),
    "amsgrad": MethodLook("AMSGrad", "#e08214", MIXED, "v"),
    "lbfgs": MethodLook("L-BFGS", "#6a3d9a", MIXED, "X"),
    "shampoo": MethodLook("Shampoo", "#7a5195", DASHED, "p"),
    "shampoo-grafted": MethodLook("Shampoo, grafted", "#7a5195", "-", "h"),
    "muon": MethodLook("Muon", "#c23b5a", "-", "*"),
    "spectral-gd": MethodLook("spectral GD", "#e58fa3", "-", "8"),
    "steepest": MethodLook("steepest descent", "#e58fa3", DOTTED, "1"),
    "sign-gd": MethodLook("sign GD", "#8c6d31", DASHED, ">"),
    "normalized-gd": MethodLook("normalised GD", "#8c6d31", DOTTED, "<"),
    "sam": MethodLook("SAM", "#2a9d8f", "-", "H"),
    "asam": MethodLook("ASAM", "#2a9d8f", DASHED, "p"),
    "grokfast": MethodLook("Grokfast", "#5a7d1a", "-", "2"),
    "orthograd": MethodLook("⊥ gradient", "#5a7d1a", DASHED, "3"),
}
"""The look of each method by its name in the registry."""
SHADES = ("#f2b134", "#dd7a2c", "#bf4d63", "#4f3282", "#15123a")
"""From light to dark: the grey value falls evenly."""


def method_look(name: str) -> MethodLook:
    """The look of a method; one that has none is grey and dotted."""
    return METHODS.get(name, MethodLook(name, "#777777", DOTTED, "x"))


def shades(count: int) -> list[str]:
    """So many colours from light to dark, for settings that have an order such as step or batch sizes."""
    ramp = LinearSegmentedColormap.from_list("shades", SHADES)
    return [to_hex(ramp(place)) for place in (np.linspace(0, 1, count) if count > 1 else [1.0])]
