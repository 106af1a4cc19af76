"""What `adam_divergence` runs, and how: Reddi et al.'s problems, a parabola, logistic regression by features."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape.testing import LogisticRegression

from .iterates import follow
from .sweeping import QUANTILES, Evaluate


@dataclass(frozen=True)
class Online:
    """Reddi et al.'s online sequence of period three.

    Args:
        C: Slope of every third function.
        start: Where all start.
        lr: Step size, divided by the root of the step.
        steps: Number of steps.
        optimizers: Names of the methods.
    """

    C: float = 4.0
    start: float = 0.0
    lr: float = 0.5
    steps: int = 3000
    optimizers: tuple[str, ...] = ("adam", "amsgrad", "sgd")


@dataclass(frozen=True)
class Stochastic:
    """Its stochastic variant.

    Args:
        C: The rare slope.
        delta: The mean slope.
        lr: Step size of Adam and AMSGrad, constant.
        sgd_lr: That of SGD, whose steps are in proportion to the slope.
        beta1: Decay of the mean.
        beta2: Decay of the mean square.
        steps: Number of steps.
        every: Steps between two that are stored.
        runs: Number of runs.
        seed: Of the draws, the same for all methods.
        optimizers: Names of the methods.
    """

    C: float = 200.0
    delta: float = 0.4
    lr: float = 0.01
    sgd_lr: float = 0.0005
    beta1: float = 0.9
    beta2: float = 0.99
    steps: int = 30000
    every: int = 150
    runs: int = 100
    seed: int = 0
    optimizers: tuple[str, ...] = ("adam", "amsgrad", "sgd")


@dataclass(frozen=True)
class Parabola:
    """L(w) = w² with a constant step.

    Args:
        methods: Names of methods; with a colon, Adam's beta2.
        lr: Step size of all.
        start: Where all start.
        steps: Number of steps.
        cycle_methods: Methods whose final oscillation is measured.
        cycle_lrs: Step sizes for which it is.
        cycle_starts: Points from which it is.
        cycle_steps: Length of these runs; the last half is measured.
    """

    methods: tuple[str, ...] = ("sgd", "momentum", "adam:0.95", "adam:0.999")
    lr: float = 0.1
    start: float = 1.0
    steps: int = 12000
    cycle_methods: tuple[str, ...] = ("adam:0.95", "adam:0.999")
    cycle_lrs: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3)
    cycle_starts: tuple[float, ...] = (1.0, 3.0)
    cycle_steps: int = 24000


@dataclass(frozen=True)
class Features:
    """Logistic regression with sparse or dense features.

    Args:
        samples: Number of samples.
        inputs: Number of features.
        shares: Share of the samples in which the most and the least frequent feature is not 0.
        scale: Size of the true weights.
        mu: Strong convexity.
        batch_size: Samples in a minibatch, drawn with replacement.
        steps: Number of steps.
        every: Steps between two that are stored.
        lrs: All learning rates that are tried with every method.
        methods: Names of methods; with ":decay" the step falls as one over the root of the step.
        data: Kinds of features.
        seeds: Number of problems of each kind, each with draws of its own.
    """

    samples: int = 1000
    inputs: int = 50
    shares: tuple[float, ...] = (0.5, 0.005)
    scale: float = 0.4
    mu: float = 1e-3
    batch_size: int = 10
    steps: int = 2000
    every: int = 50
    lrs: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
    methods: tuple[str, ...] = ("sgd", "sgd:decay", "adagrad")
    data: tuple[str, ...] = ("sparse", "dense")
    seeds: int = 8


def inverse_root(step: int) -> float:
    """The schedule of the theory, 1/√t in step t = 1, 2, …."""
    return 1 / math.sqrt(step + 1)


def online_evaluator(arguments: Mapping[str, Any]) -> Evaluate:
    r"""Iterates and mean regret, :math:`\frac1T \sum_{t \le T} f_t(x_t) - f_t(-1)`: the factory of a sweep."""
    online: Online = arguments["recipe"].online
    slopes = np.where(np.arange(online.steps) % 3 == 0, online.C, -1.0)  # t = 1, 4, 7, … are the steep ones

    def one(name: str) -> tuple[np.ndarray, np.ndarray]:
        own = {} if name == "sgd" else {"beta1": 0.0, "beta2": 1 / (1 + online.C**2)}
        start = torch.tensor([online.start], dtype=torch.float64)
        walk = follow(
            name,
            start,
            lambda x, step: torch.full_like(x, slopes[step]),
            online.steps,
            hyperparameters={"lr": online.lr, **own},
            schedule=inverse_root,
            interval=(-1.0, 1.0),
        )
        points = np.array([float(point) for point in walk])
        regret = np.cumsum(slopes * (points[:-1] + 1)) / np.arange(1, online.steps + 1)
        return points[1:], regret

    def evaluate(coordinates: Mapping[str, Any], task: Any) -> Mapping[str, Any]:
        found = [one(str(name)) for name in coordinates["optimizer"]]
        return {"x": np.stack([x for x, _ in found]), "regret": np.stack([regret for _, regret in found])}

    return evaluate


def stochastic_evaluator(arguments: Mapping[str, Any]) -> Evaluate:
    """Mean and quantiles of the iterate over runs: the factory of a sweep."""
    stochastic: Stochastic = arguments["recipe"].stochastic
    chance = (1 + stochastic.delta) / (1 + stochastic.C)

    generator = torch.Generator().manual_seed(stochastic.seed)
    steep = torch.rand(stochastic.steps, stochastic.runs, generator=generator, dtype=torch.float64) < chance
    slopes = torch.where(steep, stochastic.C, -1.0).double()

    def one(name: str) -> tuple[np.ndarray, np.ndarray]:
        start = torch.zeros(stochastic.runs, dtype=torch.float64)
        own = {} if name == "sgd" else {"beta1": stochastic.beta1, "beta2": stochastic.beta2}
        lr = stochastic.sgd_lr if name == "sgd" else stochastic.lr
        walk = follow(
            name,
            start,
            lambda x, step: slopes[step],
            stochastic.steps,
            hyperparameters={"lr": lr, **own},
            interval=(-1.0, 1.0),
        )
        kept = np.stack([point.numpy().copy() for step, point in enumerate(walk) if step % stochastic.every == 0])
        return kept.mean(-1), np.quantile(kept, QUANTILES, axis=-1).T

    def evaluate(coordinates: Mapping[str, Any], task: Any) -> Mapping[str, Any]:
        found = [one(str(name)) for name in coordinates["optimizer"]]
        return {"x": np.stack([mean for mean, _ in found]), "x_quantile": np.stack([range_ for _, range_ in found])}

    return evaluate


def parabola_evaluator(arguments: Mapping[str, Any]) -> Evaluate:
    """Iterates on w² with a constant step: the factory of a sweep over methods."""
    parabola: Parabola = arguments["recipe"].parabola

    def evaluate(coordinates: Mapping[str, Any], task: Any) -> Mapping[str, Any]:
        start = (parabola.start,)
        walks = [_on_parabola(str(name), [parabola.lr], start, parabola.steps) for name in coordinates["method"]]
        return {"w": np.stack([walk[:, 0, 0] for walk in walks])}

    return evaluate


def cycle_evaluator(arguments: Mapping[str, Any]) -> Evaluate:
    """Root mean square of the last half of Adam's iterates on w² for several step sizes: the factory of a sweep."""
    parabola: Parabola = arguments["recipe"].parabola

    def evaluate(coordinates: Mapping[str, Any], task: Any) -> Mapping[str, Any]:
        starts, steps = tuple(coordinates["start"]), parabola.cycle_steps
        walks = [_on_parabola(str(name), coordinates["lr"], starts, steps) for name in coordinates["method"]]
        return {"size": np.stack([np.sqrt((walk[steps // 2 :] ** 2).mean(0)) for walk in walks])}

    return evaluate


def _on_parabola(method: str, lrs: Sequence[float], starts: tuple[float, ...], steps: int) -> np.ndarray:
    """Iterates `(step, lr, start)` of a method, such as `sgd` or `adam:0.95` (its beta2), on w²."""
    name, _, beta2 = method.partition(":")
    own = {"beta2": float(beta2)} if beta2 else {}
    points = torch.tensor(starts, dtype=torch.float64).expand(len(lrs), -1)
    walk = follow(name, points, lambda w, step: 2 * w, steps, hyperparameters=own, lrs=lrs)
    return np.stack([w.numpy().copy() for w in walk])


def draw_features(features: Features, kind: str, seed: int) -> LogisticRegression:
    """Logistic regression with sparse features (the rarer, the larger its true weight) or dense ones.

    Sparse: feature j is 0 but for a share :math:`p_j` of the samples, falling geometrically from the first feature to
    the last; dense: all are Gaussian. True weights are ± scale / √p_j (p = 1 for dense ones), and labels follow their
    chances.
    """
    generator = torch.Generator().manual_seed(seed)
    shape = (features.samples, features.inputs)
    inputs = torch.randn(shape, generator=generator, dtype=torch.float64)
    share = torch.ones(features.inputs, dtype=torch.float64)
    if kind == "sparse":
        share = torch.logspace(*(math.log10(p) for p in features.shares), features.inputs, dtype=torch.float64)
        present = torch.rand(shape, generator=generator, dtype=torch.float64) < share
        present[torch.arange(features.inputs), torch.arange(features.inputs)] = True  # each occurs once at least
        inputs = torch.where(present, inputs.sign(), 0.0)
    sign = torch.randn(features.inputs, generator=generator, dtype=torch.float64).sign()
    truth = features.scale * sign / share.sqrt()
    chances = torch.sigmoid(inputs @ truth)
    heads = torch.rand(features.samples, generator=generator, dtype=torch.float64) < chances
    return LogisticRegression(inputs, torch.where(heads, 1.0, -1.0).double(), features.mu)


def features_evaluator(arguments: Mapping[str, Any]) -> Evaluate:
    """Excess loss along training for every learning rate, all seeds side by side: the factory of a sweep."""
    features: Features = arguments["recipe"].features
    seeds = range(features.seeds)

    def evaluate(coordinates: Mapping[str, Any], task: Any) -> Mapping[str, Any]:
        (kind,) = coordinates["data"]
        problems = [draw_features(features, str(kind), seed) for seed in seeds]
        lowest = np.array([float(problem.loss(problem.minimum())) for problem in problems])
        inputs, targets = (torch.stack([getattr(p, name) for p in problems]) for name in ("inputs", "targets"))
        row = torch.arange(len(problems))[:, None]
        lrs = coordinates["lr"]

        def losses(theta: Tensor) -> Tensor:
            """Of all learning rates and problems, `(lr, seed)`, at `(lr, seed, input)`."""
            margins = (inputs @ theta.movedim(0, -1)).movedim(-1, 0) * targets
            return torch.nn.functional.softplus(-margins).mean(-1) + 0.5 * features.mu * theta.square().sum(-1)

        def one(method: str) -> np.ndarray:
            name, _, decay = method.partition(":")
            generator = torch.Generator().manual_seed(0)

            def gradient(theta: Tensor, step: int) -> Tensor:
                shape = (len(problems), features.batch_size)
                drawn = torch.randint(features.samples, shape, generator=generator)
                x, y = inputs[row, drawn], targets[row, drawn]
                weights = -y * torch.sigmoid(-y * (x @ theta[..., None])[..., 0]) / features.batch_size
                return (weights[..., None, :] @ x)[..., 0, :] + features.mu * theta

            start = torch.zeros(len(lrs), len(problems), features.inputs, dtype=torch.float64)
            schedule = inverse_root if decay else None
            walk = follow(name, start, gradient, features.steps, hyperparameters={}, schedule=schedule, lrs=lrs)
            kept = [losses(theta) for step, theta in enumerate(walk) if step % features.every == 0]
            return torch.stack(kept).numpy().transpose(1, 0, 2) - lowest

        values = []
        for count, method in enumerate(coordinates["method"]):
            values.append(one(str(method)))
            task.report((count + 1) / len(coordinates["method"]))
        return {"excess": np.array(values)[None]}

    return evaluate
