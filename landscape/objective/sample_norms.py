r"""Squared lengths of slopes pulled back sample by sample, :math:`\|J_i^\top u_i\|^2`, for a whole batch at once.

:math:`J_i` is the Jacobian of sample i's outputs. A layer's share of :math:`J_i^\top u_i` is made of its inputs and of
the slopes at its outputs, as for a linear layer :math:`\sum_t g_{it} x_{it}^\top`, and one backward pass of the batch
gives these slopes for all samples. Where parameters enter is seen while the model runs, so its modules may be named
whatever they are; where they enter otherwise than the rules below know, samples are taken one by one.

References:
    Goodfellow, "Efficient per-example gradient computations", arXiv 1510.01799.
    Rochette et al., "Efficient per-example gradient computations in convolutional neural networks", arXiv 1912.06015.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from landscape.objective.folding import asks_for_kind, tensors_of
from landscape.objective.sample_gradients import cut
from landscape.objective.samples import Batch, batch_length, map_tensors
from landscape.objective.standing import Standing

Slopes = Callable[[Tensor], Tensor]
"""From slopes by the outputs, of the outputs' shape `(B, *)`, to the squared lengths, float64, shape `(B,)`."""

Arguments = dict[str, Any]
Share = tuple[Tensor, Tensor | None]
"""A share of the samples' gradients by one parameter: matrices `(B, m, T)` and `(B, T, n)` to be multiplied, or the
share itself, `(B, *)`, and None."""
Rule = Callable[[Arguments, Tensor], dict[str, Share]]
"""From a call's arguments and the slopes at its output to the shares by argument."""

LARGE = 2**22
"""More entries than this aren't spent on a sample's one-hot tokens."""


class UnknownUseError(Exception):
    """A parameter enters otherwise than the rules know."""


class NotBySampleError(Exception):
    """The outputs aren't a row for each sample that depends on this sample alone."""


def _linear(given: Arguments, slopes: Tensor) -> dict[str, Share]:
    """`x W^T + b` over the last axis."""
    x, g = (tensor.flatten(1, -2) if tensor.ndim > 2 else tensor[:, None] for tensor in (given["input"], slopes))
    return {"weight": (g.mT, x), "bias": (g.sum(1), None)}


def _embedding(given: Arguments, slopes: Tensor) -> dict[str, Share]:
    """A linear map of one-hot tokens; that of padding is no token."""
    tokens = given["input"].flatten(1)
    hot = F.one_hot(tokens, len(given["weight"])).to(slopes)
    if given["padding_idx"] is not None:
        hot[tokens == given["padding_idx"] % len(given["weight"])] = 0
    return {"weight": (hot.mT, slopes.flatten(1, -2))}


def _convolution(given: Arguments, slopes: Tensor) -> dict[str, Share]:
    """A convolution along one or two axes: a linear map of patches, in groups of channels."""
    x, weight, groups = given["input"], given["weight"], given["groups"]
    axes = weight.ndim - 2
    kernel, dilation = _pair(list(weight.shape[2:]), axes, 1), _pair(given["dilation"], axes, 1)
    padding = given["padding"]
    images = x if axes == 2 else x[:, :, None]
    if padding == "same":
        reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        images = F.pad(images, [side for width in reversed(reach) for side in (width // 2, width - width // 2)])
    border = (0, 0) if isinstance(padding, str) else _pair(padding, axes, 0)
    patches = F.unfold(images, kernel, dilation=dilation, padding=border, stride=_pair(given["stride"], axes, 1))
    g = slopes.flatten(2)
    batch, _, places = g.shape
    left, right = g.view(batch, groups, -1, places), patches.view(batch, groups, -1, places)
    if groups == 1:
        return {"weight": (left[:, 0], right[:, 0].mT), "bias": (g.sum(2), None)}
    return {"weight": (left @ right.mT, None), "bias": (g.sum(2), None)}


def _channel_norm(slopes: Tensor, normalized: Tensor) -> dict[str, Share]:
    """A normalisation with a scale and a shift for each channel, axis 1."""
    g = slopes.flatten(2) if slopes.ndim > 2 else slopes[..., None]
    return {"weight": ((g * normalized.view_as(g)).sum(2), None), "bias": (g.sum(2), None)}


def _batch_norm(given: Arguments, slopes: Tensor) -> dict[str, Share]:
    mean, variance = given["running_mean"], given["running_var"]
    return _channel_norm(slopes, F.batch_norm(given["input"], mean, variance, eps=given["eps"]))


def _group_norm(given: Arguments, slopes: Tensor) -> dict[str, Share]:
    return _channel_norm(slopes, F.group_norm(given["input"], given["num_groups"], eps=given["eps"]))


def _layer_norm(given: Arguments, slopes: Tensor) -> dict[str, Share]:
    shape = given["normalized_shape"]
    normalized = F.layer_norm(given["input"], shape, eps=given["eps"])
    axes = tuple(range(1, slopes.ndim - len(shape)))
    parts = {"weight": slopes * normalized, "bias": slopes}
    return {name: (part.sum(axes) if axes else part, None) for name, part in parts.items()}


def _named(*names: str, **defaults: Any) -> Callable[[Any, Any], Arguments]:
    """Bind the arguments of a function that has no signature."""

    def bind(args: Any, kwargs: Any) -> Arguments:
        given: Arguments = defaults | dict(zip(names, args, strict=False)) | kwargs
        return given

    return bind


def _signed(function: Any) -> Callable[[Any, Any], Arguments]:
    """Bind the arguments of a function of Python."""
    signature = inspect.signature(function)

    def bind(args: Any, kwargs: Any) -> Arguments:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return dict(bound.arguments)

    return bind


_CONV = _named(
    *("input", "weight", "bias", "stride", "padding", "dilation", "groups"),
    bias=None,
    stride=1,
    padding=0,
    dilation=1,
    groups=1,
)
RULES: dict[Any, tuple[Callable[[Any, Any], Arguments], Rule]] = {
    F.embedding: (_signed(F.embedding), _embedding),
    F.linear: (_named("input", "weight", "bias", bias=None), _linear),
    torch.conv1d: (_CONV, _convolution),
    torch.conv2d: (_CONV, _convolution),
    F.batch_norm: (_signed(F.batch_norm), _batch_norm),
    F.group_norm: (_signed(F.group_norm), _group_norm),
    F.layer_norm: (_signed(F.layer_norm), _layer_norm),
}
"""By function: how its arguments are named, and the shares of its weight and bias."""


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
        if rule is _convolution:
            return bool(given["input"].ndim == given["weight"].ndim)
        if rule is _embedding:
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
        return self._together(inputs, batch_length(targets)) if self.batched else self._singly(inputs, targets)

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


def _pair(value: Any, axes: int, fill: int) -> tuple[int, ...]:
    """An argument of a convolution for each of two axes."""
    values = [value] if isinstance(value, int) else list(value)
    values = values * axes if len(values) < axes else values
    return (*[fill] * (2 - axes), *values)


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
