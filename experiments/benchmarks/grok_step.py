"""What a training step of the transformer for equations costs, against the same network with all positions computed.

Both have the same weights, batches and optimizer, one thread. Only the last position answers, so the network leaves out
the others in its last block; what it computes is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
import numpy as np
import torch
from torch.nn import functional as F

from landscape.networks.zoo.transformer import Transformer
from landscape.objective.module import preserved_rng
from landscape.optimizers.registry import make_optimizer

from .harness import as_json, present, quartiles, take_turns

LIMIT = 0.55
AGREEMENT = 1e-6
MODULUS = 97
PRESETS: dict[str, dict[str, Any]] = {
    "one layer": {"layers": 1, "norm": "none", "operator": False},
    "one layer, LayerNorm, operator": {"layers": 1, "norm": "pre", "operator": True},
    "two layers, LayerNorm, operator": {"layers": 2, "norm": "post", "operator": True},
}
"""Nanda et al.'s network, a middle one, and Power et al.'s."""


def make_model(preset: str, all_positions: bool) -> Transformer:
    """A network of width 128 with 4 heads; the same weights at every call."""
    with preserved_rng(torch.device("cpu"), seed=0):
        return Transformer(
            2, MODULUS, heads=4, width=128, init_scale=1.0, all_positions=all_positions, **PRESETS[preset]
        )


def make_step(model: Transformer, batch_size: int) -> Callable[[int], Any]:
    """A training step as a function of its number."""
    optimizer = make_optimizer("adamw", model, lr=1e-3)

    def step(index: int) -> None:
        symbols = torch.randint(MODULUS, (batch_size, 2), generator=torch.Generator().manual_seed(index))
        optimizer.zero_grad()
        F.cross_entropy(model(symbols), symbols.sum(1) % MODULUS).backward()
        optimizer.step()

    return step


def difference(one: Transformer, other: Transformer) -> float:
    """The largest difference of the outputs on all equations, relative to the largest output."""
    symbols = torch.cartesian_prod(torch.arange(MODULUS), torch.arange(MODULUS))
    with torch.no_grad():
        first, second = one(symbols), other(symbols)
    return float((first - second).abs().max() / second.abs().max())


@click.command()
@click.option("--repetitions", default=20, show_default=True, type=click.IntRange(1), help="Turns of each step.")
@click.option("--steps", default=2, show_default=True, type=click.IntRange(1), help="Steps in one turn.")
@click.option("--batch-size", default=512, show_default=True, type=click.IntRange(1), help="Samples in a batch.")
@as_json
def main(repetitions: int, steps: int, batch_size: int, as_json: bool) -> None:
    """Time steps in turns; a ratio is that of the processor time of neighbouring turns."""
    torch.set_num_threads(1)
    ratios, milliseconds, differences = {}, {}, {}
    for preset in PRESETS:
        models = {name: make_model(preset, name == "all") for name in ("last", "all")}
        differences[preset] = difference(models["last"], models["all"])
        functions = {name: make_step(model, batch_size) for name, model in models.items()}
        times = take_turns(functions, repetitions, steps, warm_up=2)
        ratios[preset] = quartiles(times["last"].processor / times["all"].processor)
        milliseconds[preset] = {name: 1e3 * float(np.median(one.processor)) for name, one in times.items()}
    main_ratio = ratios["one layer"]
    result: dict[str, Any] = {
        "benchmark": "grok_step",
        "batch_size": batch_size,
        "repetitions": repetitions,
        "steps": steps,
        "milliseconds": milliseconds,
        "differences": differences,
        "ratios": ratios,
        "ratio": main_ratio,
        "limit": LIMIT,
        "within": main_ratio["median"] <= LIMIT and max(differences.values()) <= AGREEMENT,
    }
    rows = [["network", "last ms", "all ms", "ratio", "quartiles", "difference"]]
    for preset, ratio in ratios.items():
        spread = f"{ratio['lower_quartile']:.3f} to {ratio['upper_quartile']:.3f}"
        last, whole = (f"{milliseconds[preset][name]:.2f}" for name in ("last", "all"))
        rows.append([preset, last, whole, f"{ratio['median']:.3f}", spread, f"{differences[preset]:.1e}"])
    rows.append(["limit for one layer", "", "", f"{LIMIT:.2f}", "", f"{AGREEMENT:.0e}"])
    title = f"step with the last position alone / with all: mod {MODULUS}, batch {batch_size}, {repetitions} x {steps}"
    present(result, title, rows, as_json)


if __name__ == "__main__":
    main()
