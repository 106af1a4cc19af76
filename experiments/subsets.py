"""A part of a data set by name, for experiments that a CPU should do in minutes."""

from __future__ import annotations

from landscape.networks.datasets import load_data
from landscape.networks.splits import DataSet


def subset(*, data: str, samples: int) -> DataSet:
    """A fixed random subset of each split.

    Args:
        data: Name of the whole data set, looked for in `$LANDSCAPE_DATA` and the system's folders.
        samples: Samples of each split; one that has no more is kept whole.
    """
    return load_data(data).subset(samples)
