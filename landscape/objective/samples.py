"""Data as the objective reads them: the same batches in the same order at every pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape.errors import RequestError
from landscape.objective.losses import IGNORED_TOKEN

Batch = tuple[Any, Any]


def map_tensors(function: Callable[[Tensor], Tensor], tree: Any) -> Any:
    """Apply a function to each tensor or array of a (nested) tuple, list or dict."""
    if isinstance(tree, Mapping):
        return {key: map_tensors(function, value) for key, value in tree.items()}
    if isinstance(tree, (tuple, list)):
        return tuple(map_tensors(function, value) for value in tree)
    if isinstance(tree, np.ndarray):
        tree = torch.from_numpy(np.ascontiguousarray(tree))
    return function(tree) if isinstance(tree, Tensor) else tree


def leaves(tree: Any) -> Iterator[Tensor]:
    """The tensors of a (nested) tuple, list or dict in order."""
    if isinstance(tree, Mapping):
        tree = tuple(tree.values())
    if isinstance(tree, (tuple, list)):
        for value in tree:
            yield from leaves(value)
    elif isinstance(tree, Tensor):
        yield tree


def batch_length(tree: Any) -> int:
    """The number of samples: the first axis of the first tensor."""
    first = next(leaves(tree), None)
    if first is None or first.ndim == 0:
        raise RequestError("a batch must hold tensors whose first axis counts the samples")
    return len(first)


def _widen(tensor: Tensor) -> Tensor:
    """Tokens as int64, which embeddings and losses take; they are stored as uint16 where there are many."""
    return tensor.long() if tensor.dtype == torch.uint16 else tensor


class Samples:
    """A data set that can be read again and again in one order.

    Args:
        data: A pair `(inputs, targets)` of tensors or arrays (inputs may be a tuple or a dict of them), an object
            with such `inputs` and `targets`, or an iterable of such batches that starts afresh whenever it is iterated.
        device: Where batches are used. Tensors are moved there once; batches of an iterable as they come.
        dtype: Dtype of floating-point inputs and targets.

    Raises:
        RequestError: If the data are empty, unequal in length, can be read only once, or come in another order (or
            augmented otherwise) each time.
    """

    def __init__(self, data: Any, device: torch.device, dtype: torch.dtype) -> None:
        self._device, self._dtype = device, dtype
        if hasattr(data, "inputs") and hasattr(data, "targets"):
            data = (data.inputs, data.targets)
        self._loader: Iterable[Batch] | None = None
        if isinstance(data, tuple) and len(data) == 2:
            self.inputs, self.targets = self._move(data[0]), self._move(data[1])
            parts = [list(leaves(part)) for part in (self.inputs, self.targets)]
            lengths = {len(tensor) if tensor.ndim else 0 for part in parts for tensor in part}
            if not all(parts) or len(lengths) != 1 or 0 in lengths:
                got = ", ".join(map(str, sorted(lengths))) or "no tensors"
                raise RequestError(f"inputs and targets must be tensors, equally many and not empty; got lengths {got}")
            self._length: int | None = lengths.pop()
            return
        if isinstance(data, (Iterator, Tensor, np.ndarray, Mapping, str)) or not isinstance(data, Iterable):
            raise RequestError(
                f"data must be (inputs, targets) or a loader that can be iterated again, not {type(data).__name__}"
            )
        self._loader, self._length = data, None
        self._check_order()

    def _check_order(self) -> None:
        """Read a loader's first batch twice: a shuffled or augmented one is not the same."""
        batches = []
        for seed in range(2):
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(seed)
                batches.append(next(self.batches(0), None))
        first, again = ([] if batch is None else list(leaves(batch)) for batch in batches)
        if not first:
            raise RequestError("the data loader yields no batch")
        if len(first) != len(again) or not all(torch.equal(a, b) for a, b in zip(first, again, strict=True)):
            raise RequestError(
                "the data loader yields other samples each time it is iterated; a loss surface needs them fixed: "
                "use shuffle=False and no random augmentation"
            )

    def _move(self, tree: Any) -> Any:
        def move(tensor: Tensor) -> Tensor:
            return tensor.to(self._device, self._dtype if tensor.is_floating_point() else None)

        return map_tensors(move, tree)

    def __len__(self) -> int:
        """The number of samples; a loader is read through once to count them."""
        if self._length is None:
            with torch.random.fork_rng(devices=[]):  # a DataLoader draws a seed whenever it is iterated
                self._length = sum(batch_length(targets) for _, targets in self.batches(0))
        return self._length

    def batches(self, size: int, *, shared: bool = False) -> Iterator[Batch]:
        """Read all samples in order.

        Args:
            shared: Whether to give views of the inputs, for models that don't write into them, instead of copies.
            size: Samples in a batch, the last one possibly smaller; a single one left over joins the batch before,
                since BatchNorm has no statistics of it. A loader keeps its own batches.

        Yields:
            Pairs `(inputs, targets)` on the device.
        """
        if self._loader is not None:
            for batch in self._loader:
                if not isinstance(batch, (tuple, list)) or len(batch) != 2:
                    raise RequestError("each batch of a data loader must be a pair (inputs, targets)")
                yield self._move(batch[0]), self._move(batch[1])
            return
        start, length = 0, len(self)
        while start < length:
            stop = length if start + size + 1 == length and size > 1 else start + size
            yield self._cut(slice(start, stop), shared)
            start = stop

    def select(self, index: Tensor) -> Batch:
        """The samples with the given numbers, shape `(B,)`, as one batch; tensors only."""
        if self._loader is not None:
            raise RequestError("random batches need data as tensors (inputs, targets), not a loader")
        return self._cut(index)

    def _cut(self, index: slice | Tensor, shared: bool = False) -> Batch:
        """Some samples; a copy of the inputs, into which models may write, unless they are shared."""

        def cut(tensor: Tensor) -> Tensor:
            return _widen(tensor[index].clone() if isinstance(index, slice) and not shared else tensor[index])

        return map_tensors(cut, self.inputs), map_tensors(lambda tensor: _widen(tensor[index]), self.targets)

    def first(self, size: int) -> Batch:
        """The first samples, at most `size` of them."""
        for inputs, targets in self.batches(size):
            return map_tensors(lambda tensor: tensor[:size], inputs), map_tensors(lambda tensor: tensor[:size], targets)
        raise RequestError("the data loader yields no batch")

    def check_labels(self, num_classes: int) -> None:
        """Hold all labels to the classes that the model has outputs for.

        Raises:
            RequestError: If a label lies outside; for tokens -100 (no target) is allowed.
        """
        for _, targets in self.batches(4096):
            wrong = (targets < 0) | (targets >= num_classes)
            if targets.ndim > 1:
                wrong &= targets != IGNORED_TOKEN
            if bool(wrong.any()):
                label = int(targets[wrong][0])
                raise RequestError(
                    f"label {label} lies outside the model's {num_classes} classes (0 to {num_classes - 1})"
                )
