"""The runs behind `adam_divergence`: Reddi et al.'s problems, one parabola, and logistic regression by features."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from landscape.testing import LogisticRegression

from .iterates import follow

if TYPE_CHECKING:
    from .adam_divergence import Features, Online, Parabola, Stochastic

QUANTILES = (0.1, 0.5, 0.9)
Evaluate = Callable[[Mapping[str, Any], Any], Mapping[str, Any]]


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

    def one(name: str) -> tuple[np.ndarray, np.ndarray]:
        generator = torch.Generator().manual_seed(stochastic.seed)
        start = torch.zeros(stochastic.runs, dtype=torch.float64)

        def gradient(x: Tensor, step: int) -> Tensor:
            steep = torch.rand(stochastic.runs, generator=generator, dtype=torch.float64) < chance
            return torch.where(steep, stochastic.C, -1.0).double()

        own = {} if name == "sgd" else {"beta1": stochastic.beta1, "beta2": stochastic.beta2}
        lr = stochastic.sgd_lr if name == "sgd" else stochastic.lr
        walk = follow(name, start, gradient, stochastic.steps, hyperparameters={"lr": lr, **own}, interval=(-1.0, 1.0))
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
        walks = [_on_parabola(str(name), parabola.lr, start, parabola.steps) for name in coordinates["method"]]
        return {"w": np.stack([walk[:, 0] for walk in walks])}

    return evaluate


def cycle_evaluator(arguments: Mapping[str, Any]) -> Evaluate:
    """Root mean square of the last half of Adam's iterates on w² for several step sizes: the factory of a sweep."""
    parabola: Parabola = arguments["recipe"].parabola

    def evaluate(coordinates: Mapping[str, Any], task: Any) -> Mapping[str, Any]:
        starts, steps = tuple(coordinates["start"]), parabola.cycle_steps
        table = [
            [_on_parabola(str(name), float(lr), starts, steps)[steps // 2 :] for lr in coordinates["lr"]]
            for name in coordinates["method"]
        ]
        return {"size": np.sqrt((np.array(table) ** 2).mean(-2))}

    return evaluate


def _on_parabola(method: str, lr: float, starts: tuple[float, ...], steps: int) -> np.ndarray:
    """Iterates `(step, start)` of a method, such as `sgd` or `adam:0.95` (its beta2), on w²."""
    name, _, beta2 = method.partition(":")
    own = {"beta2": float(beta2)} if beta2 else {}
    points = torch.tensor(starts, dtype=torch.float64)
    walk = follow(name, points, lambda w, step: 2 * w, steps, hyperparameters={"lr": lr, **own})
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

        def one(method: str, lr: float) -> np.ndarray:
            name, _, decay = method.partition(":")
            generator = torch.Generator().manual_seed(0)

            def gradient(theta: Tensor, step: int) -> Tensor:
                shape = (len(problems), features.batch_size)
                drawn = torch.randint(features.samples, shape, generator=generator)
                x, y = inputs[row, drawn], targets[row, drawn]
                weights = -y * torch.sigmoid(-y * (x @ theta[..., None])[..., 0]) / features.batch_size
                return (weights[:, None, :] @ x)[:, 0] + features.mu * theta

            start = torch.zeros(len(problems), features.inputs, dtype=torch.float64)
            schedule = inverse_root if decay else None
            walk = follow(name, start, gradient, features.steps, hyperparameters={"lr": lr}, schedule=schedule)
            rows = [
                [float(p.loss(theta)) for p, theta in zip(problems, point, strict=True)]
                for step, point in enumerate(walk)
                if step % features.every == 0
            ]
            return np.array(rows) - lowest

        values = []
        for count, method in enumerate(coordinates["method"]):
            values.append([one(str(method), float(lr)) for lr in coordinates["lr"]])
            task.report((count + 1) / len(coordinates["method"]))
        return {"excess": np.array(values)[None]}

    return evaluate
