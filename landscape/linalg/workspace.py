"""Memory that is kept from call to call."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


class Workspace:
    """Memory by name; whoever asks for a name again gets the same memory, with what has been left there.

    Fresh memory costs a page fault for every 4 kB, and a fresh view a microsecond: together as much as a fifth of an
    iteration on small matrices. Hence views are kept, too.
    """

    def __init__(self) -> None:
        self._memory: dict[str, Tensor] = {}
        self._views: dict[str, dict[tuple[Sequence[int], torch.dtype], Tensor]] = {}
        self._rows: dict[int, tuple[Tensor, tuple[Tensor, ...]]] = {}

    def take(self, name: str, shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
        """Memory of a shape (a tuple) under a name, whose values may be anything."""
        views = self._views.setdefault(name, {})
        found = views.get((shape, dtype))
        if found is not None and found.device == device:
            return found
        size, kept = math.prod(shape), self._memory.get(name)
        if kept is None or len(kept) < size or kept.dtype != dtype or kept.device != device:
            kept = self._memory[name] = torch.empty(size, dtype=dtype, device=device)
            for view in views.values():
                self._rows.pop(id(view), None)
            views.clear()
        found = views[shape, dtype] = kept[:size].view(*shape)
        self._rows[id(found)] = found, found.unbind()
        return found

    def unbind(self, tensor: Tensor) -> tuple[Tensor, ...]:
        """`tensor.unbind()`, kept if the tensor is what `take` gave."""
        found, rows = self._rows.get(id(tensor), (None, ()))
        return rows if found is tensor else tensor.unbind()
