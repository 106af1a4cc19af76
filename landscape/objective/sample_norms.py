r"""Squared lengths of slopes pulled back sample by sample, :math:`\|J_i^\top u_i\|^2`, for a whole batch at once.

:math:`J_i` is the Jacobian of sample i's outputs. A layer's share of :math:`J_i^\top u_i` is made of its inputs and of
the slopes at its outputs, as for a linear layer :math:`\sum_t g_{it} x_{it}^\top`, and one backward pass of the batch
gives these slopes for all samples. Where parameters enter is seen while the model runs, so its modules may be named
whatever they are; where they enter otherwise than `sample_shares` knows, samples are taken one by one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.overrides import TorchFunctionMode

from landscape.objective.folding import asks_for_kind, tensors_of
from landscape.objective.sample_gradients import cut
from landscape.objective.sample_shares import LARGE, RULES, Arguments, Rule, Share, convolution, embedding
from landscape.objective.samples import Batch, batch_length, map_tensors
from landscape.objective.standing import Standing

Slopes = Callable[[Tensor], Tensor]
"""From slopes by the outputs, of the outputs' shape `(B, *)`, to the squared lengths, float64, shape `(B,)`."""


class UnknownUseError(Exception):
    """A parameter enters otherwise than the rules know."""


class NotBySampleError(Exception):
    """The outputs aren't a row for each sample that depends on this sample alone."""


@dataclass(frozen=True)
class _Use:
    """A call in which parameters enter, by the names of its arguments."""

    rule: Rule
    arguments: Arguments
    output: GradientEdge
    parameters: dict[str, int]


