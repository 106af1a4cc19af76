"""Peak memory of `landscape sharpness` by the number of images, and of `landscape surface` by the number of points.

Each run is a process of its own, whose peak is what the system says of it: with torch, the data and all else. Under one
budget (`--set memory=MIB`) four times the images must not take a tenth more. Memory doesn't depend on the weights'
values, so the network has made one step of training on generated images, and the measures make few products.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from landscape.errors import WorkError

from .harness import as_json, find_command, present

LIMIT = 1.1
MIB = 2**20


def peak(*arguments: str) -> float:
    """The peak memory of a command of ours, in MiB."""
    scale = 1 if sys.platform == "darwin" else 1024
    with tempfile.TemporaryFile() as messages:
        process = subprocess.Popen([find_command(), *arguments], stdout=messages, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            messages.seek(0)
            raise WorkError(f"landscape {' '.join(arguments)} failed: {messages.read().decode()[-2000:]}")
    return usage.ru_maxrss * scale / MIB


def write_images(path: Path, count: int, pixels: int) -> Path:
    """Generated images in colour, of ten classes."""
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((count, 3, pixels, pixels), dtype=np.float32)
    np.savez(path, inputs=inputs, targets=np.arange(count) % 10)
    return path


@click.command()
@click.option("--model", default="resnet56", show_default=True, help="The network.")
@click.option("--pixels", default=32, show_default=True, type=click.IntRange(4), help="Width and height of an image.")
@click.option("--images", type=(int, int), default=(500, 2000), show_default=True, help="Two numbers of images.")
@click.option("--budget", default=512, show_default=True, type=click.IntRange(1), help="MiB that graphs may take.")
@click.option("--products", default=3, show_default=True, type=click.IntRange(3), help="Most products of a measure.")
@click.option(
    "--sizes", type=(int, int), default=(5, 17), show_default=True, help="Two numbers of points along an axis."
)
@as_json
def main(
    model: str, pixels: int, images: Sequence[int], budget: int, products: int, sizes: Sequence[int], as_json: bool
) -> None:
    """Measure both once; the ratio is the larger of the two."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = {count: write_images(folder / f"{count}.npz", count, pixels) for count in {*images, 20}}
        checkpoint = str(folder / "network.safetensors")
        quiet = ("--quiet", "--threads", "1")
        training = ("--steps", "1", "--batch-size", "10", "--eval-every", "0", "--eval-samples", "2")
        peak("train", "--data", str(files[20]), "--model", model, *training, *quiet, "--out", checkpoint)
        measures = ("--measure", "hessian_max,hessian_trace", "--set", f"memory={budget}")
        few = ("--set", f"max_products={products}", "--set", "relative_error=0.5", "--set", "tolerance=0.9")
        sharpness = [
            peak(
                *("sharpness", checkpoint, "--data", str(files[count]), *measures, *few, *quiet),
                *("--engine", "serial", "--out", str(folder / f"h{count}.zarr")),
            )
            for count in images
        ]
        surface = [
            peak(
                *("surface", checkpoint, "--data", str(files[20]), "--exact", "--size", str(size), *quiet),
                *("--engine", "serial", "--out", str(folder / f"s{size}.zarr")),
            )
            for size in sizes
        ]
    ratios = sharpness[1] / sharpness[0], surface[1] / surface[0]
    result: dict[str, Any] = {"benchmark": "memory", "model": model, "pixels": pixels, "budget": budget, "limit": LIMIT}
    result |= {"sharpness": dict(zip(map(str, images), sharpness, strict=True))}
    result |= {"surface": dict(zip((f"{size}²" for size in sizes), surface, strict=True))}
    result |= {"ratio": max(ratios), "within": max(ratios) <= LIMIT}
    rows = [["peak memory", "MiB, first", "MiB, second", "ratio"]]
    for what, values, ratio in (
        (f"sharpness, {images[0]} and {images[1]} images", sharpness, ratios[0]),
        (f"surface, {sizes[0]}² and {sizes[1]}² points", surface, ratios[1]),
    ):
        rows.append([what, *(f"{value:.0f}" for value in values), f"{ratio:.3f}"])
    rows.append(["at most (limit)", "", "", f"{LIMIT:.2f}"])
    present(result, f"{model}, {pixels}² pixels, budget {budget} MiB", rows, as_json)


if __name__ == "__main__":
    main()
