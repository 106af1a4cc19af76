"""What `rates` stores: curves, steps to epsilon and fitted rates of each method, beside the theory's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from . import rates_fits, rates_runs
from .rates_problems import Quadratic
from .rates_runs import Full, Noisy, descend, epsilons, instances_of, quasi_newton, wander
from .sweeping import Evaluate


def theory(setting: Full | Noisy, problem: str, method: str) -> float:
    r"""The theory's power of :math:`1/\epsilon`; for linear rates 1, the ratio of the measured one to the theory's.

    Nesterov's method is the only one with a better guarantee than GD's, on convex functions. The flat-bottomed function
    has a power of its own, :math:`1 - 2/p` of the bound's.
    """
    bound = 1.0
    if isinstance(setting, Noisy):
        bound = 1.0 if problem == "quadratic" else 2.0
    elif problem == "chain" and method == "nesterov":
        bound = 0.5
    return bound * (1 - 2 / setting.power) if problem == "flat" else bound


def steps_per_fold(kappa: np.ndarray, method: str) -> np.ndarray:
    r"""Steps by which :math:`f - f^*` falls by a factor of e on a quadratic: :math:`-1/(2\ln\rho)`, shape as kappa.

    :math:`\rho` is :math:`1 - 1/\kappa` for GD with :math:`\alpha = 1/L`, :math:`(\sqrt\kappa-1)/(\sqrt\kappa+1)` for
    the heavy ball and :math:`1 - 1/\sqrt\kappa` for Nesterov's method, each with its best momentum. There is no such
    number for L-BFGS, which is measured in units of GD's.
    """
    root = np.sqrt(kappa)
    rho = {"momentum": (root - 1) / (root + 1), "nesterov": 1 - 1 / root}.get(method, 1 - 1 / kappa)
    found: np.ndarray = -0.5 / np.log(rho)
    return found


def full_evaluator(arguments: Mapping[str, Any]) -> Evaluate:
    """Runs with the full gradient: the factory of a sweep over methods."""
    recipe, problem = arguments["recipe"], arguments["problem"]
    full: Full = recipe.full
    levels = epsilons(full, problem, recipe.levels)
    instances = instances_of(problem, full, recipe.instances, recipe.seed)

    def curves(method: str) -> list[tuple[np.ndarray, np.ndarray]]:
        if method == "lbfgs":
            least = max(levels[-1], full.floor)
            return [quasi_newton(instances.only(k), full, least) for k in range(recipe.instances)]
        if isinstance(instances, Quadratic) and method != "gd":  # momentum is that of each condition number
            return [descend(instances.only(k), method, full, levels[-1]) for k in range(recipe.instances)]
        values, counts = descend(instances, method, full, levels[-1])
        return [(values[k : k + 1], counts) for k in range(recipe.instances)]

    def one(method: str, steps: np.ndarray) -> dict[str, Any]:
        curve = np.full((recipe.instances, len(steps)), np.nan)
        reached = np.full((recipe.instances, len(levels)), np.nan)
        for place, (values, counts) in enumerate(curves(method)):
            at = np.searchsorted(counts, steps, side="right") - 1
            known = steps <= counts[-1]
            curve[place, known] = values[0, at[known]]
            first = rates_fits.first_steps(values, levels)[0]
            found = np.isfinite(first)
            reached[place, found] = counts[first[found].astype(int)]
        linear = isinstance(instances, Quadratic)
        slope = rates_fits.slopes(reached, levels, linear, recipe.least)
        result: dict[str, Any] = {"curve": curve, "steps_to_epsilon": reached}
        if linear:
            kappa = rates_runs.conditions(full, recipe.instances)
            result |= _named("kappa_power", rates_fits.power_of(kappa, slope, recipe.resamples, recipe.seed))
            slope = slope / steps_per_fold(kappa, method)
        return result | _named("measured", rates_fits.over_instances(slope, recipe.resamples, recipe.seed))

    def evaluate(coordinates: Mapping[str, Any], task: Any) -> Mapping[str, Any]:
        names = [str(name) for name in coordinates["method"]]
        rows = [one(name, coordinates["step"]) for name in names]
        values = {key: np.stack([row[key] for row in rows]) for key in rows[0]}
        return {**values, "theory": [theory(full, problem, name) for name in names], "status": 1}

    return evaluate


def noisy_evaluator(arguments: Mapping[str, Any]) -> Evaluate:
    """Runs with stochastic gradients: the factory of a sweep over methods."""
    recipe, problem = arguments["recipe"], arguments["problem"]
    noisy: Noisy = recipe.noisy
    levels = epsilons(noisy, problem, recipe.levels)
    instances = instances_of(problem, noisy, recipe.instances, recipe.seed)

    def one(method: str, steps: np.ndarray) -> dict[str, Any]:
        curve = wander(problem, instances, method, noisy, steps, recipe.seed + 1)
        reached = rates_fits.steps_to(curve.mean(1), steps, levels)
        found = rates_fits.over_seeds(curve, steps, levels, recipe.least, recipe.resamples, recipe.seed)
        return {"curve": curve, "steps_to_epsilon": reached, **_named("measured", found)}

    def evaluate(coordinates: Mapping[str, Any], task: Any) -> Mapping[str, Any]:
        names = [str(name) for name in coordinates["method"]]
        rows = [one(name, coordinates["step"]) for name in names]
        values = {key: np.stack([row[key] for row in rows]) for key in rows[0]}
        return {**values, "theory": [theory(noisy, problem, name) for name in names], "status": 1}

    return evaluate


def _named(name: str, found: tuple[float, float, float]) -> dict[str, np.ndarray]:
    """A value and the ends of its interval."""
    return {f"{name}{end}": np.array(value) for end, value in zip(("", "_low", "_high"), found, strict=True)}
