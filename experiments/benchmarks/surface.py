"""25 points of a surface, every one exact, against loss-landscapes 3.0.6 as its README shows.

There all images go through the network in one batch (its `Loss` metric), in evaluation mode, with the parameters moved
in place as its `random_plane` does. Both compute the loss alone, at the same points, and must agree. One thread.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch import Tensor, nn

from landscape.geometry.slices import Affine
from landscape.networks.datasets import load_data
from landscape.networks.models import build_model
from landscape.objective.module import preserved_rng
from landscape.objective.objective import Objective
from landscape.objective.sliced import SlicedObjective

from .harness import as_json, present, quartiles, take_turns
from .peers import find_peer, missing

MODELS: dict[str, tuple[dict[str, Any], float]] = {"convnet": ({}, 5.0), "mlp": ({"hidden": (256,)}, 10.0)}
"""Settings of each network, and the ratio to reach."""
SIDE = 5


def problem(name: str, inputs: Tensor, targets: Tensor) -> tuple[nn.Module, Objective, Affine]:
    """A network, its loss, and a plane through it."""
    with preserved_rng(torch.device("cpu"), seed=0):
        model = build_model(name, tuple(inputs.shape[1:]), 10, MODELS[name][0])
    model.train()
    with torch.no_grad():
        for _ in range(20):  # statistics of its own
            model(inputs[:512])
    objective = Objective(model.eval(), (inputs, targets), metrics={})
    generator = torch.Generator().manual_seed(1)
    theta = objective.theta
    directions = torch.randn(2, len(theta), generator=generator)
    directions *= 0.3 * theta.norm() / directions.norm(dim=1, keepdim=True)
    return model, objective, Affine(theta, directions)


def coordinates() -> Tensor:
    """The points, shape `(25, 2)`; the centre is among them."""
    axis = torch.linspace(-1, 1, SIDE, dtype=torch.float64)
    return torch.cartesian_prod(axis, axis)


def ours(objective: Objective, plane: Affine) -> np.ndarray:
    """The losses, all set-up included."""
    return SlicedObjective(objective, plane.points).values(plane.basis(coordinates()))["loss"]


def theirs(model: nn.Module, plane: Affine, inputs: Tensor, targets: Tensor) -> np.ndarray:
    """The losses by the peer's metric and model wrapper."""
    from loss_landscapes.metrics import Loss  # type: ignore[import-not-found, unused-ignore]
    from loss_landscapes.model_interface.model_wrapper import (  # type: ignore[import-not-found, unused-ignore]
        wrap_model,
    )

    wrapper, metric = wrap_model(model), Loss(nn.CrossEntropyLoss(), inputs, targets)
    found = []
    for coordinate in coordinates():
        torch.nn.utils.vector_to_parameters(plane(coordinate), model.parameters())
        found.append(metric(wrapper))
    return np.array(found)


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
        model, objective, plane = problem(name, inputs, targets)
        functions: dict[str, Callable[[int], Any]] = {"ours": lambda _, o=objective, p=plane: ours(o, p)}
        one: dict[str, Any] = {"limit": limit}
        if peer:
            functions["peer"] = lambda _, m=model, p=plane: theirs(m, p, inputs, targets)
            reference = theirs(model, plane, inputs, targets)
            one["difference"] = float(np.abs(ours(objective, plane) / reference - 1).max())
            if one["difference"] > 1e-4:
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
