"""What every experiment shares: presets, a recipe that goes to YAML and back, and stored results that are found again.

A result is a store whose attributes hold the experiment's name and the hash of its recipe. It is drawn wherever it was
computed; nothing is computed twice.
"""

from __future__ import annotations

import dataclasses
import importlib
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landscape.errors import RequestError, unknown
from landscape.sweeps import store
from landscape.sweeps.recipe import canonical, plain, recipe_hash

from . import EXPERIMENTS

if TYPE_CHECKING:
    import xarray

    from landscape.figures.style import StyledFigure


@dataclass(frozen=True)
class Options:
    """How to compute, which never changes what comes out.

    Args:
        data_dir: First place to look for data files.
        device: Where to compute.
        engine: `serial` or `processes`.
        workers: Number of processes.
        progress: Whether to show progress on stderr.
    """

    data_dir: Path | None = None
    device: str = "cpu"
    engine: str = "processes"
    workers: int | None = None
    progress: bool = True


@dataclass(frozen=True)
class Experiment:
    """One figure of the lecture or a paper.

    Args:
        name: Its name.
        presets: Frozen recipes: `smoke` takes seconds, `cpu` minutes, `gpu` wants one.
        run: Computes a recipe into a store: `run(recipe, path, options)`; goes on where it was killed.
        figure: Draws the store.
        caption: Says what the figure shows, with the store's own figures.
    """

    name: str
    presets: Mapping[str, Any]
    run: Callable[[Any, Path, Options], None]
    figure: Callable[[xarray.DataTree], StyledFigure]
    caption: Callable[[xarray.DataTree], str]

    def preset(self, name: str) -> Any:
        """A recipe by its preset's name.

        Raises:
            RequestError: If there is no such preset.
        """
        if name not in self.presets:
            raise unknown(f"preset of '{self.name}'", name, self.presets)
        return self.presets[name]

    def identity(self, recipe: Any) -> str:
        """The hash by which a stored result is found."""
        return recipe_hash({"experiment": self.name, "recipe": plain(recipe)})

    def compute(self, recipe: Any, path: Path, options: Options) -> None:
        """Compute a recipe into a store and sign it."""
        self.run(recipe, path, options)
        signature = {"experiment": self.name, "experiment_recipe": canonical(recipe)}
        store.annotate(path, {**signature, "experiment_hash": self.identity(recipe)})

    def find(self, recipe: Any, folders: Iterable[Path]) -> Path | None:
        """A stored result of this very recipe in one of the folders or theirs, or None."""
        identity = self.identity(recipe)
        for folder in folders:
            for candidate in sorted([*folder.glob("*.zarr"), *folder.glob("*/*.zarr")]):
                try:
                    attributes = store.attributes(candidate)
                except RequestError:
                    continue
                if attributes.get("experiment_hash") == identity and attributes["complete"]:
                    return candidate
        return None


def once(name: str, recipe: Any, path: Path, work: Callable[[], None]) -> None:
    """Fill the store of an experiment; a finished one is left alone.

    Args:
        name: The experiment's.
        recipe: Its recipe.
        path: The store.
        work: Fills it, going on from what it holds already.
    """
    resumed = store.create(path, {"experiment": name, "recipe": recipe}, kind="experiment")
    if not (resumed and store.attributes(path)["complete"]):
        work()
        store.finish(path)


def load(name: str) -> Experiment:
    """An experiment by name.

    Raises:
        RequestError: If there is none of that name.
    """
    name = name.replace("-", "_")
    if name not in EXPERIMENTS:
        raise unknown("figure", name, EXPERIMENTS)
    experiment = importlib.import_module(f"{__package__}.{name}").EXPERIMENT
    assert isinstance(experiment, Experiment)
    return experiment


def from_plain(kind: type, value: Any, where: str = "recipe") -> Any:
    """Build a recipe from what YAML or JSON holds: nested dataclasses, tuples of texts and numbers.

    Args:
        kind: A dataclass, or the type of one of its fields.
        value: Mappings for dataclasses, lists for tuples.
        where: The place in the recipe, for messages.

    Raises:
        RequestError: If an entry is unknown or doesn't fit.
    """
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, Mapping):
            raise RequestError(f"{where} must be a mapping, got {value!r}")
        kinds = typing.get_type_hints(kind)
        for name in value:
            if name not in kinds:
                raise unknown(f"entry of {where}", str(name), kinds)
        try:
            return kind(**{name: from_plain(kinds[name], entry, f"{where}.{name}") for name, entry in value.items()})
        except TypeError as error:
            raise RequestError(f"{where}: {error}") from error
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        inner = next(one for one in arguments if one is not types.NoneType)
        return None if value is None else from_plain(inner, value, where)
    if origin is tuple:
        if not isinstance(value, list):
            raise RequestError(f"{where} must be a list, got {value!r}")
        return tuple(from_plain(arguments[0], one, where) for one in value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    wrong = kind in (int, float, str, bool) and not isinstance(value, kind)
    if wrong or (kind is int and isinstance(value, bool)):
        raise RequestError(f"{where} must be of type {kind.__name__}, got {value!r}")
    return value
