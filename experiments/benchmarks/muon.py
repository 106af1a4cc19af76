"""What a step of Muon costs, in steps of `torch.optim.Muon` on matrices of the same shapes.

torch's Muon iterates Jordan's quintic in bfloat16, one matrix after another. Ours is given the same method, number of
iterations, momentum, weight decay and scale, in bfloat16 and, beside it, in float32. One thread; the steps take turns,
and each finds other gradients than the one before it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
import numpy as np
import torch

from landscape.optimizers.muon import Muon
from landscape.optimizers.precision import multiplies_bfloat16_fast

from .harness import as_json, present, quartiles, take_turns

SIZES: dict[str, tuple[int, int, int]] = {
    "12 of 64x64": (12, 64, 64),
    "12 of 128x128": (12, 128, 128),
    "12 of 256x256": (12, 256, 256),
    "4 of 512x512": (4, 512, 512),
    "2 of 256x1024": (2, 256, 1024),
    "2 of 1024x256": (2, 1024, 256),
    "1 of 1024x1024": (1, 1024, 1024),
    "1 of 1024x4096": (1, 1024, 4096),
}
NUM_GRADIENTS = 4
LIMITS = {"12 of 64x64": 5.0, "12 of 128x128": 2.0}
LIMIT = 0.95
"""How many times faster than torch's a step must be, in bfloat16: at these sizes, and at all others."""


def make_steps(count: int, rows: int, columns: int) -> dict[str, Callable[[int], Any]]:
    """The steps on equal copies of the matrices."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(count, rows, columns, generator=generator) / columns**0.5
    gradients = torch.randn(NUM_GRADIENTS, count, rows, columns, generator=generator)

    def step_of(make: Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer]) -> Callable[[int], Any]:
        tensors = [torch.nn.Parameter(weight.clone()) for weight in weights]
        given = [[gradient.clone() for gradient in some] for some in gradients]
        optimizer = make(tensors)

        def step(number: int) -> None:
            for tensor, gradient in zip(tensors, given[number % NUM_GRADIENTS], strict=True):
                tensor.grad = gradient
            optimizer.step()

        return step

    settings = {"lr": 1e-3, "momentum": 0.95, "nesterov": True, "weight_decay": 0.1}
    same = {**settings, "method": "newton-schulz", "steps": 5}
    return {
        "torch": step_of(lambda tensors: torch.optim.Muon(tensors, **settings)),
        "bfloat16": step_of(lambda tensors: Muon(tensors, **same, dtype="bfloat16")),
        "float32": step_of(lambda tensors: Muon(tensors, **same, dtype="float32")),
    }


def measure(size: tuple[int, int, int], repetitions: int, seconds: float) -> dict[str, Any]:
    """Milliseconds of each step, and the ratios of the processor times of neighbouring turns.

    Args:
        size: Number of matrices, rows, columns.
        repetitions: Turns of each step.
        seconds: Time that one turn should take at least: small matrices get several steps in a turn.
    """
    functions = make_steps(*size)
    once = take_turns({"torch": functions["torch"]}, repetitions=1, warm_up=1)["torch"].wall[0]
    times = take_turns(functions, repetitions, calls=max(1, round(seconds / once)), warm_up=2)
    return {
        "milliseconds": {name: 1e3 * float(np.median(one.processor)) for name, one in times.items()},
        "ratio": {
            name: quartiles(times["torch"].processor / times[name].processor) for name in ("bfloat16", "float32")
        },
    }


@click.command()
@click.option("--repetitions", default=40, show_default=True, type=click.IntRange(1), help="Turns of each step.")
@click.option("--seconds", default=0.02, show_default=True, type=float, help="Time of one turn, at least.")
@click.option("--size", "sizes", multiple=True, type=click.Choice(list(SIZES)), help="Only these sizes.")
@as_json
def main(repetitions: int, seconds: float, sizes: tuple[str, ...], as_json: bool) -> None:
    """Time torch's and our Muon in turns; a ratio above 1 means that ours is faster."""
    torch.set_num_threads(1)
    found = {name: measure(SIZES[name], repetitions, seconds) for name in sizes or SIZES}
    within = {name: one["ratio"]["bfloat16"]["median"] >= LIMITS.get(name, LIMIT) for name, one in found.items()}
    result = {
        "benchmark": "muon",
        "bfloat16_is_fast": multiplies_bfloat16_fast(torch.device("cpu")),
        "repetitions": repetitions,
        "sizes": found,
        "limit": LIMIT,
        "limits": {name: LIMITS.get(name, LIMIT) for name in found},
        "within": within,
    }
    rows = [["matrices", "torch ms", "bfloat16 ms", "float32 ms", "bfloat16 ×", "quartiles", "float32 ×", "limit"]]
    for name, one in found.items():
        ratio = one["ratio"]["bfloat16"]
        rows.append(
            [
                name,
                *(f"{one['milliseconds'][step]:.2f}" for step in ("torch", "bfloat16", "float32")),
                f"{ratio['median']:.2f}",
                f"{ratio['lower_quartile']:.2f} to {ratio['upper_quartile']:.2f}",
                f"{one['ratio']['float32']['median']:.2f}",
                f"{LIMITS.get(name, LIMIT):.2f}",
            ]
        )
    present(result, f"Muon's step: torch's time over ours, {repetitions} turns, processor time", rows, as_json)


if __name__ == "__main__":
    main()
