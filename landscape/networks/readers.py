"""Readers of the world's image files: IDX, and CIFAR's pickled and binary batches.

Every reader returns pixels as bytes, `(N, channels, height, width)`, and labels, int64 of shape `(N,)`. No file
is trusted: a pickle may hold only what CIFAR's batches hold, and every length is checked against the header.
"""

from __future__ import annotations

import codecs
import gzip
import io
import math
import pickle
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from landscape.errors import RequestError

Bytes = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]

IDX_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_bytes(path: Path) -> bytes:
    """The contents of a file, unpacked if it is gzipped, whatever it is called.

    Raises:
        RequestError: If it can't be read, or its compressed contents are damaged.
    """
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise RequestError(f"{path} is a damaged gzip file ({error}); fetch it again") from error
    except OSError as error:
        raise RequestError(f"{path} can't be read: {error.strerror or error}") from error


def read_idx(path: Path) -> npt.NDArray[Any]:
    """One array of an IDX file, the format of MNIST, gzipped or not.

    Args:
        path: The file: two zero bytes, the type, the number of dimensions, each size as a big-endian uint32, data.

    Returns:
        The array, read-only, in its stored type.

    Raises:
        RequestError: If the file can't be read, is not IDX, or is not as long as its header says.
    """
    data = read_bytes(path)
    if len(data) < 4 or data[:2] != b"\x00\x00" or data[2] not in IDX_DTYPES:
        raise RequestError(f"{path} is not an IDX file: it starts with {data[:4].hex() or 'nothing'}")
    dtype, start = np.dtype(IDX_DTYPES[data[2]]), 4 + 4 * data[3]
    shape = tuple(int(size) for size in np.frombuffer(data[4:start], dtype=">u4")) if len(data) >= start else ()
    expected = start + math.prod(shape) * dtype.itemsize
    if len(data) != expected:
        raise RequestError(f"{path} has {len(data)} bytes, but its header promises {expected}; fetch it again")
    return np.frombuffer(data, dtype=dtype, offset=start).reshape(shape)


def read_idx_pair(paths: Sequence[Path]) -> tuple[Bytes, Labels]:
    """Images and labels of one split from two IDX files, the images first.

    Raises:
        RequestError: If a file is damaged, or the two don't belong together.
    """
    images, labels = (read_idx(path) for path in paths)
    if images.ndim != 3 or images.dtype != np.uint8 or labels.ndim != 1 or labels.dtype.kind not in "ui":
        raise RequestError(
            f"{paths[0]} must hold images of bytes (N, height, width) and {paths[1]} labels (N,), "
            f"but their shapes are {images.shape} and {labels.shape}"
        )
    _check_lengths(paths[0], len(images), len(labels))
    return images[:, None], labels.astype(np.int64)


class _BatchUnpickler(pickle.Unpickler):
    """Unpickles containers, numbers, strings, bytes and numpy arrays; refuses all else by name."""

    def find_class(self, module: str, name: str) -> Any:
        """The few constructors that a pickled array needs."""
        constructors = {"ndarray": np.ndarray, "dtype": _dtype, "_reconstruct": _reconstruct}
        if module.partition(".")[0] == "numpy" and name in constructors:
            return constructors[name]
        if (module, name) == ("_codecs", "encode"):
            return _encode
        raise RequestError(f"it holds a {module}.{name}, which was refused; only plain arrays are read")


def _reconstruct(subtype: type, shape: tuple[int, ...], dtype: Any) -> npt.NDArray[Any]:
    """An empty array for the unpickler to fill; never of a size that the pickle names."""
    if subtype is not np.ndarray or tuple(shape) != (0,):
        raise RequestError("it holds an array of an unusual kind, which was refused")
    return np.ndarray.__new__(np.ndarray, (0,), dtype)


