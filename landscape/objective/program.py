"""A recorded forward pass, run again without the model.

What depends on the parameters alone is computed once for each point, what depends on the inputs alone once for each
batch, and only the rest for each point and batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from landscape.objective.tape import BATCH, BOTH, POINT, First, Slot, Step, Tape, slots_of


@dataclass(frozen=True)
class _Call:
    """A step as it is run: where its arguments are flat they are put together without recursion."""

    step: Step
    dead: tuple[int, ...] = ()
    flat: bool = field(init=False)

    def __post_init__(self) -> None:
        nested = [part for part in (*self.step.args, *self.step.kwargs.values()) if not isinstance(part, Slot)]
        object.__setattr__(self, "flat", not slots_of(nested))


class Program:
    """A tape, its steps sorted by how often they run.

    Args:
        tape: The recorded pass.
        own: Parameters and buffers by name; those that don't move are read once.
        moving: Names of the others.
        shared: Whether points may share the batch's inputs.
        first: One of its steps, which isn't run where its result is given.
    """

    def __init__(
        self, tape: Tape, own: Mapping[str, Tensor], moving: Sequence[str], shared: bool, first: First | None = None
    ) -> None:
        self.moving = [(name, tape.own[name].number) for name in moving]
        self.inputs, self.outputs = tape.inputs, tape.outputs
        levels = tape.levels(moving, shared)
        sorted_steps: list[list[Step]] = [[], [], [], []]
        for step in tape.steps:
            sorted_steps[tape.level(step, levels)].append(step)
        once, point, batch, both = sorted_steps
        self.first = first
        self._point, self._batch = [_Call(step) for step in point], [_Call(step) for step in batch]
        last = {number: place for place, step in enumerate(both) for number in (*step.read, *step.written)}
        kept = set(slots_of(self.outputs))
        dying: list[list[int]] = [[] for _ in both]
        for number, place in last.items():
            if number not in kept and (number not in levels or levels[number] == BOTH):
                dying[place].append(number)
        self._both = [_Call(step, tuple(dead)) for step, dead in zip(both, dying, strict=True)]
        self._rest = [call for call in self._both if first is None or call.step is not first.step]
        self._start: list[Any] = [None] * len(tape.shapes)
        for name, slot in tape.own.items():
            self._start[slot.number] = own[name]
        _run([_Call(step) for step in once], self._start)
        needed = {number for step in both for number in step.read} | kept
        self._needed = [number for number in needed if levels.get(number) == POINT]
        self.shared = [number for number in needed if levels.get(number) == BATCH]
        """Numbers of the values of a batch that are read at every point."""

    def at_point(self, tensors: Mapping[str, Tensor]) -> list[tuple[int, Tensor]]:
        """What depends on the parameters alone.

        Args:
            tensors: The moving parameters and buffers by name.

        Returns:
            Values with the numbers of their slots.
        """
        values = list(self._start)
        for name, number in self.moving:
            values[number] = tensors[name]
        _run(self._point, values)
        return [(number, values[number]) for number in self._needed]

    def at_batch(self, inputs: Any) -> list[Any]:
        """All values as far as they depend on the inputs alone."""
        values = list(self._start)
        _fill(self.inputs, inputs, values)
        _run(self._batch, values)
        return values

    def __call__(self, at_batch: list[Any], at_point: Sequence[tuple[int, Tensor]], first: Tensor | None = None) -> Any:
        """The model's outputs, the given step's result being known where it is."""
        values = list(at_batch)
        for number, value in at_point:
            values[number] = value
        if first is not None:
            assert self.first is not None
            values[self.first.step.written[0]] = first
        _run(self._both if first is None else self._rest, values)
        return fetch(self.outputs, values)


def _run(calls: Iterable[_Call], values: list[Any]) -> None:
    """Run steps in order; what is read for the last time is let go."""
    for call in calls:
        step = call.step
        if call.flat:
            args = [values[part.number] if type(part) is Slot else part for part in step.args]
            kwargs = {name: values[part.number] if type(part) is Slot else part for name, part in step.kwargs.items()}
        else:
            args, kwargs = fetch(step.args, values), fetch(step.kwargs, values)
        result = step.function(*args, **kwargs)
        if len(step.made) == 1 and isinstance(result, Tensor):
            slot = step.made[0]
            if slot is not None:
                values[slot.number] = result
        elif step.made:
            for slot, part in zip(step.made, result, strict=True):
                if slot is not None:
                    values[slot.number] = part
        del args, kwargs, result
        for number in call.dead:
            values[number] = None


def fetch(tree: Any, values: Sequence[Any]) -> Any:
    """A tree with tensors in the place of its slots."""
    if type(tree) is Slot:
        return values[tree.number]
    if type(tree) in (tuple, list):
        return type(tree)(fetch(part, values) for part in tree)
    if type(tree) is dict:
        return {name: fetch(part, values) for name, part in tree.items()}
    return tree


def _fill(tree: Any, inputs: Any, values: list[Any]) -> None:
    """Put inputs into their slots."""
    if type(tree) is Slot:
        values[tree.number] = inputs
    elif isinstance(tree, (tuple, list)):
        for part, value in zip(tree, inputs, strict=True):
            _fill(part, value, values)
    elif isinstance(tree, dict):
        for name, part in tree.items():
            _fill(part, inputs[name], values)
