r"""What Muon does to a gradient: singular values, their shares of the update, and condition numbers along training.

One network is trained by SGD, Adam and Muon from the same weights on the same batches. At some steps three matrices of
one hidden layer are decomposed: the gradient of the batch; the moment, which the update is made from (of SGD the
gradient, of Adam its mean, of Muon :math:`g + \mu m`); and the update, :math:`(W_{k+1} - W_k) / \alpha`. Training is in
float64, so that differences and small singular values mean something; Muon iterates in float32.

For singular values :math:`\sigma_1 \ge \sigma_2 \ge \dots` the share of direction i is
:math:`\sigma_i^2 / \sum_j \sigma_j^2`, the stable rank :math:`\sum_j \sigma_j^2 / \sigma_1^2`, and the condition number
:math:`\sigma_1 / \sigma_r` with r the numerical rank: as many as are above :math:`\sigma_1 \max(m, n)\,\epsilon`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.networks.problem import Problem

from .mechanism import Experiment, Options

if TYPE_CHECKING:
    import torch
    import xarray

    from landscape.figures.style import StyledFigure

NODE = "muon_spectrum"
MATRICES = ("gradient", "moment", "update")


@dataclass(frozen=True)
class Method:
    """An optimizer.

    Args:
        name: Its name in the registry.
        hyperparameters: Its hyperparameters.
    """

    name: str
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """One network, trained by several methods.

    Args:
        problem: Network and data.
        samples: Samples of each split, a fixed random subset.
        matrix: Name of the weight that is looked at.
        methods: The methods.
        steps: Steps of each run; the updates of these are decomposed, counted from 1, and the last ends the run.
        batch_size: Samples in a batch.
        seeds: Of initial weights and batches.
    """

    problem: Problem
    methods: tuple[Method, ...]
    samples: int = 10_000
    matrix: str = "3.weight"
    steps: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256, 500)
    batch_size: int = 128
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)


METHODS = (
    Method("sgd", {"lr": 0.2}),
    Method("adam", {"lr": 0.003}),
    Method("muon", {"lr": 0.02, "dtype": "float32"}),
)
"""With the learning rates that had the lowest training loss at the end on a seed of its own (9), of 0.03, 0.1, 0.2, 0.4
for SGD, 0.0003, 0.001, 0.003 for Adam and 0.003, 0.006, 0.01, 0.02, 0.05 for Muon."""
PRESETS = {
    "smoke": Recipe(
        Problem("mlp", "digits", model_settings={"hidden": (24, 24)}),
        METHODS,
        steps=(1, 4, 20),
        batch_size=64,
        seeds=(0, 1),
    ),
    "cpu": Recipe(Problem("mlp", "fashion_mnist", model_settings={"hidden": (64, 64)}), METHODS),
}


def run(recipe: Recipe, path: Path, options: Options) -> None:
    """Train the networks, each as one task."""
    from landscape.sweeps import store
    from landscape.sweeps.schema import Sweep, Variable
    from landscape.sweeps.sweep import run as run_sweeps

    data = recipe.problem.load_data(options.data_dir).subset(recipe.samples)
    shape = dict(recipe.problem.build_model(data).named_parameters())[recipe.matrix].shape
    resumed = store.create(path, {"experiment": NODE, "recipe": recipe, "data": data.digest}, kind="experiment")
    if resumed and store.attributes(path)["complete"]:
        return
    runs, dims = ("method", "seed"), ("method", "seed", "step", "matrix")
    sweep = Sweep(
        node=NODE,
        coords={
            "method": [method.name for method in recipe.methods],
            "learning_rate": ("method", np.array([method.hyperparameters["lr"] for method in recipe.methods])),
            "seed": np.array(recipe.seeds),
            "step": np.array(recipe.steps),
            "matrix": list(MATRICES),
            "direction": np.arange(1, min(shape) + 1),
        },
        over=runs,
        variables={
            "singular_value": Variable((*dims, "direction"), attrs={"long_name": "singular value"}),
            "share": Variable((*dims, "direction"), attrs={"long_name": "share of the squared Frobenius norm"}),
            "condition": Variable(dims, attrs={"long_name": "condition number up to the numerical rank"}),
            "stable_rank": Variable(dims, attrs={"long_name": "stable rank"}),
            "rank": Variable(dims, attrs={"long_name": "numerical rank"}),
            "loss": Variable(runs, attrs={"long_name": "training loss at the end", "units": "nats"}),
            "test_error": Variable(runs, attrs={"long_name": "test error at the end", "units": "1"}),
        },
        function=f"{__name__}:spectrum_evaluator",
        arguments={"recipe": recipe, "data": data},
    )
    how = {"engine": options.engine, "workers": options.workers, "progress": options.progress}
    run_sweeps(path, [sweep], describe="train", **how)
    store.finish(path)


Evaluate = Callable[[Mapping[str, Any], Any], Mapping[str, Any]]


def spectrum_evaluator(arguments: Mapping[str, Any]) -> Evaluate:
    """Spectra along one run of training: the factory of a sweep."""
    import torch
    from torch.nn.functional import cross_entropy

    from landscape.networks.sampling import Shuffle, mix
    from landscape.optimizers.registry import make_optimizer

    recipe: Recipe = arguments["recipe"]
    methods = {method.name: method for method in recipe.methods}
    train, test = ((split.inputs.double(), split.targets) for split in arguments["data"].splits.values())

    def evaluate(coordinates: Mapping[str, Any], task: Any) -> Mapping[str, Any]:
        method, seed = methods[str(coordinates["method"][0])], int(coordinates["seed"][0])
        model = recipe.problem.build_model(arguments["data"], seed).double()
        optimizer = make_optimizer(method.name, model, **method.hyperparameters)
        weight = model.get_parameter(recipe.matrix)
        batches, found = Shuffle(len(train[1]), recipe.batch_size, mix(seed, 1)), []
        for step in range(1, recipe.steps[-1] + 1):
            chosen = batches.indices(step - 1)
            optimizer.zero_grad()
            cross_entropy(model(train[0][chosen]), train[1][chosen]).backward()
            before = weight.detach().clone()
            optimizer.step()
            if step in recipe.steps:
                update = (weight.detach() - before) / method.hyperparameters["lr"]
                assert weight.grad is not None
                found.append([spectrum(one) for one in (weight.grad, moment(optimizer, weight), update)])
            if step % 50 == 0:
                task.report(step / recipe.steps[-1])
        values = {name: np.array([[row[name] for row in rows] for rows in found]) for name in found[0][0]}
        with torch.no_grad():
            values["loss"] = np.array(float(cross_entropy(model(train[0]), train[1])))
            values["test_error"] = np.array(float((model(test[0]).argmax(-1) != test[1]).double().mean()))
        return {name: value[None, None] for name, value in values.items()}

    return evaluate


def moment(optimizer: torch.optim.Optimizer, weight: torch.nn.Parameter) -> torch.Tensor:
    """What the latest update of a weight was made from: its gradient, Adam's mean of it, or Muon's momentum."""
    gradient, state = weight.grad, optimizer.state[weight]
    assert gradient is not None
    if "exp_avg" in state:
        mean: torch.Tensor = state["exp_avg"]
        return mean
    if state.get("momentum_buffer") is None:
        return gradient
    group = next(group for group in optimizer.param_groups if any(one is weight for one in group["params"]))
    buffer: torch.Tensor = state["momentum_buffer"]
    return gradient + group["momentum"] * buffer if group["nesterov"] else buffer


def spectrum(matrix: torch.Tensor) -> dict[str, np.ndarray]:
    """Singular values of a matrix, largest first, and what follows from them; see the head of this file."""
    import torch

    finite = bool(matrix.isfinite().all())
    values = torch.linalg.svdvals(matrix.detach().double().nan_to_num(0.0, 0.0, 0.0)).numpy()
    values = values if finite else np.full_like(values, np.nan)
    squares = values**2
    rank = int((values > values[0] * max(matrix.shape) * np.finfo(np.float64).eps).sum())
    return {
        "singular_value": values,
        "share": squares / squares.sum(),
        "condition": values[0] / values[max(rank, 1) - 1],
        "stable_rank": squares.sum() / squares[0],
        "rank": np.array(float(rank)),
    }


def figure(tree: xarray.DataTree) -> StyledFigure:
    """Spectra of a gradient and of Muon's update, shares of the update, and condition numbers along training."""
    from landscape.figures.muon_spectrum import spectrum_figure

    return spectrum_figure(tree, NODE)


def caption(tree: xarray.DataTree) -> str:
    """What the figure shows, in numbers."""
    from landscape.figures.muon_spectrum import spectrum_caption

    return spectrum_caption(tree, NODE)


EXPERIMENT = Experiment(NODE, PRESETS, run, figure, caption)
