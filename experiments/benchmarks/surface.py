"""25 points of a surface, every one exact, against loss-landscapes 3.0.6 as its README shows.

Timed is a user's whole call. Theirs is `random_plane` with the `Loss` metric, filter-normalised, on a copy of the
model: all images go through the network in one batch at each point. Ours makes the objective, two filter-normalised
directions and the plane, and evaluates it. The networks have made one pass over the images, as a fresh BatchNorm can't
be used there (its biases are 0, and the peer divides by their norm). One thread; both in evaluation mode.

That both compute the same is checked apart, without a clock: the peer tells its metric's parameters at each of its
points, and ours evaluates the plane through them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch import Tensor, nn

from landscape.geometry.directions import gaussian, normalize, without_biases
from landscape.geometry.slices import Affine
from landscape.networks.datasets import load_data
from landscape.networks.models import build_model
from landscape.objective.module import preserved_rng
from landscape.objective.objective import Objective
from landscape.objective.parameters import filter_axes
from landscape.objective.sliced import SlicedObjective

from .harness import as_json, present, quartiles, take_turns
from .peers import find_peer, missing

MODELS: dict[str, tuple[dict[str, Any], float]] = {"convnet": ({}, 5.0), "mlp": ({"hidden": (256,)}, 10.0)}
"""Settings of each network, and the ratio to reach."""
SIDE = 5
BATCH = 64


def trained(name: str, inputs: Tensor, targets: Tensor) -> nn.Module:
    """A network after one pass over the images."""
    with preserved_rng(torch.device("cpu"), seed=0):
        model = build_model(name, tuple(inputs.shape[1:]), 10, MODELS[name][0]).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for x, y in zip(inputs.split(BATCH), targets.split(BATCH), strict=True):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model.eval()


def ours(model: nn.Module, inputs: Tensor, targets: Tensor, seed: int) -> np.ndarray:
    """The losses, everything included."""
    objective = Objective(model, (inputs, targets), metrics={})
    theta, axes = objective.theta, filter_axes(model, objective.layout)
    raw = without_biases(gaussian(2, theta, torch.Generator().manual_seed(seed)), objective.layout, axes)
    plane = Affine(theta, normalize(raw, theta, objective.layout, axes, "filter"))
    axis = torch.linspace(-1, 1, SIDE, dtype=torch.float64)
    return SlicedObjective(objective, plane.points).values(plane.basis(torch.cartesian_prod(axis, axis)))["loss"]


def theirs(model: nn.Module, metric: Any, seed: int) -> Any:
    """The losses by the peer's call."""
    import loss_landscapes  # type: ignore[import-not-found, unused-ignore]

    with preserved_rng(torch.device("cpu"), seed=seed):
        return loss_landscapes.random_plane(
            model, metric, distance=1, steps=SIDE, normalization="filter", deepcopy_model=True
        )


def difference(model: nn.Module, metric: Any, inputs: Tensor, targets: Tensor) -> float:
    """The largest relative difference between the peer's losses and ours at the peer's points."""
    visited: list[tuple[Tensor, float]] = []

    def listening(wrapper: Any) -> float:
        value: float = metric(wrapper)
        visited.append((torch.cat([part.flatten() for part in wrapper.get_module_parameters().parameters]), value))
        return value

    theirs(model, listening, seed=0)
    thetas, losses = torch.stack([theta for theta, _ in visited]), np.array([value for _, value in visited])
    along, across = (thetas[SIDE - 1] - thetas[0]) / (SIDE - 1), (thetas[2 * SIDE] - thetas[0]) / 2
    back = torch.arange(SIDE - 2, -2, -1)  # every other row is walked backwards, and begins a step earlier
    places = [[row, int(column)] for row in range(SIDE) for column in (back if row % 2 else torch.arange(SIDE))]
    plane = Affine(thetas[0], torch.stack([across, along]))
    sliced = SlicedObjective(Objective(model, (inputs, targets), metrics={}), plane.points)
    found = sliced.values(plane.basis(torch.tensor(places, dtype=torch.float64)))["loss"]
    return float(np.abs(found / losses - 1).max())


@click.command()
@click.option("--samples", default=10_000, show_default=True, type=click.IntRange(16), help="Images.")
@click.option("--repetitions", default=5, show_default=True, type=click.IntRange(1), help="Turns of each.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where Fashion-MNIST is.")
@as_json
def main(samples: int, repetitions: int, data_dir: Path | None, as_json: bool) -> None:
    """Time both in turns; the ratio is that of the processor time of two neighbouring turns."""
    torch.set_num_threads(1)
    split = load_data("fashion_mnist", data_dir=data_dir).train
    inputs, targets = split.inputs[:samples], split.targets[:samples]
    peer = find_peer("loss_landscapes") is not None
    rows = [["network", "ours s", "loss-landscapes s", "ratio", "quartiles", "at least", "difference"]]
    result: dict[str, Any] = {"benchmark": "surface", "points": SIDE**2, "samples": samples, "networks": {}}
    for name, (_, limit) in MODELS.items():
        model = trained(name, inputs, targets)
        functions: dict[str, Callable[[int], Any]] = {"ours": lambda call, m=model: ours(m, inputs, targets, call)}
        one: dict[str, Any] = {"limit": limit}
        if peer:
            from loss_landscapes.metrics import Loss  # type: ignore[import-not-found, unused-ignore]

            metric = Loss(nn.CrossEntropyLoss(), inputs, targets)
            functions["peer"] = lambda call, m=model, metric=metric: theirs(m, metric, call)
            one["difference"] = difference(model, metric, inputs, targets)
            if not one["difference"] < 1e-4:
                raise click.ClickException(f"{name}: the losses differ by {one['difference']:.1e}")
        times = take_turns(functions, repetitions, warm_up=1)
        one["seconds"] = {key: float(np.median(value.processor)) for key, value in times.items()}
        row = [name, f"{one['seconds']['ours']:.3f}", "", "", "", f"{limit:.0f}", ""]
        if peer:
            one["ratio"] = quartiles(times["peer"].processor / times["ours"].processor)
            one["within"] = one["ratio"]["median"] >= limit
            spread = f"{one['ratio']['lower_quartile']:.2f} to {one['ratio']['upper_quartile']:.2f}"
            row[2:5] = [f"{one['seconds']['peer']:.3f}", f"{one['ratio']['median']:.2f}", spread]
            row[6] = f"{one['difference']:.0e}"
        rows.append(row)
        result["networks"][name] = one
    present(result, f"{SIDE**2} points of a plane, {samples:,} images, {repetitions} turns", rows, as_json)
    if not peer:
        click.echo(missing("loss-landscapes", "surface"), err=True)


if __name__ == "__main__":
    main()
