"""Ways to fit a curve between two networks: which one lowers the barrier fastest per gradient evaluation.

The comparison that decided optimizer, learning rate, schedule and choice of t in `landscape connect`. Each cell is a
fit of its own, from the straight line, with its learning-rate schedule as long as its budget.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.networks.problem import Problem
from landscape.networks.training import TrainingRecipe

from .mechanism import Experiment, Options

if TYPE_CHECKING:
    import xarray

    from landscape.figures.style import StyledFigure

NODE = "curve_optimizers"
RATES_PER_TASK = 2
ADAM_RATES = (0.001, 0.003, 0.01, 0.02, 0.05, 0.1)
SGD_RATES = (0.03, 0.1, 0.2, 0.4, 0.8, 2.0)


@dataclass(frozen=True)
class Method:
    """A way to fit a curve, and the learning rates that are tried with it.

    Args:
        optimizer: Name of an optimizer.
        schedule: Learning-rate schedule.
        nodes: How t is drawn.
        learning_rates: All that are tried.
        hyperparameters: Further hyperparameters of the optimizer.
    """

    optimizer: str
    schedule: str
    nodes: str
    learning_rates: tuple[float, ...]
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What it is called in the store."""
        return f"{self.optimizer}-{self.schedule}-{self.nodes}"


@dataclass(frozen=True)
class Recipe:
    """Fit curves between pairs of networks in all ways.

    Args:
        problem: Network and data.
        training: How each network is trained; its seed is replaced.
        pairs: Seeds of the two networks of each pair.
        curves: Kinds of curve.
        methods: The ways to fit.
        budgets: Numbers of gradient evaluations.
        batch_size: Samples in a minibatch.
        points: Values of t at which the barrier is measured, at equal distances from 0 to 1.
    """

    problem: Problem
    training: TrainingRecipe
    methods: tuple[Method, ...]
    pairs: tuple[tuple[int, ...], ...] = ((0, 1), (2, 3), (4, 5))
    curves: tuple[str, ...] = ("bezier", "polyline")
    budgets: tuple[int, ...] = (75, 150, 300, 600)
    batch_size: int = 128
    points: int = 61


SGD = {"lr": 0.1, "momentum": 0.9}
MOMENTUM = {"momentum": 0.9}
ALL_NODES = ("uniform", "stratified", "golden")
PRESETS = {
    "smoke": Recipe(
        Problem("mlp", "digits", model_settings={"hidden": (16,)}),
        TrainingRecipe("sgd", SGD, epochs=4),
        methods=(
            Method("adam", "cosine", "stratified", (1e-2, 3e-2)),
            Method("sgd", "piecewise", "uniform", (0.1,), MOMENTUM),
        ),
        pairs=((0, 1), (2, 3)),
        budgets=(10, 20),
        points=9,
    ),
    "cpu": Recipe(
        Problem("mlp", "digits", model_settings={"hidden": (64, 64)}),
        TrainingRecipe("sgd", SGD, epochs=30),
        methods=(
            *(Method("adam", "cosine", nodes, ADAM_RATES) for nodes in ALL_NODES),
            *(Method("sgd", "cosine", nodes, SGD_RATES, MOMENTUM) for nodes in ALL_NODES),
            *(Method("sgd", "piecewise", nodes, SGD_RATES, MOMENTUM) for nodes in ALL_NODES[:2]),
        ),
    ),
}


def run(recipe: Recipe, path: Path, options: Options) -> None:
    """Train the networks beside the store, measure the straight lines, and fit every curve in every way."""
    from landscape.studies.network import Network
    from landscape.studies.networks import gather
    from landscape.sweeps import store
    from landscape.sweeps.schema import Sweep, Variable
    from landscape.sweeps.sweep import run as run_sweeps

    from .training import train_seeds

    seeds = list(dict.fromkeys(seed for pair in recipe.pairs for seed in pair))
    files = train_seeds(recipe.problem, recipe.training, seeds, path, options)
    ends = gather(files, data_dir=options.data_dir)
    network = Network(ends.models[0], ends.data, ends.loss, device=options.device, batch_size=2048)
    identity = {"experiment": recipe, "checkpoints": ends.digests(), "data": ends.data.digest}
    resumed = store.create(path, identity, kind="experiment", attrs={"device": options.device})
    if resumed and store.attributes(path)["complete"]:
        return
    names = [method.name for method in recipe.methods]
    num_rates = max(len(method.learning_rates) for method in recipe.methods)
    rates = np.full((len(names), num_rates), np.nan)
    for row, method in zip(rates, recipe.methods, strict=True):
        row[: len(method.learning_rates)] = method.learning_rates
    splits, pairs = list(ends.data.splits), np.arange(len(recipe.pairs))
    shared: dict[str, Any] = {
        "pair": pairs,
        "start": ("pair", [files[seeds.index(pair[0])].stem for pair in recipe.pairs]),
        "end": ("pair", [files[seeds.index(pair[1])].stem for pair in recipe.pairs]),
        "split": splits,
    }
    attrs = {"long_name": "loss barrier", "units": "nats"}
    arguments = {
        "network": network,
        "ends": {number: ends.thetas()[[seeds.index(s) for s in pair]] for number, pair in enumerate(recipe.pairs)},
        "recipe": recipe,
        "splits": splits,
    }
    line = Sweep(
        node=f"{NODE}/linear",
        coords=shared,
        over=("pair",),
        variables={"barrier": Variable(("pair", "split"), attrs=attrs)},
        function=f"{__name__}:line_evaluator",
        arguments=arguments,
        block={"pair": len(pairs)},
    )
    fits = Sweep(
        node=NODE,
        coords={
            **shared,
            "curve": list(recipe.curves),
            "fit": names,
            "rate": num_rates,
            "learning_rate": (("fit", "rate"), rates),
            **{
                name: ("fit", [getattr(method, name) for method in recipe.methods])
                for name in ("optimizer", "schedule", "nodes")
            },
            "budget": np.array(recipe.budgets),
        },
        over=("curve", "fit", "rate", "pair"),
        variables={"barrier": Variable(("curve", "fit", "rate", "pair", "budget", "split"), attrs=attrs)},
        function=f"{__name__}:fit_evaluator",
        arguments=arguments,
        block={"rate": min(RATES_PER_TASK, num_rates), "pair": len(pairs)},
    )
    run_sweeps(
        path,
        [line, fits],
        engine=options.engine,
        workers=options.workers,
        progress=options.progress,
        describe="fit",
    )
    store.finish(path)


