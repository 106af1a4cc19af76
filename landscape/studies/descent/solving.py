"""Fits on features: the factory of the sweep of `features`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape.linalg.isotropic import minimum_norm_risk, ridge_risk
from landscape.linalg.least_squares import LeastSquares
from landscape.networks.datasets import load_data
from landscape.networks.sampling import mix
from landscape.studies.descent.decomposition import decompose
from landscape.studies.descent.features import GAUSSIAN, FeaturesRecipe
from landscape.studies.descent.maps import Features, find_map
from landscape.studies.descent.recipe import Evaluate
from landscape.studies.descent.supervision import Drawn, Gaussian, Labelled, Supply
from landscape.sweeps.schema import Status


def features_evaluator(arguments: Mapping[str, Any]) -> Evaluate:
    """Fit all training sets on all feature draws of one number of features.

    Args:
        arguments: The `recipe`, `data_dir`, and the names of the `variables` that are stored.
    """
    recipe: FeaturesRecipe = arguments["recipe"]
    wanted = arguments["variables"]
    if recipe.data == GAUSSIAN:
        supply: Supply = Gaussian(recipe.dimension)
        radius = recipe.dimension**0.5
    else:
        data = load_data(recipe.data, data_dir=arguments["data_dir"], settings=recipe.data_settings)
        supply = Labelled(data, recipe.targets == "signs")
        radius = float(data.train.inputs.flatten(1).square().sum(1, dtype=torch.float64).mean().sqrt())
    test = supply.test(recipe.test_samples)
    make = partial(Features, test.inputs.shape[1], recipe.numbers[-1], recipe.scale, radius)
    maps = [find_map(recipe.features)(make(mix(recipe.seed, 3, draw))) for draw in range(recipe.draws)]
    ridge = torch.tensor(recipe.ridge, dtype=torch.float64)

    def fit(count: int, train: Drawn, draw: int) -> tuple[dict[str, Tensor], Tensor]:
        """Losses, errors and norm, each `(noise, ridge, …)`, and predictions `(noise, ridge, m, k)`."""
        design = maps[draw](train.inputs, count)
        found = LeastSquares.factor(design).solve(train.targets.flatten(1), ridge)
        weights = found.reshape(*found.shape[:2], *train.targets.shape[1:])  # (N, ridge, noise, k)
        fitted, predicted = (torch.einsum("mp,prqk->qrmk", part, weights) for part in (design, shown[draw]))
        truth = train.targets.movedim(0, 1)[:, None]
        losses = [(fitted - truth).square().mean((-2, -1)), (predicted - test.targets[:, 0]).square().mean((-2, -1))]
        if recipe.exact:
            losses[1] = exact_risk(weights[..., 0], recipe)
        values = {"loss": torch.stack(losses, -1), "norm": weights.square().sum((0, 3)).sqrt().T}
        if train.labels is not None and test.labels is not None:
            wrong = [fitted.argmax(-1) != train.labels.T[:, None], predicted.argmax(-1) != test.labels[:, 0]]
            values["error"] = torch.stack([part.double().mean(-1) for part in wrong], -1)
        return values, predicted

    shown: list[Tensor] = []

    def evaluate(coordinates: Mapping[str, Any], task: Any) -> Mapping[str, Any]:
        (capacity,) = coordinates["capacity"]
        shown[:] = [features(test.inputs, int(capacity)) for features in maps]
        rows, tables = [], []
        for number, seed in enumerate(coordinates["seed"]):
            task.report(number / len(coordinates["seed"]), features=int(capacity))
            train = supply.draw(recipe.samples, recipe.noise, int(seed))
            fits = [fit(int(capacity), train, draw) for draw in range(recipe.draws)]
            rows.append({name: torch.stack([values[name] for values, _ in fits]) for name in fits[0][0]})
            tables.append(torch.stack([predicted for _, predicted in fits]))
        values = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
        values |= joint(torch.stack(tables), test.targets[:, 0], wanted)
        if recipe.exact:
            values["theory"] = theory(int(capacity), recipe)
        measured = bool(values["loss"].isfinite().all())  # a theory that has no expectation is no failure
        status = Status.DONE if measured else Status.NON_FINITE
        return {name: values[name][None].numpy() for name in wanted} | {"status": int(status)}

    return evaluate


def joint(predictions: Tensor, targets: Tensor, wanted: Sequence[str]) -> dict[str, Tensor]:
    """What all fits say together.

    Args:
        predictions: Shape `(seed, draw, noise, ridge, m, k)`.
        targets: Shape `(m, k)`.
        wanted: Names of what is to be stored.

    Returns:
        `ensemble_loss(seed, member, noise, ridge)` of the mean of the first feature draws, and
        `decomposition(noise, ridge, part)`.
    """
    draws, levels, ridges = predictions.shape[1:4]
    found = {}
    if "ensemble_loss" in wanted:
        counts = torch.arange(1, draws + 1, dtype=predictions.dtype).view(-1, 1, 1, 1, 1)
        found["ensemble_loss"] = (predictions.cumsum(1) / counts - targets).square().mean((-2, -1))
    if "decomposition" in wanted:
        parts = [decompose(predictions[:, :, q, r], targets) for q in range(levels) for r in range(ridges)]
        found["decomposition"] = torch.stack(parts).view(levels, ridges, -1)
    return found


def exact_risk(weights: Tensor, recipe: FeaturesRecipe) -> Tensor:
    r"""The risk :math:`\|w - \beta\|^2 + \sigma^2` of fits to isotropic data, given the fit.

    Args:
        weights: Shape `(p, ridge, noise)`.
        recipe: Says the noise, which is part of the risk.

    Returns:
        Shape `(noise, ridge)`.
    """
    beta = Gaussian(recipe.dimension).weights()  # all alike, in whichever order
    away = (weights - beta[0]).square().sum(0) + beta[len(weights) :].square().sum()
    return away.T + torch.tensor(recipe.noise, dtype=torch.float64).square()[:, None]


def theory(count: int, recipe: FeaturesRecipe) -> Tensor:
    """The expected risk for each noise and ridge, shape `(noise, ridge)`: exact without ridge, the limit with it."""
    signal = count / recipe.dimension

    def one(noise: float, ridge: float) -> float:
        unseen = noise**2 + 1 - signal
        if ridge == 0:
            return minimum_norm_risk(recipe.samples, count, signal, unseen)
        return ridge_risk(recipe.samples, count, ridge, signal, unseen)

    return torch.from_numpy(np.array([[one(noise, ridge) for ridge in recipe.ridge] for noise in recipe.noise]))
