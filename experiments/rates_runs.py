r"""The runs behind `rates`: every method on every function, and the rates that they show."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape.optimizers.registry import make_optimizer

from .iterates import follow
from .rates_problems import Chain, Flat, Instances, Quadratic, Wells


@dataclass(frozen=True)
class Full:
    """Runs with the full gradient.

    Args:
        conditions: Least and largest condition number of the quadratics.
        size: Directions of a quadratic; a quarter as many more are flat.
        longest: Chain of Nesterov's worst function.
        widest: Well.
        power: Of the flat-bottomed function.
        smallest: Least epsilon on the quadratics, the chains, the flat bottoms and the wells.
        largest: Largest epsilon on each.
        steps: Most steps.
        momentum: Of the heavy ball, but on the quadratics, where it is the best for their condition number.
        memory: Pairs that L-BFGS keeps.
        evaluations: Most gradients that L-BFGS takes.
        floor: Least f - f* to which L-BFGS is followed: near 1e-9 its line search no longer tells values of f apart.
    """

    conditions: tuple[float, ...] = (100.0, 1000.0)
    size: int = 40
    longest: int = 4096
    widest: float = 1024.0
    power: int = 64
    smallest: tuple[float, ...] = (1e-16, 1e-5, 1e-6, 2e-4)
    largest: tuple[float, ...] = (1e-3, 1e-3, 2e-4, 1e-2)
    steps: int = 30_000
    momentum: float = 0.5
    memory: int = 10
    evaluations: int = 3000
    floor: float = 1e-8


@dataclass(frozen=True)
class Noisy:
    """Runs with stochastic gradients.

    Args:
        conditions: As in `Full`.
        size: As in `Full`.
        longest: As in `Full`.
        widest: As in `Full`.
        power: As in `Full`.
        sigma: Noise on the chains, the flat bottoms and the wells, by the root of their mean squared components; on the
            quadratics it follows from the rate that theory promises.
        smallest: As in `Full`.
        largest: As in `Full`.
        steps: Number of steps, and the longest horizon on the wells.
        least_horizon: The shortest.
        horizons: Number of horizons.
        momentum: Of momentum and Nesterov.
        damping: Of the preconditioner.
        seeds: Runs of each instance of the quadratics, the chains, the flat bottoms and the wells.
    """

    conditions: tuple[float, ...] = (10.0, 40.0)
    size: int = 12
    longest: int = 128
    widest: float = 64.0
    power: int = 64
    sigma: tuple[float, ...] = (0.05, 0.003, 0.1)
    smallest: tuple[float, ...] = (0.005, 1.3e-3, 1e-5, 6e-3)
    largest: tuple[float, ...] = (0.06, 8e-3, 5e-5, 4e-2)
    steps: int = 20_000
    least_horizon: int = 64
    horizons: int = 14
    momentum: float = 0.9
    damping: float = 0.03
    seeds: tuple[int, ...] = (32, 3, 24, 8)


PROBLEMS = ("quadratic", "chain", "flat", "wells")
THETA = 2.0
"""SGD under the PL condition steps by theta / (mu (k + k0))."""


def epsilons(setting: Full | Noisy, problem: str, levels: int) -> np.ndarray:
    """Accuracies on a geometric scale, the largest first."""
    place = PROBLEMS.index(problem)
    return np.geomspace(setting.largest[place], setting.smallest[place], levels)


def record(setting: Full | Noisy, problem: str) -> np.ndarray:
    """Steps at which a curve is kept, on a logarithmic scale, shape `(K,)`; on the wells with noise, the horizons."""
    if isinstance(setting, Noisy) and problem == "wells":
        return np.geomspace(setting.least_horizon, setting.steps, setting.horizons).round().astype(int)
    count = round(16 * math.log10(setting.steps)) + 1
    return np.unique(np.geomspace(1, setting.steps, count).round()).astype(int)


def methods(setting: Full | Noisy, problem: str) -> tuple[str, ...]:
    """The methods that run on a function: all, but the flat bottom is there for the plain ones."""
    if isinstance(setting, Full):
        return ("gd",) if problem == "flat" else ("gd", "momentum", "nesterov", "lbfgs")
    return ("sgd",) if problem == "flat" else ("sgd", "momentum", "nesterov", "preconditioned")


def conditions(setting: Full | Noisy, instances: int) -> np.ndarray:
    """Condition numbers of the quadratics, on a geometric scale, shape `(instances,)`."""
    least, largest = setting.conditions
    found: np.ndarray = np.geomspace(least, largest, instances)
    return found


def instances_of(problem: str, setting: Full | Noisy, count: int, seed: int) -> Instances:
    """The instances of a function."""
    generator = torch.Generator().manual_seed(seed)
    noisy = isinstance(setting, Noisy)
    damping = setting.damping if isinstance(setting, Noisy) else 0.0
    if problem == "quadratic":
        kappa = torch.from_numpy(conditions(setting, count))
        # with noise all have one mu, and so one schedule; without, all have L = 1
        mu, top = (1 / kappa.max() + 0 * kappa, kappa / kappa.max()) if noisy else (1 / kappa, torch.ones_like(kappa))
        return Quadratic.random(mu, top, setting.size, setting.size // 4, damping, generator)
    if problem == "chain":
        return Chain.random(count, 4, setting.longest, damping, generator)
    if problem == "flat":
        return Flat.random(count, setting.size, setting.power, damping, generator)
    return Wells.random(count, setting.widest, damping, generator)


def descend(instances: Instances, method: str, full: Full, least: float) -> tuple[np.ndarray, np.ndarray]:
    """One method with the full gradient, until all instances are at `least`.

    Returns:
        The criterion and the number of gradients so far, shapes `(instance, K)` and `(K,)`, from the start on.
    """
    settings: dict[str, Any] = {"lr": 1.0}
    momentum: Callable[[int], float] | None = None
    if method == "nesterov":
        momentum = lambda step: (step + 1) / (step + 4)  # noqa: E731
    if method == "momentum":
        settings["momentum"] = full.momentum
    if isinstance(instances, Quadratic) and method in ("momentum", "nesterov"):
        low = math.sqrt(float(instances.eigenvalues[instances.eigenvalues > 0].min()))  # of one instance, L = 1
        beta = (1 - low) / (1 + low)
        momentum = None
        settings = (
            {"lr": 4 / (1 + low) ** 2, "momentum": beta**2} if method == "momentum" else {"lr": 1, "momentum": beta}
        )

    def gradient(x: Tensor, step: int) -> Tensor:
        return instances.gradient(x)

    kept = []
    for x in follow(method, instances.start, gradient, full.steps, hyperparameters=settings, momentum=momentum):
        kept.append(instances.criterion(x).numpy())
        if (np.min(kept[-50:], axis=0) <= least).all():
            break
    return np.stack(kept, axis=-1), np.arange(len(kept))


def quasi_newton(instances: Instances, full: Full, least: float) -> tuple[np.ndarray, np.ndarray]:
    """L-BFGS on one instance; the steps counted are its gradients, of which a line search takes one or more.

    Returns:
        As `descend`.
    """
    point = instances.start.clone().requires_grad_()
    optimizer = make_optimizer("lbfgs", [point], history=full.memory, tolerance=0.0)
    calls = 0

    def closure() -> Tensor:
        nonlocal calls
        calls += 1
        point.grad = instances.gradient(point.detach())
        return instances.loss(point.detach()).sum()

    kept, counts = [instances.criterion(point.detach()).numpy()], [0]
    while kept[-1] > least and calls < full.evaluations and (len(counts) < 2 or counts[-1] > counts[-2]):
        optimizer.step(closure)  # type: ignore[arg-type]
        kept.append(instances.criterion(point.detach()).numpy())
        counts.append(calls)
    return np.stack(kept, axis=-1), np.array(counts)


def wander(problem: str, instances: Instances, method: str, noisy: Noisy, steps: np.ndarray, seed: int) -> np.ndarray:
    """One method with stochastic gradients, all seeds at once.

    Momentum's step is `1 - momentum` times SGD's, so that both go as far with one gradient; the preconditioned one
    is SGD on (H + damping)^-1 times the gradient.

    Args:
        problem: The function.
        instances: Its instances.
        method: The method.
        noisy: How to run it.
        steps: Where the criterion is kept, shape `(K,)`; on the wells they are the horizons, each with a constant step
            of its own.
        seed: Of the noise.

    Returns:
        The criterion, shape `(instance, seed, K)`.
    """
    generator = torch.Generator().manual_seed(seed)
    optimizer = method if method in ("momentum", "nesterov") else "sgd"
    settings: dict[str, Any] = {"lr": 1.0}
    if optimizer != "sgd":
        settings = {"lr": 1 - noisy.momentum, "momentum": noisy.momentum}
    offset, power = 1.0, 0.5
    if isinstance(instances, Quadratic):
        mu = float(instances.eigenvalues[0, 0])
        if method == "preconditioned":
            mu = mu / (mu + noisy.damping)
        offset, power = THETA / mu, 1.0
    sigma, seeds = noise_of(problem, noisy), noisy.seeds[PROBLEMS.index(problem)]
    start = instances.start.expand(seeds, *instances.start.shape)

    def gradient(x: Tensor, step: int) -> Tensor:
        found = instances.gradient(x) + sigma * instances.noise((seeds,), generator)
        return instances.precondition(found) if method == "preconditioned" else found

    def walk(last: int, schedule: Callable[[int], float]) -> Iterator[Tensor]:
        box = (-1.0, 1.0) if isinstance(instances, Flat) else None
        return follow(optimizer, start, gradient, last, hyperparameters=settings, schedule=schedule, interval=box)

    if isinstance(instances, Wells):
        ends = [deque(walk(int(last), _constant(math.sqrt(steps[0] / last))), 1)[0] for last in steps]
        kept = [instances.criterion(end).numpy() for end in ends]
    else:
        path = walk(int(steps[-1]), lambda step: (offset / (step + offset)) ** power)
        chosen = set(steps.tolist())
        kept = [instances.criterion(x).numpy() for step, x in enumerate(path) if step in chosen]
    return np.stack(kept, axis=-1).transpose(1, 0, 2)


def _constant(factor: float) -> Callable[[int], float]:
    """A schedule that stays."""
    return lambda step: factor


def noise_of(problem: str, noisy: Noisy) -> float:
    """The noise's standard deviation; on a quadratic SGD is then near f = k0/(k + k0), as it starts."""
    return math.sqrt(4 / noisy.size) if problem == "quadratic" else noisy.sigma[PROBLEMS.index(problem) - 1]
