"""What a step of Shampoo costs beside that of `pytorch_optimizer`, at equal settings.

The step alone is timed, on given gradients of an MLP 784-256-256-10: summed statistics, a full factor for each axis of
matrices and vectors alike, roots every 10 steps, one thread. A turn is 10 steps, so that each holds one computation of
the roots. The first turn doesn't count: the peer's roots come at its end.
"""

from __future__ import annotations

import importlib.metadata
import itertools
from collections.abc import Callable
from typing import Any

import click
import numpy as np
import torch
from torch import Tensor, nn

from landscape.objective.module import preserved_rng
from landscape.optimizers.registry import make_optimizer

from .harness import as_json, present, quartiles, take_turns
from .peers import find_peer, missing

EVERY = 10
EPS = 1e-6
LR = 0.01
WIDTHS = (784, 256, 256, 10)
PACKAGE = "pytorch_optimizer"


def make_network(widths: tuple[int, ...]) -> nn.Sequential:
    """The MLP, with the same weights each time."""
    with preserved_rng(torch.device("cpu"), seed=0):
        layers = [nn.Linear(a, b) for a, b in itertools.pairwise(widths)]
        return nn.Sequential(*(part for layer in layers for part in (layer, nn.ReLU())))[:-1]


def make_gradients(network: nn.Module, count: int) -> list[list[Tensor]]:
    """Gradients of the network on random minibatches, as training meets them at its beginning."""
    generator = torch.Generator().manual_seed(0)
    first, last = next(network.parameters()), list(network.parameters())[-1]
    found = []
    for _ in range(count):
        inputs = torch.randn(128, first.shape[1], generator=generator)
        targets = torch.randint(len(last), (128,), generator=generator)
        loss = nn.functional.cross_entropy(network(inputs), targets)
        found.append(list(torch.autograd.grad(loss, list(network.parameters()))))
    return found


def make_step(
    optimizer: torch.optim.Optimizer, tensors: list[Tensor], given: list[list[Tensor]]
) -> Callable[[int], Any]:
    """The optimizer's step as a function of its number; the gradients are copies, since the peer may write to them."""

    def step(index: int) -> None:
        for tensor, gradient in zip(tensors, given[index % len(given)], strict=True):
            tensor.grad = gradient.clone()
        optimizer.step()

    return step


@click.command()
@click.option("--repetitions", default=20, show_default=True, type=click.IntRange(1), help="Turns of ten steps.")
@click.option("--width", default=256, show_default=True, type=click.IntRange(1), help="Of the hidden layers.")
@as_json
def main(repetitions: int, width: int, as_json: bool) -> None:
    """Time steps in turns; the ratio is that of the processor time of neighbouring turns, ours to the peer's."""
    torch.set_num_threads(1)
    peer = find_peer(PACKAGE)
    widths = (WIDTHS[0], width, width, WIDTHS[-1])
    given = make_gradients(make_network(widths), 4)
    tensors = {name: list(make_network(widths).parameters()) for name in ("ours", "peer")}
    ours = make_optimizer("shampoo", tensors["ours"], lr=LR, statistics="sum", eps=EPS, every=EVERY)
    functions = {"ours": make_step(ours, tensors["ours"], given)}
    if peer is not None:
        theirs = peer.Shampoo(tensors["peer"], lr=LR, matrix_eps=EPS, preconditioning_compute_steps=EVERY)
        functions["peer"] = make_step(theirs, tensors["peer"], given)
    times = take_turns(functions, repetitions, EVERY, warm_up=1)
    result: dict[str, Any] = {
        "benchmark": "shampoo",
        "network": "-".join(map(str, widths)),
        "every": EVERY,
        "repetitions": repetitions,
        "milliseconds": {name: 1e3 * float(np.median(one.processor)) for name, one in times.items()},
        "peer": f"{PACKAGE} {importlib.metadata.version(PACKAGE)}" if peer is not None else None,
        "limit": 1.0,
    }
    rows = [["mean step", "processor ms"], *([name, f"{ms:.2f}"] for name, ms in result["milliseconds"].items())]
    if peer is not None:
        ratio = quartiles(times["ours"].processor / times["peer"].processor)
        result |= {"ratio": ratio, "within": ratio["median"] < 1}
        rows += [
            ["ours / peer", f"{ratio['median']:.3f}"],
            ["quartiles", f"{ratio['lower_quartile']:.3f} to {ratio['upper_quartile']:.3f}"],
        ]
    rows.append(["limit", "1.00"])
    title = f"Shampoo's step: MLP {result['network']}, roots every {EVERY} steps, {repetitions} turns of {EVERY}"
    if peer is None:
        result["note"] = missing(PACKAGE, "shampoo")
        title += f"\n{result['note']}"
    present(result, title, rows, as_json)


if __name__ == "__main__":
    main()
