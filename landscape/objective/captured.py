"""A program as one CUDA graph, for networks whose kernels take less time than it takes to launch them.

The graph is captured once for each shape of batch and works on memory of its own. A point's parameters are copied into
that, a batch's values too whenever the batch changes, and all kernels are launched together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from landscape.objective.program import Program
from landscape.objective.samples import map_tensors

LAUNCH_BYTES = 1 << 24
"""A layer that moves no more than this is done before the next one is launched."""
POINTS = 8
"""Points for which capturing, which takes about four passes, pays."""
WARM_UP = 3

Forward = Callable[[], Any]
Capture = Callable[[Forward], tuple[Any, Callable[[], None]]]
"""Runs a function once and returns its outputs, and what writes those for other contents of the same memory."""


def is_launch_bound(device: torch.device, layer_bytes: float, points: int) -> bool:
    """Whether a program is worth a graph.

    Args:
        device: Where it runs.
        layer_bytes: What its largest layer reads and writes.
        points: How often it will run on each batch.
    """
    return device.type == "cuda" and layer_bytes <= LAUNCH_BYTES and points >= POINTS


def capture_graph(forward: Forward) -> tuple[Any, Callable[[], None]]:
    """Capture a CUDA graph."""
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            forward()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = forward()
    return outputs, graph.replay


class Captured:
    """A program that is captured when it first runs; one that can't be goes on without a graph.

    Args:
        program: Its values that depend on the batch alone are read only.
        capture: How to capture.
    """

    def __init__(self, program: Program, capture: Capture = capture_graph) -> None:
        self.program, self._capture = program, capture
        self.failed = False
        self._replay: Callable[[], None] | None = None
        self._outputs: Any = None
        self._batch: list[Any] = []
        self._point: list[tuple[int, Tensor]] = []
        self._first: Tensor | None = None
        self._current: list[Any] | None = None

    def __call__(self, at_batch: list[Any], at_point: Sequence[tuple[int, Tensor]], first: Tensor | None = None) -> Any:
        """As `Program`."""
        if self._replay is None and not self.failed:
            self._prepare(at_batch, at_point, first)
        if self._replay is None:
            return self.program(at_batch, at_point, first)
        if self._current is not at_batch:
            for number in self.program.shared:
                self._batch[number].copy_(at_batch[number])
            self._current = at_batch
        torch._foreach_copy_([mine for _, mine in self._point], [value for _, value in at_point])
        if self._first is not None:
            self._first.copy_(first)  # type: ignore[arg-type]
        self._replay()
        return map_tensors(torch.clone, self._outputs)

    def _prepare(self, at_batch: list[Any], at_point: Sequence[tuple[int, Tensor]], first: Tensor | None) -> None:
        """Set memory aside and capture the graph."""
        self._batch = list(at_batch)
        for number in self.program.shared:
            self._batch[number] = at_batch[number].clone()
        self._point = [(number, value.clone()) for number, value in at_point]
        self._first = None if first is None else first.clone()
        try:
            self._outputs, self._replay = self._capture(lambda: self.program(self._batch, self._point, self._first))
        except RuntimeError:  # a call that waits for the device, for one
            self.failed = True
