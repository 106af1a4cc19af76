"""The embedded default data set, which needs no file beyond scikit-learn's own."""

from __future__ import annotations

import numpy as np
import torch

from landscape.networks.splits import DataSet, Split


def digits() -> DataSet:
    """Handwritten digits, 8x8 pixels in [0, 1] in 10 classes, 1,437 for training and 360 for the test.

    Every fifth image of each class, in the file's order, is the test's, so that the split is stratified and
    the same everywhere.

    References:
        E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998.
    """
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    held_out = np.zeros(len(labels), dtype=bool)
    held_out[np.argsort(labels, kind="stable")[::5]] = True
    inputs = torch.from_numpy((pixels / 16).astype(np.float32).reshape(-1, 1, 8, 8))
    targets = torch.from_numpy(labels.astype(np.int64))
    test = torch.from_numpy(held_out)
    return DataSet(
        "digits",
        train=Split(inputs[~test], targets[~test]),
        test=Split(inputs[test], targets[test]),
        num_classes=10,
        source="scikit-learn",
    )
