"""The runs behind `speedrun`: tuning by method and learning rate, the race by seed and method."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from landscape.networks.loop import Row

from .speedrun_course import Course, Recipe

REACHED, NOT_REACHED, DIVERGED = 1, 2, 3
"""What became of the target; 0 where that isn't known yet."""
OUTCOMES = {"flag_values": [0, REACHED, NOT_REACHED, DIVERGED], "flag_meanings": "to_do reached not_reached diverged"}


def losses_at(rows: list[Row], records: np.ndarray) -> np.ndarray:
    """The validation loss at each record; NaN from where a run that diverged has none."""
    known = {int(row["batches"]): row["loss"] for row in rows}
    return np.array([known.get(int(batches), np.nan) for batches in records])


def first_reach(records: np.ndarray, losses: np.ndarray, target: float) -> tuple[int, float]:
    """When a run first reached the target.

    Args:
        records: Batches seen, ascending from 0.
        losses: The loss after each; NaN once the run has diverged.
        target: The loss to reach.

    Returns:
        The outcome, and the batches, interpolated linearly between two records. A run that didn't get there has the
        number of batches up to which that is known: the length of the run.
    """
    below = np.flatnonzero(losses <= target)
    if not len(below):
        return (NOT_REACHED if np.isfinite(losses).all() else DIVERGED), float(records[-1])
    k = int(below[0])
    if k == 0:
        return REACHED, float(records[0])
    share = (losses[k - 1] - target) / (losses[k - 1] - losses[k])
    return REACHED, float(records[k - 1] + share * (records[k] - records[k - 1]))


Evaluate = Callable[[Mapping[str, Any], Any], Mapping[str, Any]]


def tuning_evaluator(arguments: Mapping[str, Any]) -> Evaluate:
    """The last validation loss by method and learning rate: the factory of a sweep."""
    recipe: Recipe = arguments["recipe"]
    course = Course(recipe, arguments["data_dir"], arguments["device"])
    methods = {method.name: method for method in recipe.methods}

    def evaluate(coordinates: Mapping[str, Any], task: Any) -> Mapping[str, Any]:
        (name,), (number,) = coordinates["optimizer"], coordinates["rate"]
        method = methods[str(name)]
        rows = course.run(method, method.rates[int(number)], recipe.tuning_seed, recipe.steps, task)
        return {"loss": losses_at(rows, recipe.records[-1:])[None]}

    return evaluate


def race_evaluator(arguments: Mapping[str, Any]) -> Evaluate:
    """The validation loss along each run of the race, its pace, and when it reached the target: the factory of a sweep.

    The pace is the median over the stretches between two records of the mean time of a batch: what happens once in
    several steps, such as Shampoo's roots, counts, a stretch that the machine slowed down does not.
    """
    recipe: Recipe = arguments["recipe"]
    course = Course(recipe, arguments["data_dir"], arguments["device"])
    methods = {method.name: method for method in recipe.methods}
    tokens = recipe.batch_size * course.context

    def evaluate(coordinates: Mapping[str, Any], task: Any) -> Mapping[str, Any]:
        (name,), (seed,) = coordinates["optimizer"], coordinates["seed"]
        rows = course.run(methods[str(name)], arguments["rates"][str(name)], int(seed), recipe.record_every, task)
        losses = losses_at(rows, recipe.records)
        pace = float(np.median([row["batch_seconds"] for row in rows[1:]]))
        found = {"loss": losses, "batch_seconds": pace, "tokens_per_second": tokens / pace}
        if recipe.target is not None:
            outcome, batches = first_reach(recipe.records, losses, recipe.target)
            found |= {"outcome": outcome, "steps_to_target": batches, "seconds_to_target": batches * pace}
        if arguments["peak"] is not None:
            found["peak_share"] = arguments["operations_per_token"] * tokens / pace / arguments["peak"]
        return {name: np.asarray(value)[None, None] for name, value in found.items()}

    return evaluate
