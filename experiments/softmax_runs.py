"""The runs behind `softmax_regression`: every optimizer with several learning rates, all on the same batches."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape.errors import RequestError
from landscape.networks.sampling import Shuffle, mix
from landscape.optimizers.base import NonFiniteGradientError
from landscape.optimizers.registry import find_entry, make_optimizer, takes_full_batch
from landscape.optimizers.schedules import find_schedule

from .softmax_problem import SoftmaxRegression


@dataclass(frozen=True)
class Method:
    """An optimizer with the learning rates that are tried.

    Args:
        name: What it is called in the store.
        lowest: The smallest learning rate, 1 or 3 times a power of ten; the others follow in half decades (1, 3, 10 …).
        optimizer: Its name in the registry; that of the method by default.
        hyperparameters: Other than the default ones.
    """

    name: str
    lowest: float
    optimizer: str | None = None
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def registered(self) -> str:
        """The optimizer's name in the registry."""
        return self.optimizer or self.name

    def rates(self, count: int) -> np.ndarray:
        """So many learning rates."""
        first = round(2 * math.log10(self.lowest))
        return np.array([float(f"{'3' if k % 2 else '1'}e{k // 2}") for k in range(first, first + count)])


@dataclass(frozen=True)
class Budget:
    """How long and on what a run goes.

    Args:
        mu: Strong convexity.
        batch_size: Samples in a batch; methods for the full batch take all.
        marks: Passes over the data after which a run is recorded, the last of them its end: gradients of single
            samples, in multiples of the number of samples.
    """

    mu: float = 0.01
    batch_size: int = 200
    marks: tuple[float, ...] = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)


def descend(
    problem: SoftmaxRegression, method: Method, rates: Sequence[float], schedule: str, seed: int, budget: Budget
) -> Tensor:
    """Run a method with several learning rates side by side, on the same batches from the same start.

    What counts is gradients of single samples: two of SAM's for each step, one of L-BFGS's for each evaluation of its
    line search. A run that is between two steps at a mark is recorded at the last step before it.

    Args:
        problem: What is minimised.
        method: The optimizer.
        rates: Learning rates.
        schedule: Schedule by its name; the progress is the used share of the budget.
        seed: Decides start and batches.
        budget: How long, and when to record.

    Returns:
        Weights at the marks, shape `(len(rates), len(marks), classes, inputs)`; NaN where a run has diverged.
    """
    entry, factor = find_entry(method.registered), find_schedule(schedule)
    if entry.closure and len(rates) > 1:  # each evaluates where it likes, as often as it likes
        runs = [descend(problem, method, [rate], schedule, seed, budget) for rate in rates]
        return torch.cat(runs)
    samples = len(problem.inputs)
    full = takes_full_batch(method.registered, method.hyperparameters)
    batches = Shuffle(samples, samples if full else budget.batch_size, mix(seed, 1))
    weights = problem.start(seed).repeat(len(rates), 1, 1)
    parameters = [weights[place].detach().requires_grad_() for place in range(len(rates))]  # parts of one tensor
    optimizers = [
        make_optimizer(method.registered, [parameter], lr=rate, **method.hyperparameters)
        for parameter, rate in zip(parameters, rates, strict=True)
    ]
    marks, records, used = [mark * samples for mark in budget.marks], [], 0
    batch = torch.empty(0)

    def closure() -> Tensor:
        nonlocal used
        used += len(batch)
        with torch.no_grad():
            (parameters[0].grad,) = problem.gradients(weights, batch)
            return problem.batch_loss(weights[0], batch)

    for step in itertools.count():
        while len(records) < len(marks) and marks[len(records)] <= used:
            records.append(weights.clone())
        if len(records) == len(marks):
            return torch.stack(records, dim=1)
        batch, before = batches.indices(step), weights.clone()
        share = factor(used / marks[-1])
        gradients = None
        if not entry.closure:
            used += len(batch)
            gradients = problem.gradients(weights, batch)
        for place, (optimizer, rate) in enumerate(zip(optimizers, rates, strict=True)):
            for group in optimizer.param_groups:
                group["lr"] = rate * share
            try:
                if gradients is None:
                    optimizer.step(closure)  # type: ignore[arg-type]  # torch takes tensors as well
                else:
                    parameters[place].grad = gradients[place]
                    optimizer.step()
            except (NonFiniteGradientError, RequestError):  # the latter from Shampoo, of squares that overflow
                weights[place] = torch.nan
        while len(records) < len(marks) and marks[len(records)] < used:
            records.append(before)
    raise AssertionError("unreachable")


