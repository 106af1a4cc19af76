r"""Muon against AdamW and all others on softmax regression, with the learning rate of each tuned.

The lecture's comparison on logistic regression leaves AdamW at a learning rate of 3e-4 and lets Muon win. Here every
method has a grid of learning rates of the same length and the same number of passes over the data; on the seeds of the
tuning the rate with the lowest mean :math:`f - f^*` at the end is chosen, and other seeds are reported. For one seed
all methods start at the same weights and see the same batches; methods for the full batch take as many passes. All
weights and biases are one matrix, so Muon's polar factor is that of everything that is trained: nothing is left to
AdamW.

References:
    Böhning, "Multinomial logistic regression algorithm", Annals of the Institute of Statistical Mathematics, 1992 (the
    bound on the Hessian by which the minimum is computed).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import softmax_runs
from .mechanism import Experiment, Options
from .softmax_runs import Budget, Method

if TYPE_CHECKING:
    import xarray

    from landscape.figures.style import StyledFigure

NODE = "softmax_regression"

METHODS = (
    Method("gd", 1e-3),
    Method("sgd", 1e-3),
    Method("momentum", 3e-4),
    Method("nesterov", 3e-4),
    Method("adagrad", 1e-3),
    Method("adadelta", 1e-2),
    Method("rmsprop", 3e-5),
    Method("adam", 1e-4),
    Method("amsgrad", 1e-4),
    Method("adamw", 1e-4),
    Method("shampoo", 3e-4, hyperparameters={"block_size": 200, "every": 20}),
    Method("sam", 3e-4),
    Method("asam", 3e-4),
    Method("muon", 3e-4, hyperparameters={"dtype": "float32"}),
    Method("normalized-gd", 3e-3),
    Method("sign-gd", 3e-5),
    Method("spectral-gd", 1e-3),
    Method("lbfgs", 0.3),
    Method("steepest-l1", 1e-2, "steepest", {"norm": "l1"}),
    Method("steepest-nuclear", 1e-3, "steepest", {"norm": "nuclear"}),
    Method("steepest-row", 1e-3, "steepest", {"norm": "row"}),
    Method("steepest-column", 1e-4, "steepest", {"norm": "column"}),
    Method("scaled-spectral", 3e-4, "steepest", {"norm": "spectral", "normalized": False}),
    Method("scaled-linf", 3e-7, "steepest", {"norm": "linf", "normalized": False}),
    Method("scaled-nuclear", 1e-3, "steepest", {"norm": "nuclear", "normalized": False}),
    Method("scaled-row", 3e-4, "steepest", {"norm": "row", "normalized": False}),
    Method("scaled-column", 3e-6, "steepest", {"norm": "column", "normalized": False}),
)
"""All registered optimizers. `steepest-NORM` is x + α LMO(g) and `scaled-NORM` x + α ‖g‖_* LMO(g); those that would be
another method are left out: for one matrix the first in ℓ2, Frobenius, ℓ∞ and the spectral norm are normalised, sign
and spectral descent, the second in ℓ2 and Frobenius is SGD."""


@dataclass(frozen=True)
class Untuned:
    """A method at a learning rate that nobody has tuned, constant.

    Args:
        name: Name of one of the methods.
        lr: Its learning rate.
    """

    name: str
    lr: float


@dataclass(frozen=True)
class Recipe:
    """Every method on one problem.

    Args:
        data: Name of the data set.
        samples: Samples of each split, a fixed random subset.
        budget: Length of the runs.
        methods: The methods.
        schedules: Learning-rate schedules.
        rates: Number of learning rates that are tried, the same for all methods.
        tuning_seeds: Seeds on which the learning rate is chosen.
        seeds: Seeds that are reported.
        untuned: The lecture's setting.
    """

    data: str = "fashion_mnist"
    samples: int = 10_000
    budget: Budget = field(default_factory=Budget)
    methods: tuple[Method, ...] = METHODS
    schedules: tuple[str, ...] = ("constant", "cosine")
    rates: int = 7
    tuning_seeds: tuple[int, ...] = (100, 101)
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    untuned: tuple[Untuned, ...] = (Untuned("adamw", 3e-4), Untuned("muon", 0.02))


PRESETS = {
    "smoke": Recipe(
        "digits",
        budget=Budget(mu=0.01, batch_size=128, marks=(0.0, 0.5, 1.0, 2.0)),
        rates=3,
        tuning_seeds=(100,),
        seeds=(0, 1),
    ),
    "cpu": Recipe(),
}


def run(recipe: Recipe, path: Path, options: Options) -> None:
    """Find the minimum, tune every method, and run each at its best learning rate."""
    from landscape.networks.datasets import load_data
    from landscape.sweeps import store
    from landscape.sweeps.recipe import canonical
    from landscape.sweeps.schema import Sweep, Variable
    from landscape.sweeps.sweep import run as run_sweeps

    data = load_data(recipe.data, data_dir=options.data_dir).subset(recipe.samples)
    resumed = store.create(path, {"experiment": NODE, "recipe": recipe, "data": data.digest}, kind="experiment")
    if resumed and store.attributes(path)["complete"]:
        return
    how = {"engine": options.engine, "workers": options.workers, "progress": options.progress}
    excess = {"long_name": "f − f*", "units": "nats"}
    error = {"long_name": "test error", "units": "1"}
    arguments: dict[str, Any] = {"recipe": recipe, "data": data}
    optimum = Sweep(
        node=f"{NODE}/optimum",
        coords={"data": [recipe.data]},
        over=("data",),
        variables={
            "loss": Variable(("data",), attrs={"long_name": "f*", "units": "nats"}),
            "gradient_norm": Variable(("data",), attrs={"long_name": "norm of the gradient at the end"}),
            "gap": Variable(("data",), attrs={"long_name": "bound on what is left of f − f*", "units": "nats"}),
            "test_error": Variable(("data",), attrs=error),
        },
        function=f"{softmax_runs.__name__}:minimum_evaluator",
        arguments=arguments,
        attrs={
            "samples": len(data.train),
            "inputs": math.prod(data.input_shape) + 1,
            "classes": data.num_outputs,
            "mu": recipe.budget.mu,
            "batch_size": recipe.budget.batch_size,
        },
    )
    run_sweeps(path, [optimum], describe="minimum", **how)
    arguments["lowest"] = float(store.Node(path, optimum.node).read("loss")[0])
    names = [method.name for method in recipe.methods]
    grids = np.array([method.rates(recipe.rates) for method in recipe.methods])
    schedules = list(recipe.schedules)
    dims = ("method", "schedule", "rate", "tuning_seed")
    tune = Sweep(
        node=f"{NODE}/tune",
        coords={
            "method": names,
            "schedule": schedules,
            "rate": recipe.rates,
            "learning_rate": (("method", "rate"), grids),
            "hyperparameters": ("method", [canonical(dict(method.hyperparameters)) for method in recipe.methods]),
            "tuning_seed": np.array(recipe.tuning_seeds),
        },
        over=dims,
        variables={"excess": Variable(dims, attrs=excess), "test_error": Variable(dims, attrs=error)},
        function=f"{softmax_runs.__name__}:tuning_evaluator",
        arguments=arguments,
        block={"rate": recipe.rates, "tuning_seed": len(recipe.tuning_seeds)},
    )
    run_sweeps(path, [tune], describe="tune", **how)
    best, edge = lowest_mean(store.Node(path, tune.node).read("excess"))
    chosen = np.take_along_axis(grids, best, axis=1)  # (method, schedule)
    by_name = {method.name: method for method in recipe.methods}

    def whole(node: str, labels: list[str], kinds: list[str], rates: np.ndarray, **more: Any) -> Sweep:
        dims = ("method", "schedule", "seed")
        cells = [((name, kind), rates[i, k]) for i, name in enumerate(labels) for k, kind in enumerate(kinds)]
        return Sweep(
            node=f"{NODE}/{node}",
            coords={
                "method": labels,
                "schedule": kinds,
                "learning_rate": (("method", "schedule"), rates),
                "seed": np.array(recipe.seeds),
                "pass": np.array(recipe.budget.marks),
                **more,
            },
            over=dims,
            variables={
                "excess": Variable((*dims, "pass"), attrs=excess),
                "test_error": Variable((*dims, "pass"), attrs=error),
                "seconds": Variable(dims, attrs={"long_name": "duration of a run", "units": "s"}),
            },
            function=f"{softmax_runs.__name__}:best_evaluator",
            arguments={**arguments, "chosen": {cell: (by_name[cell[0]], float(rate)) for cell, rate in cells}},
            block={"seed": len(recipe.seeds)},
        )

    untuned = np.array([[one.lr] for one in recipe.untuned])
    sweeps = [
        whole("best", names, schedules, chosen, at_edge=(("method", "schedule"), edge)),
        whole("untuned", [one.name for one in recipe.untuned], ["constant"], untuned),
    ]
    run_sweeps(path, sweeps, describe="runs", **how)
    store.finish(path)


def lowest_mean(excess: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The learning rate with the lowest mean over seeds; a run that diverged counts as infinitely high.

    Args:
        excess: Shape `(method, schedule, rate, seed)`.

    Returns:
        Its place in the grid and whether that is at an edge of it, each of shape `(method, schedule)`.
    """
    best = np.where(np.isfinite(excess), excess, np.inf).mean(-1).argmin(-1)
    return best, (best == 0) | (best == excess.shape[2] - 1)


def figure(tree: xarray.DataTree) -> StyledFigure:
    """The course of the runs, the learning rates, the lecture's setting, and all methods in order."""
    from landscape.figures.softmax_regression import softmax_figure

    return softmax_figure(tree, NODE)


def caption(tree: xarray.DataTree) -> str:
    """What the figure shows, in numbers."""
    from landscape.figures.softmax_words import softmax_caption

    return softmax_caption(tree, NODE)


EXPERIMENT = Experiment(NODE, PRESETS, run, figure, caption)
