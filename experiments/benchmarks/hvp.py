"""Hessian-vector products with one set-up against double backward afresh, on the same model, data and microbatches.

The network is the ConvNet with BatchNorm of `landscape train --model convnet`, evaluated, on random images of the
shape of Fashion-MNIST's, one thread. Afresh is what a library does that keeps nothing: for each product and each batch
forward, gradient with its graph, and backward through it, in plain torch. Ours is `Hessian` with its defaults; its time
includes its set-up. The products are compared in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from landscape.networks.models import build_model
from landscape.objective.curvature import Hessian
from landscape.objective.module import preserved_rng
from landscape.objective.objective import Objective

from .harness import as_json, present, quartiles, take_turns

LIMIT = 1.4
TOLERANCE = 1e-10
"""Relative difference between the products in float64; in float32 rounding puts single ReLUs on their other side."""


def make_functions(
    num_samples: int, products: int, batch_size: int, dtype: torch.dtype = torch.float32
) -> tuple[dict[str, Callable[[int], Any]], Callable[[], str]]:
    """Both ways to compute the same products, and a description of how ours are made."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(num_samples, 1, 28, 28, generator=generator)
    targets = torch.randint(10, (num_samples,), generator=generator)
    with preserved_rng(torch.device("cpu"), seed=0):
        model = build_model("convnet", (1, 28, 28), 10)
        with torch.no_grad():
            model.train()(inputs[:256])  # statistics that are not fresh
    model.to(dtype).eval()
    inputs = inputs.to(dtype)
    objective = Objective(model, (inputs, targets), batch_size=batch_size)
    vectors = torch.randn(products, objective.num_parameters, generator=generator).to(dtype)
    tensors = list(model.parameters())
    chosen: list[str] = []

    def afresh(call: int) -> Tensor:
        rows = []
        for vector in vectors:
            pieces = objective.layout.split(vector)
            total = torch.zeros_like(vector)
            for batch, labels in zip(inputs.split(batch_size), targets.split(batch_size), strict=True):
                loss = F.cross_entropy(model(batch), labels, reduction="sum")
                gradients = torch.autograd.grad(loss, tensors, create_graph=True)
                total += objective.layout.flatten(torch.autograd.grad(gradients, tensors, pieces))
            rows.append(total / num_samples)
        return torch.stack(rows)

    def ours(call: int) -> Tensor:
        operator = Hessian(objective, objective.theta)
        chosen[:] = [str(operator.strategy)]
        return torch.stack([operator(vector) for vector in vectors])

    return {"afresh": afresh, "ours": ours}, lambda: chosen[0]


@click.command()
@click.option("--repetitions", default=5, show_default=True, type=click.IntRange(1), help="Turns of each.")
@click.option("--products", default=20, show_default=True, type=click.IntRange(1), help="Products in a turn.")
@click.option("--samples", default=2000, show_default=True, type=click.IntRange(2), help="Images.")
@click.option("--batch-size", default=128, show_default=True, type=click.IntRange(2), help="Images in a microbatch.")
@as_json
def main(repetitions: int, products: int, samples: int, batch_size: int, as_json: bool) -> None:
    """Time both in turns; the ratio is that of the processor time of two neighbouring turns."""
    torch.set_num_threads(1)
    functions, strategy = make_functions(samples, products, batch_size)
    expected, found = (function(0) for function in make_functions(samples, 1, batch_size, torch.float64)[0].values())
    difference = float((found - expected).norm() / expected.norm())
    times = take_turns(functions, repetitions)
    ratio = quartiles(times["afresh"].processor / times["ours"].processor)
    result: dict[str, Any] = {
        "benchmark": "hvp",
        "products": products,
        "samples": samples,
        "batch_size": batch_size,
        "repetitions": repetitions,
        "seconds": {
            name: {"processor": float(np.median(one.processor)), "wall": float(np.median(one.wall))}
            for name, one in times.items()
        },
        "strategy": strategy(),
        "difference": difference,
        "ratio": ratio,
        "limit": LIMIT,
        "within": ratio["median"] >= LIMIT and difference <= TOLERANCE,
    }
    rows = [["products", "processor s", "wall s"]]
    rows += [[name, f"{one['processor']:.2f}", f"{one['wall']:.2f}"] for name, one in result["seconds"].items()]
    spread = f"{ratio['lower_quartile']:.2f} to {ratio['upper_quartile']:.2f}"
    rows += [["speed-up", f"{ratio['median']:.2f}", ""], ["quartiles", spread, ""]]
    rows += [["at least (limit)", f"{LIMIT:.2f}", ""]]
    rows += [["difference", f"{difference:.1e}", ""]]
    title = f"{products} Hessian-vector products, ConvNet, {samples} images by {batch_size}; ours {strategy()}"
    present(result, title, rows, as_json)


if __name__ == "__main__":
    main()
