"""The fitted curves of a study: the sweep that fits them, and how they are loaded again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape.errors import RequestError, unknown
from landscape.geometry.slices import Curve, make_curve
from landscape.networks.loop import Resume
from landscape.objective.parameters import Layout
from landscape.studies.connect.fitting import CurveRecipe, fit_curve
from landscape.studies.networks import Network
from landscape.sweeps import store
from landscape.sweeps.schema import Sweep, Variable


def fit_sweep(
    kind: str,
    network: Network,
    thetas: Tensor,
    pairs: Sequence[tuple[int, int]],
    recipe: CurveRecipe,
    signature: str,
) -> Sweep:
    """Fit one kind of curve between each pair: node `connect/fit/<kind>`.

    Args:
        kind: A name of `CURVES`.
        network: The loss and its data.
        thetas: The checkpoints, shape `(C, D)`.
        pairs: Numbers of the checkpoints of each pair.
        recipe: How to fit.
        signature: Hash of the whole study, by which a killed fit finds its own state.
    """
    num_samples = len(network.data.train)
    every, total = recipe.steps_per_epoch(num_samples), recipe.num_steps(num_samples)
    layout = Layout.of(network.model)
    points = Variable(("pair", "point", "parameter"), str(thetas.numpy().dtype), {"long_name": "control points"})
    return Sweep(
        node=f"connect/fit/{kind}",
        coords={
            "pair": np.arange(len(pairs)),
            "point": np.arange(recipe.bends + 2),
            "parameter": layout.num_parameters,
            "step": np.unique([*range(every, total + 1, every), total]),
        },
        over=("pair",),
        variables={
            "control_points": points,
            "loss": Variable(("pair", "step"), attrs={"long_name": "mean minibatch loss since the last record"}),
        },
        function=f"{__name__}:fitter",
        arguments={
            "kind": kind,
            "network": network,
            "thetas": thetas,
            "pairs": list(pairs),
            "recipe": recipe,
            "signature": signature,
        },
        attrs={
            "curve": kind,
            "parameter_names": json.dumps(layout.names),
            "parameter_shapes": json.dumps([list(shape) for shape in layout.shapes]),
        },
    )


def fitter(arguments: Mapping[str, Any]) -> Callable[..., Mapping[str, Any]]:
    """Fit the curve of one pair: the factory of `fit_sweep`.

    Args:
        arguments: `kind`, `network` (`Network`), `thetas` (C, D), `pairs` [(i, j)], `recipe` (`CurveRecipe`),
            `signature` of the whole study.
    """
    network: Network = arguments["network"]
    recipe: CurveRecipe = arguments["recipe"]
    kind, thetas, pairs = arguments["kind"], arguments["thetas"], arguments["pairs"]
    objective = network.training_objective()

    def evaluate(coordinates: Mapping[str, Any], task: Any) -> Mapping[str, Any]:
        (pair,) = coordinates["pair"]
        start, end = (thetas[index] for index in pairs[pair])
        resume = Resume(task.scratch, f"{arguments['signature']} {kind} {pair}")
        losses = np.full(len(coordinates["step"]), np.nan)
        if torch.equal(start, end):  # nothing to connect: the curve that stays where it is
            points = start.expand(recipe.bends + 2, -1).clone()
        else:
            curve, history = fit_curve(kind, start, end, objective, recipe, resume=resume, report=task.report)
            points = curve.control_points
            found = [row["loss"] for row in history.rows if row["step"] > 0]
            losses[: len(found)] = found
        return {"control_points": points.cpu().numpy()[None], "loss": losses[None]}

    return evaluate


def load_curve(path: Path | str, curve: str = "bezier", pair: int = 0) -> Curve:
    """Load a fitted curve from a store of `landscape connect`.

    Args:
        path: The store.
        curve: Name of the curve: one that was fitted, or `linear`.
        pair: Number of the pair.

    Returns:
        The curve; `load_curve(...)(t)` gives parameters, shape `(D,)` for a scalar tensor t.

    Raises:
        RequestError: If there is no store, or no such curve or pair in it.
    """
    tree = store.open(path)
    fits = tree["connect/fit"].children if "/connect/fit" in tree.groups else {}
    if curve not in fits and not (curve == "linear" and fits):
        raise unknown("curve in the store", curve, ["linear", *fits])
    fitted = fits[curve if curve in fits else next(iter(fits))]
    if not 0 <= pair < fitted.sizes["pair"]:
        raise RequestError(f"{path} has pairs 0 to {fitted.sizes['pair'] - 1}, not {pair}")
    points = torch.from_numpy(fitted["control_points"].isel(pair=pair).values)
    return make_curve(curve, points[[0, -1]] if curve == "linear" else points)
