"""The user's own data: a factory's return value, an `.npz` file, a data set of torchvision."""

from __future__ import annotations

import inspect
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from landscape.errors import RequestError, unknown
from landscape.factories import call_factory
from landscape.networks.search import search_path
from landscape.networks.splits import DataSet, Split

NPZ_KEYS = ("inputs", "targets", "train_inputs", "train_targets", "test_inputs", "test_targets", "num_classes")


def from_factory(name: str, settings: Mapping[str, Any] | None = None) -> DataSet:
    """Call the user's `package.module:factory` with the settings as keywords.

    Args:
        name: The factory; it returns what `as_data_set` takes.
        settings: Its keyword arguments.

    Raises:
        RequestError: If it can't be imported or called, or doesn't return data.
    """
    return as_data_set(name, call_factory("data set", name, settings), source=name)


def from_npz(path: Path) -> DataSet:
    """Read arrays `inputs`, `targets`, or `train_inputs`, `train_targets`, `test_inputs`, `test_targets`.

    Args:
        path: File as `numpy.savez` writes it; it may also hold a number `num_classes`. No pickles are read.

    Raises:
        RequestError: If the file can't be read, or lacks an array or holds an unknown one.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except FileNotFoundError as error:
        raise RequestError(f"data file {path} doesn't exist") from error
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise RequestError(f"data file {path} can't be read as .npz without pickles: {error}") from error
    for key in arrays:
        if key not in NPZ_KEYS:
            raise unknown(f"array in {path}:", key, NPZ_KEYS)
    prefix = "train_" if "train_inputs" in arrays else ""
    if prefix and "inputs" in arrays:
        raise RequestError(f"data file {path} has both 'inputs' and 'train_inputs'; keep one pair")
    value: dict[str, Any] = {}
    for split, start in {"train": prefix, "test": "test_"}.items():
        pair = [arrays.get(f"{start}{part}") for part in ("inputs", "targets")]
        if any(array is not None for array in pair) or split == "train":
            if lacking := [
                f"{start}{part}" for part, array in zip(("inputs", "targets"), pair, strict=True) if array is None
            ]:
                raise RequestError(f"data file {path} has no array '{lacking[0]}' (it has: {', '.join(arrays)})")
            value[split] = tuple(pair)
    if "num_classes" in arrays:
        if arrays["num_classes"].shape != () or arrays["num_classes"].dtype.kind not in "ui":
            raise RequestError(f"data file {path}: 'num_classes' must be one whole number")
        value["num_classes"] = int(arrays["num_classes"])
    return as_data_set(str(path), value, source=str(path))


def from_torchvision(name: str, data_dir: Path | None = None, settings: Mapping[str, Any] | None = None) -> DataSet:
    """A data set of torchvision, from files that are there already.

    Args:
        name: Name of the class in `torchvision.datasets`.
        data_dir: First place to look in; each place is tried as torchvision's `root`.
        settings: Further keyword arguments of the class.

    Returns:
        Images in [0, 1], channels first, not normalised further.

    Raises:
        RequestError: If torchvision can't be imported, has no such data set, or finds no files.
    """
    try:  # beside a torch built for another device, torchvision raises RuntimeError when imported
        from torchvision import datasets  # type: ignore[import-not-found, unused-ignore]
    except (ImportError, RuntimeError) as error:
        raise RequestError(
            f"data set 'torchvision:{name}' needs torchvision, which can't be imported ({error}); "
            "pip install torchvision"
        ) from error
    if name not in datasets.__all__:
        raise unknown("data set torchvision:", name, datasets.__all__)
    make = getattr(datasets, name)
    accepted = inspect.signature(make).parameters
    by_split: dict[str, dict[str, Any]] = {"train": {"train": True}, "test": {"train": False}}
    if "train" not in accepted:
        by_split = {"train": {"split": "train"}, "test": {"split": "test"}}
    places = search_path(data_dir)
    reason: Exception | None = None
    for root in places:
        try:
            splits = {}
            for split, which in by_split.items():
                arguments = {**which, **(settings or {})}
                splits[split] = make(str(root), **({"download": False} if "download" in accepted else {}), **arguments)
        except (RuntimeError, OSError, TypeError, ValueError) as error:
            reason = reason or error
        else:
            return as_data_set(f"torchvision:{name}", splits, source=f"torchvision in {root}")
    raise RequestError(
        f"data set 'torchvision:{name}' was not found in {', '.join(map(str, places))} ({reason}); "
        "nothing is downloaded: name the folder that was torchvision's root by --data-dir"
    )


def as_data_set(name: str, value: Any, source: str) -> DataSet:
    """Make a data set of what a factory returned.

    Args:
        name: The name it goes by.
        value: A pair `(inputs, targets)` of tensors or arrays, or a map-style torch `Dataset` of such pairs, for
            the training split alone; or a mapping `{"train": …, "test": …}` of these, optionally with a number
            `num_classes`; or a `DataSet`. Inputs may be a tuple or dict of arrays. Whole-number targets are class
            labels, floating ones are regressed on. Bytes are taken for pixels and divided by 255.
        source: Where it came from, in words.

    Raises:
        RequestError: If it is none of these, or its contents are no data set.
    """
    if isinstance(value, DataSet):
        return value
    if not isinstance(value, Mapping):
        value = {"train": value}
    for key in value:
        if key not in ("train", "test", "num_classes"):
            raise unknown(f"key in what data set '{name}' returned:", str(key), ("train", "test", "num_classes"))
    if "train" not in value:
        raise RequestError(f"data set '{name}' has no 'train' (it has: {', '.join(value) or 'nothing'})")
    splits = {
        key: _as_split(f"data set '{name}', {key} split", value[key])
        for key in ("train", "test")
        if key == "train" or value.get(key) is not None
    }
    num_classes = value.get("num_classes")
    if num_classes is None and not splits["train"].targets.is_floating_point():
        largest = (int(split.targets.max()) for split in splits.values() if len(split))
        num_classes = max(0, *largest, 0) + 1
    return DataSet(name, splits["train"], splits.get("test"), num_classes, source)


def _as_split(what: str, value: Any) -> Split:
    """One split from a pair or a torch Dataset."""
    if isinstance(value, Split):
        return value
    if isinstance(value, TensorDataset):
        value = value.tensors
    elif isinstance(value, Dataset):
        value = _materialise(what, value)
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise RequestError(f"{what} must be (inputs, targets) or a torch Dataset of such pairs, got {_describe(value)}")
    inputs, targets = value
    if isinstance(inputs, Mapping):
        converted: Any = {str(key): _as_tensor(what, array) for key, array in inputs.items()}
    elif isinstance(inputs, tuple):
        converted = tuple(_as_tensor(what, array) for array in inputs)
    else:
        converted = _as_tensor(what, inputs)
    return Split(converted, _as_targets(what, targets))


def _materialise(what: str, samples: Dataset[Any]) -> tuple[Any, Any]:
    """Every sample of a map-style Dataset, stacked."""
    if isinstance(samples, IterableDataset) or not hasattr(samples, "__len__"):
        raise RequestError(f"{what} is a stream; give a map-style Dataset, which has a length and an order")
    pairs = [samples[index] for index in range(len(samples))]
    if not pairs:
        raise RequestError(f"{what} is empty")
    if any(not isinstance(pair, tuple | list) or len(pair) != 2 for pair in pairs):
        raise RequestError(f"{what} must give (input, target) for each index, got {_describe(pairs[0])}")
    inputs, targets = zip(*pairs, strict=True)

    def stack(values: Any) -> Tensor:
        try:
            return torch.stack([_as_sample(what, value) for value in values])
        except RuntimeError as error:
            raise RequestError(f"{what} has samples of different shapes; make them equal: {error}") from error

    first = inputs[0]
    stacked: Any
    if isinstance(first, Mapping):
        stacked = {str(key): stack([one[key] for one in inputs]) for key in first}
    elif isinstance(first, tuple):
        stacked = tuple(stack(column) for column in zip(*inputs, strict=True))
    else:
        stacked = stack(inputs)
    try:
        return stacked, torch.stack([_as_targets(what, target) for target in targets])
    except RuntimeError as error:
        raise RequestError(f"{what} has targets of different shapes; make them equal: {error}") from error


def _as_sample(what: str, value: Any) -> Tensor:
    """One sample as a tensor; a picture of bytes, `(H, W)` or `(H, W, C)`, becomes channels first."""
    if isinstance(value, Tensor):
        return value
    is_picture = not isinstance(value, np.ndarray) and hasattr(value, "getbands")
    tensor = _as_tensor(what, np.asarray(value))
    if is_picture:
        return tensor[None] if tensor.ndim == 2 else tensor.permute(2, 0, 1)
    return tensor


def _as_tensor(what: str, value: Any) -> Tensor:
    """An array of inputs as a tensor; bytes are pixels, whose 255 becomes 1."""
    if isinstance(value, Tensor):
        tensor: Tensor = value.detach()
    else:
        array = np.asarray(value)
        if array.dtype.kind not in "biuf":
            raise RequestError(f"{what}: inputs must be numbers, got {_describe(value)}")
        tensor = torch.from_numpy(np.array(array, order="C"))
    if tensor.dtype == torch.uint8:
        return tensor.to(torch.float32) / 255
    if tensor.dtype == torch.bool:
        return tensor.to(torch.float32)
    return tensor if tensor.is_floating_point() else tensor.to(torch.int64)


def _as_targets(what: str, value: Any) -> Tensor:
    """Targets as a tensor: whole numbers are labels, int64."""
    if isinstance(value, Tensor):
        tensor: Tensor = value.detach()
    else:
        array = np.asarray(value)
        if array.dtype.kind not in "biuf":
            raise RequestError(f"{what}: targets must be numbers, got {_describe(value)}")
        tensor = torch.from_numpy(np.array(array, order="C"))
    return tensor if tensor.is_floating_point() else tensor.to(torch.int64)


def _describe(value: Any) -> str:
    """A value's type in words."""
    shape = getattr(value, "shape", None)
    return f"a {type(value).__name__}" + ("" if shape is None else f" of shape {tuple(shape)}")
