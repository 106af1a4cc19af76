"""Tiny files in the real formats, so that no test needs an installed data set."""

import gzip
import pickle
import struct
from types import SimpleNamespace

import numpy as np
import pytest

from landscape.networks import search

IDX_CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def write_idx(path, array):
    """An IDX file, gzipped if it is called so."""
    array = np.asarray(array)
    header = bytes([0, 0, IDX_CODES[array.dtype.str[1:]], array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    data = header + array.astype(array.dtype.newbyteorder(">")).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def write_mnist(folder, num_train=6, num_test=4, suffix="", seed=0):
    """MNIST's four files with random contents; returns the pixels and labels of both splits."""
    generator = np.random.default_rng(seed)
    contents = {}
    for split, prefix, count in (("train", "train", num_train), ("test", "t10k", num_test)):
        pixels = generator.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = generator.integers(0, 10, count, dtype=np.uint8)
        write_idx(folder / f"{prefix}-images-idx3-ubyte{suffix}", pixels)
        write_idx(folder / f"{prefix}-labels-idx1-ubyte{suffix}", labels)
        contents[split] = (pixels, labels)
    return contents


def python2_batch(pixels, labels, label_key=b"labels"):
    """A CIFAR batch byte for byte as Python 2 and its NumPy pickled it."""

    def text(value):
        return b"U" + bytes([len(value)]) + value

    def integer(value):
        return b"J" + struct.pack("<i", value)

    dtype = b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R(K\x03" + text(b"|") + b"NNN" + 2 * integer(-1)
    dtype += b"K\x00tb"
    data = pixels.reshape(len(pixels), -1).tobytes()
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R(K\x01"
    array += integer(len(pixels)) + integer(len(data) // len(pixels)) + b"\x86" + dtype + b"\x89"
    array += b"T" + struct.pack("<i", len(data)) + data + b"tb"
    numbers = b"](" + b"".join(integer(int(label)) for label in labels) + b"e"
    return b"\x80\x02}(" + text(b"data") + array + text(label_key) + numbers + b"u."


def write_cifar10(folder, kind="python2", per_batch=3, seed=0):
    """CIFAR-10's six batches with random contents; returns the pixels and labels of both splits."""
    generator = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    contents = {"train": [], "test": []}
    for name in (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"):
        pixels = generator.integers(0, 256, (per_batch, 3, 32, 32), dtype=np.uint8)
        labels = generator.integers(0, 10, per_batch)
        if kind == "binary":
            records = np.concatenate([labels[:, None].astype(np.uint8), pixels.reshape(per_batch, -1)], axis=1)
            (folder / f"{name}.bin").write_bytes(records.tobytes())
        elif kind == "python2":
            (folder / name).write_bytes(python2_batch(pixels, labels))
        else:
            batch = {b"data": pixels.reshape(per_batch, -1), b"labels": labels.tolist()}
            (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
        contents["test" if name == "test_batch" else "train"].append((pixels, labels))
    return {
        split: tuple(np.concatenate(parts) for parts in zip(*batches, strict=True))
        for split, batches in contents.items()
    }


@pytest.fixture(scope="session")
def write():
    """Writers of the world's formats."""
    return SimpleNamespace(idx=write_idx, mnist=write_mnist, cifar10=write_cifar10, python2_batch=python2_batch)


@pytest.fixture
def nowhere(monkeypatch):
    """No data set is installed on this machine."""
    monkeypatch.delenv("LANDSCAPE_DATA", raising=False)
    monkeypatch.setattr(search, "SYSTEM_FOLDERS", ())
