"""What the study of grokking costs: processor time of one seed of the fast recipe, and one worker against two.

The fast recipe is `landscape grok`'s own: addition mod 31 by the quadratic network, with all measures that are always
taken. Processor time is that of the worker's own process; the gain of a second worker is measured on the clock, with
nothing else running if it is to mean anything.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from landscape.figures import milestones
from landscape.studies.grok import GrokRecipe, grok

from .harness import as_json, present, quartiles

LIMIT = 3.0
GAIN = 1.7


def processor_seconds(seed: int, steps: int) -> tuple[float, bool]:
    """Processor time of one run in this process, and whether it grokked."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        tree = grok(GrokRecipe(seeds=(seed,), steps=steps), Path(folder, "g.zarr"), progress=False)
        spent = time.process_time() - start
        return spent, bool(milestones(tree["grok"].load().to_dataset())["grokked"].all())


def wall_seconds(seeds: int, steps: int, workers: int) -> float:
    """Time on the clock of several runs that spend their budget."""
    with tempfile.TemporaryDirectory() as folder:
        recipe = GrokRecipe(seeds=tuple(range(seeds)), steps=steps, hold=0)
        start = time.perf_counter()
        grok(recipe, Path(folder, "g.zarr"), engine="processes", workers=workers, progress=False)
        return time.perf_counter() - start


@click.command()
@click.option("--seeds", default=8, show_default=True, type=click.IntRange(1), help="Seeds of the fast recipe.")
@click.option("--steps", default=3000, show_default=True, type=click.IntRange(1), help="Updates of a run at most.")
@click.option("--turns", default=2, show_default=True, type=click.IntRange(0), help="Turns of one and two workers.")
@as_json
def main(seeds: int, steps: int, turns: int, as_json: bool) -> None:
    """Run the fast recipe seed by seed, then the same runs on one worker and on two, in turns."""
    torch.set_num_threads(1)
    processor_seconds(0, 20)  # imports and first calls
    runs = [processor_seconds(seed, steps) for seed in range(seeds)]
    seconds = quartiles(np.array([spent for spent, _ in runs]))
    walls = [[wall_seconds(seeds, steps, workers) for workers in (1, 2)] for _ in range(turns)]
    gain = quartiles(np.array([one / two for one, two in walls])) if walls else None
    result: dict[str, Any] = {
        "benchmark": "grok_runs",
        "seeds": seeds,
        "steps": steps,
        "grokked": sum(grokked for _, grokked in runs),
        "processor_seconds": [spent for spent, _ in runs],
        "seconds": seconds,
        "wall_seconds": walls,
        "gain": gain,
        "gain_limit": GAIN,
        "limit": LIMIT,
        "within": max(spent for spent, _ in runs) <= LIMIT and (gain is None or gain["median"] >= GAIN),
    }
    rows = [
        ["measured", "median", "quartiles"],
        [
            "processor seconds of a seed",
            f"{seconds['median']:.2f}",
            f"{seconds['lower_quartile']:.2f} to {seconds['upper_quartile']:.2f}",
        ],
        ["limit", f"{LIMIT:.2f}", ""],
    ]
    if gain is not None:
        spread = f"{gain['lower_quartile']:.2f} to {gain['upper_quartile']:.2f}"
        rows += [["one worker / two", f"{gain['median']:.2f}", spread], ["limit", f"{GAIN:.2f}", ""]]
    title = f"the fast recipe of grok: {result['grokked']} of {seeds} seeds grokked"
    present(result, title, rows, as_json)


if __name__ == "__main__":
    main()
