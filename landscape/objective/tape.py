"""A model's forward pass as a list of calls.

A model in which a value leaves the tensors (a branch on a sum, an `.item()`), or whose tensors come from nowhere, isn't
recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from landscape.objective.folding import asks_for_kind

ONCE, POINT, BATCH, BOTH = 0, 1, 2, 3
"""How often a step runs: bit 0 for each point, bit 1 for each batch."""


class NotRecordableError(Exception):
    """A forward pass isn't a fixed list of calls."""


@dataclass(frozen=True)
class Slot:
    """The place of a tensor among a program's values."""

    number: int


@dataclass(frozen=True)
class Step:
    """One call of a function of torch.

    Args:
        function: The function.
        args: Its arguments, slots in the place of tensors.
        kwargs: Those by name.
        made: Slots of the tensors that it returns; None where it returned none.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    made: tuple[Slot | None, ...]

    @property
    def read(self) -> list[int]:
        """Numbers of the slots among the arguments."""
        return slots_of((self.args, self.kwargs))

    @property
    def written(self) -> list[int]:
        """Numbers of the slots of its results."""
        return [slot.number for slot in self.made if slot is not None]


@dataclass
class Tape:
    """A recorded forward pass.

    Args:
        steps: The calls in order.
        inputs: The batch's inputs, slots in the place of tensors.
        own: Slots of parameters and buffers by name.
        outputs: What the model returned.
        mutated: Slots of tensors that some step writes into.
        shapes: Of the tensors in all slots.
    """

    steps: list[Step]
    inputs: Any
    own: dict[str, Slot]
    outputs: Any
    mutated: set[int]
    shapes: list[torch.Size]

    def new(self, shape: torch.Size) -> Slot:
        """One more slot, for a tensor of a shape."""
        self.shapes.append(shape)
        return Slot(len(self.shapes) - 1)

    def uses(self) -> dict[int, list[int]]:
        """For each slot the steps that read it, by their places; the outputs count as a step after the last."""
        found: dict[int, list[int]] = {}
        for place, step in enumerate(self.steps):
            for number in step.read:
                found.setdefault(number, []).append(place)
        for number in slots_of(self.outputs):
            found.setdefault(number, []).append(len(self.steps))
        return found

    def levels(self, moving: Iterable[str], shared: bool) -> dict[int, int]:
        """How often the tensor in each slot is computed.

        Args:
            moving: Names of the parameters and buffers that change from point to point.
            shared: Whether points may share the batch's inputs: the model doesn't write into them.
        """
        moving = set(moving)
        levels = {slot.number: POINT if name in moving else ONCE for name, slot in self.own.items()}
        levels |= dict.fromkeys(slots_of(self.inputs), BATCH if shared else BOTH)
        for step in self.steps:
            own = self.level(step, levels)
            levels |= {number: levels.get(number, own) for number in step.written}
        return levels

    def level(self, step: Step, levels: Mapping[int, int]) -> int:
        """How often a step runs; one that has to do with a tensor that is written into runs every time."""
        touched = [*step.read, *step.written]
        if not step.written or any(number in self.mutated for number in touched):
            return BOTH
        level = ONCE
        for number in step.read:
            level |= levels[number]
        return level


class _Recording(TorchFunctionMode):
    """Writes down every call."""

    def __init__(self) -> None:
        super().__init__()
        self.slots: dict[int, Slot] = {}
        self.kept: list[Tensor] = []  # alive, so that an id stays its own
        self.versions: list[int] = []
        self.steps: list[Step] = []

    def slot(self, tensor: Tensor) -> Slot:
        """The slot of a tensor, a new one if it is new."""
        if id(tensor) not in self.slots:
            self.slots[id(tensor)] = Slot(len(self.kept))
            self.kept.append(tensor)
            self.versions.append(tensor._version)
        return self.slots[id(tensor)]

    def known(self, tensor: Tensor) -> Slot:
        """The slot of a tensor that some step made."""
        if id(tensor) not in self.slots:
            raise NotRecordableError("the model uses a tensor that is no parameter, buffer or input")
        return self.slots[id(tensor)]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one function of torch."""
        kwargs = kwargs or {}
        if asks_for_kind(func):
            return func(*args, **kwargs)
        given = map_tree(self.known, args), map_tree(self.known, kwargs)
        result = func(*args, **kwargs)
        made = result if isinstance(result, (tuple, list)) else () if result is None else (result,)
        if not all(isinstance(part, Tensor | None) for part in made):
            if not slots_of(given):  # a function of dtypes, say
                return result
            raise NotRecordableError(f"the model reads values of its tensors ({_name(func)})")
        slots = tuple(None if part is None else self.slot(part) for part in made)
        self.steps.append(Step(func, *given, slots))
        return result


def _name(function: Any) -> str:
    return str(getattr(function, "__qualname__", None) or function)


def record(forward: Callable[[Any], Any], inputs: Any, own: Mapping[str, Tensor]) -> Tape:
    """Record a forward pass.

    Args:
        forward: The model.
        inputs: A batch's inputs, which it may write into.
        own: Its parameters and buffers by name.

    Raises:
        NotRecordableError: If the pass isn't a fixed list of calls, or writes into parameters or buffers.
    """
    recording = _Recording()
    named = {name: recording.slot(tensor) for name, tensor in own.items()}
    given = map_tree(recording.slot, inputs)
    with recording:
        outputs = forward(inputs)
    result = map_tree(recording.known, outputs)
    if not slots_of(result):
        raise NotRecordableError("the model returns no tensors")
    changed = zip(recording.kept, recording.versions, strict=True)
    mutated = {number for number, (tensor, version) in enumerate(changed) if tensor._version != version}
    if mutated & {slot.number for slot in named.values()}:
        raise NotRecordableError("the model writes into its parameters or buffers")
    return Tape(recording.steps, given, named, result, mutated, [tensor.shape for tensor in recording.kept])


@dataclass(frozen=True)
class First:
    """A linear map of the inputs alone, whose outputs are linear in its parameters.

    Args:
        step: The call.
        inputs: What it is given.
        weight: Name of its weight.
        bias: Name of its bias, None if it has none.
        fan_in: Multiplications for each output.
    """

    step: Step
    inputs: Slot
    weight: str
    bias: str | None
    fan_in: int


def map_tree(function: Callable[[Tensor], Any], tree: Any) -> Any:
    """Apply a function to the tensors of nested tuples, lists and dicts.

    Raises:
        NotRecordableError: If there are tensors in a container of another kind.
    """
    if isinstance(tree, Tensor):
        return function(tree)
    if type(tree) in (tuple, list):
        return type(tree)(map_tree(function, part) for part in tree)
    if type(tree) is dict:
        return {name: map_tree(function, part) for name, part in tree.items()}
    parts = tree.values() if isinstance(tree, Mapping) else tree if isinstance(tree, (tuple, list)) else ()
    if isinstance(tree, slice):
        parts = (tree.start, tree.stop, tree.step)
    if any(isinstance(part, (Tensor, tuple, list, Mapping)) for part in parts):
        raise NotRecordableError(f"the model passes tensors on in a {type(tree).__name__}")
    return tree


def slots_of(tree: Any) -> list[int]:
    """Numbers of the slots in a tree, each as often as it occurs."""
    if type(tree) is Slot:
        return [tree.number]
    if isinstance(tree, (tuple, list)):
        return [number for part in tree for number in slots_of(part)]
    if isinstance(tree, Mapping):
        return [number for part in tree.values() for number in slots_of(part)]
    return []
