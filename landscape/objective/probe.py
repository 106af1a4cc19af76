"""What fast evaluation may do with a model: found and tried on a few samples, once for each objective.

Nothing is decided by a clock, so that the same request gives the same bits wherever and whenever it is computed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _NormBase
from torch.overrides import TorchFunctionMode

from landscape.objective.captured import Captured, is_launch_bound
from landscape.objective.folding import tensors_of
from landscape.objective.module import PrivateModule, preserved_rng
from landscape.objective.objective import Objective
from landscape.objective.precision import ROUGH
from landscape.objective.program import Program
from landscape.objective.rewriting import linear_first, shortened
from landscape.objective.samples import leaves, map_tensors
from landscape.objective.tape import First, NotRecordableError, Tape, record

CACHE_BYTES = {"cpu": 1 << 23}
"""What the largest layer's inputs and outputs may take: about what a core has of the caches."""
GPU_BYTES = 1 << 28
LARGEST_BATCH = {"cpu": 512}
TOLERANCE = {torch.float32: 2e-4, torch.float64: 1e-11}
"""Difference between both paths' outputs, relative to the largest, beyond which the fast one is not trusted."""
SAMPLES = 8
MANY = 4
"""Points at a time for which it pays to compute in advance what they share of the inputs."""

AtPoint = list[tuple[int, Tensor]]


@dataclass(frozen=True)
class Report:
    """Which fast paths are in use, and why others aren't.

    Args:
        fast: Whether any is.
        folded: BatchNorms folded into the convolution before them.
        reused: Name of the first layer's weight, where its outputs are combined from those at the slice's points.
        batch_size: Samples in a microbatch.
        reason: Why, in one line.
    """

    fast: bool
    folded: int
    reused: str | None
    batch_size: int
    reason: str

    def __str__(self) -> str:
        paths = [f"{self.folded} BatchNorms folded"] if self.folded else []
        paths += [f"{self.reused} reused over the slice"] if self.reused else []
        return f"{', '.join(paths) or 'plain'}; microbatches of {self.batch_size}: {self.reason}"


