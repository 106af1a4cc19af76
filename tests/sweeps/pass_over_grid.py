"""A whole pass: create a store, run two sweeps, write a plain variable, finish. Run as a script by the tests of kills.

`python pass_over_grid.py STORE ENGINE SECONDS` makes one pass. `python pass_over_grid.py FOLDER crash` makes it over
and over in forked processes, each of which ends at once at another change of the file system, then resumes and
names the store.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import zarr.storage._local as local

from landscape.sweeps import store
from landscape.sweeps.sweep import Sweep, Variable, run


def one_pass(path, engine="serial", seconds=0.0, points=2):
    """What a study does, all of it safe to repeat."""
    store.create(path, {"scale": 2.0}, kind="grid")
    sweeps = [
        Sweep(
            node,
            {"x": np.arange(points), "y": [0, 1, 2], "k": ["train", "test"]},
            ("x", "y"),
            {"z": Variable(("x", "y", "k"))},
            "swept:height",
            {"scale": 2.0, "seconds": seconds},
            block={"y": 3},
        )
        for node in ("grid/inner", "grid")
    ]
    run(path, sweeps, engine=engine, workers=2, progress=False)
    store.add_node(path, "grid", {"x": np.arange(points)}, {"top": Variable(("x",))}, {"seed": 1})
    store.write(path, "grid", "top", store.Node(path, "grid").read("z").max(axis=(1, 2)))
    store.finish(path)


def dying_at(step):
    """End this process, without any goodbye, at the given change of the file system."""
    count = 0

    def steps(act, halfway=lambda *_: None):
        def changed(*args, **kwargs):
            nonlocal count
            count += 1
            if count == step:
                halfway(*args)
                os._exit(9)
            return act(*args, **kwargs)

        return changed

    local._put = steps(local._put, lambda file, *_: halfway_written(file))
    Path.rename = steps(Path.rename)


def halfway_written(file):
    """Leave what an interrupted write leaves."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.with_suffix(".1f.partial").write_bytes(b"half")


def forked(function, *args):
    """Call a function in a forked process; returns its exit status."""
    if (child := os.fork()) == 0:
        function(*args)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def crash(folder):
    """Every place to die at, one after the other."""
    for step in range(1, 1000):
        path = folder / f"{step}.zarr"

        def attempt(step=step, path=path):
            dying_at(step)
            one_pass(path)

        if forked(attempt) == 0:
            return
        if forked(one_pass, path) != 0:
            sys.exit(f"cannot resume after a kill at step {step}")
        sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    if sys.argv[2] == "crash":
        crash(Path(sys.argv[1]))
    else:
        one_pass(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]), points=8)
