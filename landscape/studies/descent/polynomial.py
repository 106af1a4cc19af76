"""Least squares in a growing basis of functions: polynomials past the interpolation threshold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape.errors import RequestError
from landscape.linalg.least_squares import LeastSquares
from landscape.networks.sampling import mix
from landscape.studies.descent.bases import find_basis
from landscape.studies.descent.recipe import (
    NODE,
    SPLITS,
    Evaluate,
    Prepared,
    Recipe,
    check_at_least,
    check_counts,
    check_epsilon,
    check_levels,
)
from landscape.studies.descent.targets import find_target
from landscape.sweeps.recipe import entries
from landscape.sweeps.schema import Sweep, Variable

BLOCK = 10
"""Repetitions of one task: each size's decompositions are one batch."""
FIT_POINTS = 201


@dataclass(frozen=True)
class PolynomialRecipe(Recipe):
    """Fits of one function by the first functions of a basis.

    Args:
        bases: Names of bases.
        capacities: Numbers of basis functions; the polynomials' degree is one less.
        samples: Training points, uniform in [-1, 1].
        repetitions: Draws of the training points.
        noise: Standard deviations of the training targets' noise.
        ridge: Factors of the squared norm beside the sum of squares; 0 for the minimum-norm solution.
        target: The function, by name or `package.module:function`.
        grid: Equidistant points of the test grid.
        epsilon: Training loss, in units of the targets' variance, below which a fit counts as interpolating.
        seed: First of the repetitions' seeds.
    """

    bases: tuple[str, ...] = ("legendre", "chebyshev", "monomial")
    capacities: tuple[int, ...] = tuple(range(1, 201))
    samples: int = 15
    repetitions: int = 30
    noise: tuple[float, ...] = (0.0,)
    ridge: tuple[float, ...] = (0.0,)
    target: str = "cosine"
    grid: int = 1000
    epsilon: float = 1e-6
    seed: int = 0

    def __post_init__(self) -> None:
        """Check everything."""
        if not self.bases:
            raise RequestError("no basis is given: name at least one, such as legendre")
        for name in self.bases:
            find_basis(name)
        if len(set(self.bases)) < len(self.bases):
            raise RequestError(f"a basis is given twice: {', '.join(self.bases)}")
        find_target(self.target)
        check_counts("basis functions", self.capacities)
        check_at_least(1, samples=self.samples, repetitions=self.repetitions)
        check_at_least(2, points_of_the_grid=self.grid)
        check_at_least(0, seed=self.seed)
        check_levels("noise", self.noise)
        check_levels("ridge", self.ridge)
        check_epsilon(self.epsilon)

    def prepare(self, data_dir: Path | None, device: str) -> Prepared:
        """The risks of all repetitions, and the fits of the first."""
        over = ("basis", "seed")
        coords = {
            "basis": list(self.bases),
            "seed": list(range(self.seed, self.seed + self.repetitions)),
            "capacity": list(self.capacities),
            "noise": list(self.noise),
            "ridge": list(self.ridge),
            "split": list(SPLITS),
        }
        inner = (*over, "capacity", "noise", "ridge")
        loss = {"long_name": "mean squared error", "units": "units of the target squared"}
        points, heights = draw_points(self, self.seed)
        common = {"capacity_name": "basis functions", "epsilon": self.epsilon, "family": "polynomial"}
        target = find_target(self.target)
        grid = torch.linspace(-1, 1, FIT_POINTS, dtype=torch.float64)
        scale = float(target[0](torch.linspace(-1, 1, self.grid, dtype=torch.float64)).var(correction=0))
        if not scale > 0:
            raise RequestError(f"target '{self.target}' is constant on the grid: epsilon is in units of its variance")
        marks = {"threshold": self.samples, "threshold_name": "basis functions = samples", "target_variance": scale}
        sweeps = [
            Sweep(
                node=NODE,
                coords=coords,
                over=over,
                variables={
                    "loss": Variable((*inner, "split"), attrs=loss),
                    "norm": Variable(inner, attrs={"long_name": "norm of the coefficients", "units": "1"}),
                },
                function=f"{__name__}:risk_evaluator",
                arguments={"recipe": self},
                block={"seed": BLOCK},
                attrs={**common, **marks},
            ),
            Sweep(
                node=f"{NODE}/fit",
                coords={
                    "basis": list(self.bases),
                    "capacity": list(self.capacities),
                    "x": grid.numpy(),
                    "truth": ("x", target[0](grid).numpy()),
                    "sample": self.samples,
                    "sample_x": ("sample", points.numpy()),
                    "sample_y": ("sample", heights[:, 0].numpy()),
                },
                over=("basis",),
                variables={"fit": Variable(("basis", "capacity", "x"), "float32", {"long_name": "fit"})},
                function=f"{__name__}:fit_evaluator",
                arguments={"recipe": self},
                attrs={"formula": target[1]},
            ),
        ]
        return Prepared({"descent": "polynomial", **entries(self)}, sweeps)


