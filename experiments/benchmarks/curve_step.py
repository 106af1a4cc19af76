"""What a step of curve training costs, in plain training steps of the same network on the same minibatches.

The network is the ConvNet with BatchNorm of `landscape train --model convnet`, on random images of the shape of
Fashion-MNIST's, 128 in a batch, one thread. The plain step is torch's own: forward, backward, SGD with momentum. The
curve step is that of `landscape connect` with its defaults: draw t, write the network at that point of a Bézier curve,
gradient, Adam.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
import numpy as np
import torch
from torch.nn import functional as F

from landscape.geometry.slices import straight_control_points
from landscape.networks.models import build_model
from landscape.networks.sampling import Shuffle
from landscape.objective.module import preserved_rng
from landscape.objective.objective import Objective
from landscape.optimizers.registry import make_optimizer
from landscape.studies.connect.fitting import CurveRecipe, InnerPoints, curve_step

from .harness import as_json, present, quartiles, take_turns

LIMIT = 1.15
NUM_SAMPLES = 2048


def make_steps(batch_size: int = 128) -> tuple[int, dict[str, Callable[[int], Any]]]:
    """The number of parameters, and the two steps as functions of their number."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(NUM_SAMPLES, 1, 28, 28, generator=generator)
    targets = torch.randint(10, (NUM_SAMPLES,), generator=generator)
    with preserved_rng(torch.device("cpu"), seed=0):
        start, end, model = (build_model("convnet", (1, 28, 28), 10) for _ in range(3))
    batches = Shuffle(NUM_SAMPLES, batch_size, seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    model.train()

    def plain(index: int) -> None:
        chosen = batches.indices(index)
        loss = F.cross_entropy(model(inputs[chosen]), targets[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    recipe = CurveRecipe(batch_size=batch_size)
    objectives = [Objective(end_point, (inputs, targets), batchnorm="recompute") for end_point in (start, end)]
    points = InnerPoints(straight_control_points(objectives[0].theta, objectives[1].theta, recipe.bends))
    of_points = make_optimizer(recipe.optimizer, points, **recipe.hyperparameters)
    on_curve = curve_step("bezier", points, of_points, objectives[0], recipe)
    return objectives[0].num_parameters, {"plain": plain, "curve": on_curve}


@click.command()
@click.option("--repetitions", default=60, show_default=True, type=click.IntRange(1), help="Turns of each step.")
@click.option("--steps", default=5, show_default=True, type=click.IntRange(1), help="Steps in one turn.")
@as_json
def main(repetitions: int, steps: int, as_json: bool) -> None:
    """Time plain and curve steps in turns; the ratio is that of the processor time of two neighbouring turns."""
    torch.set_num_threads(1)
    num_parameters, functions = make_steps()
    times = take_turns(functions, repetitions, steps, warm_up=4)
    ratio = quartiles(times["curve"].processor / times["plain"].processor)
    result: dict[str, Any] = {
        "benchmark": "curve_step",
        "parameters": num_parameters,
        "batch_size": 128,
        "repetitions": repetitions,
        "steps": steps,
        "milliseconds": {
            name: {"processor": 1e3 * float(np.median(one.processor)), "wall": 1e3 * float(np.median(one.wall))}
            for name, one in times.items()
        },
        "ratio": ratio,
        "limit": LIMIT,
        "within": ratio["median"] <= LIMIT,
    }
    rows = [["step", "processor ms", "wall ms"]]
    rows += [[name, f"{one['processor']:.2f}", f"{one['wall']:.2f}"] for name, one in result["milliseconds"].items()]
    spread = f"{ratio['lower_quartile']:.3f} to {ratio['upper_quartile']:.3f}"
    rows += [["ratio", f"{ratio['median']:.3f}", ""], ["quartiles", spread, ""], ["limit", f"{LIMIT:.2f}", ""]]
    title = (
        f"curve step / plain step: ConvNet, {num_parameters:,} parameters, batch 128, {repetitions} turns of {steps}"
    )
    present(result, title, rows, as_json)


if __name__ == "__main__":
    main()