class _Largest(TorchFunctionMode):
    """Follows the largest sum of a function's inputs and outputs, in bytes, parameters left out."""

    def __init__(self, parameters: AtPoint) -> None:
        super().__init__()
        self.own = {id(tensor) for _, tensor in parameters}
        self.bytes = 1

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one function of torch."""
        result = func(*args, **(kwargs or {}))
        involved = {id(tensor): tensor for tensor in tensors_of((args, kwargs, result)) if id(tensor) not in self.own}
        self.bytes = max(self.bytes, sum(tensor.nbytes for tensor in involved.values()))
        return result


class Prepared:
    """A private copy of an objective's model whose forward pass is recorded and evaluated fast.

    Args:
        objective: Only read, but that its private model is moved.
        theta: A point, shape `(D,)`.
        other: Another one.
    """

    @torch.no_grad()
    def __init__(self, objective: Objective, theta: Tensor, other: Tensor) -> None:
        self.source, self.layout = objective.module, objective.layout
        self.writes, self.channels_last, self.folded = False, objective.dtype == torch.float32, 0
        self.first: First | None = None
        self.module: PrivateModule | None = None
        self._tapes: dict[Any, Tape] = {}
        self._programs: dict[Any, Program] = {}
        self._captured: dict[Program, Captured] = {}
        self._bytes_per_sample = 0.0
        reason = _hindrance(objective)
        if reason is None:
            reason = self._prepare(objective, theta, other)
        self.report = Report(self.module is not None, self.folded, None, objective.batch_size, reason)
        if self.module is not None:
            self.report = replace(self.report, batch_size=self._batch_size(objective, theta))

    @property
    def recomputes(self) -> bool:
        """Whether statistics are recomputed at each point."""
        return self.source.refresh_statistics is not None

    def stand(self, theta: Tensor) -> dict[str, Tensor]:
        """What changes from point to point, by name: theta's tensors, and statistics where the policy asks for it."""
        tensors = self.layout.named(theta)
        if self.recomputes:
            self.source.place(theta)
            buffers = dict(self.source.module.named_buffers())
            tensors |= {name: buffers[name].clone() for name in self._statistics()}
        return tensors

    def program(self, inputs: Any, *, many: bool, faithful: bool = False) -> Program:
        """The recorded forward pass for batches of such a shape.

        Args:
            inputs: A batch's inputs; they may be written into.
            many: Whether it will be run at several points for each batch.
            faithful: Whether it is to be left as it was recorded, so that it gives the model's own bits.

        Raises:
            NotRecordableError: If the model can't be recorded.
        """
        shapes = tuple((tensor.shape, tensor.dtype) for tensor in leaves(inputs))
        key = (shapes, many, faithful)
        if key not in self._programs:
            assert self.module is not None
            module = self.module.module
            own = {**dict(module.named_parameters()), **dict(module.named_buffers())}
            if shapes not in self._tapes:
                self._tapes[shapes] = record(self.module, inputs, own)
            tape, moving, shared = self._tapes[shapes], self._moving(), not self.writes
            if not faithful:
                laid = {"channels_last": self.channels_last, "windows": many and self.channels_last}
                tape, self.folded = shortened(tape, moving, shared, **laid)
            first = linear_first(tape, moving, self.layout.names, shared)
            self._programs[key] = Program(tape, own, moving, shared, first)
        return self._programs[key]

    def runner(self, program: Program, samples: int, points: int) -> Program | Captured:
        """What runs a program at so many points on batches of so many samples."""
        layer = self._bytes_per_sample * samples
        if self.writes or not is_launch_bound(self.source.theta.device, layer, points):
            return program
        return self._captured.setdefault(program, Captured(program))

    def own(self, inputs: Any) -> Any:
        """Inputs that the model may write into, if it does."""
        return map_tensors(torch.clone, inputs) if self.writes else inputs

    def _moving(self) -> list[str]:
        return [*self.layout.names, *(self._statistics() if self.recomputes else ())]

    def _statistics(self) -> list[str]:
        """Names of the buffers that are recomputed at each point."""
        layers = {id(layer) for layer in self.source.norm_layers}
        return [
            f"{prefix}.{name}" if prefix else name
            for prefix, part in self.source.module.named_modules()
            if id(part) in layers
            for name, _ in part.named_buffers(recurse=False)
        ]

    def _prepare(self, objective: Objective, theta: Tensor, other: Tensor) -> str:
        """Copy the model, record it, and compare with the plain path at two points; says how that went."""
        names = "|".join(f"^{re.escape(name)}$" for name in objective.layout.names)
        self.module = module = PrivateModule(objective.module.module, objective.device, objective.dtype, names)
        module.precision = objective.module.precision
        inputs, _ = objective.samples.first(SAMPLES)
        versions = [tensor._version for tensor in leaves(inputs)]
        with preserved_rng(objective.device, seed=0):
            before = torch.default_generator.get_state()
            module(inputs)
            random = not torch.equal(before, torch.default_generator.get_state())
        self.writes = versions != [tensor._version for tensor in leaves(inputs)]
        if random:
            return self._refuse("the model draws random numbers in evaluation mode")
        try:
            alike = self._try(objective, (theta, other))
            if not alike and self.channels_last:
                self.channels_last = False
                self._programs.clear()
                alike = self._try(objective, (theta, other))
        except NotRecordableError as reason:
            return self._refuse(str(reason))
        if not alike:
            return self._refuse("the model's outputs for a sample depend on the others, or rounding is amplified")
        return "the same outputs as the plain path at two points"

    def _try(self, objective: Objective, points: Sequence[Tensor]) -> bool:
        """Whether both paths agree on some samples; of the fast one, on half of them."""
        inputs, _ = objective.samples.first(SAMPLES)
        half = map_tensors(lambda tensor: tensor[: (len(tensor) + 1) // 2], inputs)
        for theta in points:
            objective.module.write(theta)
            plain = list(leaves(objective.module(map_tensors(torch.clone, inputs))))
            tensors = {**dict(self.source.module.named_buffers()), **self.layout.named(theta)}
            for many in (True, False):
                program = self.program(map_tensors(torch.clone, half), many=many)
                own = map_tensors(torch.clone, half)
                try:
                    with self.source.computing():
                        fast = list(leaves(program(program.at_batch(own), program.at_point(tensors))))
                except RuntimeError:
                    return False
                if not _alike(plain, fast, ROUGH.get(self.source.precision or "", TOLERANCE[objective.dtype])):
                    return False
            self.first = program.first
        return True

    def give_up(self, reason: str) -> None:
        """Leave everything to the plain path from now on."""
        self.report = replace(self.report, fast=False, folded=0, reason=self._refuse(reason))

    def _refuse(self, reason: str) -> str:
        self.module, self.folded, self.first = None, 0, None
        self._programs.clear()
        self._tapes.clear()
        self._captured.clear()
        return reason

    def _batch_size(self, objective: Objective, theta: Tensor) -> int:
        """A power of two for which the largest layer stays in the cache."""
        inputs, _ = objective.samples.first(SAMPLES)
        count = len(next(leaves(inputs)))
        program = self.program(map_tensors(torch.clone, inputs), many=True)
        point = program.at_point({**dict(self.source.module.named_buffers()), **self.layout.named(theta)})
        with self.source.computing(), _Largest(point) as largest:
            program(program.at_batch(inputs), point)
        self._bytes_per_sample = largest.bytes / count
        kind = objective.device.type
        fitting = CACHE_BYTES.get(kind, GPU_BYTES) * count // largest.bytes
        return int(min(1 << max(fitting, 1).bit_length() - 1, LARGEST_BATCH.get(kind, 1 << 14)))


def _hindrance(objective: Objective) -> str | None:
    """Why an objective must keep to the plain path, None if nothing says so."""
    layers = [part for part in objective.module.module.modules() if isinstance(part, _NormBase)]
    if objective.batchnorm == "batch" and objective.module.norm_layers:
        return "BatchNorm by the batch depends on the microbatches"
    if any(layer.running_mean is None and "Instance" not in type(layer).__name__ for layer in layers):
        return "a BatchNorm without running statistics depends on the microbatches"
    return None


def _alike(plain: list[Tensor], fast: list[Tensor], tolerance: float) -> bool:
    """Whether outputs agree, the fast ones being those of the first samples only."""
    if not plain or len(plain) != len(fast):
        return False
    for one, other in zip(plain, fast, strict=True):
        if not one.ndim or one.shape[1:] != other.shape[1:] or len(one) < len(other):
            return False
        one = one[: len(other)].double()
        finite = one[one.isfinite()]
        scale = float(finite.abs().max()) if finite.numel() else 1.0
        if not torch.allclose(one, other.double(), rtol=tolerance, atol=tolerance * scale, equal_nan=True):
            return False
    return True
