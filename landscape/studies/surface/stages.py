"""Certified surfaces in a store: the coarse grid on all samples, pilots, and then every point.

What the stages before the last one found, each sample's loss at the coarse points above all, lies beside the store
until it is finished: a scratch store of its own, so that these stages run anywhere and resume like any sweep, and from
it one file for each quantity, which the last stage's workers map into their memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from landscape.geometry.slices import Slice
from landscape.objective.objective import Objective
from landscape.studies.grids import AXES, BLOCK, LINE_BLOCK, variables
from landscape.studies.network import Network
from landscape.studies.study import Running
from landscape.studies.surface.certified import Estimator, saved
from landscape.studies.surface.nested import Nested
from landscape.studies.surface.tasks import PLANS, Oracles, control_file, open_control
from landscape.studies.surface.whole import pilot_evaluations
from landscape.sweeps import store
from landscape.sweeps.node import scratch_folder
from landscape.sweeps.schema import Sweep, Variable

KEPT_BYTES = 1 << 32
"""What the per-sample values of the coarse grid may take beside the store; it isn't halved beyond."""
POINTS_PER_TASK = 4
CELLS_PER_TASK = 16
NOTES = {
    "samples": {"long_name": "samples behind the value"},
    "evaluations": {"long_name": "sample evaluations spent on the value, discarded ones included"},
    "reached": {"long_name": "whether the standard error of the loss is within the tolerance"},
}
"""What a certified surface stores beside its values."""
TASKS = "landscape.studies.surface.tasks"


