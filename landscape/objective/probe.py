"""What fast evaluation may do with a model: found and tried on a few samples, once for each objective.

Nothing is decided by a clock, so that the same request gives the same bits wherever and whenever it is computed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.overrides import TorchFunctionMode

from landscape.objective.first_layer import Arguments, FirstLayer, Quick, find_first_layer
from landscape.objective.folding import Plan, UnexpectedUseError, plan_folding, tensors_of
from landscape.objective.module import PrivateModule, preserved_rng
from landscape.objective.objective import Objective
from landscape.objective.samples import leaves, map_tensors

CACHE_BYTES = {"cpu": 1 << 21}
"""What the largest layer's inputs and outputs may take: about what a core has of the caches."""
GPU_BYTES = 1 << 28
LARGEST_BATCH = {"cpu": 512}
TOLERANCE = {torch.float32: 2e-4, torch.float64: 1e-11}
"""Difference between both paths' outputs, relative to the largest, beyond which the fast one is not trusted."""
SAMPLES = 8


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

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.own = {id(tensor) for tensor in module.parameters()}
        self.bytes = 1

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one function of torch."""
        result = func(*args, **(kwargs or {}))
        involved = {id(tensor): tensor for tensor in tensors_of((args, kwargs, result)) if id(tensor) not in self.own}
        self.bytes = max(self.bytes, sum(tensor.nbytes for tensor in involved.values()))
        return result


class Prepared:
    """A private copy of an objective's model that is evaluated fast.

    Args:
        objective: Only read, but that its private model is moved.
        theta: A point, shape `(D,)`.
        other: Another one.
    """

    @torch.no_grad()
    def __init__(self, objective: Objective, theta: Tensor, other: Tensor) -> None:
        self.source = objective.module
        self.plan: Plan = {}
        self.first: FirstLayer | None = None
        self.folded: dict[int, Arguments] = {}
        self.writes = False
        self.module: PrivateModule | None = None
        reason = _hindrance(objective)
        if reason is None:
            reason = self._prepare(objective, theta, other)
        self.report = Report(self.module is not None, len(self.plan), None, objective.batch_size, reason)
        if self.module is not None:
            self.report = replace(self.report, batch_size=self._batch_size(objective))

    def stand(self, theta: Tensor) -> None:
        """Write theta, with the statistics that the policy asks for."""
        assert self.module is not None
        self.folded = {}
        self.module.write(theta)
        if self.source.refresh_statistics is not None:
            self.source.place(theta)
            for mine, layer in zip(self.module.norm_layers, self.source.norm_layers, strict=True):
                for key, buffer in layer.named_buffers(recurse=False):
                    mine.get_buffer(key).copy_(buffer)

    def __call__(self, inputs: Any, first: Tensor | None = None) -> Any:
        """The model's outputs, the first layer's being given where they are known."""
        assert self.module is not None
        if not self.plan and first is None:
            return self.module(inputs)
        weight = None if self.first is None else self.module.module.get_parameter(self.first.weight)
        with Quick(self.plan, self.folded, weight, first):
            return self.module(inputs)

    def _prepare(self, objective: Objective, theta: Tensor, other: Tensor) -> str:
        """Copy the model, plan, and compare with the plain path at two points; says how that went."""
        names = "|".join(f"^{re.escape(name)}$" for name in objective.layout.names)
        module = PrivateModule(objective.module.module, objective.device, objective.dtype, names)
        inputs, _ = objective.samples.first(SAMPLES)
        half = map_tensors(lambda tensor: tensor[: (len(tensor) + 1) // 2], inputs)
        self.module = module
        module.write(theta)
        versions = [tensor._version for tensor in leaves(inputs)]
        with preserved_rng(objective.device, seed=0):
            before = torch.default_generator.get_state()
            module(inputs)
            random = not torch.equal(before, torch.default_generator.get_state())
            self.plan = plan_folding(module.module, lambda: module(half))
            self.first = find_first_layer(module.module, module.layout.names, lambda: module(half))
        self.writes = versions != [tensor._version for tensor in leaves(inputs)]
        if random:
            return self._refuse("the model draws random numbers in evaluation mode")
        inputs, _ = objective.samples.first(SAMPLES)
        for point in (theta, other):
            objective.module.write(point)
            module.write(point)
            self.folded = {}
            plain = list(leaves(objective.module(map_tensors(torch.clone, inputs))))
            try:
                fast = list(leaves(self(map_tensors(torch.clone, half))))
            except UnexpectedUseError:
                return self._refuse("the model doesn't make the same calls each time")
            if not _alike(plain, fast, TOLERANCE[objective.dtype]):
                return self._refuse("the model's outputs for a sample depend on the others, or rounding is amplified")
        return "the same outputs as the plain path at two points"

    def give_up(self, reason: str) -> None:
        """Leave everything to the plain path from now on."""
        self.report = replace(self.report, fast=False, folded=0, reason=self._refuse(reason))

    def _refuse(self, reason: str) -> str:
        self.module, self.plan, self.first = None, {}, None
        return reason

    def _batch_size(self, objective: Objective) -> int:
        """A power of two for which the largest layer stays in the cache."""
        assert self.module is not None
        inputs, _ = objective.samples.first(SAMPLES)
        count = len(next(leaves(inputs)))
        with _Largest(self.module.module) as largest:
            self(inputs)
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
