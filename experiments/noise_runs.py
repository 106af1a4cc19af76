"""The runs behind `noise_ball`: SGD and GD on a straight line's least squares and on a logistic regression."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape.testing import LinearRegression, LogisticRegression

from .iterates import follow
from .sweeping import QUANTILES, Evaluate


@dataclass(frozen=True)
class Line:
    """A straight line through noisy points: least squares in two parameters.

    Args:
        samples: Number of points.
        noise: Standard deviation of the points around the true line.
        seed: Of the points.
        start: Intercept and slope from which the paths start.
        batch_size: Samples in a minibatch.
        lrs: Step sizes of the paths.
        steps: Their length.
        runs: Runs whose root mean square distance is drawn beside the path.
        ball_lrs: Step sizes for which the radius is measured.
        ball_runs: Runs over which it is measured.
    """

    samples: int = 40
    noise: float = 0.7
    seed: int = 4
    start: tuple[float, ...] = (-2.4, -2.6)
    batch_size: int = 2
    lrs: tuple[float, ...] = (0.02, 0.1, 0.4)
    steps: int = 400
    runs: int = 200
    ball_lrs: tuple[float, ...] = (0.003, 0.006, 0.0125, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
    ball_runs: int = 400


@dataclass(frozen=True)
class Logistic:
    """Strongly convex logistic regression.

    Args:
        samples: m.
        inputs: n.
        mu: Strong convexity.
        seed: Of the data.
        batches: Batch sizes; all samples are gradient descent.
        start: Every coordinate of the point from which all start.
        lr: Step size of all.
        steps: Number of steps.
        runs: Runs of each.
    """

    samples: int = 200
    inputs: int = 10
    mu: float = 1.0
    seed: int = 0
    batches: tuple[int, ...] = (1, 10, 50, 100, 200)
    start: float = 1.0
    lr: float = 0.03
    steps: int = 300
    runs: int = 40


def line_problem(line: Line) -> LinearRegression:
    """The least-squares problem, in (intercept, slope)."""
    generator = torch.Generator().manual_seed(line.seed)
    place = 2 * torch.rand(line.samples, generator=generator, dtype=torch.float64) - 1
    noise = torch.randn(line.samples, generator=generator, dtype=torch.float64)
    inputs = torch.stack([torch.ones_like(place), place], dim=-1)
    return LinearRegression(inputs, (0.5 + 1.5 * place + line.noise * noise)[:, None])


def logistic_problem(logistic: Logistic) -> LogisticRegression:
    """The logistic regression."""
    generator = torch.Generator().manual_seed(logistic.seed)
    return LogisticRegression.random(logistic.samples, logistic.inputs, logistic.mu, generator)


def loss_evaluator(arguments: Mapping[str, Any]) -> Evaluate:
    """The loss on a grid of intercepts and slopes: the factory of a sweep."""
    problem = line_problem(arguments["recipe"].line)

    def evaluate(coordinates: Mapping[str, Any], task: Any) -> Mapping[str, Any]:
        grid = [
            [problem.losses(torch.tensor([a, b])).mean() for b in coordinates["slope"]]
            for a in coordinates["intercept"]
        ]
        return {"loss": np.array(grid)}

    return evaluate


def path_evaluator(arguments: Mapping[str, Any]) -> Evaluate:
    """A path, the distance to the optimum over many runs, and the stationary covariance: the factory of a sweep."""
    line: Line = arguments["recipe"].line
    problem = line_problem(line)

    def one(method: str, lr: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        start = torch.tensor(line.start, dtype=torch.float64).expand(line.runs, 2)
        batch = None if method == "gd" else line.batch_size
        points = [point.clone() for point in _sgd(problem, start, lr, line.steps, batch, seed=line.seed)]
        away = torch.stack(points) - problem.minimum()
        rms = away.square().sum(-1).mean(-1).sqrt()
        covariance = torch.zeros(2, 2) if batch is None else problem.stationary_covariance(lr, batch)
        return torch.stack(points)[:, 0].numpy(), rms.numpy(), covariance.numpy()

    def evaluate(coordinates: Mapping[str, Any], task: Any) -> Mapping[str, Any]:
        rows = [[one(str(method), float(lr)) for lr in coordinates["lr"]] for method in coordinates["optimizer"]]
        names = ("theta", "distance", "covariance")
        return {name: np.array([[cell[k] for cell in row] for row in rows]) for k, name in enumerate(names)}

    return evaluate


def radius_evaluator(arguments: Mapping[str, Any]) -> Evaluate:
    """The root mean square distance of SGD that has become stationary: the factory of a sweep.

    Runs start at the optimum, wait for five times the slowest direction's time constant, and are then averaged over
    as long; the standard error is that over runs.
    """
    line: Line = arguments["recipe"].line
    problem = line_problem(line)
    slowest = float(torch.linalg.eigvalsh(problem.hessian())[0])

    def one(lr: float) -> tuple[float, float, float, float]:
        wait = math.ceil(5 / (lr * slowest))
        start = problem.minimum().expand(line.ball_runs, 2)
        total = torch.zeros(line.ball_runs, dtype=torch.float64)
        for step, point in enumerate(_sgd(problem, start, lr, 2 * wait, line.batch_size, seed=line.seed + 1)):
            if step > wait:
                total += (point - problem.minimum()).square().sum(-1)
        squares = total / wait
        radius = float(squares.mean().sqrt())
        stderr = float(squares.std() / math.sqrt(line.ball_runs)) / (2 * radius)
        theory, small = (float(problem.stationary_covariance(rate, line.batch_size).trace()) for rate in (lr, 1e-6))
        return radius, stderr, math.sqrt(theory), math.sqrt(small * lr / 1e-6)

    def evaluate(coordinates: Mapping[str, Any], task: Any) -> Mapping[str, Any]:
        columns = np.array([one(float(lr)) for lr in coordinates["lr"]]).T
        return dict(zip(("radius", "radius_stderr", "theory", "limit"), columns, strict=True))

    return evaluate


def logistic_evaluator(arguments: Mapping[str, Any]) -> Evaluate:
    """Distance and excess loss of logistic regression by batch size: the factory of a sweep.

    A step takes 4 n b + 4 n operations (additions and multiplications): 2 n for each sample's product with x, 2 n to
    add its gradient, and 4 n for the regulariser and the update.
    """
    logistic: Logistic = arguments["recipe"].logistic
    problem = logistic_problem(logistic)
    minimum = problem.minimum()
    each = torch.arange(logistic.samples)[:, None]
    gradients = problem.gradient(minimum.expand(logistic.samples, -1), each)

    def one(batch: int) -> dict[str, np.ndarray]:
        generator = torch.Generator().manual_seed(logistic.seed + 1)
        shape = (logistic.runs, batch)

        def gradient(theta: Tensor, step: int) -> Tensor:
            if batch == logistic.samples:
                return problem.gradient(theta)
            return problem.gradient(theta, torch.randint(logistic.samples, shape, generator=generator))

        start = torch.full((logistic.runs, logistic.inputs), logistic.start, dtype=torch.float64)
        walk = follow("sgd", start, gradient, logistic.steps, hyperparameters={"lr": logistic.lr})
        points = torch.stack([point.clone() for point in walk])
        found = {
            "excess": (problem.loss(points) - problem.loss(minimum)).numpy(),
            "distance": (points - minimum).norm(dim=-1).numpy(),
        }
        quantiles = {f"{name}_quantile": np.quantile(v, QUANTILES, axis=-1).T for name, v in found.items()}
        floor = logistic.lr / (4 * batch) * gradients.square().sum(-1).mean() if batch < logistic.samples else 0.0
        means = {name: v.mean(-1) for name, v in found.items()}
        operations = 4 * logistic.inputs * (batch + 1)
        return {**means, **quantiles, "floor": np.array(float(floor)), "operations": np.array(float(operations))}

    def evaluate(coordinates: Mapping[str, Any], task: Any) -> Mapping[str, Any]:
        rows = [one(int(batch)) for batch in coordinates["batch"]]
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]}

    return evaluate


def _sgd(
    problem: LinearRegression, start: Tensor, lr: float, steps: int, batch: int | None, seed: int
) -> Iterator[Tensor]:
    """Iterates of many runs, shape `(runs, 2)`, with batches drawn with replacement, or all samples if None."""
    generator = torch.Generator().manual_seed(seed)
    inputs, targets = problem.inputs, problem.targets[:, 0]
    hessian, linear = problem.hessian(), problem.gradient(torch.zeros(2, dtype=torch.float64))

    def gradient(theta: Tensor, step: int) -> Tensor:
        if batch is None:
            return theta @ hessian + linear
        drawn = torch.randint(len(inputs), (len(theta), batch), generator=generator)
        chosen = inputs[drawn]
        residuals = (chosen * theta[:, None]).sum(-1) - targets[drawn]
        return 2 / batch * (residuals[..., None] * chosen).sum(1)

    return follow("sgd", start, gradient, steps, hyperparameters={"lr": lr})
