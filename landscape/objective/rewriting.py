"""Recorded forward passes made shorter: the same function but for rounding.

BatchNorm in evaluation mode goes into the convolution before it, ReLU writes over what it is given, convolutions work
channels last, and the windows of a first convolution of grey images are cut out once for all points.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from landscape.objective.convolution import FUNCTIONS
from landscape.objective.folding import CONV_ARGUMENTS, folded
from landscape.objective.tape import BATCH, BOTH, First, Slot, Step, Tape, slots_of

_NORM_ARGUMENTS = inspect.signature(F.batch_norm)
_LINEAR_ARGUMENTS = ("input", "weight", "bias")
_RELUS = (F.relu, torch.relu, Tensor.relu)
_FRESH = (*FUNCTIONS, F.linear, F.batch_norm, torch.add, Tensor.add, Tensor.__add__)
"""Functions whose result shares memory with nothing."""
WIDTH = 16
_KEEPING = (*_RELUS, torch.relu_, F.max_pool2d, F.avg_pool2d, F.gelu, F.silu, torch.tanh, torch.sigmoid)
"""Functions that keep the order of channels and pixels in memory."""
_FLATTENING = (torch.flatten, Tensor.flatten, Tensor.view, Tensor.reshape, torch.reshape)


def shortened(
    tape: Tape, moving: Iterable[str], shared: bool, *, channels_last: bool, windows: bool
) -> tuple[Tape, int]:
    """Rearrange a recorded pass.

    Args:
        tape: The pass; it is left as it is.
        moving: Names of the parameters and buffers that change from point to point.
        shared: Whether points may share the batch's inputs.
        channels_last: Whether two-dimensional convolutions work channels last.
        windows: Whether there are so many points that it pays to cut out a first convolution's windows once.

    Returns:
        The new tape, and how many BatchNorms were folded.
    """
    tape = replace(tape, steps=list(tape.steps), mutated=set(tape.mutated), shapes=list(tape.shapes))
    count = _fold(tape)
    _write_over(tape, moving, shared)
    if windows:
        _cut_windows(tape, moving, shared)
    if channels_last:
        _lay_channels_last(tape)
    _widen_last(tape, moving, shared)
    return tape, count


def linear_first(tape: Tape, moving: Iterable[str], names: Iterable[str], shared: bool) -> First | None:
    r"""Find a linear map of the inputs alone by parameters of theta, whose outputs are linear in theta, too.

    Args:
        tape: A recorded pass.
        moving: Names of the parameters and buffers that change from point to point.
        names: Names of the parameters that make up theta.
        shared: Whether points may share the batch's inputs.
    """
    levels = tape.levels(moving, shared)
    theta = {tape.own[name].number: name for name in names}
    for step in tape.steps:
        given = _linear_arguments(step) if step.function is F.linear else {}
        inputs, weight, bias = (given.get(name) for name in _LINEAR_ARGUMENTS)
        if type(inputs) is not Slot or levels[inputs.number] != BATCH or inputs.number in tape.mutated:
            continue
        assert weight is not None
        if all(part is None or part.number in theta for part in (weight, bias)):
            shape = tape.shapes[weight.number]
            return First(step, inputs, theta[weight.number], None if bias is None else theta[bias.number], shape[1])
    return None


def _linear_arguments(step: Step) -> dict[str, Any]:
    """The arguments of a linear map by name."""
    return {**dict(zip(_LINEAR_ARGUMENTS, step.args, strict=False)), **step.kwargs}


def _convolution_arguments(step: Step) -> dict[str, Any]:
    return {**dict(zip(CONV_ARGUMENTS, step.args, strict=False)), **step.kwargs}


def _fold(tape: Tape) -> int:
    """Let convolutions take up the BatchNorm after them, which nothing else may come between."""
    uses = tape.uses()
    steps: dict[int, list[Step]] = {}
    own = {slot.number for slot in tape.own.values()}
    for place, step in enumerate(tape.steps):
        (made, *_) = step.written or [-1]
        if step.function not in FUNCTIONS or len(uses.get(made, ())) != 1 or made in tape.mutated:
            continue
        (after,) = uses[made]
        if after >= len(tape.steps) or tape.steps[after].function is not F.batch_norm:
            continue
        norm = _NORM_ARGUMENTS.bind(*tape.steps[after].args, **tape.steps[after].kwargs)
        norm.apply_defaults()
        given, parts = _convolution_arguments(step), norm.arguments
        statistics = [parts[name] for name in ("running_mean", "running_var")]
        if parts["training"] or parts["input"] != step.made[0] or not all(type(s) is Slot for s in statistics):
            continue
        if any(slot.number not in own for slot in statistics):
            continue
        args = (given["weight"], given.get("bias"), *statistics, parts["weight"], parts["bias"], parts["eps"])
        shape = tape.shapes[given["weight"].number]
        weight, bias = tape.new(shape), tape.new(shape[:1])
        short = Step(step.function, (), {**given, "weight": weight, "bias": bias}, tape.steps[after].made)
        steps[place], steps[after] = [Step(folded, args, {}, (weight, bias)), short], []
    tape.steps = [new for place, step in enumerate(tape.steps) for new in steps.get(place, [step])]
    return len(steps) // 2


def _write_over(tape: Tape, moving: Iterable[str], shared: bool) -> None:
    """Let ReLU write over a tensor that nothing else reads, at other points either, and that shares no memory."""
    uses, levels = tape.uses(), tape.levels(moving, shared)
    makers = {number: step for step in tape.steps for number in step.written}
    for place, step in enumerate(tape.steps):
        if step.function not in _RELUS or not step.args or type(step.args[0]) is not Slot:
            continue
        number = step.args[0].number
        maker = makers.get(number)
        alone = uses[number] == [place] and step.read == [number] and levels[number] == BOTH
        if alone and maker is not None and maker.function in _FRESH:
            tape.steps[place] = Step(torch.relu_, (step.args[0],), {}, step.made)
            tape.mutated |= {number, *step.written}


def _widen_last(tape: Tape, moving: Iterable[str], shared: bool) -> None:
    """Give a last linear map with a few outputs some more, of zeros: fast kernels make 16 columns at a time."""
    last, levels = slots_of(tape.outputs), tape.levels(moving, shared)
    place = next((place for place, step in enumerate(tape.steps) if step.written == last), None)
    if len(last) != 1 or place is None or tape.steps[place].function is not F.linear:
        return
    step, shape = tape.steps[place], tape.shapes[last[0]]
    if len(shape) != 2 or not shape[1] % WIDTH or shape[1] > 4 * WIDTH or len(tape.uses()[last[0]]) != 1:
        return
    given = _linear_arguments(step)
    if levels[given["input"].number] != BOTH:  # combined, perhaps
        return
    steps = []
    for name in ("weight", "bias"):
        if given.get(name) is not None:
            wide = tape.new(torch.Size())
            steps.append(Step(_widened, (given[name],), {}, (wide,)))
            given[name] = wide
    narrow = Step(_narrow_linear, (given["input"], given["weight"], given.get("bias"), shape[1]), {}, step.made)
    tape.steps[place : place + 1] = [*steps, narrow]


def _widened(rows: Tensor) -> Tensor:
    return F.pad(rows, (0, 0) * (rows.ndim - 1) + (0, -len(rows) % WIDTH))


def _narrow_linear(inputs: Tensor, weight: Tensor, bias: Tensor | None, count: int) -> Tensor:
    return F.linear(inputs, weight, bias)[:, :count]


def _lay_channels_last(tape: Tape) -> None:
    """Lay two-dimensional convolutions' weights out channels last, once for each point; what follows keeps that.

    A linear map of the flattened result takes its columns in that order, too, which spares a copy of the result.
    """
    uses = tape.uses()
    steps: list[Step] = []
    laid: set[int] = set()
    flattened: dict[int, Slot] = {}
    for step in tape.steps:
        convolves = step.function in (torch.conv2d, convolve_windows)
        if convolves or (step.function in _KEEPING and step.read[:1] and step.read[0] in laid):
            laid |= set(step.written)
        if step.function is torch.conv2d:
            given = _convolution_arguments(step)
            weight = tape.new(tape.shapes[given["weight"].number])
            steps.append(Step(_channels_last, (given["weight"],), {}, (weight,)))
            step = Step(torch.conv2d, (), {**given, "weight": weight}, step.made)
        elif _flattens(tape, step) and step.read[0] in laid and len(uses[step.written[0]]) == 1:
            (user,) = (tape.steps[place : place + 1] for place in uses[step.written[0]])
            if user and user[0].function is F.linear and user[0].args[:1] == step.made:
                flattened[step.written[0]] = step.args[0]
                step = Step(_flatten_channels_last, (step.args[0],), {}, step.made)
        elif step.function is F.linear and step.args[:1] and step.read[0] in flattened:
            given = _linear_arguments(step)
            shape, weight = tape.shapes[flattened[step.read[0]].number], tape.new(tape.shapes[given["weight"].number])
            steps.append(Step(_columns_channels_last, (given["weight"], tuple(shape[1:])), {}, (weight,)))
            step = Step(F.linear, (given["input"], weight, given.get("bias")), {}, step.made)
        steps.append(step)
    tape.steps = steps


def _flattens(tape: Tape, step: Step) -> bool:
    """Whether a step makes a matrix of rows of a stack of images."""
    if step.function not in _FLATTENING or len(step.read) != 1 or len(step.written) != 1:
        return False
    before, after = tape.shapes[step.read[0]], tape.shapes[step.written[0]]
    return len(before) == 4 and len(after) == 2 and before[0] == after[0] and type(step.args[0]) is Slot


def _flatten_channels_last(images: Tensor) -> Tensor:
    return images.permute(0, 2, 3, 1).flatten(1)


def _columns_channels_last(weight: Tensor, shape: tuple[int, ...]) -> Tensor:
    return weight.view(-1, *shape).permute(0, 2, 3, 1).reshape(len(weight), -1)


def _cut_windows(tape: Tape, moving: Iterable[str], shared: bool) -> None:
    """Cut the windows of a convolution of the inputs out of them once for all points, where there is one channel.

    Such a convolution is a product with few columns, of which fast kernels for convolutions make little.
    """
    levels = tape.levels(moving, shared)
    steps: list[Step] = []
    for step in tape.steps:
        given = _convolution_arguments(step) if step.function is torch.conv2d else {}
        if given and _is_grey(tape, levels, given):
            inputs, weight = given["input"], given["weight"]
            size, geometry = (
                tuple(tape.shapes[weight.number][2:]),
                [given.get(name, 1) for name in ("dilation", "stride")],
            )
            cut = tape.new(torch.Size())
            args = (inputs, size, geometry[0], given.get("padding", 0), geometry[1])
            steps.append(Step(cut_windows, args, {}, (cut,)))
            step = Step(convolve_windows, (cut, weight, given.get("bias")), {}, step.made)
        steps.append(step)
    tape.steps = steps


def _is_grey(tape: Tape, levels: Mapping[int, int], given: Mapping[str, Any]) -> bool:
    """Whether a convolution is one of inputs alone that have one channel."""
    inputs = given["input"]
    shape = tape.shapes[inputs.number]
    alone = levels.get(inputs.number) == BATCH and inputs.number not in tape.mutated
    return alone and len(shape) == 4 and shape[1] == 1 and not isinstance(given.get("padding", 0), str)


def cut_windows(inputs: Tensor, size: tuple[int, int], dilation: Any, padding: Any, stride: Any) -> Tensor:
    """The windows that a convolution sees, from `(B, 1, H, W)` to `(B, H', W', window)`."""
    windows = F.unfold(inputs, size, dilation, padding, stride)
    spans = zip(inputs.shape[2:], size, *map(_pair, (dilation, padding, stride)), strict=True)
    places = [(length + 2 * p - d * (k - 1) - 1) // s + 1 for length, k, d, p, s in spans]
    return windows.transpose(1, 2).contiguous().view(len(inputs), *places, -1)


def convolve_windows(windows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A convolution of windows `(B, H', W', window)`: shape `(B, C, H', W')`, channels last in memory."""
    flat, matrix = windows.flatten(0, 2), weight.flatten(1).t()
    result = torch.mm(flat, matrix) if bias is None else torch.addmm(bias, flat, matrix)
    return result.view(*windows.shape[:3], -1).permute(0, 3, 1, 2)


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value) * (2 // len(value))


def _channels_last(weight: Tensor) -> Tensor:
    return weight.contiguous(memory_format=torch.channels_last)