class Stages:
    """The stages of a surface that isn't evaluated on all samples everywhere.

    Args:
        path: The store.
        networks: One for each surface.
        slices: Where each is evaluated.
        coords: Coordinates of the node `surface`.
        objective: Tells which quantities there are.
        tolerance: Standard error that is asked for, as a share of the loss; None to interpolate only.
        seed: Decides the random subsets.
    """

    def __init__(
        self,
        path: Path,
        networks: Sequence[Network],
        slices: Sequence[Slice],
        coords: Mapping[str, Any],
        objective: Objective,
        tolerance: float | None,
        seed: int,
    ) -> None:
        self.path, self.coords, self.objective, self.tolerance = path, coords, objective, tolerance
        self.axes = tuple(axis for axis in reversed(AXES) if axis in coords)
        self.grid = Nested(tuple(np.asarray(coords[axis]) for axis in self.axes))
        self.folder = scratch_folder(path) / "kept"
        self.arguments: dict[str, Any] = {
            "networks": list(networks),
            "slices": list(slices),
            "splits": list(coords["split"]),
            "checkpoints": list(coords["checkpoint"]),
            "axes": self.axes,
            "tolerance": tolerance,
            "seed": seed,
            "folder": self.folder,
        }
        self.oracles = Oracles(self.arguments)
        self.pilots = 0
        """Sample evaluations of all pilots."""
        self.visits = self.grid.num_points
        """Points at which weights are placed, for one surface."""

    @property
    def names(self) -> tuple[str, ...]:
        """Loss and metrics."""
        return ("loss", *self.objective.metrics)

    def sweep(self, attrs: Mapping[str, Any]) -> Sweep:
        """The last stage: every point of node `surface`."""
        dims = ("checkpoint", "split", *self.axes)
        types = {"samples": "int64", "evaluations": "int64", "reached": "int8"}
        notes = {name: Variable(dims, types[name], attrs) for name, attrs in NOTES.items()}
        return Sweep(
            node="surface",
            coords=self.coords,
            over=("checkpoint", *self.axes),
            variables={**variables(self.objective, dims), **notes},
            function=f"{TASKS}:{'point' if self.tolerance else 'look'}_evaluator",
            arguments={**self.arguments, "grid": self.grid},
            block=LINE_BLOCK if len(self.axes) == 1 else {axis: BLOCK[axis] for axis in self.axes},
            attrs=attrs,
        )

    def prepare(self, recipe: Any, running: Running) -> None:
        """Run all stages but the last, as far as they haven't been run before.

        Args:
            recipe: Of the store.
            running: Where and how.
        """
        with store.claim(self.path):
            self.folder.mkdir(exist_ok=True)
            scratch = self.folder / "coarse.zarr"
            store.create(scratch, recipe, kind="coarse")
            while True:
                running.run(scratch, [self._coarse_sweep()], "coarse grid")
                self._write_files(scratch)
                if self.tolerance is None or not self._decide(scratch, running):
                    break
                self.grid = self.grid.halved()

    def _coarse_sweep(self) -> Sweep:
        """The loss of each sample at the coarse points that the grid before lacks: node `coarse<level>`."""
        counts = [oracle.num_samples for oracle in self.oracles[0]]
        dims = ("checkpoint", "point")
        dtype = str(self.objective.dtype).removeprefix("torch.")
        return Sweep(
            node=f"coarse{self.grid.level}",
            coords={
                "checkpoint": self.coords["checkpoint"],
                "point": len(self.grid.new()),
                **{f"sample_{split}": count for split, count in enumerate(counts)},
            },
            over=dims,
            variables={
                f"{name}_{split}": Variable((*dims, f"sample_{split}"), dtype)
                for name in self.names
                for split in range(len(counts))
            },
            function=f"{TASKS}:coarse_evaluator",
            arguments={**self.arguments, "grid": self.grid},
            block={"point": POINTS_PER_TASK},
        )

    def _write_files(self, scratch: Path) -> None:
        """Put each quantity's values at all coarse points, new and old, into one file, one row for each sample."""
        new = self.grid.new()
        old = np.setdiff1d(np.arange(self.grid.num_coarse), new)
        node: Any = store.open(scratch)[f"coarse{self.grid.level}"]
        for number, split, name in self._parts():
            target = control_file(self.folder, self.grid, number, split, name)
            if target.exists():
                continue
            found = node[f"{name}_{split}"].isel(checkpoint=number)
            partial = target.with_suffix(".partial")
            shape = found.sizes[f"sample_{split}"], self.grid.num_coarse
            file = np.lib.format.open_memmap(partial, mode="w+", dtype=found.dtype, shape=shape)
            if len(old):
                before = Nested(self.grid.labels, self.grid.level - 1)
                file[:, old] = np.load(control_file(self.folder, before, number, split, name), mmap_mode="r")
            for start in range(0, len(new), POINTS_PER_TASK):
                some = slice(start, start + POINTS_PER_TASK)
                file[:, new[some]] = found.isel(point=some).values.T
            file.flush()
            partial.rename(target)

    def _parts(self) -> list[tuple[int, int, str]]:
        """Numbers of checkpoint and split, and quantity."""
        splits = range(len(self.arguments["splits"]))
        return [(c, s, name) for c in range(len(self.arguments["networks"])) for s in splits for name in self.names]

    def _decide(self, scratch: Path, running: Running) -> bool:
        """Run the pilot, plan each point's samples, and say whether the coarse grid is to be halved."""
        grid, cells = self.grid, int(np.prod(self.grid.cells))
        sweep = Sweep(
            node=f"pilot{grid.level}",
            coords={"checkpoint": self.coords["checkpoint"], "split": self.coords["split"], "cell": cells},
            over=("checkpoint", "cell"),
            variables={"variance": Variable(("checkpoint", "split", "cell"))},
            function=f"{TASKS}:pilot_evaluator",
            arguments={**self.arguments, "grid": grid},
            block={"cell": CELLS_PER_TASK},
        )
        if self.objective.module.refresh_statistics is None:
            running = replace(running, engine="serial", workers=None)  # less work than starting processes
        running.run(scratch, [sweep], "pilot")
        node: Any = store.open(scratch)[sweep.node]
        variances: np.ndarray = node["variance"].values
        planned = np.zeros((*variances.shape[:2], *grid.shape), np.int32)
        gain, kept = 0.0, 0
        for number in range(len(variances)):
            for split, oracle in enumerate(self.oracles[number]):
                control = open_control(self.folder, grid, number, split, self.names)
                estimator = Estimator(oracle, control, self.tolerance or 0.0, self.oracles.seed(number, split))
                planned[number, split] = estimator.plan(variances[number, split])
                gain += saved(grid, planned[number, split], oracle.num_samples)
                self.pilots += pilot_evaluations(grid, oracle.num_samples)
                kept += sum(values.dtype.itemsize * len(values) for values in control.values.values())
        self.visits += cells if grid.num_coarse < grid.num_points else 0
        if gain > 0 and kept * grid.halved().num_coarse <= KEPT_BYTES:
            return True
        np.save(self.folder / PLANS, planned)
        return False

    def cost(self) -> dict[str, Any]:
        """What a finished surface took, beside what all points on all samples would have: attributes of its node."""
        node = store.open(self.path)["surface"].to_dataset()
        counts = np.array([oracle.num_samples for oracle in self.oracles[0]])
        surfaces = len(self.arguments["networks"])
        statistics: dict[str, Any] = {}
        if self.objective.module.refresh_statistics is not None:
            network = self.arguments["networks"][0]
            statistics = {"statistics_evaluations": surfaces * self.visits * len(network.data.train)}
        finite = np.isfinite(node["loss"].values)
        return {
            "coarse_grid": list(self.grid.coarse_shape[::-1]),
            "sample_evaluations": int(node["evaluations"].sum()) + self.pilots,
            "dense_sample_evaluations": int(counts.sum()) * surfaces * self.grid.num_points,
            **statistics,
            "not_reached": int((finite & (node["reached"].values == 0)).sum()) if self.tolerance else None,
        }
