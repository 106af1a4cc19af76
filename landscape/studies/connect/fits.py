"""The fitted curves of a study: the sweep that fits them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape.networks.loop import Resume
from landscape.objective.parameters import Layout
from landscape.studies.connect.fitting import CurveRecipe, fit_curve
from landscape.studies.network import Network
from landscape.sweeps.schema import Status, Sweep, Variable


def fit_sweep(
    kind: str,
    network: Network,
    thetas: Tensor,
    pairs: Sequence[tuple[int, int]],
    recipe: CurveRecipe,
    signature: str,
    problem: str | None = None,
    autosave_seconds: float = 20.0,
) -> Sweep:
    """Fit one kind of curve between each pair: node `connect/fit/<kind>`.

    Args:
        kind: A name of `CURVES`.
        network: The loss and its data.
        thetas: The checkpoints, shape `(C, D)`.
        pairs: Numbers of the checkpoints of each pair.
        recipe: How to fit.
        signature: Hash of the whole study, by which a killed fit finds its own state.
        problem: Network, data and loss by name, as JSON, from which a point of the curve is made a network again.
        autosave_seconds: Time between saves of that state.
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
            "autosave_seconds": autosave_seconds,
        },
        attrs={
            "curve": kind,
            "problem": problem,
            "parameter_names": json.dumps(layout.names),
            "parameter_shapes": json.dumps([list(shape) for shape in layout.shapes]),
        },
    )


def fitter(arguments: Mapping[str, Any]) -> Callable[..., Mapping[str, Any]]:
    """Fit the curve of one pair: the factory of `fit_sweep`.

    Args:
        arguments: `kind`, `network` (`Network`), `thetas` (C, D), `pairs` [(i, j)], `recipe` (`CurveRecipe`),
            `signature` of the whole study, `autosave_seconds`.
    """
    network: Network = arguments["network"]
    recipe: CurveRecipe = arguments["recipe"]
    kind, thetas, pairs = arguments["kind"], arguments["thetas"], arguments["pairs"]
    objective = network.training_objective()

    def evaluate(coordinates: Mapping[str, Any], task: Any) -> Mapping[str, Any]:
        (pair,) = coordinates["pair"]
        start, end = (thetas[index] for index in pairs[pair])
        resume = Resume(task.scratch, f"{arguments['signature']} {kind} {pair}", arguments["autosave_seconds"])
        losses = np.full(len(coordinates["step"]), np.nan)
        if torch.equal(start, end):  # nothing to connect: the curve that stays where it is
            points = start.expand(recipe.bends + 2, -1).clone()
            return {"control_points": points.numpy()[None], "loss": losses[None], "status": Status.STOPPED}
        curve, history = fit_curve(kind, start, end, objective, recipe, resume=resume, report=task.report)
        found = [row["loss"] for row in history.rows if row["step"] > 0]
        losses[: len(found)] = found
        return {"control_points": curve.control_points.cpu().numpy()[None], "loss": losses[None]}

    return evaluate