def _dtype(name: str | bytes, align: object = False, copy: object = False) -> np.dtype[Any]:
    """A dtype of numbers; old pickles give the two flags as integers, which numpy deprecates."""
    dtype = np.dtype(name.decode("latin1") if isinstance(name, bytes) else name)
    if dtype.kind not in "biuf":
        raise RequestError(f"it holds an array of {dtype}, which was refused; only arrays of numbers are read")
    return dtype


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """Bytes, which the second pickle protocol writes as Latin-1 text."""
    if encoding != "latin1":
        raise RequestError(f"it holds text in the encoding {encoding!r}, which was refused")
    return codecs.latin_1_encode(text)[0]


def read_pickle(path: Path) -> dict[str, Any]:
    """The dictionary of a CIFAR python batch, by a restricted unpickler that can run no code.

    Args:
        path: Pickle written by Python 2 or 3.

    Returns:
        Its entries by name; keys are text, whichever Python wrote them.

    Raises:
        RequestError: If the file can't be read, is no pickle, or holds a type that no such batch has; names it.
    """
    data = read_bytes(path)
    try:
        batch = _BatchUnpickler(io.BytesIO(data), encoding="bytes").load()
    except RequestError as error:
        raise RequestError(f"{path} is not read: {error}") from error
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise RequestError(f"{path} is not a readable pickle: {type(error).__name__}: {error}") from error
    if not isinstance(batch, dict):
        raise RequestError(f"{path} holds a {type(batch).__name__}, expected the dictionary of a CIFAR batch")
    return {key.decode("latin1") if isinstance(key, bytes) else str(key): value for key, value in batch.items()}


def read_cifar_python(paths: Sequence[Path], label_key: str = "labels") -> tuple[Bytes, Labels]:
    """CIFAR's python batches, one after the other.

    Args:
        paths: The batches of one split.
        label_key: `labels` for CIFAR-10; `fine_labels` or `coarse_labels` for CIFAR-100.

    Returns:
        Images, shape `(N, 3, 32, 32)`, and labels.

    Raises:
        RequestError: If a file is damaged, holds a refused type, or lacks data or labels.
    """
    images, labels = [], []
    for path in paths:
        batch = read_pickle(path)
        if missing := [key for key in ("data", label_key) if key not in batch]:
            raise RequestError(f"{path} has no '{missing[0]}' (it has: {', '.join(sorted(batch))})")
        data = batch["data"]
        if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape[1:] != (3072,):
            raise RequestError(f"{path}: 'data' must be bytes of shape (N, 3072)")
        try:
            found = np.asarray(batch[label_key], dtype=np.int64)
        except (TypeError, ValueError) as error:
            raise RequestError(f"{path}: '{label_key}' must be a list of whole numbers") from error
        _check_lengths(path, len(data), found.size)
        images.append(data)
        labels.append(found.reshape(-1))
    return np.concatenate(images).reshape(-1, 3, 32, 32), np.concatenate(labels)


def read_cifar_binary(paths: Sequence[Path], label_bytes: int = 1) -> tuple[Bytes, Labels]:
    """CIFAR's binary batches, one after the other.

    Args:
        paths: The batches of one split: records of the labels, one byte each, and 3,072 bytes of pixels.
        label_bytes: 1 for CIFAR-10; 2 for CIFAR-100 (coarse, fine), whose fine label is read.

    Returns:
        Images, shape `(N, 3, 32, 32)`, and labels.

    Raises:
        RequestError: If a file can't be read, or is not a whole number of records.
    """
    record = label_bytes + 3072
    batches = []
    for path in paths:
        data = np.frombuffer(read_bytes(path), dtype=np.uint8)
        if data.size == 0 or data.size % record:
            raise RequestError(f"{path} has {data.size} bytes, expected a multiple of {record}; fetch it again")
        batches.append(data.reshape(-1, record))
    records = np.concatenate(batches)
    images = np.ascontiguousarray(records[:, label_bytes:]).reshape(-1, 3, 32, 32)
    return images, records[:, label_bytes - 1].astype(np.int64)


def _check_lengths(path: Path, num_images: int, num_labels: int) -> None:
    """Refuse images and labels that are not equally many."""
    if num_images != num_labels:
        raise RequestError(f"{path}: {num_images} images but {num_labels} labels; they don't belong together")
