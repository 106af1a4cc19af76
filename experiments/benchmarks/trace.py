"""The trace of a Hessian to 2 % standard error: Hutch++ on a Krylov basis against plain Hutchinson.

Both use the same operator, and stop by the same rule: when the standard error, from the variance, not from the scatter
of a few probes, is below the goal. pyhessian's trace is Hutchinson's with another rule, which stops by chance; it is
given as many probes as the goal needs by that variance, at the cost of its own products. One thread.
"""

from __future__ import annotations

import time
from typing import Any

import click
import torch

from landscape.linalg.trace import Estimate, hutch_plus_plus, hutchinson
from landscape.objective.curvature import Hessian

from .curvature_problem import make_problem
from .harness import as_json, present
from .peers import find_peer, missing

LIMIT = 4.0
GOAL = 0.02


@click.command()
@click.option("--samples", default=2000, show_default=True, type=click.IntRange(20), help="Images.")
@click.option("--batch-size", default=200, show_default=True, type=click.IntRange(2), help="Images in a batch.")
@click.option("--products", default=200, show_default=True, type=click.IntRange(20), help="Products timed of each.")
@as_json
def main(samples: int, batch_size: int, products: int, as_json: bool) -> None:
    """Time each once as far as `--products` goes; the ratio is Hutchinson's processor time by ours."""
    torch.set_num_threads(1)
    objective, batches = make_problem(samples, batch_size)
    found: dict[str, tuple[float, Estimate, int]] = {}
    for name, estimate in {"ours": hutch_plus_plus, "hutchinson": hutchinson}.items():
        start = time.process_time()
        hessian = Hessian(objective, objective.theta)
        done = estimate(hessian, hessian.dim, relative_error=GOAL, max_products=products)
        more = max(1.0, (float(done.stderr / done.value.abs()) / GOAL) ** 2)  # the variance falls as 1 / products
        found[name] = (time.process_time() - start) * more, done, round(done.products * more)
    result: dict[str, Any] = {"benchmark": "trace", "samples": samples, "limit": LIMIT, "goal": GOAL}
    rows = [["trace", "processor s", "products", "value", "standard error"]]
    for name, (seconds, done, needed) in found.items():
        value, stderr = float(done.value), float(done.stderr)
        result[name] = {
            "seconds": seconds,
            "products": needed,
            "timed": done.products,
            "value": value,
            "stderr": stderr,
        }
        rows.append([name, f"{seconds:.2f}", str(needed), f"{value:.4g}", f"{stderr:.2g}"])
    ratio = found["hutchinson"][0] / found["ours"][0]
    result |= {"ratio": ratio, "within": ratio >= LIMIT}
    title = f"trace of the Hessian to {GOAL:.0%}, ConvNet, {samples} images"
    peer = find_peer("pyhessian")
    if peer is None:
        title += "\n" + missing("pyhessian", "trace")
    else:
        probes = found["hutchinson"][2]
        start = time.process_time()
        theirs = peer.hessian(objective.module.module, torch.nn.CrossEntropyLoss(), dataloader=batches, cuda=False)
        some = min(20, probes)
        theirs.trace(maxIter=some, tol=0.0)
        seconds = (time.process_time() - start) * probes / some
        result["pyhessian"] = {"seconds": seconds, "products": probes, "timed": some}
        rows.append([f"pyhessian ({some} products timed)", f"{seconds:.2f}", str(probes), "", ""])
        rows.append(["speed-up over pyhessian", f"{seconds / found['ours'][0]:.2f}", "", "", ""])
    rows += [["speed-up", f"{ratio:.2f}", "", "", ""], ["at least (limit)", f"{LIMIT:.2f}", "", "", ""]]
    present(result, title, rows, as_json)


if __name__ == "__main__":
    main()
