"""Evaluate the loss along curves: the factory of a sweep, and its layout in the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from landscape.geometry.slices import Curve
from landscape.objective.objective import Objective
from landscape.objective.sliced import SlicedObjective
from landscape.studies.grids import Evaluate, evaluate_points, sliced, variables
from landscape.studies.network import Network
from landscape.sweeps.schema import Sweep

POINTS_PER_TASK = 8


def curve_sweep(
    network: Network, curves: Mapping[str, Sequence[Curve]], coords: Mapping[str, Any], objective: Objective
) -> Sweep:
    """The loss along every curve of every pair: node `connect` over `pair`, `curve` and `t`.

    Args:
        network: What is evaluated.
        curves: For each curve's name, one curve for each pair.
        coords: The node's coordinates.
        objective: Tells which quantities there are.
    """
    return Sweep(
        node="connect",
        coords=coords,
        over=("pair", "curve", "t"),
        variables=variables(objective, ("pair", "curve", "split", "t")),
        function=f"{__name__}:curve_evaluator",
        arguments={"network": network, "curves": dict(curves), "splits": list(coords["split"])},
        block={"t": POINTS_PER_TASK},
    )


def curve_evaluator(arguments: Mapping[str, Any]) -> Evaluate:
    """Evaluate a stretch of one curve: the factory of `curve_sweep`."""
    objectives = arguments["network"].objectives(arguments["splits"])
    curves = arguments["curves"]
    on_curve: dict[tuple[str, int], dict[str, SlicedObjective]] = {}

    def evaluate(coordinates: Mapping[str, Any], task: Any) -> Mapping[str, Any]:
        (pair,), (name,) = coordinates["pair"], coordinates["curve"]
        t = torch.from_numpy(coordinates["t"])
        curve, key = curves[str(name)][pair], (str(name), int(pair))
        if key not in on_curve:
            on_curve.clear()
            on_curve[key] = sliced(objectives, curve)
        values = evaluate_points(on_curve[key], curve, t, task)
        return {key: value[None, None] for key, value in values.items()}

    return evaluate
