"""A data set in memory: a training and a test split, with a hash over their contents."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from landscape.errors import RequestError
from landscape.objective.losses import IGNORED_TOKEN


@dataclass(frozen=True)
class Normalization:
    """What was done to the pixels: scaled to [0, 1], less `mean`, over `std`, per channel.

    Both are those of the training split's pixels in [0, 1]; the test split is normalised by them too.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Split:
    """Samples and their targets.

    Args:
        inputs: A tensor, or a tuple or dict of tensors, each of shape `(N, *)`. Images are float32,
            `(N, channels, height, width)`, normalised.
        targets: Class labels, int64 of shape `(N,)`, or `(N, T)` for tokens, of which -100 is left out; or
            regression targets, floating, of shape `(N, *)`. Tokens, as inputs and as targets, may be uint16 and
            overlapping views of one sequence (see `windows`): nothing copies a whole split.
    """

    inputs: Any
    targets: Tensor

    def __len__(self) -> int:
        """Number of samples `N`."""
        return len(self.targets)

    def __getitem__(self, index: Any) -> Split:
        """Some of the samples, by a slice or a tensor of indices."""
        if isinstance(self.inputs, dict):
            inputs: Any = {name: value[index] for name, value in self.inputs.items()}
        elif isinstance(self.inputs, tuple):
            inputs = tuple(value[index] for value in self.inputs)
        else:
            inputs = self.inputs[index]
        return Split(inputs, self.targets[index])

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Every tensor of the split with a name, in a fixed order."""
        if isinstance(self.inputs, dict):
            yield from ((f"inputs.{name}", self.inputs[name]) for name in sorted(self.inputs))
        elif isinstance(self.inputs, tuple):
            yield from ((f"inputs.{k}", value) for k, value in enumerate(self.inputs))
        else:
            yield "inputs", self.inputs
        yield "targets", self.targets


@dataclass(frozen=True, eq=False)
class DataSet:
    """A named data set.

    Args:
        name: The name by which it was asked for.
        train: Training split.
        test: Test split, if there is one.
        num_classes: Number of classes; None for regression.
        source: Where it came from, in words: for people, never part of the digest.
        normalization: What was done to the pixels, if anything.

    Raises:
        RequestError: If a split is empty, inputs and targets differ in length, a value is not finite, the
            splits differ in shape, or a label is no whole number in [0, num_classes).
    """

    name: str
    train: Split
    test: Split | None
    num_classes: int | None
    source: str
    normalization: Normalization | None = None

    def __post_init__(self) -> None:
        """Refuse contents that nothing could be trained on."""
        for split_name, split in self.splits.items():
            _check_split(f"data set '{self.name}', {split_name} split", split, self.num_classes)
        if self.test is not None and _shapes(self.train) != _shapes(self.test):
            raise RequestError(
                f"data set '{self.name}': train and test samples differ in shape, "
                f"{_shapes(self.train)} against {_shapes(self.test)}"
            )

    @property
    def splits(self) -> dict[str, Split]:
        """The splits there are, by name: `train`, and `test` if there is one."""
        return {"train": self.train} | ({} if self.test is None else {"test": self.test})

    @property
    def is_text(self) -> bool:
        """Whether a sample is a window of tokens, each with the next one as its target."""
        inputs, targets = self.train.inputs, self.train.targets
        return isinstance(inputs, Tensor) and not inputs.is_floating_point() and inputs.ndim == 2 == targets.ndim

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one sample; of the first tensor, where a sample consists of several."""
        _, first = next(iter(self.train.tensors()))
        return tuple(first.shape[1:])

    @property
    def num_outputs(self) -> int:
        """Number of outputs a model needs: of classes, or of target values per sample."""
        if self.num_classes is not None:
            return self.num_classes
        return int(self.train.targets[0].numel())

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the contents of all splits: names, types, shapes and bytes, nothing about paths."""
        total = hashlib.sha256()
        for split_name, split in self.splits.items():
            for name, tensor in split.tensors():
                array = tensor.detach().cpu().numpy()
                total.update(f"{split_name}.{name} {array.dtype.str} {array.shape};".encode())
                for block in _blocks(tensor):
                    contents = block.detach().cpu().contiguous().numpy()
                    total.update(contents.data if contents.size else b"")
        return total.hexdigest()

    def subset(self, num_samples: int, seed: int = 0) -> DataSet:
        """A fixed random subset of each split; a smaller one of the same seed is part of a larger one.

        Args:
            num_samples: Samples per split; a split that has no more is kept whole.
            seed: Which subset.

        Returns:
            The data set with splits of at most `num_samples` samples, in their original order.

        Raises:
            RequestError: If `num_samples` is not positive.
        """
        if num_samples < 1:
            raise RequestError(f"the number of samples must be at least 1, got {num_samples}")
        if all(len(split) <= num_samples for split in self.splits.values()):
            return self

        def draw(split: Split) -> Split:
            if len(split) <= num_samples:
                return split
            order = torch.randperm(len(split), generator=torch.Generator().manual_seed(seed))
            return split[order[:num_samples].sort().values]

        return replace(
            self,
            train=draw(self.train),
            test=None if self.test is None else draw(self.test),
            source=f"{self.source}; at most {num_samples} samples per split, seed {seed}",
        )

    def with_label_noise(self, fraction: float, seed: int = 0) -> DataSet:
        """Give a fixed random part of the training samples a wrong label, uniform over the wrong ones.

        Args:
            fraction: Part of the training samples, in [0, 1]; rounded to whole samples.
            seed: Which samples and labels.

        Returns:
            The data set with noisy training labels; the test split is untouched.

        Raises:
            RequestError: If the fraction is outside [0, 1], or there are fewer than two classes.
        """
        if not 0 <= fraction <= 1:
            raise RequestError(f"label noise must be a fraction in [0, 1], got {fraction}")
        if self.num_classes is None or self.num_classes < 2 or self.train.targets.ndim != 1:
            raise RequestError(f"data set '{self.name}' has no classes to confuse; leave label noise out")
        generator = torch.Generator().manual_seed(seed)
        wrong = torch.randperm(len(self.train), generator=generator)[: round(fraction * len(self.train))]
        if len(wrong) == 0:
            return self
        shift = torch.randint(1, self.num_classes, (len(wrong),), generator=generator)
        targets = self.train.targets.clone()
        targets[wrong] = (targets[wrong] + shift) % self.num_classes
        source = f"{self.source}; label noise {fraction}, seed {seed}"
        return replace(self, train=Split(self.train.inputs, targets), source=source)


def divide(name: str, inputs: Any, targets: Tensor, num_train: int, num_classes: int | None, seed: int) -> DataSet:
    """A generated data set whose first samples are for training, the rest for the test.

    Args:
        name: As for `DataSet`.
        inputs: As for `Split`.
        targets: As for `Split`.
        num_train: Number of training samples.
        num_classes: As for `DataSet`.
        seed: From which it was generated.
    """
    everything = Split(inputs, targets)
    return DataSet(name, everything[:num_train], everything[num_train:], num_classes, f"generated, seed {seed}")


def _check_split(what: str, split: Split, num_classes: int | None) -> None:
    """Refuse contents that nothing could be trained on."""
    targets = split.targets
    for name, tensor in split.tensors():
        if tensor.ndim == 0 or len(tensor) != len(targets):
            length = len(tensor) if tensor.ndim else "no"
            raise RequestError(f"{what}: {length} {name} but {len(targets)} targets; give one target per sample")
        if tensor.is_floating_point() and not _finite(tensor):
            raise RequestError(f"{what}: the {name} hold values that are not finite; remove those samples")
    if len(targets) == 0:
        raise RequestError(f"{what} is empty")
    if num_classes is None:
        if not targets.is_floating_point():
            raise RequestError(f"{what}: regression targets must be floating, got {targets.dtype}")
        return
    tokens = targets.dtype == torch.uint16 and targets.ndim == 2
    if (targets.dtype != torch.int64 and not tokens) or targets.shape[1:] == (1,):
        raise RequestError(
            f"{what}: labels must be int64 of shape (N,), or (N, T) for tokens, "
            f"got {targets.dtype} of shape {tuple(targets.shape)}"
        )
    least, greatest = _range(targets)
    if least < 0 or greatest >= num_classes:
        raise RequestError(f"{what}: labels must lie in 0..{num_classes - 1}, but run from {least} to {greatest}")


def _range(targets: Tensor) -> tuple[int, int]:
    """The least and the greatest label; tokens that are left out don't count."""
    ends = []
    for block in _blocks(targets):
        labels = block.long()
        labels = labels if labels.ndim == 1 else labels[labels != IGNORED_TOKEN]
        if len(labels):
            ends.append((int(labels.min()), int(labels.max())))
    return (min(least for least, _ in ends), max(greatest for _, greatest in ends)) if ends else (0, 0)


def _blocks(tensor: Tensor) -> Iterator[Tensor]:
    """A tensor in pieces along its first axis, of some million numbers each: windows share memory, copies don't."""
    rows = max(1, 2**22 // max(1, tensor[:1].numel()))
    yield from (tensor[start : start + rows] for start in range(0, len(tensor), rows))


def _finite(tensor: Tensor) -> bool:
    """Whether every value is finite; a finite sum proves it at a tenth of the cost."""
    return bool(tensor.sum().isfinite()) or bool(tensor.isfinite().all())


def _shapes(split: Split) -> dict[str, tuple[int, ...]]:
    """Shape of one sample of each tensor."""
    return {name: tuple(tensor.shape[1:]) for name, tensor in split.tensors()}
