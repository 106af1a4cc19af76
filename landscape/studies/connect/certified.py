"""Certified values along curves: the factory of a sweep, its layout in the store, and what it cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from landscape.geometry.slices import Curve
from landscape.objective.objective import Objective
from landscape.studies.grids import Evaluate, sliced, variables
from landscape.studies.network import Network
from landscape.studies.surface.oracle import SliceOracle
from landscape.studies.surface.stages import NOTES
from landscape.studies.surface.whole import certify
from landscape.sweeps import store
from landscape.sweeps.schema import Sweep, Variable

EFFORT = {
    "curve_evaluations": {"long_name": "sample evaluations of the whole curve: coarse points, pilots, discarded draws"},
    "curve_visits": {"long_name": "points, repeated ones included, at which weights were placed"},
}
"""What a certified curve took."""


def certified_sweep(
    network: Network,
    curves: Mapping[str, Sequence[Curve]],
    coords: Mapping[str, Any],
    objective: Objective,
    tolerance: float,
    seed: int,
) -> Sweep:
    """Certified values along every curve of every pair: node `connect` over `pair` and `curve`, a whole curve at once.

    Args:
        network: What is evaluated.
        curves: For each curve's name, one curve for each pair.
        coords: The node's coordinates.
        objective: Tells which quantities there are.
        tolerance: Standard error that is asked for, as a share of the loss.
        seed: Decides the random subsets.
    """
    over, dims = ("pair", "curve"), ("pair", "curve", "split", "t")
    notes = {
        name: Variable(dims, "int64" if name == "samples" else "int8", NOTES[name]) for name in ("samples", "reached")
    }
    effort = {name: Variable((*over, "split"), "int64", attrs) for name, attrs in EFFORT.items()}
    return Sweep(
        node="connect",
        coords=coords,
        over=over,
        along=("t",),
        variables={**variables(objective, dims), **notes, **effort},
        function=f"{__name__}:certified_evaluator",
        arguments={
            "network": network,
            "curves": dict(curves),
            "splits": list(coords["split"]),
            "tolerance": tolerance,
            "seed": seed,
        },
        attrs={"method": "certified", "tolerance": tolerance},
    )


def certified_evaluator(arguments: Mapping[str, Any]) -> Evaluate:
    """Certify one curve on each split: the factory of `certified_sweep`."""
    objectives, curves = arguments["network"].objectives(arguments["splits"]), arguments["curves"]
    names = list(curves)

    def evaluate(coordinates: Mapping[str, Any], task: Any) -> Mapping[str, Any]:
        (pair,), (name,) = coordinates["pair"], coordinates["curve"]
        curve, number = curves[str(name)][pair], names.index(str(name))
        rows: list[dict[str, Any]] = []
        for split, one in enumerate(sliced(objectives, curve).values()):
            oracle = SliceOracle(one, curve)
            seed = (arguments["seed"], int(pair), number, split)
            whole = certify(oracle, (coordinates["t"],), arguments["tolerance"], seed)
            rows.append(
                {
                    **whole.values,
                    **{f"{quantity}_stderr": values for quantity, values in whole.stderr.items()},
                    "samples": whole.samples,
                    "reached": whole.reached,
                    "curve_evaluations": whole.evaluations,
                    "curve_visits": oracle.visits,
                }
            )
            task.report((split + 1) / len(objectives))
        return {key: np.array([row[key] for row in rows])[None, None] for key in rows[0]}

    return evaluate


def cost(path: Path, network: Network, splits: Sequence[str]) -> dict[str, Any]:
    """What finished certified curves took, beside what all points on all samples would have: attributes of their node.

    Args:
        path: The store.
        network: What was evaluated.
        splits: The splits.
    """
    node = store.open(path)["connect"].to_dataset()
    objectives = network.objectives(splits)
    lines = node.sizes["pair"] * node.sizes["curve"]
    statistics: dict[str, Any] = {}
    if next(iter(objectives.values())).module.refresh_statistics is not None:
        train = len(network.data.train)
        statistics["statistics_evaluations"] = int(node["curve_visits"].sum()) * train
        statistics["dense_statistics_evaluations"] = lines * node.sizes["t"] * train
    finite = np.isfinite(node["loss"].values)
    return {
        "sample_evaluations": int(node["curve_evaluations"].sum()),
        "dense_sample_evaluations": sum(one.num_samples for one in objectives.values()) * lines * node.sizes["t"],
        **statistics,
        "not_reached": int((finite & (node["reached"].values == 0)).sum()),
    }
