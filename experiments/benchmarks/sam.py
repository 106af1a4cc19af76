"""What a step of SAM costs, in steps of its base optimizer on the same network and minibatches.

The network is the ConvNet with BatchNorm of `landscape train --model convnet`, on random images of the shape of
Fashion-MNIST's, one thread; the base is SGD with momentum. SAM computes two gradients where the base computes one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
import numpy as np
import torch
from torch.nn import functional as F

from landscape.networks.models import build_model
from landscape.networks.sampling import Shuffle
from landscape.objective.module import preserved_rng
from landscape.optimizers.registry import make_optimizer

from .harness import as_json, present, quartiles, take_turns

LIMIT = 2.1
NUM_SAMPLES = 2048
BASE = {"base": "momentum", "base.lr": 0.01}
METHODS = {
    "base": ("momentum", {"lr": 0.01}),
    "sam": ("sam", BASE),
    "sam p=inf": ("sam", {**BASE, "p": "inf"}),
    "asam": ("asam", BASE),
    "sam exact": ("sam", {**BASE, "exact": True}),
}


def make_step(name: str, hyperparameters: dict[str, Any], batch_size: int) -> Callable[[int], Any]:
    """A training step of one method as a function of its number."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(NUM_SAMPLES, 1, 28, 28, generator=generator)
    targets = torch.randint(10, (NUM_SAMPLES,), generator=generator)
    with preserved_rng(torch.device("cpu"), seed=0):
        model = build_model("convnet", (1, 28, 28), 10).train()
    batches = Shuffle(NUM_SAMPLES, batch_size, seed=0)
    optimizer = make_optimizer(name, model, **hyperparameters)

    def step(index: int) -> None:
        chosen = batches.indices(index)
        images, labels = inputs[chosen], targets[chosen]

        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images), labels)
            loss.backward()
            return loss

        optimizer.step(closure)

    return step


@click.command()
@click.option("--repetitions", default=40, show_default=True, type=click.IntRange(1), help="Turns of each step.")
@click.option("--steps", default=4, show_default=True, type=click.IntRange(1), help="Steps in one turn.")
@click.option("--batch-size", default=128, show_default=True, type=click.IntRange(2), help="Samples in a batch.")
@as_json
def main(repetitions: int, steps: int, batch_size: int, as_json: bool) -> None:
    """Time steps in turns; a ratio is that of the processor time of neighbouring turns."""
    torch.set_num_threads(1)
    functions = {label: make_step(name, settings, batch_size) for label, (name, settings) in METHODS.items()}
    times = take_turns(functions, repetitions, steps, warm_up=2)
    ratios = {name: quartiles(one.processor / times["base"].processor) for name, one in times.items() if name != "base"}
    result: dict[str, Any] = {
        "benchmark": "sam",
        "batch_size": batch_size,
        "repetitions": repetitions,
        "steps": steps,
        "milliseconds": {name: 1e3 * float(np.median(one.processor)) for name, one in times.items()},
        "ratios": ratios,
        "ratio": ratios["sam"],
        "limit": LIMIT,
        "within": ratios["sam"]["median"] <= LIMIT,
    }
    rows = [["step", "processor ms", "ratio", "quartiles"]]
    for name, milliseconds in result["milliseconds"].items():
        cells = ["", ""]
        if ratio := ratios.get(name):
            cells = [f"{ratio['median']:.3f}", f"{ratio['lower_quartile']:.3f} to {ratio['upper_quartile']:.3f}"]
        rows.append([name, f"{milliseconds:.2f}", *cells])
    rows.append(["limit for sam", "", f"{LIMIT:.2f}", ""])
    title = f"SAM's step / its base's: ConvNet, batch {batch_size}, {repetitions} turns of {steps}"
    present(result, title, rows, as_json)


if __name__ == "__main__":
    main()
