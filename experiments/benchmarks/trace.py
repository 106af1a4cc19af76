"""The trace of a Hessian to 2 % standard error, against Hutchinson's estimator by our products and by pyhessian's.

Ours gives each sample, or microbatch, probes of its own. Hutchinson's with our products stops by its variance, and so
does Hutch++ on a Krylov basis. pyhessian's own rule, that the mean changes little, stops by chance: it makes probes
until the standard error that their scatter tells, after twenty at the least, is below the goal, or, where that would
take too long, as many as `--products` says, and its time goes on in proportion. One thread; times include set-up.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from landscape.linalg.trace import hutch_plus_plus, hutchinson
from landscape.measures.registry import measure
from landscape.objective.curvature import Hessian
from landscape.objective.module import preserved_rng
from landscape.objective.objective import Objective

from .curvature_problem import TheirHessian, make_problem, problem_options
from .harness import as_json, present
from .peers import find_peer, missing

LIMIT = 4.0
GOAL = 0.02
LEAST = 20
"""Probes of pyhessian's before their scatter is believed."""


@dataclass(frozen=True)
class Found:
    """An estimate, with the processor time and products that it took, or would have taken to the goal."""

    value: float
    stderr: float
    products: float
    seconds: float = 0.0

    def at_goal(self) -> Found:
        """With time and products to the goal: the variance falls as 1 / products."""
        more = max(1.0, (self.stderr / abs(self.value) / GOAL) ** 2)
        return replace(self, seconds=self.seconds * more, products=self.products * more)


def ours(objective: Objective, seed: int) -> Found:
    """By `landscape.measures`."""
    found = measure("hessian_trace", objective, generator=torch.Generator().manual_seed(seed), relative_error=GOAL)
    return Found(float(found.value), float(found.stderr), math.nan)


def by_products(objective: Objective, seed: int, estimate: Callable[..., Any], products: int) -> Found:
    """By an estimator of `landscape.linalg` and our products."""
    hessian, generator = Hessian(objective, objective.theta), torch.Generator().manual_seed(seed)
    found = estimate(hessian, hessian.dim, relative_error=GOAL, max_products=products, generator=generator)
    return Found(float(found.value), float(found.stderr), found.products)


def theirs(objective: Objective, seed: int, peer: ModuleType, products: int) -> Found:
    """By pyhessian, with attention in kernels that can be differentiated twice, which is the user's to see to."""
    hessian = TheirHessian(peer, objective)
    forms: list[float] = []
    with preserved_rng(objective.device, seed=seed), sdpa_kernel(SDPBackend.MATH):
        while len(forms) < products:
            forms += hessian.own.trace(maxIter=min(LEAST, products - len(forms)), tol=0.0)
            mean, stderr = float(np.mean(forms)), float(np.std(forms, ddof=1)) / math.sqrt(len(forms))
            if stderr <= GOAL * abs(mean):
                break
    return Found(mean, stderr, hessian.products)


@click.command()
@problem_options
@click.option(
    "--products", default=200, show_default=True, type=click.IntRange(20), help="Products timed of each peer."
)
@click.option(
    "--repetitions", default=3, show_default=True, type=click.IntRange(1), help="Of ours; the peers run once."
)
@as_json
def main(
    checkpoint: Path | None, samples: int, batch_size: int, products: int, repetitions: int, as_json: bool
) -> None:
    """Time all; the ratio is the lesser of Hutchinson's and pyhessian's processor times by the median of ours."""
    torch.set_num_threads(1)
    objective, words = make_problem(checkpoint, samples, batch_size)
    peer = find_peer("pyhessian")
    methods: dict[str, Callable[[int], Found]] = {
        "ours": partial(ours, objective),
        "hutchinson": lambda seed: by_products(objective, seed, hutchinson, products),
        "hutch++": lambda seed: by_products(objective, seed, hutch_plus_plus, products),
    }
    if peer is not None:
        methods["pyhessian"] = lambda seed: theirs(objective, seed, peer, products)
    found: dict[str, Found] = {}
    for name, method in methods.items():
        runs = []
        for seed in range(repetitions if name == "ours" else 1):
            start = time.process_time()
            run = method(seed)
            runs.append(replace(run, seconds=time.process_time() - start).at_goal())
        found[name] = sorted(runs, key=lambda run: run.seconds)[len(runs) // 2]
    result: dict[str, Any] = {"benchmark": "trace", "problem": words, "limit": LIMIT, "goal": GOAL}
    rows = [["trace", "processor s", "products", "value", "standard error", "times ours"]]
    mine = found["ours"]
    for name, one in found.items():
        ratio = one.seconds / mine.seconds
        apart = abs(one.value - mine.value) / math.hypot(one.stderr, mine.stderr) if name != "ours" else 0.0
        counted = {} if math.isnan(one.products) else {"products": round(one.products)}
        result[name] = {
            "seconds": one.seconds,
            "value": one.value,
            "stderr": one.stderr,
            "ratio": ratio,
            "apart": apart,
        }
        result[name] |= counted
        numbers = [f"{one.seconds:.2f}", str(counted.get("products", "")), f"{one.value:.4g}", f"{one.stderr:.2g}"]
        rows.append([name, *numbers, f"{ratio:.2f}"])
    ratio = min(result[name]["ratio"] for name in ("hutchinson", "pyhessian") if name in result)
    agree = all(result[name]["apart"] <= 4 for name in found)
    result |= {"ratio": ratio, "agree": agree, "within": ratio >= LIMIT and agree}
    rows.append(["at least (limit)", "", "", "", "", f"{LIMIT:.2f}"])
    title = f"trace of the Hessian to {GOAL:.0%}, {words}"
    present(result, title if peer is not None else f"{title}\n{missing('pyhessian', 'trace')}", rows, as_json)


if __name__ == "__main__":
    main()
