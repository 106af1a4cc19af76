"""A certified surface against our own dense one, on the same fast paths.

The network is the ConvNet with BatchNorm of `landscape train --model convnet`, trained for a few epochs; the surface is
filter-normalised, from -1 to 1 along both axes, on the images of the test split. The dense surface is evaluated at
random points outside the coarse grid, half of them before the certified one and half after it, and its cost is theirs
times the number of points. One thread; the certified surface's time includes all of its set-up.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch import nn

from landscape.networks.datasets import DataSet, load_data
from landscape.networks.models import build_model
from landscape.networks.training import TrainingRecipe, train
from landscape.objective.module import preserved_rng
from landscape.objective.sliced import SlicedObjective
from landscape.studies.network import Network
from landscape.studies.networks import gather
from landscape.studies.surface.directions import make_slices
from landscape.studies.surface.nested import Nested
from landscape.studies.surface.oracle import SliceOracle
from landscape.studies.surface.recipe import SurfaceRecipe
from landscape.studies.surface.whole import Whole, certify

from .harness import as_json, present

LIMIT = 12.0
"""Ratio of the times."""
FEWER = 20.0
"""Ratio of the sample evaluations."""
ERROR, COVERAGE = 0.01, (0.90, 0.99)


def make_oracle(source: Path | nn.Module, data: DataSet | None, samples: int, seed: int) -> SliceOracle:
    """The loss on a plane around a trained network."""
    ends = gather([source], data=data)
    objective = Network(ends.models[0], ends.data, ends.loss, None, "checkpoint").objectives(("test",))["test"]
    part = objective.samples.select(torch.arange(min(samples, objective.num_samples)))
    where = make_slices(ends, SurfaceRecipe(seed=seed)).slices[0]
    return SliceOracle(SlicedObjective(objective.on(part), where.points), where)


def trained(data: DataSet, epochs: int) -> nn.Module:
    """A ConvNet with BatchNorm that has learnt the data."""
    with preserved_rng(torch.device("cpu"), seed=0):
        model = build_model("convnet", tuple(data.train.inputs.shape[1:]), data.num_classes or 10)
    recipe = TrainingRecipe("sgd", {"lr": 0.05, "momentum": 0.9}, epochs=epochs)
    return train(model, data, recipe, evaluate_every=0).model


class Dense:
    """Exact values at points, and the time that they took."""

    def __init__(self, oracle: SliceOracle, labels: np.ndarray) -> None:
        self.oracle, self.labels = oracle, labels
        self.values: list[dict[str, float]] = []
        self.seconds = 0.0

    def __call__(self, positions: np.ndarray) -> None:
        """Evaluate some points in one call, as a dense surface does."""
        start = time.process_time()
        coefficients = self.oracle.where.basis(torch.from_numpy(self.labels[positions]))
        found = self.oracle.sliced.values(coefficients)
        self.seconds += time.process_time() - start
        self.values += [{name: float(value[k]) for name, value in found.items()} for k in range(len(positions))]


def compare(whole: Whole, positions: np.ndarray, exact: Dense) -> dict[str, Any]:
    """How far the certified values are off, and how many of their intervals hold."""
    result: dict[str, Any] = {}
    for name in ("loss", "error"):
        truth = np.array([row[name] for row in exact.values])
        where = tuple(positions.T)
        apart, stderr = np.abs(whole.values[name][where] - truth), whole.stderr[name][where]
        random = stderr > 0
        relative = apart / np.maximum(truth, 0.01)
        result[name] = {
            "median_error": float(np.median(relative)),
            "p99_error": float(np.quantile(relative, 0.99)),
            "coverage": float((apart <= 1.96 * stderr)[random].mean()) if random.any() else None,
            "smallest": float(truth.min()),
            "largest": float(truth.max()),
        }
    return result


@click.command()
@click.option("--data", default="fashion_mnist", show_default=True, help="Data set.")
@click.option("--checkpoint", type=click.Path(path_type=Path), help="A trained network instead of a new one.")
@click.option("--epochs", default=2, show_default=True, type=click.IntRange(1), help="Passes of the training.")
@click.option("--samples", default=10_000, show_default=True, type=click.IntRange(2), help="Images of the test split.")
@click.option("--size", default=65, show_default=True, type=click.IntRange(5), help="Points a side, 2^k + 1.")
@click.option("--points", default=120, show_default=True, type=click.IntRange(2), help="Points evaluated densely.")
@click.option("--tolerance", default=0.01, show_default=True, help="Of the certified surface.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Directions, subsets and points.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where the data are.")
@as_json
def main(
    data: str,
    checkpoint: Path | None,
    epochs: int,
    samples: int,
    size: int,
    points: int,
    tolerance: float,
    seed: int,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Compare cost and values."""
    torch.set_num_threads(1)
    loaded = None if checkpoint is not None else load_data(data, data_dir=data_dir)
    source = checkpoint if loaded is None else trained(loaded, epochs)
    oracle = make_oracle(source, loaded, samples, seed)
    labels = np.linspace(-1, 1, size)
    grid = Nested((labels, labels))
    places = np.array([place for place in np.ndindex(grid.shape) if grid.number(place) is None])
    if len(places) == 0:
        places = grid.coarse()
    chosen = np.random.default_rng(seed).permutation(places)[:points]
    dense = Dense(oracle, labels)
    dense(chosen[: len(chosen) // 2])
    start = time.process_time()
    fresh = SliceOracle(SlicedObjective(oracle.objective, oracle.where.points), oracle.where)
    whole = certify(fresh, (labels, labels), tolerance, (seed,))
    seconds = time.process_time() - start
    dense(chosen[len(chosen) // 2 :])
    extrapolated = dense.seconds / len(dense.values) * size**2
    found = compare(whole, chosen, dense)
    evaluations = size**2 * oracle.num_samples / whole.evaluations
    loss = found["loss"]
    held = loss["coverage"] is None or COVERAGE[0] <= loss["coverage"] <= COVERAGE[1]
    result: dict[str, Any] = {
        "benchmark": "certified",
        "samples": oracle.num_samples,
        "size": size,
        "points": len(chosen),
        "tolerance": tolerance,
        "seconds": {"certified": seconds, "dense": extrapolated},
        "coarse_grid": list(whole.grid.coarse_shape),
        "sample_evaluations": whole.evaluations,
        "fewer_evaluations": evaluations,
        "reached": float(whole.reached.mean()),
        **found,
        "ratio": extrapolated / seconds,
        "limit": LIMIT,
        "within": extrapolated / seconds >= LIMIT and evaluations >= FEWER and loss["median_error"] <= ERROR and held,
    }
    hundred = {name: f"{100 * found[name]['median_error']:.2f} %" for name in found}
    covered = {name: "–" if found[name]["coverage"] is None else f"{found[name]['coverage']:.1%}" for name in found}
    rows = [
        ["", "found", "limit"],
        ["seconds, dense (extrapolated)", f"{extrapolated:.1f}", ""],
        ["seconds, certified", f"{seconds:.1f}", ""],
        ["ratio of times", f"{result['ratio']:.1f}", f"{LIMIT:.0f}"],
        ["ratio of sample evaluations", f"{evaluations:.1f}", f"{FEWER:.0f}"],
        ["median error of the loss", hundred["loss"], f"{ERROR:.0%}"],
        ["95 % intervals that hold", covered["loss"], f"{COVERAGE[0]:.0%} to {COVERAGE[1]:.0%}"],
        ["median error of the 0/1 error", hundred["error"], ""],
        ["95 % intervals that hold", covered["error"], ""],
        ["points within the tolerance", f"{result['reached']:.1%}", ""],
    ]
    title = (
        f"certified {size} x {size} points, {oracle.num_samples:,} images, losses {loss['smallest']:.2f} to "
        f"{loss['largest']:.1f}; {len(chosen)} points evaluated densely"
    )
    present(result, title, rows, as_json)


if __name__ == "__main__":
    main()
