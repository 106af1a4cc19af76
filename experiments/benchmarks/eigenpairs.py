"""The five largest eigenpairs against pyhessian, until each true relative residual is below 1e-3.

pyhessian deflates power iterations, stopping when an eigenvalue changes by less than a tolerance. The tolerance with
which the residuals of its pairs become small enough is sought first, tenfold lower each time, with our products in the
place of its own, to save time: they differ by rounding. Then it runs once with its own, from the same start, and is
timed; if it needs more than a thousand products, until it has made them. One thread; times include set-up.
"""

from __future__ import annotations

import time
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import torch
from torch import Tensor

from landscape.linalg.lanczos import top_eigenpairs
from landscape.objective.curvature import Hessian
from landscape.objective.module import preserved_rng
from landscape.objective.objective import Objective

from .curvature_problem import TheirHessian, make_problem, problem_options
from .harness import as_json, present
from .peers import find_peer, missing

LIMIT = 5.0
GOAL = 1e-3
PRODUCTS = 1000
TOLERANCES = tuple(10.0**-power for power in range(3, 10))


class EnoughError(Exception):
    """pyhessian has made all products that it may."""


def residuals_of(hessian: Hessian, values: Tensor, vectors: Tensor) -> Tensor:
    """True relative residuals, shape `(k,)`."""
    return torch.stack(
        [(hessian(v) - value * v).norm() / abs(value) for value, v in zip(values.to(vectors), vectors, strict=True)]
    )


def their_run(
    peer: ModuleType, objective: Objective, hessian: Hessian, k: int, tolerance: float, timed: bool, products: int
) -> dict[str, Any]:
    """One run of pyhessian: its processor time, products and the largest residual, None where it was cut short."""
    start = time.process_time()
    theirs = TheirHessian(peer, objective)
    if not timed:
        theirs.through(hessian)
    plain = theirs.own.dataloader_hv_product

    def limited(vectors: list[Tensor]) -> Any:
        if theirs.products == products:
            raise EnoughError
        return plain(vectors)

    theirs.own.dataloader_hv_product = limited
    found: dict[str, Any] = {"tolerance": tolerance, "residual": None}
    try:
        with preserved_rng(objective.device, seed=0):
            values, vectors = theirs.own.eigenvalues(maxIter=products, tol=tolerance, top_n=k)
    except EnoughError:
        found["seconds"] = time.process_time() - start
    else:
        found["seconds"] = time.process_time() - start
        flat = torch.stack([objective.layout.flatten(vector) for vector in vectors])
        found["residual"] = float(residuals_of(hessian, torch.tensor(values), flat).max())
    return found | {"products": theirs.products}


@click.command()
@problem_options
@click.option("--k", default=5, show_default=True, type=click.IntRange(1), help="Eigenpairs.")
@click.option("--products", default=PRODUCTS, show_default=True, type=click.IntRange(2), help="Most of pyhessian's.")
@as_json
def main(checkpoint: Path | None, samples: int, batch_size: int, k: int, products: int, as_json: bool) -> None:
    """Time both once; the ratio is that of processor times."""
    torch.set_num_threads(1)
    objective, words = make_problem(checkpoint, samples, batch_size)
    start = time.process_time()
    hessian = Hessian(objective, objective.theta)
    pairs = top_eigenpairs(hessian, hessian.dim, k, tolerance=GOAL, max_products=PRODUCTS)
    ours = time.process_time() - start
    residual = float(residuals_of(hessian, pairs.values, pairs.vectors).max())
    result: dict[str, Any] = {"benchmark": "eigenpairs", "problem": words, "k": k, "limit": LIMIT, "goal": GOAL}
    result["ours"] = {"seconds": ours, "products": pairs.products, "residual": residual}
    result["values"] = pairs.values.tolist()
    rows = [["eigenpairs", "processor s", "products", "largest residual"]]
    rows.append(["ours", f"{ours:.2f}", str(pairs.products), f"{residual:.1e}"])
    title = f"{k} largest eigenpairs, {words}"
    peer = find_peer("pyhessian")
    if peer is None:
        title += "\n" + missing("pyhessian", "eigenpairs")
    else:
        for tolerance in TOLERANCES:
            tried = their_run(peer, objective, hessian, k, tolerance, False, products)
            if tried["residual"] is None or tried["residual"] <= GOAL:
                break
        found = their_run(peer, objective, hessian, k, tolerance, True, products)
        reached = found["residual"] is not None and found["residual"] <= GOAL
        ratio = found["seconds"] / ours
        result |= {
            "pyhessian": found | {"reached": reached},
            "ratio": ratio,
            "within": ratio >= LIMIT and residual <= GOAL,
        }
        last = "cut short" if found["residual"] is None else f"{found['residual']:.1e}"
        rows.append([f"pyhessian, tolerance {tolerance:.0e}", f"{found['seconds']:.2f}", str(found["products"]), last])
        rows.append(["speed-up" if reached else "speed-up, more than", f"{ratio:.2f}", "", ""])
    rows.append(["at least (limit)", f"{LIMIT:.2f}", "", ""])
    present(result, title, rows, as_json)


if __name__ == "__main__":
    main()
