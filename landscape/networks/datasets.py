"""Data sets by name: embedded, generated, found on this machine, or the user's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from landscape import settings as data_settings
from landscape.errors import RequestError, unknown
from landscape.factories import is_factory
from landscape.networks.corpora import CORPORA
from landscape.networks.digits import digits
from landscape.networks.foreign import as_data_set, from_factory, from_npz, from_torchvision
from landscape.networks.generated import GENERATED
from landscape.networks.images import IMAGE_FILES
from landscape.networks.splits import DataSet, Normalization, Split

__all__ = [
    "BUILT_IN",
    "DATA_SETS",
    "DataSet",
    "Listing",
    "Normalization",
    "Split",
    "as_data_set",
    "list_data",
    "load_data",
    "resolve_settings",
]

BUILT_IN: dict[str, Callable[..., DataSet]] = {"digits": digits, **GENERATED}
DATA_SETS = (*BUILT_IN, *IMAGE_FILES, *CORPORA)
OWN = ("package.module:factory", "FILE.npz", "torchvision:NAME")


def resolve_settings(name: str, settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Every setting of a data set with the value it will have: what a recipe should record.

    Args:
        name: As for `load_data`.
        settings: The settings that were given.

    Returns:
        Settings with defaults filled in; for the user's own factories, the given ones as they are.

    Raises:
        RequestError: If the data set or a setting is unknown, or a value is wrong.
    """
    if name in BUILT_IN:
        return data_settings.resolve(f"data set '{name}'", BUILT_IN[name], settings)
    if name in CORPORA:
        return data_settings.resolve(f"data set '{name}'", CORPORA[name].function, settings)
    if ":" in name and not name.endswith(".npz"):
        return dict(settings or {})
    if name not in IMAGE_FILES and not name.endswith(".npz"):
        raise unknown("data set", name, [*DATA_SETS, *OWN])
    if settings:
        raise RequestError(f"data set '{name}' has no settings, but '{next(iter(settings))}' was given")
    return {}


def load_data(name: str, *, data_dir: Path | None = None, settings: Mapping[str, Any] | None = None) -> DataSet:
    """Load a data set into memory. Nothing is ever downloaded.

    Args:
        name: A name of `DATA_SETS`; `package.module:factory`, called with the settings as keywords, which returns
            `(inputs, targets)` or `{"train": (inputs, targets), "test": …}` as tensors, arrays or torch Datasets;
            `FILE.npz`; `torchvision:NAME`.
        data_dir: The first place to look for files; `$LANDSCAPE_DATA` and the system's folders follow.
        settings: Settings of a generated data set, a text or a factory, by name.

    Returns:
        The data set; images are float32, `(N, channels, height, width)`, normalised by the mean and standard
        deviation of the training split; texts are windows of tokens, which are not copied.

    Raises:
        RequestError: If the name or a setting is unknown, the files aren't found or are damaged, or the contents
            are no data set: unequal lengths, an empty split, values that aren't finite, labels outside the classes.
    """
    values = resolve_settings(name, settings)
    if name in BUILT_IN:
        return BUILT_IN[name](**values)
    if name in IMAGE_FILES:
        return IMAGE_FILES[name].load(data_dir)
    if name in CORPORA:
        return CORPORA[name].load(data_dir, values)
    if name.endswith(".npz"):
        return from_npz(Path(name))
    if name.startswith("torchvision:"):
        return from_torchvision(name.partition(":")[2], data_dir, values)
    if not is_factory(name):
        raise RequestError(f"data set '{name}' is not of the form package.module:factory")
    return from_factory(name, values)


@dataclass(frozen=True)
class Listing:
    """What is known of a data set before it is loaded.

    Args:
        name: Its name.
        samples: Numbers of training and test samples; None where only the files could say.
        shape: Shape of one sample.
        num_classes: Number of classes; None for regression.
        found: Where it was found, in words; None if it wasn't.
        obtain: How to get it; empty where nothing is needed.
    """

    name: str
    samples: tuple[int, int] | None
    shape: tuple[int, ...]
    num_classes: int | None
    found: str | None
    obtain: str


def list_data(data_dir: Path | None = None) -> list[Listing]:
    """Every named data set and where it was found; reads no image.

    Args:
        data_dir: First place to look in.

    Raises:
        RequestError: If that folder doesn't exist.
    """
    listings = []
    for name, make in BUILT_IN.items():
        data = make()
        num_test = len(data.test) if data.test is not None else 0
        listings.append(Listing(name, (len(data.train), num_test), data.input_shape, data.num_classes, data.source, ""))
    for name, entry in IMAGE_FILES.items():
        found = entry.find(data_dir)
        place = None if found is None else str(found[1][0].parent)
        listings.append(Listing(name, entry.samples, entry.shape, entry.num_classes, place, entry.obtain))
    for name, corpus in CORPORA.items():
        samples, num_tokens = corpus.describe(data_dir)
        listings.append(Listing(name, samples, (corpus.context,), num_tokens, corpus.find(data_dir), corpus.obtain))
    return listings
