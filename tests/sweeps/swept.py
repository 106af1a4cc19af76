"""Functions for the tests' sweeps, in a module that worker processes can import."""

import os
import time
from pathlib import Path

import numpy as np

from landscape.errors import RequestError


def plane(arguments):
    """z(x, y, k) = scale x + y + k and w(y, x) = x, with a note for each evaluated block."""

    def evaluate(coordinates, task):
        time.sleep(arguments.get("seconds", 0))
        if "log" in arguments:
            with open(arguments["log"], "a") as log:
                log.write(f"{coordinates['x'][0]:g}\n")
        x, y, k = np.meshgrid(coordinates["x"], coordinates["y"], np.arange(len(coordinates["k"])), indexing="ij")
        return {"z": arguments["scale"] * x + y + k, "w": x[..., 0].T}

    return evaluate


def height(arguments):
    """z alone."""
    return lambda coordinates, task: {"z": plane(arguments)(coordinates, task)["z"]}


def diverging(arguments):
    """NaN where x = y."""

    def evaluate(coordinates, task):
        values = plane(arguments)(coordinates, task)
        values["z"][coordinates["x"][:, None] == coordinates["y"]] = np.nan
        return values

    return evaluate


def ending(arguments):
    """z as `plane`, but only up to k = 0; the status says so along k."""

    def evaluate(coordinates, task):
        values = height(arguments)(coordinates, task)
        values["z"][..., 1:] = np.nan
        return {**values, "status": np.where(np.isnan(values["z"]), 4, 1)} if arguments["said"] else values

    return evaluate


class OddError(Exception):
    """An exception that pickle can write but not read."""

    def __init__(self, one, two):
        super().__init__(f"{one}\nand {two}")


def failing(arguments):
    """Fails at x = 1 as long as the file `mended` isn't there."""

    def evaluate(coordinates, task):
        if coordinates["x"][0] == 1 and not Path(arguments["mended"]).exists():
            task.scratch.with_suffix(".txt").write_text("half")
            raise OddError("this", "that")
        if coordinates["x"][0] == 1:
            assert task.scratch.with_suffix(".txt").read_text() == "half"
        return plane(arguments)(coordinates, task)

    return evaluate


def stopping(arguments):
    """Says itself how each point ended."""

    def evaluate(coordinates, task):
        task.report(0.5, loss=0.25)
        status = np.where(coordinates["y"] > 1, 4, 1)[None] if coordinates["x"][0] else 4
        return {**plane(arguments)(coordinates, task), "status": status}

    return evaluate


def refusing(arguments):
    """Finds the request wrong at x = 1."""

    def evaluate(coordinates, task):
        if coordinates["x"][0] == 1:
            raise RequestError("the points must be odd")
        return plane(arguments)(coordinates, task)

    return evaluate


def misshapen(arguments):
    """Returns a transposed array."""
    return lambda coordinates, task: {"z": plane(arguments)(coordinates, task)["z"].T, "w": [[0]]}


def unprepared(arguments):
    """A factory that fails."""
    raise OSError("no data")


def dying(arguments):
    """The worker is killed, as by a system that is out of memory."""

    def evaluate(coordinates, task):
        if coordinates["x"][0] == 1:
            os.kill(os.getpid(), 9)
        return plane(arguments)(coordinates, task)

    return evaluate


not_a_function = 3


def threads(*_):
    """What a worker process sees of its surroundings."""
    import sys

    return os.environ.get("OMP_NUM_THREADS"), "torch" in sys.modules, "zarr" in sys.modules, os.getpid()


def sleep(seconds):
    """Sleep."""
    time.sleep(seconds)