Evaluate = Callable[[Mapping[str, Any], Any], Mapping[str, Any]]


def line_evaluator(arguments: Mapping[str, Any]) -> Evaluate:
    """The barrier on the straight line of each pair: the factory of a sweep."""
    from landscape.geometry.slices import make_curve

    measure = _measure(arguments)

    def evaluate(coordinates: Mapping[str, Any], task: Any) -> Mapping[str, Any]:
        lines = [make_curve("linear", arguments["ends"][pair]) for pair in coordinates["pair"]]
        return {"barrier": np.array([measure(line) for line in lines])}

    return evaluate


def fit_evaluator(arguments: Mapping[str, Any]) -> Evaluate:
    """The barrier after fits with each budget, for some learning rates and pairs: the factory of a sweep."""
    from landscape.studies.connect.fitting import CurveRecipe, fit_curve
    from landscape.sweeps.schema import Status

    recipe: Recipe = arguments["recipe"]
    methods = {method.name: method for method in recipe.methods}
    objective = arguments["network"].training_objective()
    measure = _measure(arguments)

    def barriers(kind: str, method: Method, rate: float, pair: int) -> np.ndarray:
        start, end = arguments["ends"][pair]
        rows = []
        for budget in recipe.budgets:
            settings = CurveRecipe(
                epochs=None,
                steps=budget,
                batch_size=recipe.batch_size,
                optimizer=method.optimizer,
                hyperparameters={"lr": rate, **method.hyperparameters},
                schedule=method.schedule,
                nodes=method.nodes,
                seed=pair,
            )
            rows.append(measure(fit_curve(kind, start, end, objective, settings)[0]))
        return np.array(rows)

    def evaluate(coordinates: Mapping[str, Any], task: Any) -> Mapping[str, Any]:
        (kind,), (name,), pairs = coordinates["curve"], coordinates["fit"], coordinates["pair"]
        rates = methods[str(name)].learning_rates
        shape = (len(coordinates["rate"]), len(pairs))
        values = np.full((*shape, len(recipe.budgets), len(arguments["splits"])), np.nan)
        status = np.full(shape, Status.STOPPED, np.int8)  # a method with fewer learning rates than others
        for row, column in np.ndindex(shape):
            number = coordinates["rate"][row]
            if number < len(rates):
                values[row, column] = barriers(str(kind), methods[str(name)], rates[number], int(pairs[column]))
                status[row, column] = Status.DONE if np.isfinite(values[row, column]).all() else Status.NON_FINITE
            task.report((row * shape[1] + column + 1) / status.size)
        return {"barrier": values[None, None], "status": status[None, None]}

    return evaluate


def _measure(arguments: Mapping[str, Any]) -> Callable[[Any], list[float]]:
    r"""A function from a curve to its barrier on each split, :math:`\max_t [L(t) - (1 - t) L(0) - t L(1)]`.

    It is NaN for a curve with a loss that is not finite: the fit diverged.
    """
    import torch

    objectives = arguments["network"].objectives(arguments["splits"])
    t = np.linspace(0, 1, arguments["recipe"].points)

    def measure(curve: Any) -> list[float]:
        thetas = [curve(value) for value in torch.from_numpy(t)]
        losses = np.array(
            [[objective.evaluate(theta)["loss"] for objective in objectives.values()] for theta in thetas]
        )
        excess = losses - np.outer(1 - t, losses[0]) - np.outer(t, losses[-1])
        return [float(height) for height in excess.max(0)]

    return measure


def figure(tree: xarray.DataTree) -> StyledFigure:
    """The barrier against the learning rate, and that of the best learning rate against evaluations."""
    from landscape.figures.comparison import comparison_figure

    return comparison_figure(tree, NODE)


def caption(tree: xarray.DataTree) -> str:
    """What the figure shows, in numbers."""
    from landscape.figures.comparison import FLOOR, lowest_in_words, nodes_in_words

    fits, lines = tree[NODE].to_dataset().load(), tree[f"{NODE}/linear"]["barrier"].sel(split="train").values
    train = fits.sel(split="train")
    budgets = [int(budget) for budget in fits["budget"].values[-2:]]
    shown = " / ".join(map(str, budgets))
    return (
        f"Barrier of the training loss (nats) on curves fitted between networks, median over {len(lines)} pairs (bars: "
        "their range). Every point is a fit of its own from the straight line, its schedule as long as its budget. "
        f"Left: after {budgets[-1]} gradient evaluations. Right: at the learning rate with the lowest median for that "
        f"budget, chosen on the pairs that are shown. Barriers below {FLOOR:g}, most of them exactly 0, stand on the "
        f"floor. Straight lines: {lines.min():.2f} to {lines.max():.2f}. Lowest medians after {shown} evaluations, in "
        f"brackets their learning rates: {lowest_in_words(train, len(budgets))}. {nodes_in_words(train)}"
    ).rstrip()


EXPERIMENT = Experiment("curve_optimizers", PRESETS, run, figure, caption)
