"""The store: a Zarr v3 group whose arrays are allocated ahead, filled region by region and read by xarray.

A process may be killed at any moment. Everything is therefore built in a hidden folder beside the store and
renamed into place; a chunk has one writer and is replaced as a whole; and the consolidated metadata, which
readers go by, is renewed after each change of structure, so that an unfinished store opens too.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zarr

from landscape.errors import RequestError
from landscape.sweeps.node import Node, add_node, consolidate, read_status, scratch_folder, write, write_region
from landscape.sweeps.recipe import canonical, difference, environment, plain, recipe_hash
from landscape.sweeps.schema import Status, Variable

if TYPE_CHECKING:
    import xarray

__all__ = [
    "Node",
    "Status",
    "Variable",
    "add_node",
    "annotate",
    "attributes",
    "claim",
    "create",
    "finish",
    "open",
    "read_status",
    "write",
    "write_region",
]


def create(
    path: str | Path,
    recipe: Any,
    *,
    kind: str,
    attrs: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> bool:
    """Make a new empty store, or find the one of the same recipe.

    Args:
        path: Folder of the store.
        recipe: Contents and settings that the result depends on; see `recipe.plain`.
        kind: The command that writes it, such as `"connect"`.
        attrs: Further attributes, such as the device and paths, which don't count in the recipe's hash.
        overwrite: Replace a store that is there, also one of the same recipe.

    Returns:
        True if the store of this recipe is there and is to be resumed, False if it is new.

    Raises:
        RequestError: If something else is there, another process writes it, or the folder can't be written.
    """
    path = Path(path)
    if there := path.exists():
        if (found := _attributes(path)) is None:
            raise RequestError(f"{path} exists and is no landscape store, so nothing replaces it: choose another --out")
        if found["kind"] != kind:
            raise RequestError(
                f"{path} holds a '{found['kind']}' store, which nothing else replaces: choose another --out"
            )
        if not overwrite:
            _same(path, found, recipe)
            with claim(path) as scratch:
                _empty(scratch, keep=("lock", "tasks", "kept"))
                for leftover in path.rglob("*.partial"):
                    leftover.unlink()
                if found.get("complete"):  # nobody is going to finish it again
                    shutil.rmtree(scratch)
            return True
    described = {
        "kind": kind,
        "recipe": canonical(recipe),
        "recipe_hash": recipe_hash(recipe),
        "complete": 0,
        **environment(),
        **plain(attrs or {}, "attrs"),
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with claim(path) as scratch:
            _empty(scratch)
            zarr.create_group(scratch / "new", zarr_format=3, attributes=described)
            consolidate(scratch / "new")
            if there:
                path.rename(scratch / "old")
            (scratch / "new").rename(path)
            shutil.rmtree(scratch)
    except OSError as error:
        raise RequestError(f"cannot write {path}: {error.strerror or error}: choose another --out") from None
    return False


def _same(path: Path, found: Mapping[str, Any], recipe: Any) -> None:
    """Refuse a store of another recipe, naming the first difference."""
    if found["recipe_hash"] != recipe_hash(recipe):
        what = difference(json.loads(found["recipe"]), plain(recipe))
        raise RequestError(f"{path} holds another recipe ({what}): give --overwrite or choose another --out")


def _attributes(path: Path) -> dict[str, Any] | None:
    """The root attributes of a landscape store, None for anything else."""
    try:
        attributes = json.loads((path / "zarr.json").read_bytes())["attributes"]
        return dict(attributes) if {"kind", "recipe", "recipe_hash"} <= attributes.keys() else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def attributes(path: str | Path) -> dict[str, Any]:
    """The attributes of a store: `kind`, `recipe`, `recipe_hash`, `complete`, the environment.

    Raises:
        RequestError: If there is no store.
    """
    if (found := _attributes(Path(path))) is None:
        wrong = "is no landscape store" if Path(path).exists() else "does not exist"
        raise RequestError(f"{path} {wrong}: expected the folder that a landscape command wrote with --out")
    return found


@contextmanager
def claim(path: Path) -> Iterator[Path]:
    """Hold a store as its only writer; a killed holder's claim is void.

    Yields:
        The folder for unfinished things.

    Raises:
        RequestError: If another process holds it.
    """
    scratch = scratch_folder(path)
    scratch.mkdir(exist_ok=True)
    with (scratch / "lock").open("w") as lock:
        if sys.platform != "win32":
            import fcntl

            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RequestError(f"{path} is being written by another process: wait until it has ended") from None
            except OSError:
                pass  # a file system without locks
        yield scratch


def _empty(scratch: Path, keep: tuple[str, ...] = ("lock",)) -> None:
    """Remove what a killed process left in the folder for unfinished things."""
    for entry in scratch.iterdir():
        if entry.name in keep:
            continue
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def finish(path: str | Path) -> None:
    """Mark a store as complete and remove whatever was unfinished."""
    consolidate(Path(path)).update_attributes({"complete": 1})
    shutil.rmtree(scratch_folder(Path(path)), ignore_errors=True)


def annotate(path: str | Path, attrs: Mapping[str, Any]) -> None:
    """Add attributes to a store; they don't count in its recipe's hash."""
    consolidate(Path(path)).update_attributes(plain(attrs, "attrs"))


def open(path: str | Path) -> xarray.DataTree:
    """Open a store, finished or not, for reading; values are loaded when they are used.

    Args:
        path: Folder of the store.

    Returns:
        One node for each group, with labelled variables.

    Raises:
        RequestError: If there is no store.
    """
    import xarray

    attributes(path)
    return xarray.open_datatree(path, engine="zarr", decode_timedelta=False)
