"""How far a surface's precision is from float32's, measured at a few points before the grid is evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from landscape.geometry.slices import Slice
from landscape.objective.objective import Objective
from landscape.studies.network import Network

SAMPLES = 1024
"""First samples of each split that are compared."""
PLACES = (0.0, 0.5, -0.5, 1.0, -1.0)
"""Coordinates of the compared points, the same along each axis but for the sign."""


def precision_error(networks: Sequence[Network], slices: Sequence[Slice], splits: Sequence[str]) -> dict[str, Any]:
    """Attributes of a surface: its precision, and the largest relative difference of its loss from float32's.

    Args:
        networks: One for each surface, of the precision that is asked for.
        slices: Where each is evaluated.
        splits: The splits.

    Returns:
        `precision` and, unless no loss is finite, `precision_error`; nothing where no precision was asked for.
    """
    precision = networks[0].precision
    if precision is None:
        return {}
    if precision == "float32":
        return {"precision": precision, "precision_error": 0.0}
    found: list[float] = []
    for network, where in zip(networks, slices, strict=True):
        signs = torch.tensor([(-1.0) ** axis for axis in range(len(where.points) - 1)], dtype=torch.float64)
        thetas = where(torch.tensor(PLACES, dtype=torch.float64)[:, None] * signs)
        own, single = (replace(network, precision=name).objectives(splits) for name in (precision, "float32"))
        for split in splits:
            few, exact = _few(own[split]), _few(single[split])
            pairs = [(few.loss(theta), exact.loss(theta)) for theta in thetas]
            found += [abs(a - b) / abs(b) for a, b in pairs if np.isfinite([a, b]).all() and b != 0]
    return {"precision": precision, **({"precision_error": max(found)} if found else {})}


def _few(objective: Objective) -> Objective:
    """The loss on the first samples."""
    return objective.on(objective.samples.first(SAMPLES))
