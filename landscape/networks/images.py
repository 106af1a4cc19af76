"""Image data sets with published contents: where their files lie, and how their pixels are normalised."""

from __future__ import annotations

import numpy as np
import torch

from landscape.networks.splits import DataSet, Normalization, Split


def digits() -> DataSet:
    """Handwritten digits, 8x8 pixels in 10 classes, from scikit-learn's own files.

    Every fifth image of each class, in the file's order, is the test split: 1,437 and 360 images.

    References:
        E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998.
    """
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    order = np.argsort(labels, kind="stable")
    test = np.zeros(len(labels), dtype=bool)
    test[order[::5]] = True
    images = (pixels / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    scale = Normalization(mean=(0.3058,), std=(0.3762,))
    inputs = torch.from_numpy((images - np.float32(scale.mean[0])) / np.float32(scale.std[0]))
    targets = torch.from_numpy(labels.astype(np.int64))
    train, held_out = torch.from_numpy(~test), torch.from_numpy(test)
    return DataSet(
        "digits",
        train=Split(inputs[train], targets[train]),
        test=Split(inputs[held_out], targets[held_out]),
        num_classes=10,
        source="scikit-learn",
        normalization=scale,
    )
