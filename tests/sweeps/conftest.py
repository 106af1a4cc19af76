"""A small grid, and the module with the functions that are mapped over it."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from landscape.sweeps import store
from landscape.sweeps.sweep import Sweep, Variable


@pytest.fixture(autouse=True)
def swept(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    yield importlib.import_module("swept")
    sys.modules.pop("swept", None)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "grid.zarr"
    store.create(path, {"scale": 2.0}, kind="grid")
    return path


@pytest.fixture
def grid():
    """Make a sweep over `x` and `y`, in blocks of one x and two y of three."""

    def make(function, node="grid", points=4, **arguments):
        return Sweep(
            node=node,
            coords={
                "x": np.arange(points, dtype=float),
                "y": [0, 1, 2],
                "k": ("train", "test"),
                "name": ("x", [f"point {i}" for i in range(points)]),
            },
            over=("x", "y"),
            variables={"z": Variable(("x", "y", "k"), attrs={"long_name": "height"}), "w": Variable(("y", "x"))},
            function=f"swept:{function}",
            arguments={"scale": 2.0, **arguments},
            block={"y": 2},
        )

    return make
