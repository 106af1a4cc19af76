r"""Fit a curve between two networks: minimise :math:`\mathbb{E}_{t \sim U(0,1)} L(\theta(t))` over its inner points.

The gradient with respect to inner point j is :math:`c_j(t)\,\nabla L(\theta(t))`, so that a step costs one ordinary
gradient. Two choices make the barrier fall fast for each of them (see the experiment `curve_optimizers`): Adam with a
cosine schedule, and t uniform on [0, 1] but evenly spread over any stretch of steps, by the golden-ratio sequence.

References:
    Garipov et al., "Loss surfaces, mode connectivity, and fast ensembling of DNNs", arXiv 1802.10026, section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from landscape.errors import RequestError, unknown
from landscape.geometry.slices import CURVES, Curve, make_curve, straight_control_points
from landscape.networks.loop import History, Report, Resume, fit
from landscape.networks.sampling import Shuffle, mix
from landscape.objective.combination import combine
from landscape.objective.objective import Objective
from landscape.optimizers.registry import find_entry, make_optimizer, resolve_hyperparameters, takes_full_batch
from landscape.optimizers.schedules import find_schedule

NODES = ("golden", "stratified", "uniform")
STRATA = 8
"""Equal parts of [0, 1], from each of which `stratified` draws one t in turn."""
BLOCK = 64
"""Steps whose coefficients are computed together."""


@dataclass(frozen=True)
class CurveRecipe:
    """How to fit a curve.

    Args:
        bends: Number of inner control points.
        epochs: Passes over the training data.
        steps: Number of gradient evaluations instead of epochs.
        batch_size: Samples in a minibatch.
        optimizer: Name of an optimizer.
        hyperparameters: Its hyperparameters.
        schedule: Learning-rate schedule.
        nodes: How t is drawn: by the `golden` ratio's sequence, `stratified`, or `uniform` (independently).
        seed: Decides minibatches, t and dropout.
    """

    bends: int = 1
    epochs: int | None = 50
    steps: int | None = None
    batch_size: int = 128
    optimizer: str = "adam"
    hyperparameters: Mapping[str, Any] = field(default_factory=lambda: {"lr": 0.01})
    schedule: str = "cosine"
    nodes: str = "golden"
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the settings and complete the hyperparameters."""
        for name in ("bends", "epochs", "steps", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise RequestError(f"{name.replace('_', ' ')} must be at least 1, got {value}")
        if self.seed < 0:
            raise RequestError(f"seed must be at least 0, got {self.seed}")
        if (self.epochs is None) == (self.steps is None):
            raise RequestError("say how long to fit by epochs or by steps, not both")
        if self.nodes not in NODES:
            raise unknown("choice of nodes", self.nodes, NODES)
        find_schedule(self.schedule)
        hyperparameters = resolve_hyperparameters(self.optimizer, dict(self.hyperparameters))
        for name in ("exact", "m"):  # of sharpness-aware methods
            if "base" in hyperparameters and hyperparameters.get(name):
                raise RequestError(
                    f"{self.optimizer} can't fit curves with {name}={hyperparameters[name]}, which is for landscape "
                    f"train: leave {name} out"
                )
        object.__setattr__(self, "hyperparameters", hyperparameters)

    def recipe(self) -> dict[str, Any]:
        """The settings as JSON can hold them."""
        return asdict(self)

    def steps_per_epoch(self, num_samples: int) -> int:
        """Updates in one pass over the data."""
        return self.batches(num_samples).steps_per_epoch

    def batches(self, num_samples: int) -> Shuffle:
        """The minibatches; all samples at once for a method of the full batch."""
        full = takes_full_batch(self.optimizer, self.hyperparameters)
        return Shuffle(num_samples, num_samples if full else self.batch_size, mix(self.seed, 1))

    def num_steps(self, num_samples: int) -> int:
        """Updates in all."""
        return self.steps if self.steps is not None else (self.epochs or 0) * self.steps_per_epoch(num_samples)


class InnerPoints(nn.Module):
    """The trained control points of a curve whose ends stay fixed.

    Args:
        control_points: Where the fit starts, shape `(n + 1, D)`.
    """

    def __init__(self, control_points: Tensor) -> None:
        super().__init__()
        self.register_buffer("_points", control_points.clone(), persistent=False)
        self.inner = nn.Parameter(control_points[1:-1].clone())

    @torch.no_grad()
    def control_points(self) -> Tensor:
        """All control points, shape `(n + 1, D)`, the ends bit for bit as given."""
        points: Tensor = self._points  # type: ignore[assignment]
        points[1:-1] = self.inner
        return points


def draw_nodes(kind: str, seed: int) -> Callable[[int], float]:
    """A sequence of t, uniform on [0, 1]: each element a function of its number."""
    if kind == "uniform":
        return lambda step: float(np.random.default_rng([seed, step]).random())
    if kind == "golden":
        offset, ratio = float(np.random.default_rng(seed).random()), (5**0.5 - 1) / 2
        return lambda step: (offset + step * ratio) % 1.0

    @lru_cache(maxsize=1)
    def stratum(number: int) -> tuple[np.ndarray, np.ndarray]:
        generator = np.random.default_rng([seed, number])
        return generator.permutation(STRATA), generator.random(STRATA)

    def stratified(step: int) -> float:
        order, offsets = stratum(step // STRATA)
        return float((order[step % STRATA] + offsets[step % STRATA]) / STRATA)

    return stratified


def curve_step(
    kind: str, points: InnerPoints, optimizer: Optimizer, objective: Objective, recipe: CurveRecipe
) -> Callable[[int], Tensor]:
    """The step of a fit: one t, one minibatch, one gradient, one update.

    Args:
        kind: A name of `CURVES`.
        points: The control points, updated in place.
        optimizer: Of their inner ones.
        objective: The loss on the training data.
        recipe: How to fit.

    Returns:
        A function of the step's number, which decides everything random, to the minibatch loss.
    """
    samples = objective.samples
    batches, closure = recipe.batches(len(samples)), find_entry(recipe.optimizer).closure
    node = draw_nodes(recipe.nodes, mix(recipe.seed, 2))
    basis = make_curve(kind, points.control_points()).basis

    @lru_cache(maxsize=1)
    def block(number: int) -> Tensor:  # of coefficients: many at once cost as much as one
        steps = range(number * BLOCK, (number + 1) * BLOCK)
        return basis(torch.tensor([node(step) for step in steps], dtype=torch.float64))

    def step(index: int) -> Tensor:
        coefficients = block(index // BLOCK)[index % BLOCK]
        batch = samples.select(batches.indices(index).to(objective.device))
        values: list[Tensor] = []

        def evaluate() -> Tensor:
            theta = combine(coefficients, points.control_points())
            value, gradient = objective.minibatch_gradient(theta, batch, mix(recipe.seed, 3, index))
            points.inner.grad = torch.outer(coefficients[1:-1].to(gradient), gradient)
            values.append(value)
            return value

        if closure:
            optimizer.step(evaluate)  # type: ignore[arg-type]  # torch takes tensors as well
        else:
            evaluate()
            optimizer.step()
        return values[0]  # before the update

    return step


def fit_curve(
    kind: str,
    start: Tensor,
    end: Tensor,
    objective: Objective,
    recipe: CurveRecipe,
    *,
    resume: Resume | None = None,
    report: Report | None = None,
) -> tuple[Curve, History]:
    """Fit a curve of low loss between two points.

    Args:
        kind: A name of `CURVES`.
        start: First end, shape `(D,)`.
        end: Last end, shape `(D,)`.
        objective: The loss on the training data.
        recipe: How to fit.
        resume: Where to keep the state of the run.
        report: Told the progress.

    Returns:
        The curve, its ends exactly those given, and the history with the mean minibatch loss of each epoch.

    Raises:
        RequestError: If the kind is unknown.
    """
    if kind not in CURVES:
        raise unknown("curve", kind, CURVES)
    points = InnerPoints(straight_control_points(start, end, recipe.bends).to(objective.device))
    optimizer = make_optimizer(recipe.optimizer, points, **recipe.hyperparameters)
    update = curve_step(kind, points, optimizer, objective, recipe)
    losses = EpochMean(points)

    def step(index: int) -> Tensor:
        value = update(index)
        losses.add(value)
        return value

    history = fit(
        step,
        recipe.num_steps(len(objective.samples)),
        optimizer,
        {"points": points, "losses": losses},
        schedule=find_schedule(recipe.schedule),
        recorder=lambda done: {"loss": losses.take()},
        record_every=recipe.steps_per_epoch(len(objective.samples)),
        resume=resume,
        report=report,
    )
    return make_curve(kind, points.control_points().clone()), history


class EpochMean:
    """The mean of the minibatch losses since it was last taken.

    Args:
        like: A module on the device where losses are summed.
    """

    def __init__(self, like: nn.Module) -> None:
        self._sum = torch.zeros((), dtype=torch.float64, device=next(like.parameters()).device)
        self._count = 0

    def add(self, value: Tensor) -> None:
        """Count one loss in, without waiting for the device."""
        self._sum += value
        self._count += 1

    def take(self) -> float:
        """The mean so far (NaN if nothing was added); begins anew."""
        value = float(self._sum) / self._count if self._count else float("nan")
        self._sum.zero_()
        self._count = 0
        return value

    def state_dict(self) -> dict[str, Any]:
        """Sum and count."""
        return {"sum": float(self._sum), "count": self._count}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore them."""
        self._sum.fill_(state["sum"])
        self._count = state["count"]