Evaluate = Callable[[Mapping[str, Any], Any], Mapping[str, Any]]


def minimum_evaluator(arguments: Mapping[str, Any]) -> Evaluate:
    """The minimum of f: the factory of a sweep."""
    problem = _problem(arguments)

    def evaluate(coordinates: Mapping[str, Any], task: Any) -> Mapping[str, Any]:
        weights, loss, length = problem.minimum()
        error = problem.test_errors(torch.from_numpy(weights).float()[None])
        values = {"loss": loss, "gradient_norm": length, "gap": length**2 / (2 * problem.mu)}
        return {**{name: np.array([value]) for name, value in values.items()}, "test_error": error.numpy()}

    return evaluate


def tuning_evaluator(arguments: Mapping[str, Any]) -> Evaluate:
    """How high f is above its minimum at the end, for every learning rate and the seeds of the tuning: a factory."""
    problem, recipe, lowest = _problem(arguments), arguments["recipe"], arguments["lowest"]
    budget = replace(recipe.budget, marks=recipe.budget.marks[-1:])
    methods = {method.name: method for method in recipe.methods}

    def evaluate(coordinates: Mapping[str, Any], task: Any) -> Mapping[str, Any]:
        (name,), (schedule,), seeds = coordinates["method"], coordinates["schedule"], coordinates["tuning_seed"]
        method = methods[str(name)]
        rates = method.rates(recipe.rates)
        found = []
        for count, seed in enumerate(seeds):
            found.append(descend(problem, method, rates.tolist(), str(schedule), int(seed), budget)[:, 0])
            task.report((count + 1) / len(seeds))
        ends = torch.stack(found, dim=1)
        return {name: values[None, None] for name, values in judge(problem, ends, lowest).items()}

    return evaluate


def best_evaluator(arguments: Mapping[str, Any]) -> Evaluate:
    """The whole course of runs at one learning rate for each method: the factory of a sweep."""
    problem, recipe, lowest = _problem(arguments), arguments["recipe"], arguments["lowest"]

    def evaluate(coordinates: Mapping[str, Any], task: Any) -> Mapping[str, Any]:
        (name,), (schedule,), seeds = coordinates["method"], coordinates["schedule"], coordinates["seed"]
        method, rate = arguments["chosen"][str(name), str(schedule)]
        found, seconds = [], []
        for count, seed in enumerate(seeds):
            clock = time.perf_counter()
            found.append(descend(problem, method, [rate], str(schedule), int(seed), recipe.budget)[0])
            seconds.append(time.perf_counter() - clock)
            task.report((count + 1) / len(seeds))
        values = {**judge(problem, torch.stack(found), lowest), "seconds": np.array(seconds)}
        return {name: value[None, None] for name, value in values.items()}

    return evaluate


def judge(problem: SoftmaxRegression, weights: Tensor, lowest: float) -> dict[str, np.ndarray]:
    """`excess` (f less its minimum) and `test_error` at weights of shape `(*, classes, inputs)`, each `(*)`."""
    flat = weights.flatten(0, -3)
    values = {"excess": problem.losses(flat) - lowest, "test_error": problem.test_errors(flat)}
    return {name: value.view(weights.shape[:-2]).numpy() for name, value in values.items()}


def _problem(arguments: Mapping[str, Any]) -> SoftmaxRegression:
    """The problem of a sweep."""
    return SoftmaxRegression(arguments["data"], arguments["recipe"].budget.mu)
