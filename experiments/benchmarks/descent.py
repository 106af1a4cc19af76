"""How long the polynomial sweep takes on one core, and how much faster two worker processes are than one."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import torch

from landscape.networks.training import TrainingRecipe
from landscape.studies.descent import PolynomialRecipe, WidthRecipe, descent
from landscape.studies.descent.networks import FULL_BATCH
from landscape.studies.descent.recipe import Recipe

from .harness import as_json, present, quartiles

SECONDS_LIMIT = 5.0
LIMIT = 1.7
NETWORKS = 6
"""Trainings at each width: a minute for one worker, in which the seconds that processes take to start weigh little."""
RIDGES = (0.0, *(10.0**power for power in range(-6, 3)))


def seconds(recipe: Recipe, engine: str, workers: int | None = None) -> tuple[float, float]:
    """Seconds of this process' computing and on the clock that a sweep takes, its store included."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time(), time.perf_counter()
        descent(recipe, Path(folder, "d.zarr"), engine=engine, workers=workers, progress=False)
        return time.process_time() - start[0], time.perf_counter() - start[1]


@click.command()
@click.option("--repetitions", default=3, show_default=True, type=click.IntRange(1), help="Turns of each.")
@click.option("--functions", default=200, show_default=True, type=click.IntRange(1), help="Largest polynomial fit.")
@click.option("--steps", default=2000, show_default=True, type=click.IntRange(1), help="Steps of each training.")
@as_json
def main(repetitions: int, functions: int, steps: int, as_json: bool) -> None:
    """Time 200 sizes x 30 repetitions x 3 bases x 10 ridges, and trainings on one and on two worker processes.

    The second is a matter of the clock, and of idle cores: the load beside it is printed, too.
    """
    torch.set_num_threads(1)
    polynomial = PolynomialRecipe(capacities=tuple(range(1, functions + 1)), ridge=RIDGES)
    width = WidthRecipe(
        widths=(8, 12, 16, 24, 32, 48),
        repetitions=NETWORKS,
        training=TrainingRecipe("adam", {"lr": 0.01}, epochs=None, steps=steps, batch_size=FULL_BATCH),
    )
    sweep, one, two, load = [], [], [], []
    for _ in range(repetitions):
        sweep.append(seconds(polynomial, "serial")[0])
        load.append(os.getloadavg()[0])
        one.append(seconds(width, "processes", 1)[1])
        two.append(seconds(width, "processes", 2)[1])
    ratio = quartiles(np.array(one) / np.array(two))
    processor = quartiles(np.array(sweep))
    result = {
        "benchmark": "descent",
        "repetitions": repetitions,
        "polynomial_seconds": processor,
        "polynomial_limit": SECONDS_LIMIT,
        "speed_up": ratio,
        "limit": LIMIT,
        "cores": os.cpu_count(),
        "load": float(np.median(load)),
        "within": processor["median"] < SECONDS_LIMIT and ratio["median"] >= LIMIT,
    }
    rows = [["what", "median", "quartiles", "limit"]]
    for name, found, limit in (
        ("polynomial sweep, processor seconds", processor, SECONDS_LIMIT),
        ("one worker / two workers, clock", ratio, LIMIT),
    ):
        ends = f"{found['lower_quartile']:.2f} to {found['upper_quartile']:.2f}"
        rows.append([name, f"{found['median']:.2f}", ends, f"{limit:g}"])
    rows.append(["load of the machine", f"{result['load']:.1f}", f"{result['cores']} cores", ""])
    present(result, f"double descent: {repetitions} turns", rows, as_json)


if __name__ == "__main__":
    main()
