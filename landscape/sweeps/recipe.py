"""Recipes: a result's identity as plain data, its hash, and where and with what it was computed."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import math
import platform
import re
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import yaml
from numpy.typing import NDArray

from landscape.errors import RequestError

Default = TypeVar("Default")
LATER = "later"
"""Marks a field in its dataclass's metadata."""
PACKAGES = ("torch", "numpy", "scipy", "xarray", "zarr")


def later(default: Default) -> Default:
    """The default of a dataclass's field that recipes didn't have at first.

    With its default such a field is left out of recipes, so that results from before keep their hashes.
    """
    added: Default = dataclasses.field(default=default, metadata={LATER: True})
    return added


def entries(value: Any) -> dict[str, Any]:
    """The fields of a dataclass by name, but for those from `later` that have their defaults."""
    found = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    for field in dataclasses.fields(value):
        if field.metadata.get(LATER) and found[field.name] == field.default:
            del found[field.name]
    return found


def plain(value: Any, name: str = "recipe") -> Any:
    """Bring a recipe to JSON's own types: tuples to lists, numpy scalars to numbers, dataclasses to mappings.

    Args:
        value: Mapping, dataclass, list, tuple, string, number, truth value or None, nested at will.
        name: How to call it in an error.

    Returns:
        The same in dicts, lists, strings, numbers, truth values and None.

    Raises:
        RequestError: If something in it has no place in a recipe: a path (a recipe names contents, never places), a
            number that isn't finite, a key that isn't a string, or any other object.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise RequestError(f"{name} is {value}, expected a finite number: leave it out or use null")
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = entries(value)
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise RequestError(f"{name} has the key {key!r}, expected strings as keys")
        return {key: plain(item, f"{name}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, f"{name}[{index}]") for index, item in enumerate(value)]
    raise RequestError(
        f"{name} is a {type(value).__name__}, expected plain data: numbers, strings, lists; for contents their digest"
    )


def canonical(recipe: Any) -> str:
    """The one JSON text of a recipe: keys sorted, no spaces.

    Args:
        recipe: Anything that `plain` takes.

    Returns:
        The text, equal for equal recipes.

    Raises:
        RequestError: As `plain`.
    """
    return json.dumps(plain(recipe), sort_keys=True, separators=(",", ":"), allow_nan=False)


def recipe_hash(recipe: Any) -> str:
    """SHA-256 of the canonical text of a recipe, as 64 hexadecimal digits."""
    return hashlib.sha256(canonical(recipe).encode()).hexdigest()


def difference(old: Any, new: Any, name: str = "") -> str:
    """Name the first setting in which two recipes differ, "" if none.

    Args:
        old: Plain recipe that is there.
        new: Plain recipe that is asked for.
        name: Path of the setting so far.

    Returns:
        Such as `"curve.bends is 1 there, 2 here"`.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            where = f"{name}.{key}" if name else key
            if text := difference(old.get(key), new.get(key), where):
                return text
        return ""
    return "" if old == new else f"{name} is {_short(old)} there, {_short(new)} here"


def _short(value: Any) -> str:
    """A value in at most some 40 characters."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:37] + "…"


def digest(*arrays: NDArray[Any] | Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 over type, shape and bytes of arrays, to name their contents in a recipe.

    Args:
        *arrays: Arrays of numbers in any memory order, or mappings from name to array, whose order doesn't count.

    Returns:
        64 hexadecimal digits.

    Raises:
        TypeError: If an array holds objects, whose bytes are addresses.
    """
    sha = hashlib.sha256()
    for item in arrays:
        named = sorted(item.items()) if isinstance(item, Mapping) else [("", item)]
        for name, array in named:
            array = np.asarray(array)
            if array.dtype.hasobject:
                raise TypeError(f"cannot digest an array of {array.dtype}, expected numbers or fixed-length text")
            sha.update(json.dumps([name, array.dtype.str, array.shape]).encode())
            sha.update(np.ascontiguousarray(array).view(np.uint8).data if array.size else b"")
    return sha.hexdigest()


def environment(device: str = "cpu") -> dict[str, Any]:
    """Where and with what a result is computed; kept beside the recipe, never part of its hash.

    Args:
        device: The torch device, such as `"cuda"`.

    Returns:
        Package versions, Python's version, the git revision of a source checkout (else None), the device and the
        time in UTC.
    """
    versions = {"landscape": _version("torch-landscape")} | {name: _version(name) for name in PACKAGES}
    return {
        **{f"{name}_version": version for name, version in versions.items()},
        "python_version": platform.python_version(),
        "git_revision": _revision(),
        "device": device,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _version(package: str) -> str | None:
    """The installed version of a package, found without importing it."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _revision() -> str | None:
    """The revision of the checkout that this file lies in, with "-dirty" if it was changed since."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    command = [
        "git",
        "--no-optional-locks",
        "-C",
        str(root),
        "describe",
        "--always",
        "--dirty",
        "--abbrev=40",
        "--exclude=*",
    ]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


class _Loader(yaml.SafeLoader):
    """Reads `1e-3` as the number that everybody means; YAML 1.1 takes it for text."""


class _Dumper(yaml.SafeDumper):
    """Quotes the text "1e-3", which `_Loader` would take for a number."""


for _class in (_Loader, _Dumper):
    _class.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
    )


def to_yaml(recipe: Any) -> str:
    """Write a recipe as YAML, its settings in their own order.

    Raises:
        RequestError: As `plain`.
    """
    return yaml.dump(plain(recipe), Dumper=_Dumper, sort_keys=False)


def from_yaml(text: str) -> dict[str, Any]:
    """Read a recipe from YAML.

    Args:
        text: A YAML mapping.

    Returns:
        The recipe; `recipe_hash(from_yaml(to_yaml(recipe))) == recipe_hash(recipe)`.

    Raises:
        RequestError: If the text isn't YAML, not a mapping, or holds what `plain` refuses.
    """
    try:
        recipe = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise RequestError(f"the recipe is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(recipe, dict):
        raise RequestError(f"the recipe is a YAML {type(recipe).__name__}, expected a mapping 'setting: value'")
    result: dict[str, Any] = plain(recipe)
    return result