def draw_points(recipe: PolynomialRecipe, seed: int) -> tuple[Tensor, Tensor]:
    """Training points `(n,)` of a repetition, and targets `(n, noise levels)`."""
    generator = torch.Generator().manual_seed(mix(seed, 1))
    x = 2 * torch.rand(recipe.samples, generator=generator, dtype=torch.float64) - 1
    noise = torch.randn(recipe.samples, 1, generator=generator, dtype=torch.float64)
    return x, find_target(recipe.target)[0](x)[:, None] + noise * torch.tensor(recipe.noise, dtype=torch.float64)


def risk_evaluator(arguments: Mapping[str, Any]) -> Evaluate:
    r"""Losses on the training points and on the grid: the factory of a sweep.

    With the grid's own design matrix :math:`G = QR`, the loss of all sizes on it is
    :math:`\|R_p w - Q_p^\top y\|^2` plus what :math:`Q_p` doesn't reach of y: no product is as long as the
    grid.
    """
    recipe: PolynomialRecipe = arguments["recipe"]
    function, largest = find_target(recipe.target)[0], max(recipe.capacities)
    grid = torch.linspace(-1, 1, recipe.grid, dtype=torch.float64)
    truth = function(grid)
    ridge = torch.tensor(recipe.ridge, dtype=torch.float64)

    def one(basis: str, seeds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        drawn = [draw_points(recipe, int(seed)) for seed in seeds]
        design = find_basis(basis)(torch.stack([x for x, _ in drawn]), largest)
        targets = torch.stack([y for _, y in drawn])
        orthogonal, triangle = torch.linalg.qr(find_basis(basis)(grid, largest))
        seen = (orthogonal.T @ truth)[:, None]
        losses, norms = [], []
        for p in recipe.capacities:
            found = LeastSquares.factor(design[..., :p])
            weights = found.solve(targets, ridge)  # (seed, p, ridge, noise)
            fitted = (design[..., :p] @ weights.flatten(2)).reshape(*design.shape[:2], *weights.shape[2:])
            train = (fitted - targets[:, :, None]).square().mean(1)
            size = min(p, recipe.grid)
            rest = truth.square().sum() - seen[:size].square().sum()
            columns = weights.transpose(0, 1).flatten(1)
            missed = (triangle[:size, :p] @ columns - seen[:size]).square().sum(0).view(train.shape)
            losses.append(torch.stack([train, (missed + rest.clamp(min=0)) / recipe.grid], dim=-1))
            norms.append(weights.norm(dim=1))
        return (
            torch.stack(losses, 1).transpose(2, 3).numpy(),
            torch.stack(norms, 1).transpose(2, 3).numpy(),
        )

    def evaluate(coordinates: Mapping[str, Any], task: Any) -> Mapping[str, Any]:
        pairs = [one(str(basis), coordinates["seed"]) for basis in coordinates["basis"]]
        return {"loss": np.stack([loss for loss, _ in pairs]), "norm": np.stack([norm for _, norm in pairs])}

    return evaluate


def fit_evaluator(arguments: Mapping[str, Any]) -> Evaluate:
    """The first repetition's fits, at the first noise and ridge: the factory of a sweep."""
    recipe: PolynomialRecipe = arguments["recipe"]
    x, targets = draw_points(recipe, recipe.seed)
    ridge = torch.tensor(recipe.ridge[:1], dtype=torch.float64)

    def evaluate(coordinates: Mapping[str, Any], task: Any) -> Mapping[str, Any]:
        places, rows = torch.from_numpy(coordinates["x"]), []
        for basis in coordinates["basis"]:
            design, shown = (find_basis(str(basis))(points, max(recipe.capacities)) for points in (x, places))
            weights = [LeastSquares.factor(design[:, :p]).solve(targets[:, :1], ridge)[:, 0] for p in recipe.capacities]
            rows.append([(shown[:, : len(w)] @ w)[:, 0].numpy() for w in weights])
        return {"fit": np.array(rows).clip(-LARGEST, LARGEST)}

    return evaluate


LARGEST = math.sqrt(float(np.finfo(np.float32).max))