class _Recorded(TorchFunctionMode):
    """Finds where parameters enter while a model runs on some samples."""

    def __init__(self, parameters: Iterable[Tensor], batch: int) -> None:
        super().__init__()
        self._known, self._batch = {id(tensor) for tensor in parameters}, batch
        self.uses: list[_Use] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one function of torch."""
        kwargs = kwargs or {}
        entering = [id(tensor) for tensor in tensors_of((args, kwargs)) if id(tensor) in self._known]
        if not entering or asks_for_kind(func):
            return func(*args, **kwargs)
        if func not in RULES:
            raise UnknownUseError
        bind, rule = RULES[func]
        given = bind(args, kwargs)
        parameters = {name: id(given[name]) for name in ("weight", "bias") if id(given.get(name)) in self._known}
        x = given["input"]
        if len(parameters) != len(entering) or x.ndim < 2 or len(x) != self._batch or not self._plain(rule, given):
            raise UnknownUseError
        output = func(*args, **kwargs)
        if output.requires_grad:
            detached = given | {"input": x.detach()}
            self.uses.append(_Use(rule, detached, get_gradient_edge(output), parameters))
        return output

    @staticmethod
    def _plain(rule: Rule, given: Arguments) -> bool:
        """Whether a call is made as its rule expects."""
        if rule is convolution:
            return bool(given["input"].ndim == given["weight"].ndim)
        if rule is embedding:
            small = given["input"][0].numel() * len(given["weight"]) <= LARGE
            return bool(small and given["max_norm"] is None and not given["scale_grad_by_freq"])
        return not given.get("training") and not given.get("use_input_stats")


class SampleNorms:
    """The squared lengths for batches of an objective.

    Args:
        standing: The objective at its point; its context is the caller's to enter.

    Raises:
        NotBySampleError: If the outputs aren't a row for each sample that depends on this sample alone.
    """

    def __init__(self, standing: Standing) -> None:
        self._standing = standing
        self.batched = True
        if standing.objective.batchnorm == "batch" and standing.module.norm_layers:
            raise NotBySampleError
        for size in (2, 3):  # a shape that happens to be the batch's isn't so both times
            self._compare(standing.objective.samples.first(size))

    def __call__(self, batch: Batch) -> tuple[Tensor, Slopes]:
        """A batch's outputs, shape `(B, *)` and detached, and what pulls slopes at them back; its graph is kept."""
        inputs, targets = batch
        if self.batched:
            try:
                return self._together(map_tensors(torch.clone, inputs), batch_length(targets))
            except UnknownUseError:  # what a model does may depend on the size of its batch
                self.batched = False
        return self._singly(inputs, targets)

    def _together(self, inputs: Any, length: int) -> tuple[Tensor, Slopes]:
        with _Recorded(self._standing.tensors, length) as recorded:
            outputs = self._standing.module(inputs)
        uses = recorded.uses

        @torch.no_grad()
        def squares(slopes: Tensor) -> Tensor:
            total = torch.zeros(length, dtype=torch.float64, device=outputs.device)
            edges = [use.output for use in uses]
            found = torch.autograd.grad(outputs, edges, slopes, retain_graph=True, allow_unused=True) if uses else []
            awaited = Counter(parameter for use in uses for parameter in use.parameters.values())
            shares: dict[int, list[Share]] = {parameter: [] for parameter in awaited}
            for use, at in zip(uses, found, strict=True):
                own = {} if at is None else use.rule(use.arguments, at)
                for name, parameter in use.parameters.items():
                    awaited[parameter] -= 1
                    if name in own:
                        shares[parameter].append(own[name])
                    if not awaited[parameter] and shares[parameter]:
                        total += _squared(shares.pop(parameter))
            return total

        return outputs.detach(), squares

    def _singly(self, inputs: Any, targets: Any) -> tuple[Tensor, Slopes]:
        length = batch_length(targets)
        places = [slice(number, number + 1) for number in range(length)]
        single = [self._standing.module(map_tensors(cut(place), inputs)) for place in places]
        if not all(isinstance(output, Tensor) and len(output) == 1 for output in single):
            raise NotBySampleError
        tensors = self._standing.tensors

        def squares(slopes: Tensor) -> Tensor:
            total = torch.zeros(length, dtype=torch.float64, device=slopes.device)
            for number, output in enumerate(single):
                if output.requires_grad:
                    found = torch.autograd.grad(
                        output, tensors, slopes[number, None], retain_graph=True, allow_unused=True
                    )
                    parts = [part.double().square().sum() for part in found if part is not None]
                    total[number] = torch.stack(parts).sum()
            return total

        return torch.cat([output.detach() for output in single]), squares

    def _compare(self, batch: Batch) -> None:
        """Hold what is found for samples together to what each gives alone."""
        outputs, alone = self._singly(*batch)
        generator = torch.Generator(outputs.device).manual_seed(0)
        slopes = torch.randn(outputs.shape, generator=generator, dtype=outputs.dtype, device=outputs.device)
        close = 10 * torch.finfo(outputs.dtype).eps ** 0.5
        both = self._standing.module(map_tensors(torch.clone, batch[0])).detach()
        scale = float(outputs.abs().max())
        if both.shape != outputs.shape or not torch.allclose(both, outputs, rtol=close, atol=close * scale):
            raise NotBySampleError
        if not self.batched:
            return
        try:
            _, together = self._together(*(map_tensors(torch.clone, batch[0]), len(outputs)))
            self.batched = torch.allclose(together(slopes), alone(slopes), rtol=close)
        except UnknownUseError:
            self.batched = False


def _squared(shares: list[Share]) -> Tensor:
    """The squared lengths of the samples' gradients by one parameter, from all its shares, shape `(B,)`."""
    pairs = [(left, right) for left, right in shares if right is not None]
    if len(pairs) == len(shares):  # a sum of products is one of longer inner axes
        return _products(torch.cat([left for left, _ in pairs], 2), torch.cat([right for _, right in pairs], 1))
    whole = torch.stack([left if right is None else left @ right for left, right in shares]).sum(0)
    return whole.flatten(1).square().sum(1)


def _products(left: Tensor, right: Tensor) -> Tensor:
    r"""The squared lengths of :math:`A_i B_i`, for `(B, m, T)` and `(B, T, n)`, by the shorter way."""
    m, t, n = left.shape[1], left.shape[2], right.shape[2]
    if t * (m + n) < m * n:
        return (torch.bmm(left.mT, left) * torch.bmm(right, right.mT)).sum((1, 2))
    return torch.bmm(left, right).flatten(1).square().sum(1)
